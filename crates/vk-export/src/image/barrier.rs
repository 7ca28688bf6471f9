//! The barriers that transfer the ownership of an image's contents and change its layout.

use ash::vk;

use crate::buffer::barrier::Counterpart;
use crate::image::Image;
use crate::image::access::ImageAccess;

/// The barriers that hand over an image: the image, the queue family that uses it, its accesses,
/// and the side that it is shared with.
///
/// The counterpart holds the image in `VK_IMAGE_LAYOUT_GENERAL`. The commands of a frame acquire it
/// in two steps and release it in two steps. Each step is one dependency (`vkCmdPipelineBarrier2`)
/// for all images and buffers of the frame:
///
/// | step | barriers |
/// |---|---|
/// | 1 | [`acquire`](Self::acquire): from the counterpart, in `GENERAL` |
/// | 2 | [`transition_in`](Self::transition_in): into [`ImageAccess::layout`], if not `GENERAL` |
/// | | Vulkan's work |
/// | 3 | [`transition_out`](Self::transition_out): back to `GENERAL` |
/// | 4 | [`release`](Self::release): to the counterpart |
///
/// A new image is given to the counterpart once: [`initial`](Self::initial), then
/// [`release`](Self::release).
///
/// Each barrier covers all levels and layers.
///
/// No image barrier changes both the owner and the layout. Vulkan executes such a transition
/// between the release and the acquire, which must name the same two layouts (Vulkan specification,
/// "Queue Family Ownership Transfer"). Another API makes no such barrier, so it is undefined which
/// side executes the transition. RADV, for example, skips the layout transition of every acquire
/// from `VK_QUEUE_FAMILY_EXTERNAL`.
///
/// See "Queue Family Ownership Transfer" in the [Vulkan specification][transfer].
///
/// [transfer]: https://docs.vulkan.org/spec/latest/chapters/synchronization.html#synchronization-queue-transfers
#[derive(Debug, Clone, Copy)]
pub struct ImageHandover {
    image: vk::Image,
    range: vk::ImageSubresourceRange,
    counterpart: Counterpart,
    queue_family: u32,
    accesses: ImageAccess,
}

impl ImageHandover {
    /// Creates the hand-over of `image` between `counterpart` and `queue_family`, which uses it
    /// with `accesses`.
    ///
    /// Nothing is checked here: the barriers are valid if
    /// [`check_stages`](crate::ExportDevice::check_stages) and
    /// [`check_layout`](crate::ExportDevice::check_layout) accept the accesses with the usage that
    /// the image was created with.
    pub fn new(image: &Image, counterpart: Counterpart, queue_family: u32, accesses: ImageAccess) -> Self {
        Self { image: image.as_raw(), range: image.range(), counterpart, queue_family, accesses }
    }

    /// Returns Vulkan's accesses to the image.
    pub fn accesses(&self) -> ImageAccess {
        self.accesses
    }

