//! The barriers and copies of a slot, computed once and recorded in every frame.
#![allow(unsafe_code)] // Recording; sharing types that hold raw pointers.

use std::sync::Weak;

use vk_export::ash::vk;
use vk_export::{ExportDevice, Handover, ImageHandover};

use crate::compute::mapped::Container;
use crate::staging::{COPY, Copies, Staging};

/// The barriers of all resources of one slot, in the form that `vkCmdPipelineBarrier2` takes, and
/// the copies of staged images.
///
/// Images change owner and layout in two separate dependencies, see [`ImageHandover`]; the barriers
/// of buffers are in the one that changes the owner. The copies are between the two.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    acquire: Dependency,
    copies_in: Vec<Copies>,
    transition_in: Dependency,
    transition_out: Dependency,
    copies_out: Vec<Copies>,
    release: Dependency,
    /// Transitions new images to the layout in which the compute side holds them.
    initial: Dependency,
    /// Releases new images to the compute side if it maps them itself, without staging.
    first_release: Dependency,
    /// Vulkan's accesses to all resources.
    uses: Uses,
    /// The resources, and the memory blocks that contain buffers.
    objects: Vec<Weak<dyn Container>>,
}

impl Barriers {
    /// Adds an object that is leaked with the slot: a resource, or the block that contains it.
    pub(crate) fn add_object(&mut self, object: Weak<dyn Container>) {
        self.objects.push(object);
    }

    /// Adds the barriers of a buffer.
    pub(crate) fn add_buffer(&mut self, handover: &Handover) {
        let accesses = handover.accesses();
        self.uses.add(accesses.stages, accesses.access, accesses.writes());
        self.acquire.buffers.push(handover.acquire());
        self.release.buffers.push(handover.release());
    }

    /// Adds the barriers of an image.
    pub(crate) fn add_image(&mut self, handover: &ImageHandover) {
        let accesses = handover.accesses();
        self.uses.add(accesses.stages, accesses.access, accesses.writes());
        self.acquire.images.push(handover.acquire());
        self.transition_in.images.extend(handover.transition_in());
        self.transition_out.images.extend(handover.transition_out());
        self.release.images.push(handover.release());
        self.initial.images.push(handover.initial());
        self.first_release.images.push(handover.release());
    }

    /// Adds the barriers and copies of an image that the compute side accesses through a staging
    /// buffer.
    pub(crate) fn add_staged(&mut self, staging: &Staging) {
        let handover = staging.handover();
        let accesses = handover.accesses();
        self.uses.add(accesses.stages, accesses.access, accesses.writes());
        self.acquire.buffers.push(staging.acquire_rows());
        self.acquire.images.push(handover.acquire_image());
        self.copies_in.push(staging.copies().clone());
        self.transition_in.images.push(handover.transition_in());
        self.transition_out.images.extend(handover.transition_out());
        self.transition_out.buffers.extend(staging.rows_between_copies());
        if handover.is_copied_back() {
            self.copies_out.push(staging.copies().clone());
        }
        self.release.images.push(handover.release_image());
        self.release.buffers.extend(staging.release_rows());
        self.initial.images.push(handover.initial());
    }

    /// Returns the stages of the hand-over's own copies; none without staged images.
    pub(crate) fn copy_stages(&self) -> vk::PipelineStageFlags2 {
        if self.copies_in.is_empty() { vk::PipelineStageFlags2::NONE } else { COPY }
    }

    /// Returns the number of images in the slot.
    pub(crate) fn images(&self) -> usize {
        self.initial.images.len()
    }

    /// Records the acquire from the compute side.
    ///
    /// # Safety
    /// `commands` is recording on the resources' `device`, for the queue family of the barriers,
    /// outside a render pass, and externally synchronized; the resources outlive the commands.
    pub(crate) unsafe fn record_acquire(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        // SAFETY: upheld by the caller.
        unsafe { self.acquire.record(device, commands) };
        for Copies { image, buffer, regions } in &self.copies_in {
            let layout = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
            // SAFETY: VUID-vkCmdCopyBufferToImage-pRegions-00171, -07975 and similar: the regions
            // were laid out for this image and this buffer; -dstImageLayout-00180: the acquire
            // brought the image into this layout. Regions are whole levels, which every queue
            // family can copy (-imageOffset-07738).
            unsafe { device.as_raw().cmd_copy_buffer_to_image(commands, *buffer, *image, layout, regions) };
        }
        // SAFETY: upheld by the caller.
        unsafe { self.transition_in.record(device, commands) };
    }

