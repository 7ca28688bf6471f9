//! Other resources in the slots of a running exchange: longer buffers, textures of another size.

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
    /// Replaces the resources in the slots, with another size, format or usage, as
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
    /// otherwise as [`Exchange::new`] and [`bridge::Exchange::replace`]. On an error the exchange
    /// keeps its resources, with one exception: if submitting the first hand-over of new textures
    /// fails, it has the new ones, and the next `begin` retries the hand-over.
    pub fn replace(&mut self, shared: S) -> Result<()> {
        let Mirror { gpu, flow, name, timeout, order, .. } = &*self.mirror;
        let (specs, mirror) = Mirror::new(gpu, *flow, name, *timeout, shared, order.clone())?;
        // The end of frames whose fate wgpu did not tell is seen behind a later signal. Until that
        // has come they may use the old resources.
        self.recover()?;
        self.exchange.replace(specs)?;
        self.mirror.replace(mirror(self.exchange.slots()));
        self.hand_over()
    }
}

impl<T: Pod + Send + Sync, D: Direction> Exchange<SharedBuffer<T>, D> {
    /// Makes the buffer longer while frames are in flight, to `len` elements. The slots keep what
    /// they hold, and what is beyond is undefined; [`replace`](Self::replace) says more. Does
    /// nothing where it has as many.
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
    /// [`Error::InvalidArgument`] for fewer elements than there are, else as
    /// [`replace`](Self::replace).
    pub fn grow(&mut self, len: usize) -> Result<()> {
        match self.grows(self.mirror.shared.len(), len)? {
            true => self.replace(self.mirror.shared.with_len(len)),
            false => Ok(()),
        }
    }
}

impl<T: Pod + Send + Sync, D: Direction> Exchange<SlotBuffer<T>, D> {
    /// Makes the buffers of the slots longer while frames are in flight, to `len` elements. They
    /// keep what they hold, and what is beyond is undefined; [`replace`](Self::replace) says more.
    /// Does nothing where they have as many.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for fewer elements than there are, else as
    /// [`replace`](Self::replace).
    pub fn grow(&mut self, len: usize) -> Result<()> {
        match self.grows(self.mirror.shared.len(), len)? {
            true => self.replace(self.mirror.shared.with_len(len)),
            false => Ok(()),
        }
    }
}

impl<T: Texel, D: Direction> Exchange<SharedTexture<T>, D> {
    /// Gives the texture another width and height while frames are in flight, for instance those of
    /// a window. What it holds is undefined until the next frame; [`replace`](Self::replace) says
    /// more. Depth, layers and format stay; a texture that was made with `with_all_mips` has all of
    /// them again, else those that it was made with, as many as fit. Does nothing where the size is
    /// the same.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); a size of 0, as a minimized window has, is refused.
    pub fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        match size == self.mirror.shared.size() {
            true => Ok(()),
            false => self.replace(self.mirror.shared.resized(size)),
        }
    }
}

impl<T: Texel, D: Direction> Exchange<SlotTexture<T>, D> {
    /// Gives the textures of the slots another width and height while frames are in flight, for
    /// instance those of a window. What they hold is undefined; [`replace`](Self::replace) says
    /// more. Depth, layers and format stay; a texture that was made with `with_all_mips` has all of
    /// them again, else those that it was made with, as many as fit. Does nothing where the size is
    /// the same.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); a size of 0, as a minimized window has, is refused.
    pub fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        match size == self.mirror.shared.size() {
            true => Ok(()),
            false => self.replace(self.mirror.shared.resized(size)),
        }
    }
}

impl<S: Shared, D: Direction> Exchange<S, D> {
    /// Returns `true` if a buffer of `now` elements has to be replaced by one of `len`.
    fn grows(&self, now: usize, len: usize) -> Result<bool> {
        if len < now {
            let reason =
                format!("its buffer has {now} elements and cannot grow to {len}; `Exchange::replace` shortens");
            return Err(Error::invalid(format!("exchange \"{}\"", self.name()), reason));
        }
        Ok(len > now)
    }
}
