//! Barriers and stages in the form of `vkCmdPipelineBarrier` and `vkQueueSubmit`, for engines without synchronization2.

use ash::vk;

/// A buffer's barrier for `vkCmdPipelineBarrier`.
#[derive(Debug, Clone, Copy)]
pub struct LegacyBarrier {
    /// `srcStageMask`
    pub src_stages: vk::PipelineStageFlags,
    /// `dstStageMask`
    pub dst_stages: vk::PipelineStageFlags,
    /// The barrier itself.
    pub barrier: vk::BufferMemoryBarrier<'static>,
}

/// An image's barrier for `vkCmdPipelineBarrier`.
#[derive(Debug, Clone, Copy)]
pub struct LegacyImageBarrier {
    /// `srcStageMask`
    pub src_stages: vk::PipelineStageFlags,
    /// `dstStageMask`
    pub dst_stages: vk::PipelineStageFlags,
    /// The barrier itself.
    pub barrier: vk::ImageMemoryBarrier<'static>,
}

impl From<vk::BufferMemoryBarrier2<'static>> for LegacyBarrier {
    fn from(barrier: vk::BufferMemoryBarrier2<'static>) -> Self {
        Self {
            src_stages: first_scope(barrier.src_stage_mask),
            dst_stages: second_scope(barrier.dst_stage_mask),
            barrier: vk::BufferMemoryBarrier::default()
                .src_access_mask(legacy_access(barrier.src_access_mask))
                .dst_access_mask(legacy_access(barrier.dst_access_mask))
                .src_queue_family_index(barrier.src_queue_family_index)
                .dst_queue_family_index(barrier.dst_queue_family_index)
                .buffer(barrier.buffer)
                .offset(barrier.offset)
                .size(barrier.size),
        }
    }
}

impl From<vk::ImageMemoryBarrier2<'static>> for LegacyImageBarrier {
    fn from(barrier: vk::ImageMemoryBarrier2<'static>) -> Self {
        Self {
            src_stages: first_scope(barrier.src_stage_mask),
            dst_stages: second_scope(barrier.dst_stage_mask),
            barrier: vk::ImageMemoryBarrier::default()
                .src_access_mask(legacy_access(barrier.src_access_mask))
                .dst_access_mask(legacy_access(barrier.dst_access_mask))
                .old_layout(barrier.old_layout)
                .new_layout(barrier.new_layout)
                .src_queue_family_index(barrier.src_queue_family_index)
                .dst_queue_family_index(barrier.dst_queue_family_index)
                .image(barrier.image)
                .subresource_range(barrier.subresource_range),
        }
    }
}

