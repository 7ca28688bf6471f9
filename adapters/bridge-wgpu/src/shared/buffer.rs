//! Buffers that are copied from or to the slots.
#![allow(unsafe_code)] // Wraps a buffer of the bridge for wgpu.

use std::marker::PhantomData;

use ash::vk;
use bridge::{BufferAccess, BufferSpec, RenderBuffer};
use bytemuck::Pod;

use super::{Filled, Flow, Share, Shared, SlotInfo, raw};
use crate::device::Bridge;
use crate::error::{Error, Result};

/// A buffer of `len` elements of `T`, as a persistent [`wgpu::Buffer`], so that bind groups stay
/// valid.
///
/// In an exchange whose frames the compute side begins, submitting a frame first copies the frame
/// into the buffer, then runs the submitted commands. In one whose frames wgpu begins, the commands
/// run first, and then the buffer is copied to the slot. Either is one copy on the GPU, from or to
/// the slot that the compute side works on.
#[derive(Debug, Clone)]
pub struct SharedBuffer<T> {
    len: usize,
    usage: wgpu::BufferUsages,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Send + Sync> SharedBuffer<T> {
    /// Describes a buffer of `len` elements that wgpu uses with `usage`; the flags that the copy
    /// needs are added.
    pub fn new(len: usize, usage: wgpu::BufferUsages) -> Self {
        Self { len, usage, element: PhantomData }
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the same description with another length.
    pub(crate) fn with_len(&self, len: usize) -> Self {
        Self { len, ..self.clone() }
    }
}

/// Returns the size of a buffer in bytes, which must be a multiple of 4 for wgpu's copies.
pub(crate) fn size<T>(len: usize, object: &str) -> Result<u64> {
    let size = len.checked_mul(size_of::<T>()).and_then(|size| u64::try_from(size).ok());
    match size {
        Some(size) if size % wgpu::COPY_BUFFER_ALIGNMENT == 0 => Ok(size),
        Some(size) => {
            Err(Error::invalid(object, format!("{size} bytes; wgpu copies multiples of 4, so round the length up")))
        }
        None => Err(Error::invalid(object, "more bytes than this machine can address")),
    }
}

impl<T: Pod + Send + Sync> Shared for SharedBuffer<T> {
    type Specs = BufferSpec<T>;
    type Objects = wgpu::Buffer;
    type Lent<'f> = &'f wgpu::Buffer;
    type Slot = wgpu::Buffer;
}

impl<T: Pod + Send + Sync> Share<Self> for SharedBuffer<T> {
    const IN_PLACE: bool = false;
    const COPIES: bool = true;
    const COPIES_RAW: bool = true;
    const SETTLES: bool = false;

    fn specs(&self, _: &Bridge, flow: Flow, _: &str) -> Result<BufferSpec<T>> {
        let accesses = match flow {
            Flow::In => BufferAccess::TRANSFER_READ,
            Flow::Out => BufferAccess::TRANSFER_WRITE,
        };
        Ok(BufferSpec::new(self.len, accesses))
    }

    fn objects(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<wgpu::Buffer> {
        let object = format!("buffer \"{name}\"");
        let copied = match flow {
            Flow::In => wgpu::BufferUsages::COPY_DST,
            Flow::Out => wgpu::BufferUsages::COPY_SRC,
        };
        let (size, usage) = (size::<T>(self.len, &object)?, self.usage | copied);
        let descriptor = wgpu::BufferDescriptor { label: Some(name), size, usage, mapped_at_creation: false };
        gpu.capture("Device::create_buffer", &object, || gpu.device().create_buffer(&descriptor))
    }

    fn wrap(&self, slot: &SlotInfo<'_>, render: RenderBuffer<'_, T>) -> Result<wgpu::Buffer> {
        let usage = match slot.flow {
            Flow::In => wgpu::BufferUsages::COPY_SRC,
            Flow::Out => wgpu::BufferUsages::COPY_DST,
        };
        let (label, size) = (Some(slot.name), render.size());
        let descriptor = wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false };
        // SAFETY: created with the usage that the flow determines here and in `specs`. The wrapper
        // is not lent: it is only used in submissions with a frame of the exchange, which keeps the
        // buffer alive until they have run.
        unsafe { raw::buffer(slot.gpu, render.as_raw(), &descriptor, Box::new(|| {})) }
    }

    fn lend<'f>(_: &'f wgpu::Buffer, objects: &'f wgpu::Buffer) -> &'f wgpu::Buffer {
        objects
    }

    fn copy(flow: Flow, slot: &wgpu::Buffer, objects: &wgpu::Buffer, commands: &mut wgpu::CommandEncoder) {
        let (from, to) = match flow {
            Flow::In => (slot, objects),
            Flow::Out => (objects, slot),
        };
        commands.copy_buffer_to_buffer(from, 0, to, 0, objects.size());
    }

    unsafe fn copy_raw(
        flow: Flow,
        device: &ash::Device,
        commands: vk::CommandBuffer,
        render: RenderBuffer<'_, T>,
        objects: &mut dyn Iterator<Item = &wgpu::Buffer>,
    ) {
        let Some(object) = objects.next() else { return };
        let copy = |object| {
            let (from, to) = match flow {
                Flow::In => (render.as_raw(), object),
                Flow::Out => (object, render.as_raw()),
            };
            let all = [vk::BufferCopy::default().size(render.size())];
            // SAFETY: the caller upholds the contract; both buffers have this length, and were
            // created with these usages.
            unsafe { device.cmd_copy_buffer(commands, from, to, &all) };
        };
        // SAFETY: recorded into commands, and not destroyed.
        unsafe { crate::raw::with_buffer(object, copy) };
    }

    fn filled<'o>(objects: &'o wgpu::Buffer, all: &mut Filled<'o>) {
        all.buffers.push(objects);
    }

    fn settle(_: &wgpu::Buffer, _: &mut wgpu::CommandEncoder) {}
}
