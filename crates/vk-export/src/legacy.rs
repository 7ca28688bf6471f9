//! Conversion of stages for `vkQueueSubmit`, for engines that submit without synchronization2.

use ash::vk;

/// Converts stages of synchronization2 to the legacy type, for `vkCmdPipelineBarrier` and
/// `vkQueueSubmit`.
///
/// Stages that the legacy type has are unchanged, and stages that were split from a legacy stage
/// become that stage. Any other stage becomes the smallest legacy stage that is known to include
/// it: none is left out.
pub fn legacy_stages(stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags {
    use vk::{PipelineStageFlags as Old, PipelineStageFlags2 as New};
    // The last legacy stage is ACCELERATION_STRUCTURE_BUILD_KHR, and the bits up to it are the same
    // in both types.
    const SAME: u64 = (Old::ACCELERATION_STRUCTURE_BUILD_KHR.as_raw() as u64) * 2 - 1;
    let split = [
        (New::COPY | New::RESOLVE | New::BLIT | New::CLEAR, Old::TRANSFER),
        (New::INDEX_INPUT | New::VERTEX_ATTRIBUTE_INPUT, Old::VERTEX_INPUT),
        // Naming the individual stages would need features that may not be enabled.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_legacy_stages_are_converted() {
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
}
