//! Storage buffers.

use std::sync::Arc;

use bevy_asset::{Assets, Handle, RenderAssetUsages};
use bevy_ecs::component::Component;
use bevy_render::storage::ShaderBuffer;
use bridge::{BufferAccess, BufferSpec};
use bytemuck::Pod;

use crate::cuda::Cuda;
use crate::error::{Error, Result};
use crate::present::connect::{Connection, connect};
use crate::writer::CudaWriter;

/// A storage buffer that a simulation fills, with elements of type `T`.
///
/// Use [`handle`](Self::handle) in a material, with `#[storage(..)]`.
///
/// Dropping the `CudaBuffer` ends the simulation: a writer that was [taken](Self::take_writer)
/// returns [`Error::Dropped`]. The buffer keeps its last frame for as long as handles to it exist.
#[derive(Component)]
pub struct CudaBuffer<T: Pod + Send + Sync> {
    handle: Handle<ShaderBuffer>,
    len: usize,
    writer: Option<CudaWriter<BufferSpec<T>>>,
    _alive: Arc<()>,
}

impl<T: Pod + Send + Sync> std::fmt::Debug for CudaBuffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (handle, len, writer) = (&self.handle, &self.len, &self.writer);
        let mut text = f.debug_struct("CudaBuffer");
        text.field("handle", handle).field("len", len).field("writer", writer).finish_non_exhaustive()
    }
}

impl<T: Pod + Send + Sync> CudaBuffer<T> {
    /// Creates a buffer of `len` elements, which are zero until the first frame. If the program
    /// replaces the contents of the asset with data of the same size, Bevy writes that data into
    /// the same buffer, where it stays until the next frame.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`] if `len` is 0, if the size is not a multiple of 4 bytes or
    ///   above the limit of Bevy's device (`max_buffer_size`), and with uploads if there is no
    ///   memory for a frame.
    /// - [`Error::DeviceReplaced`] if Bevy has replaced the device that `cuda` belongs to. Use the
    ///   current resource [`Cuda`].
    /// - [`Error::Vulkan`] if the driver refuses a call of this crate, and [`Error::Bridge`] with
    ///   the errors of [`Exchange::latest`](bridge::Exchange::latest).
    pub fn new(cuda: &Cuda, buffers: &mut Assets<ShaderBuffer>, name: &str, len: usize) -> Result<Self> {
        let element = size_of::<T>();
        let refused = |what: &str| Error::invalid(name, format!("{len} elements of {element} bytes are {what}"));
        let size = match len.checked_mul(element) {
            None => return Err(refused("more than can be addressed")),
            Some(0) => return Err(refused("0 bytes; a buffer must not be empty")),
            Some(size) if !size.is_multiple_of(4) => {
                return Err(refused("not a multiple of 4 bytes, which copies require"));
            }
            Some(size) => size,
        };
        if let Some(most) = cuda.limits().map(|limits| limits.max_buffer_size)
            && size as u64 > most
        {
            return Err(refused(&format!("too large: Bevy's device allows {most} bytes")));
        }
        let asset = ShaderBuffer::with_size(size, RenderAssetUsages::RENDER_WORLD);
        let handle = buffers.add(asset);
        let spec = BufferSpec::<T>::new(len, BufferAccess::TRANSFER_READ);
        let (asset, shape) = (handle.id(), size as u64);
        let (writer, _alive) = connect(cuda, Connection { name, asset, spec, shape, items: [len, len] })?;
        Ok(Self { handle, len, writer: Some(writer), _alive })
    }

    /// Returns the length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`: a buffer has at least one element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the buffer, for materials and bind groups.
    pub fn handle(&self) -> &Handle<ShaderBuffer> {
        &self.handle
    }

    /// Returns the writer of the buffer's frames, or `None` if it was [taken](Self::take_writer).
    pub fn writer(&mut self) -> Option<&mut CudaWriter<BufferSpec<T>>> {
        self.writer.as_mut()
    }

    /// Takes the writer of the buffer's frames, for use on another thread.
    pub fn take_writer(&mut self) -> Option<CudaWriter<BufferSpec<T>>> {
        self.writer.take()
    }
}
