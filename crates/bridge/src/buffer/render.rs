//! [`RenderBuffer`]: a shared buffer lent by a render turn.

use std::marker::PhantomData;

use vk_export::ash::vk;
use vk_export::{Buffer, BufferAccess, Handover};

/// A shared buffer while Vulkan owns it, lent by a [`RenderTurn`](crate::RenderTurn).
#[derive(Debug, Clone, Copy)]
pub struct RenderBuffer<'t, T> {
    pub(super) buffer: &'t Buffer,
    pub(super) handover: &'t Handover,
    pub(super) len: usize,
    pub(super) element: PhantomData<&'t T>,
}

impl<'t, T> RenderBuffer<'t, T> {
    /// Returns the Vulkan handle, for the commands of this frame.
    pub fn as_raw(&self) -> vk::Buffer {
        self.buffer.as_raw()
    }

    /// Returns the device address, for shaders and for building acceleration structures; `None` if
    /// the accesses of the buffer have none: add
    /// [`with_device_address`](vk_export::BufferAccess::with_device_address) to one of them.
    #[doc(alias = "vkGetBufferDeviceAddress")]
    pub fn device_address(&self) -> Option<u64> {
        self.buffer.device_address()
    }

    /// Returns the length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`: a shared buffer has at least one element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.buffer.size()
    }

    /// Returns the Vulkan buffer.
    pub fn vulkan(&self) -> &'t Buffer {
        self.buffer
    }

    /// Returns Vulkan's accesses to the buffer.
    pub fn accesses(&self) -> BufferAccess {
        self.handover.accesses()
    }

    /// Returns the Vulkan usage flags of the buffer.
    pub fn usage(&self) -> vk::BufferUsageFlags {
        self.buffer.usage()
    }

    /// Returns the acquire and release barriers.
    /// [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire) records them for all
    /// resources at once.
    pub fn handover(&self) -> &Handover {
        self.handover
    }
}
