//! Frames of any element type, as a view draws them.
#![allow(unsafe_code)] // Recording and submitting.

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Queue, RenderRead, RenderTurn, TimelinePoint};
use bytemuck::Pod;

/// A frame that a [`View`](crate::View) draws: a [`RenderTurn`] of an exchange in step, or a
/// [`RenderRead`] of one at rates of their own. The trait is closed.
///
/// A frame that is shown keeps its slot until it is drawn, replaced by another, or
/// [skipped](crate::View::skip). A [`LatestReader`](bridge::LatestReader) gives no next turn before
/// that.
#[allow(private_bounds)] // Closed on purpose.
pub trait Frame: Turn {}

impl<T: Pod + Send + Sync> Frame for RenderTurn<BufferSpec<T>> {}
impl<T: Pod + Send + Sync> Frame for RenderRead<BufferSpec<T>> {}

/// Operations of a view on a turn.
pub(crate) trait Turn: Send + Sync + 'static {
    fn queue(&self) -> &Queue;

    fn buffer(&self) -> SlotBuffer;

    fn prepare_present(&self) -> bridge::Result<()>;

    /// # Safety
    /// As [`RenderTurn::record_acquire`].
    unsafe fn record_acquire(&self, commands: vk::CommandBuffer);

    /// # Safety
    /// As [`RenderTurn::record_release`].
    unsafe fn record_release(&self, commands: vk::CommandBuffer);

    /// # Safety
    /// As [`RenderTurn::submit`].
    unsafe fn submit(self: Box<Self>, commands: &[vk::CommandBuffer]) -> bridge::Result<TimelinePoint>;

    fn skip(self: Box<Self>);
}

/// The buffer of a frame's slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotBuffer {
    pub(crate) raw: vk::Buffer,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) access: BufferAccess,
}

impl<T: Pod + Send + Sync> Turn for RenderTurn<BufferSpec<T>> {
    fn queue(&self) -> &Queue {
        self.queue()
    }

    fn buffer(&self) -> SlotBuffer {
        let buffer = self.resources();
        SlotBuffer { raw: buffer.as_raw(), size: buffer.size(), access: buffer.handover().accesses() }
    }

    fn prepare_present(&self) -> bridge::Result<()> {
        self.prepare_present()
    }

    unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        // SAFETY: handed on to the caller.
        unsafe { self.record_acquire(commands) };
    }

    unsafe fn record_release(&self, commands: vk::CommandBuffer) {
        // SAFETY: handed on to the caller.
        unsafe { self.record_release(commands) };
    }

    unsafe fn submit(self: Box<Self>, commands: &[vk::CommandBuffer]) -> bridge::Result<TimelinePoint> {
        // SAFETY: handed on to the caller.
        unsafe { (*self).submit(commands) }
    }

    fn skip(self: Box<Self>) {
        (*self).skip();
    }
}

impl<T: Pod + Send + Sync> Turn for RenderRead<BufferSpec<T>> {
    fn queue(&self) -> &Queue {
        self.queue()
    }

    fn buffer(&self) -> SlotBuffer {
        let buffer = self.resources();
        SlotBuffer { raw: buffer.as_raw(), size: buffer.size(), access: buffer.handover().accesses() }
    }

    fn prepare_present(&self) -> bridge::Result<()> {
        self.prepare_present()
    }

    unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        // SAFETY: handed on to the caller.
        unsafe { self.record_acquire(commands) };
    }

    /// Nothing: the turn with the next frame gives the slot back.
    unsafe fn record_release(&self, _commands: vk::CommandBuffer) {}

    unsafe fn submit(self: Box<Self>, commands: &[vk::CommandBuffer]) -> bridge::Result<TimelinePoint> {
        // SAFETY: handed on to the caller.
        unsafe { (*self).submit(commands) }
    }

    fn skip(self: Box<Self>) {
        (*self).skip();
    }
}