// `NONE` is spelt as an empty end of the pipe in the old form.
fn first_scope(stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags {
    or(legacy_stages(stages), vk::PipelineStageFlags::TOP_OF_PIPE)
}

fn second_scope(stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags {
    or(legacy_stages(stages), vk::PipelineStageFlags::BOTTOM_OF_PIPE)
}

fn or(stages: vk::PipelineStageFlags, none: vk::PipelineStageFlags) -> vk::PipelineStageFlags {
    if stages.is_empty() { none } else { stages }
}

/// Stages of synchronization2 in the old form, for `vkCmdPipelineBarrier` and `vkQueueSubmit`.
///
/// Stages that the old form has stay as they are, those that were split from an older one become that. Any other becomes the
/// smallest old stage that is known to hold it: none is left out.
pub fn legacy_stages(stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags {
    use vk::{PipelineStageFlags as Old, PipelineStageFlags2 as New};
    // The last of the old ones is ACCELERATION_STRUCTURE_BUILD_KHR, and the bits up to there are the same in both.
    const SAME: u64 = (Old::ACCELERATION_STRUCTURE_BUILD_KHR.as_raw() as u64) * 2 - 1;
    let split = [
        (New::COPY | New::RESOLVE | New::BLIT | New::CLEAR, Old::TRANSFER),
        (New::INDEX_INPUT | New::VERTEX_ATTRIBUTE_INPUT, Old::VERTEX_INPUT),
        // Naming its parts would take features that may be off.
        (New::PRE_RASTERIZATION_SHADERS, Old::ALL_GRAPHICS),
    ];
    let raw = stages.as_raw();
    let mut legacy = Old::from_raw(u32::try_from(raw & SAME).unwrap_or(0));
    let mut rest = New::from_raw(raw & !SAME);
    for (new, old) in split {
        if rest.intersects(new) {
            legacy |= old;
        }
        rest &= !new;
    }
    if rest.is_empty() { legacy } else { legacy | Old::ALL_COMMANDS }
}

fn legacy_access(access: vk::AccessFlags2) -> vk::AccessFlags {
    const READ: u64 = vk::AccessFlags2::SHADER_STORAGE_READ.as_raw() | vk::AccessFlags2::SHADER_SAMPLED_READ.as_raw();
    let raw = access.as_raw();
    let mut legacy = vk::AccessFlags::from_raw(u32::try_from(raw & u64::from(u32::MAX)).unwrap_or(0));
    if raw & READ != 0 {
        legacy |= vk::AccessFlags::SHADER_READ;
    }
    if raw & vk::AccessFlags2::SHADER_STORAGE_WRITE.as_raw() != 0 {
        legacy |= vk::AccessFlags::SHADER_WRITE;
    }
    legacy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::access::Consumer;
    use crate::buffer::barrier::{Handover, Partner};

    fn handover(partner: Partner, consumer: Consumer) -> Handover {
        Handover::of(vk::Buffer::null(), partner, 3, consumer)
    }

    #[test]
    fn legacy_form_says_the_same() {
        let both = handover(Partner::External, Consumer::SHADER_READ | Consumer::VERTEX_INPUT).acquire_legacy();
        assert_eq!(both.src_stages, both.dst_stages);
        let release = handover(Partner::External, Consumer::SHADER_READ).release_legacy();
        assert_eq!(release.dst_stages, vk::PipelineStageFlags::BOTTOM_OF_PIPE);
        assert_eq!(
            both.dst_stages,
            vk::PipelineStageFlags::VERTEX_INPUT
                | vk::PipelineStageFlags::VERTEX_SHADER
                | vk::PipelineStageFlags::FRAGMENT_SHADER
        );
        assert_eq!(both.barrier.dst_access_mask, vk::AccessFlags::SHADER_READ | vk::AccessFlags::VERTEX_ATTRIBUTE_READ);
        let write = handover(Partner::Host, Consumer::COMPUTE_READ_WRITE).release_legacy();
        assert_eq!(write.barrier.src_access_mask, vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE);
        assert_eq!(write.dst_stages, vk::PipelineStageFlags::HOST);
        let custom = Consumer { stages: vk::PipelineStageFlags2::COPY, ..Consumer::TRANSFER_READ };
        assert_eq!(handover(Partner::External, custom).acquire_legacy().dst_stages, vk::PipelineStageFlags::TRANSFER);
    }

    #[test]
    fn no_stage_is_left_out() {
        use vk::{PipelineStageFlags as Old, PipelineStageFlags2 as New};
        for bit in 0..64 {
            assert!(!legacy_stages(New::from_raw(1 << bit)).is_empty(), "bit {bit}");
        }
        assert_eq!(legacy_stages(New::PRE_RASTERIZATION_SHADERS), Old::ALL_GRAPHICS);
        assert_eq!(legacy_stages(New::RAY_TRACING_SHADER_KHR), Old::RAY_TRACING_SHADER_KHR);
        assert_eq!(legacy_stages(New::ACCELERATION_STRUCTURE_COPY_KHR), Old::ALL_COMMANDS);
        assert_eq!(legacy_stages(New::COPY | New::VERTEX_SHADER), Old::TRANSFER | Old::VERTEX_SHADER);
        assert!(legacy_stages(New::NONE).is_empty());
    }

    #[test]
    fn an_image_keeps_its_layouts_range_and_families() {
        let range = vk::ImageSubresourceRange::default().level_count(3).layer_count(6);
        let barrier = vk::ImageMemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT)
            .src_access_mask(vk::AccessFlags2::COLOR_ATTACHMENT_WRITE)
            .dst_access_mask(vk::AccessFlags2::SHADER_SAMPLED_READ)
            .old_layout(vk::ImageLayout::GENERAL)
            .new_layout(vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL)
            .src_queue_family_index(vk::QUEUE_FAMILY_EXTERNAL)
            .dst_queue_family_index(2)
            .subresource_range(range);
        let LegacyImageBarrier { src_stages, dst_stages, barrier: legacy } = barrier.into();
        assert_eq!(src_stages, vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT);
        assert_eq!(dst_stages, vk::PipelineStageFlags::BOTTOM_OF_PIPE);
        assert_eq!(legacy.src_access_mask, vk::AccessFlags::COLOR_ATTACHMENT_WRITE);
        assert_eq!(legacy.dst_access_mask, vk::AccessFlags::SHADER_READ);
        assert_eq!((legacy.old_layout, legacy.new_layout), (barrier.old_layout, barrier.new_layout));
        let families = (legacy.src_queue_family_index, legacy.dst_queue_family_index);
        assert_eq!(families, (vk::QUEUE_FAMILY_EXTERNAL, 2));
        assert_eq!((legacy.subresource_range.level_count, legacy.subresource_range.layer_count), (3, 6));
    }
}
