//! Replacement of the resources in the slots of a running exchange: longer buffers, textures of
//! another size.

use bridge::{Direction, Texel};
use bytemuck::Pod;

use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::mirror::Mirror;
use crate::shared::Shared;
use crate::shared::buffer::SharedBuffer;
use crate::shared::slot_buffer::SlotBuffer;
use crate::shared::slot_texture::SlotTexture;
use crate::shared::texture::SharedTexture;

impl<S: Shared, D: Direction> Exchange<S, D> {
    /// Replaces the resources in the slots, with another size, format or usage, like
    /// [`bridge::Exchange::replace`]. Frames in flight keep using the old ones. The host waits only
    /// for frames that wgpu may have submitted although it reported an error
    /// ([`Error::Unconfirmed`]).
    ///
    /// The contents of **the buffers in the slots are kept**, up to the smaller of both sizes;
    /// additional elements are undefined. The contents of **the textures in the slots are
    /// undefined**.
    ///
    /// The [`objects`](Self::objects) are new and contain zeros until a frame is submitted:
    /// recreate views and bind groups. Clones of the old objects are ordinary wgpu objects and keep
    /// their contents. Objects that frames lend from slots are new as well; clones of earlier ones
    /// stay valid, but the compute side no longer writes to them.
    ///
    /// # Errors
    /// [`bridge::Error::ReplacedWhileOpen`] while a turn or frame is neither submitted nor skipped,
    /// and otherwise those of [`Exchange::new`] and [`bridge::Exchange::replace`]. On an error the
    /// exchange keeps its resources, with one exception: if submitting the first hand-over of new
    /// textures fails, it has the new ones, and the next `begin` retries the hand-over.
    pub fn replace(&mut self, shared: S) -> Result<()> {
        let Mirror { gpu, flow, name, timeout, order, .. } = &*self.mirror;
        let (specs, mirror) = Mirror::new(gpu, *flow, name, *timeout, shared, order.clone())?;
        // The end of frames for which wgpu did not report whether they were submitted is known only
        // from a later signal. Until then, they may use the old resources.
        self.recover()?;
        self.exchange.replace(specs)?;
        self.mirror.replace(mirror(self.exchange.slots()));
        self.hand_over()
    }
}

impl<T: Pod + Send + Sync, D: Direction> Exchange<SharedBuffer<T>, D> {
    /// Extends the buffer to `len` elements while frames are in flight. The slots keep their
    /// contents, and the new elements are undefined; see [`replace`](Self::replace). Does nothing
    /// if the buffer already has `len` elements.
    ///
    /// ```no_run
    /// # use bridge_wgpu::{Exchange, SharedBuffer};
    /// # fn grow(
    /// #     exchange: &mut Exchange<SharedBuffer<[f32; 4]>>,
    /// #     points: usize,
    /// # ) -> bridge_wgpu::Result<()> {
    /// exchange.grow(points)?;
    /// // A new buffer: bind groups of the old one are made again.
    /// let vertices = exchange.objects().clone();
    /// # drop(vertices);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `len` is less than the current length, and otherwise those of
    /// [`replace`](Self::replace).
    pub fn grow(&mut self, len: usize) -> Result<()> {
        match self.grows(self.mirror.shared.len(), len)? {
            true => self.replace(self.mirror.shared.with_len(len)),
            false => Ok(()),
        }
    }
}

impl<T: Pod + Send + Sync, D: Direction> Exchange<SlotBuffer<T>, D> {
    /// Extends the buffers of the slots to `len` elements while frames are in flight. They keep
    /// their contents, and the new elements are undefined; see [`replace`](Self::replace). Does
    /// nothing if the buffers already have `len` elements.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `len` is less than the current length, and otherwise those of
    /// [`replace`](Self::replace).
    pub fn grow(&mut self, len: usize) -> Result<()> {
        match self.grows(self.mirror.shared.len(), len)? {
            true => self.replace(self.mirror.shared.with_len(len)),
            false => Ok(()),
        }
    }
}

impl<T: Texel, D: Direction> Exchange<SharedTexture<T>, D> {
    /// Gives the texture another width and height while frames are in flight, for example those of
    /// a window. Its contents are undefined until the next frame; see [`replace`](Self::replace).
    /// Depth, layers and format stay the same. A texture that was created with
    /// `with_full_mip_chain` again has all mip levels; another one has its original number of
    /// levels, or as many as fit. Does nothing if the size is the same.
    ///
    /// # Errors
    /// Those of [`replace`](Self::replace); a size of 0, as of a minimized window, is an error.
    pub fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        match size == self.mirror.shared.size() {
            true => Ok(()),
            false => self.replace(self.mirror.shared.resized(size)),
        }
    }
}

impl<T: Texel, D: Direction> Exchange<SlotTexture<T>, D> {
    /// Gives the textures of the slots another width and height while frames are in flight, for
    /// example those of a window. Their contents are undefined; see [`replace`](Self::replace).
    /// Depth, layers and format stay the same. A texture that was created with
    /// `with_full_mip_chain` again has all mip levels; another one has its original number of
    /// levels, or as many as fit. Does nothing if the size is the same.
    ///
    /// # Errors
    /// Those of [`replace`](Self::replace); a size of 0, as of a minimized window, is an error.
    pub fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        match size == self.mirror.shared.size() {
            true => Ok(()),
            false => self.replace(self.mirror.shared.resized(size)),
        }
    }
}

impl<S: Shared, D: Direction> Exchange<S, D> {
    /// Returns `true` if a buffer of `now` elements must be replaced by one of `len`; an error if
    /// `len` is smaller.
    fn grows(&self, now: usize, len: usize) -> Result<bool> {
        if len < now {
            let reason =
                format!("its buffer has {now} elements and cannot grow to {len}; `Exchange::replace` shortens");
            return Err(Error::invalid(format!("exchange \"{}\"", self.name()), reason));
        }
        Ok(len > now)
    }
}
