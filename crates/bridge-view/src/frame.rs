//! Traits for frames that a view can draw: turns with buffers or images of any element type.
#![allow(unsafe_code)] // Recording and submitting.

use bridge::ash::vk;
use bridge::{
    BufferAccess, BufferSpec, ImageAccess, ImageKind, ImageSpec, Queue, RenderRead, RenderTurn, Resources, Texel,
    TimelinePoint,
};
use bytemuck::Pod;

/// A frame in a buffer that a [`View`](crate::View) draws: a [`RenderTurn`] of an exchange in step,
/// or a [`RenderRead`] of one with independent rates. This trait is sealed.
///
/// A selected frame holds its slot until it is drawn, replaced by another frame, or
/// [skipped](crate::View::skip). Until then, a [`LatestReader`](bridge::LatestReader) returns no
/// further turn.
#[allow(private_bounds)] // Sealed on purpose.
pub trait Frame: Turn {}

impl<T: Pod + Send + Sync> Frame for RenderTurn<BufferSpec<T>> {}
impl<T: Pod + Send + Sync> Frame for RenderRead<BufferSpec<T>> {}

/// A frame in a shared image ([`ImageSpec`]); otherwise like [`Frame`].
#[allow(private_bounds)] // Sealed on purpose.
pub trait TextureFrame: Turn {}

impl<T: Texel> TextureFrame for RenderTurn<ImageSpec<T>> {}
impl<T: Texel> TextureFrame for RenderRead<ImageSpec<T>> {}

/// Operations of a view on a turn.
pub(crate) trait Turn: Send + Sync + 'static {
    fn queue(&self) -> &Queue;

    fn slot(&self) -> Slot;

    fn prepare_present(&self) -> bridge::Result<()>;

    /// # Safety
    /// The contract of [`RenderTurn::record_acquire`].
    unsafe fn record_acquire(&self, commands: vk::CommandBuffer);

    /// # Safety
    /// The contract of [`RenderTurn::record_release`].
    unsafe fn record_release(&self, commands: vk::CommandBuffer);

    /// # Safety
    /// The contract of [`RenderTurn::submit`].
    unsafe fn submit(self: Box<Self>, commands: &[vk::CommandBuffer]) -> bridge::Result<TimelinePoint>;

    fn skip(self: Box<Self>);
}

/// The resource in a frame's slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Buffer(SlotBuffer),
    Image(SlotImage),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotBuffer {
    pub(crate) raw: vk::Buffer,
    /// Size in bytes.
    pub(crate) size: u64,
    pub(crate) access: BufferAccess,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotImage {
    /// View of the whole image; `None` if its usage flags do not allow views.
    pub(crate) view: Option<vk::ImageView>,
    pub(crate) format: vk::Format,
    pub(crate) kind: ImageKind,
    pub(crate) layers: u32,
    /// Width and height of the first level.
    pub(crate) extent: [u32; 2],
    pub(crate) access: ImageAccess,
}

/// Resources whose slots a view can draw.
trait Viewed: Resources {
    fn slot(resources: Self::Render<'_>) -> Slot;
}

impl<T: Pod + Send + Sync> Viewed for BufferSpec<T> {
    fn slot(buffer: Self::Render<'_>) -> Slot {
        Slot::Buffer(SlotBuffer { raw: buffer.as_raw(), size: buffer.size(), access: buffer.handover().accesses() })
    }
}

impl<T: Texel> Viewed for ImageSpec<T> {
    fn slot(image: Self::Render<'_>) -> Slot {
        let [width, height, _] = image.extent();
        Slot::Image(SlotImage {
            view: image.view(),
            format: image.format(),
            kind: image.kind(),
            layers: image.vulkan().array_layers(),
            extent: [width, height],
            access: image.accesses(),
        })
    }
}

impl<R: Viewed> Turn for RenderTurn<R> {
    fn queue(&self) -> &Queue {
        self.queue()
    }

    fn slot(&self) -> Slot {
        R::slot(self.resources())
    }

    fn prepare_present(&self) -> bridge::Result<()> {
        self.prepare_present()
    }

    unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.record_acquire(commands) };
    }

    unsafe fn record_release(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.record_release(commands) };
    }

    unsafe fn submit(self: Box<Self>, commands: &[vk::CommandBuffer]) -> bridge::Result<TimelinePoint> {
        // SAFETY: the caller upholds the contract.
        unsafe { (*self).submit(commands) }
    }

    fn skip(self: Box<Self>) {
        (*self).skip();
    }
}

impl<R: Viewed> Turn for RenderRead<R> {
    fn queue(&self) -> &Queue {
        self.queue()
    }

    fn slot(&self) -> Slot {
        R::slot(self.resources())
    }

    fn prepare_present(&self) -> bridge::Result<()> {
        self.prepare_present()
    }

    unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.record_acquire(commands) };
    }

    /// Records nothing: the turn with the next frame releases the slot.
    unsafe fn record_release(&self, _commands: vk::CommandBuffer) {}

    unsafe fn submit(self: Box<Self>, commands: &[vk::CommandBuffer]) -> bridge::Result<TimelinePoint> {
        // SAFETY: the caller upholds the contract.
        unsafe { (*self).submit(commands) }
    }

    fn skip(self: Box<Self>) {
        (*self).skip();
    }
}