    /// Returns the barrier that acquires the image from the counterpart, in `GENERAL`.
    ///
    /// From another API, it must be after a semaphore wait at
    /// `VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT`: an acquire operation happens in no other stage
    /// (Vulkan specification, "Queue Family Ownership Transfer").
    pub fn acquire(&self) -> vk::ImageMemoryBarrier2<'static> {
        let (stages, access) = self.counterpart.before();
        let (from, to) = self.counterpart.families(self.queue_family);
        self.barrier(vk::ImageLayout::GENERAL, vk::ImageLayout::GENERAL)
            .src_stage_mask(stages | self.accesses.stages)
            .src_access_mask(access | self.accesses.writes())
            .dst_stage_mask(self.accesses.stages)
            .dst_access_mask(self.accesses.access)
            .src_queue_family_index(from)
            .dst_queue_family_index(to)
    }

    /// Returns the barrier that transitions the acquired image into the layout of the accesses, or
    /// `None` if that is `GENERAL`.
    pub fn transition_in(&self) -> Option<vk::ImageMemoryBarrier2<'static>> {
        let barrier =
            self.transition(vk::ImageLayout::GENERAL, self.accesses.layout)?.dst_access_mask(self.accesses.access);
        Some(barrier)
    }

    /// Returns the barrier that transitions the image back to `GENERAL` after Vulkan's last access,
    /// or `None` if it is in that layout already.
    pub fn transition_out(&self) -> Option<vk::ImageMemoryBarrier2<'static>> {
        let barrier =
            self.transition(self.accesses.layout, vk::ImageLayout::GENERAL)?.src_access_mask(self.accesses.access);
        Some(barrier)
    }

    /// Returns the barrier that releases the image to the counterpart, in `GENERAL`, the layout to
    /// which [`transition_out`](Self::transition_out) or [`initial`](Self::initial) brought it.
    ///
    /// The semaphore signal of the submission, at `VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT`, orders
    /// the counterpart's work after it.
    pub fn release(&self) -> vk::ImageMemoryBarrier2<'static> {
        let (stages, access) = self.counterpart.after();
        let (from, to) = self.counterpart.families(self.queue_family);
        self.barrier(vk::ImageLayout::GENERAL, vk::ImageLayout::GENERAL)
            .src_stage_mask(self.accesses.stages)
            .src_access_mask(self.accesses.access)
            .dst_stage_mask(stages)
            .dst_access_mask(access)
            .src_queue_family_index(to)
            .dst_queue_family_index(from)
    }

    /// Returns the barrier that transitions a new image to `GENERAL`, with undefined contents. A
    /// [`release`](Self::release) follows it.
    pub fn initial(&self) -> vk::ImageMemoryBarrier2<'static> {
        self.barrier(vk::ImageLayout::UNDEFINED, vk::ImageLayout::GENERAL).dst_stage_mask(self.accesses.stages)
    }

    /// Returns a transition whose source and destination stages are those of the accesses, which
    /// chains it to the barriers before and after it.
    fn transition(&self, from: vk::ImageLayout, to: vk::ImageLayout) -> Option<vk::ImageMemoryBarrier2<'static>> {
        let barrier = self.barrier(from, to).src_stage_mask(self.accesses.stages).dst_stage_mask(self.accesses.stages);
        (from != to).then_some(barrier)
    }

    fn barrier(&self, from: vk::ImageLayout, to: vk::ImageLayout) -> vk::ImageMemoryBarrier2<'static> {
        vk::ImageMemoryBarrier2::default()
            .image(self.image)
            .subresource_range(self.range)
            .old_layout(from)
            .new_layout(to)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        base_mip_level: 0,
        level_count: 5,
        base_array_layer: 0,
        layer_count: 6,
    };
    const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;

    fn handover(counterpart: Counterpart, accesses: ImageAccess) -> ImageHandover {
        ImageHandover { image: vk::Image::null(), range: RANGE, counterpart, queue_family: 3, accesses }
    }

    fn layouts(barrier: &vk::ImageMemoryBarrier2<'_>) -> (vk::ImageLayout, vk::ImageLayout) {
        (barrier.old_layout, barrier.new_layout)
    }

    fn families(barrier: &vk::ImageMemoryBarrier2<'_>) -> (u32, u32) {
        (barrier.src_queue_family_index, barrier.dst_queue_family_index)
    }

    /// Returns the barriers of a frame in order.
    fn frame(h: &ImageHandover) -> Vec<vk::ImageMemoryBarrier2<'static>> {
        [Some(h.acquire()), h.transition_in(), h.transition_out(), Some(h.release())].into_iter().flatten().collect()
    }

    #[test]
    fn ownership_and_layout_never_change_in_one_barrier() {
        for counterpart in [Counterpart::External, Counterpart::Host] {
            for accesses in [ImageAccess::SAMPLED, ImageAccess::STORAGE_READ_WRITE, ImageAccess::COLOR_ATTACHMENT] {
                let h = handover(counterpart, accesses);
                for barrier in frame(&h).into_iter().chain([h.initial()]) {
                    let (from, to) = families(&barrier);
                    assert!(from == to || barrier.old_layout == barrier.new_layout, "{barrier:?}");
                    assert_eq!((barrier.subresource_range.level_count, barrier.subresource_range.layer_count), (5, 6));
                }
            }
        }
    }

    #[test]
    fn barriers_of_a_frame_form_a_cycle() {
        for accesses in
            [ImageAccess::SAMPLED, ImageAccess::STORAGE_READ, ImageAccess::TRANSFER_READ | ImageAccess::TRANSFER_WRITE]
        {
            let h = handover(Counterpart::External, accesses);
            let barriers = frame(&h);
            let mut layout = GENERAL;
            let mut family = vk::QUEUE_FAMILY_EXTERNAL;
            for barrier in &barriers {
                assert_eq!(barrier.old_layout, layout);
                layout = barrier.new_layout;
                let (from, to) = families(barrier);
                if from != to {
                    assert_eq!(from, family);
                    family = to;
                }
            }
            assert_eq!((layout, family), (GENERAL, vk::QUEUE_FAMILY_EXTERNAL));
            // Execution chains: the last stages of one barrier are the first of the next.
            for pair in barriers.windows(2) {
                if let [before, after] = pair {
                    assert!(before.dst_stage_mask.contains(after.src_stage_mask), "{before:?} {after:?}");
                }
            }
        }
    }

    #[test]
    fn image_is_used_in_the_layout_of_its_access() {
        let h = handover(Counterpart::External, ImageAccess::SAMPLED);
        let (enter, leave) = (h.transition_in().unwrap_or_default(), h.transition_out().unwrap_or_default());
        assert_eq!(layouts(&enter), (GENERAL, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL));
        assert_eq!(layouts(&leave), (vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL, GENERAL));
        assert_eq!(enter.dst_access_mask, vk::AccessFlags2::SHADER_SAMPLED_READ);
        let storage = handover(Counterpart::External, ImageAccess::STORAGE_READ);
        assert!(storage.transition_in().is_none() && storage.transition_out().is_none());
        assert_eq!(storage.acquire().dst_access_mask, vk::AccessFlags2::SHADER_STORAGE_READ);
    }

    #[test]
    fn new_image_is_transitioned_to_general_and_released() {
        let h = handover(Counterpart::External, ImageAccess::COLOR_ATTACHMENT);
        let (initial, release) = (h.initial(), h.release());
        assert_eq!(layouts(&initial), (vk::ImageLayout::UNDEFINED, GENERAL));
        assert_eq!(families(&initial), (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED));
        assert_eq!(layouts(&release), (GENERAL, GENERAL));
        assert_eq!(families(&release), (3, vk::QUEUE_FAMILY_EXTERNAL));
        assert!(initial.dst_stage_mask.contains(release.src_stage_mask));
    }

    #[test]
    fn host_needs_visibility_but_no_ownership_transfer() {
        let h = handover(Counterpart::Host, ImageAccess::SAMPLED);
        assert!(frame(&h).iter().all(|barrier| barrier.src_queue_family_index == barrier.dst_queue_family_index));
        assert_eq!(h.acquire().src_access_mask, vk::AccessFlags2::HOST_WRITE);
        assert!(h.acquire().src_stage_mask.contains(vk::PipelineStageFlags2::HOST));
        assert_eq!(h.release().dst_access_mask, vk::AccessFlags2::HOST_READ | vk::AccessFlags2::HOST_WRITE);
        assert_eq!(h.release().dst_stage_mask, vk::PipelineStageFlags2::HOST);
    }
}