    /// Records the release to the compute side.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire).
    pub(crate) unsafe fn record_release(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        // SAFETY: upheld by the caller.
        unsafe { self.transition_out.record(device, commands) };
        for Copies { image, buffer, regions } in &self.copies_out {
            let layout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
            // SAFETY: as in `record_acquire`, in the other direction
            // (VUID-vkCmdCopyImageToBuffer-pRegions-00183, -srcImageLayout-00189).
            unsafe { device.as_raw().cmd_copy_image_to_buffer(commands, *image, layout, *buffer, regions) };
        }
        // SAFETY: upheld by the caller.
        unsafe { self.release.record(device, commands) };
    }

    /// Records the barrier from the uses of one turn to those of the next one with the same frame,
    /// between which the resources stay with Vulkan. Records nothing if Vulkan only reads them.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire).
    pub(crate) unsafe fn record_between_turns(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        let Uses { stages, access, writes } = self.uses;
        if writes.is_empty() {
            return;
        }
        let barrier = [vk::MemoryBarrier2::default()
            .src_stage_mask(stages)
            .src_access_mask(writes)
            .dst_stage_mask(stages)
            .dst_access_mask(access)];
        // SAFETY: the caller guarantees the command buffer, whose queue family supports the stages
        // and accesses of all resources; a global barrier names no resources.
        unsafe { device.cmd_pipeline_barrier2(commands, &vk::DependencyInfo::default().memory_barriers(&barrier)) };
    }

    /// Records the first release of the images. Buffers need none: they have no layout, and their
    /// undefined contents need not be handed over.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire); the images have not been used yet.
    pub(crate) unsafe fn record_initial(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        for dependency in [&self.initial, &self.first_release] {
            // SAFETY: upheld by the caller.
            unsafe { dependency.record(device, commands) };
        }
    }
}

/// Counts the resources of slots that stay alive on purpose, and the blocks that they keep alive,
/// as leaked. Each is counted once, even if its mapping cannot be freed later.
pub(crate) fn count_leaked(slots: &[Barriers]) {
    slots.iter().flat_map(|slot| &slot.objects).filter_map(Weak::upgrade).for_each(|object| object.note_leaked());
}

/// The stages and accesses with which Vulkan uses resources, and those accesses that write.
#[derive(Debug, Default, Clone, Copy)]
struct Uses {
    stages: vk::PipelineStageFlags2,
    access: vk::AccessFlags2,
    writes: vk::AccessFlags2,
}

impl Uses {
    fn add(&mut self, stages: vk::PipelineStageFlags2, access: vk::AccessFlags2, writes: vk::AccessFlags2) {
        self.stages |= stages;
        self.access |= access;
        self.writes |= writes;
    }
}

/// The barriers of one `vkCmdPipelineBarrier2`.
#[derive(Debug, Default)]
struct Dependency {
    buffers: Vec<vk::BufferMemoryBarrier2<'static>>,
    images: Vec<vk::ImageMemoryBarrier2<'static>>,
}

// SAFETY: the only pointers in the barriers are `pNext`, which the hand-overs leave null.
unsafe impl Send for Dependency {}
// SAFETY: as above.
unsafe impl Sync for Dependency {}

impl Dependency {
    /// # Safety
    /// As [`Barriers::record_acquire`].
    unsafe fn record(&self, device: &ExportDevice, commands: vk::CommandBuffer) {
        if self.buffers.is_empty() && self.images.is_empty() {
            return;
        }
        let dependency =
            vk::DependencyInfo::default().buffer_memory_barriers(&self.buffers).image_memory_barriers(&self.images);
        // SAFETY: the caller guarantees the command buffer and the resources; the barriers name the
        // family of its queue (VUID-vkCmdPipelineBarrier2-srcQueueFamilyIndex-10388 and similar).
        unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn barriers_are_send_and_sync() {
        fn any_thread<T: Send + Sync>() {}
        any_thread::<Barriers>();
    }
}
