//! The barriers of a slot, computed once and recorded in every frame.
#![allow(unsafe_code)] // Recording; sharing what holds raw pointers.

use vk_export::ash::vk;
use vk_export::{ExportDevice, Handover, ImageHandover};

use crate::observe::live;
use crate::observe::live::Kind;

/// The barriers of all resources of one slot, as `vkCmdPipelineBarrier2` takes them.
///
/// Images change owner and layout in two dependencies, see [`ImageHandover`]; buffers go with the change of owner.
#[derive(Default)]
pub(crate) struct Barriers {
    acquire: Dependency,
    transition_in: Dependency,
    transition_out: Dependency,
    release: Dependency,
    /// Brings new images to the layout in which the compute side holds them.
    initial: Dependency,
}

impl Barriers {
    /// Adds the barriers of a buffer.
    pub(crate) fn add_buffer(&mut self, handover: &Handover) {
        self.acquire.buffers.push(handover.acquire());
        self.release.buffers.push(handover.release());
    }

    /// Adds the barriers of an image.
    pub(crate) fn add_image(&mut self, handover: &ImageHandover) {
        self.acquire.images.push(handover.acquire());
        self.transition_in.images.extend(handover.transition_in());
        self.transition_out.images.extend(handover.transition_out());
        self.release.images.push(handover.release());
        self.initial.images.push(handover.initial());
    }

    /// The number of buffers in the slot.
    fn buffers(&self) -> usize {
        self.release.buffers.len()
    }

    /// The number of images in the slot.
    pub(super) fn images(&self) -> usize {
        self.release.images.len()
    }

    /// Records the acquire from the compute side.
    ///
    /// # Safety
    /// `commands` is recording on `device`, which the resources are of, for the queue family of the barriers, outside a
    /// render pass, and externally synchronized; the resources outlive the commands.
    pub(super) unsafe fn record_acquire(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        for dependency in [&self.acquire, &self.transition_in] {
            // SAFETY: handed on to the caller.
            unsafe { dependency.record(device, commands) };
        }
    }

    /// Records the release to the compute side.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire).
    pub(super) unsafe fn record_release(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        for dependency in [&self.transition_out, &self.release] {
            // SAFETY: handed on to the caller.
            unsafe { dependency.record(device, commands) };
        }
    }

    /// Records the first release of the images. Buffers need none: there is no layout, and contents that are undefined
    /// anyway need not be handed over.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire); the images have not been used yet.
    pub(super) unsafe fn record_initial(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        for images in [&self.initial.images, &self.release.images] {
            // SAFETY: handed on to the caller.
            unsafe { record(device, commands, &[], images) };
        }
    }
}

/// Counts the resources of slots that stay alive on purpose.
pub(super) fn count_leaked(slots: &[Barriers]) {
    live::leaked(Kind::Buffer, slots.iter().map(Barriers::buffers).sum());
    live::leaked(Kind::Image, slots.iter().map(Barriers::images).sum());
}

/// The barriers of one `vkCmdPipelineBarrier2`.
#[derive(Default)]
struct Dependency {
    buffers: Vec<vk::BufferMemoryBarrier2<'static>>,
    images: Vec<vk::ImageMemoryBarrier2<'static>>,
}

// SAFETY: the only pointers in the barriers are their pNext, which `Handover` and `ImageHandover` transition_out null.
unsafe impl Send for Dependency {}
// SAFETY: as above.
unsafe impl Sync for Dependency {}

impl Dependency {
    /// # Safety
    /// As [`Barriers::record_acquire`].
    unsafe fn record(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        // SAFETY: handed on to the caller.
        unsafe { record(device, commands, &self.buffers, &self.images) };
    }
}

/// # Safety
/// As [`Barriers::record_acquire`].
unsafe fn record(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    buffers: &[vk::BufferMemoryBarrier2<'_>],
    images: &[vk::ImageMemoryBarrier2<'_>],
) {
    if buffers.is_empty() && images.is_empty() {
        return;
    }
    let dependency = vk::DependencyInfo::default().buffer_memory_barriers(buffers).image_memory_barriers(images);
    // SAFETY: the caller vouches for the command buffer and the resources; the barriers name the family of its queue
    // (VUID-vkCmdPipelineBarrier2-srcQueueFamilyIndex-10388 and its like).
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_may_be_used_from_any_thread() {
        fn any_thread<T: Send + Sync>() {}
        any_thread::<Barriers>();
    }
}
