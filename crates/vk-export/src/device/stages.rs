//! The stages that a queue family has on a device, and the accesses of each stage.

use ash::vk;

use crate::device::ExportDevice;
use crate::device::adopt::EnabledFeatures;
use crate::error::{Error, Result};

use vk::AccessFlags2 as Access;
use vk::PipelineStageFlags2 as Stages;

impl ExportDevice {
    /// Rejects stages that queues of `family` do not have on this device with the enabled features,
    /// and accesses that none of the stages performs: barriers and semaphore waits must not name
    /// them.
    ///
    /// `HOST` is rejected on every queue: a barrier that transfers ownership must not name it
    /// (VUID-VkBufferMemoryBarrier2-srcStageMask-03851), and [`Handover`](crate::Handover) and
    /// [`ImageHandover`](crate::ImageHandover) add it themselves if the counterpart is the host.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the unsupported stages or accesses, or for a family that
    /// does not exist.
    #[doc(alias = "VUID-vkCmdPipelineBarrier2-srcStageMask-03849")]
    pub fn check_stages(&self, family: u32, stages: Stages, access: Access, object: &str) -> Result<()> {
        let invalid = |reason: String| Err(Error::invalid(object, reason));
        let families = &self.physical().queue_families;
        let Some(properties) = usize::try_from(family).ok().and_then(|family| families.get(family)) else {
            return invalid(format!("queue family {family} does not exist, {} has {}", self.name(), families.len()));
        };
        let foreign = stages & !allowed_stages(properties.queue_flags, self.enabled());
        if foreign.contains(Stages::HOST) {
            return invalid(
                "its stages include HOST, which a barrier that transfers ownership must not name; leave it out, the \
                 barriers add it if the host is the other side"
                    .to_owned(),
            );
        }
        if !foreign.is_empty() {
            return invalid(format!(
                "queue family {family} of {} does not support {foreign:?}, or its feature is not enabled; use \
                 another queue or other accesses",
                self.name()
            ));
        }
        let orphans = unsupported_accesses(stages, access);
        if !orphans.is_empty() {
            return invalid(format!(
                "none of its stages {stages:?} supports its accesses {orphans:?}; add the stage that does"
            ));
        }
        Ok(())
    }
}

/// Returns `true` if barriers and semaphore waits at these stages order copies (`vkCmdCopyBuffer`,
/// `vkCmdCopyImage` and the copies between buffers and images).
///
/// Accesses that contain `TRANSFER_READ` or `TRANSFER_WRITE` need not include copies: blits,
/// resolves and clears have stages of their own.
pub(crate) fn covers_copies(stages: Stages) -> bool {
    stages.intersects(Stages::COPY | Stages::ALL_TRANSFER | Stages::ALL_COMMANDS)
}

const SHADERS: Stages = Stages::from_raw(
    Stages::VERTEX_SHADER.as_raw()
        | Stages::TESSELLATION_CONTROL_SHADER.as_raw()
        | Stages::TESSELLATION_EVALUATION_SHADER.as_raw()
        | Stages::GEOMETRY_SHADER.as_raw()
        | Stages::FRAGMENT_SHADER.as_raw()
        | Stages::COMPUTE_SHADER.as_raw()
        | Stages::PRE_RASTERIZATION_SHADERS.as_raw()
        | Stages::TASK_SHADER_EXT.as_raw()
        | Stages::MESH_SHADER_EXT.as_raw()
        | Stages::RAY_TRACING_SHADER_KHR.as_raw(),
);

/// Returns the stages that barriers on queues with these capabilities may name.
///
/// The host stage is not included, see [`ExportDevice::check_stages`].
///
/// Source: the table "Supported pipeline stage flags" of the Vulkan specification, and the Valid
/// Usage of `VkBufferMemoryBarrier2` for the features (srcStageMask-03929, -03930, -07316, -07946
/// and their siblings).
fn allowed_stages(queue: vk::QueueFlags, enabled: &EnabledFeatures) -> Stages {
    use vk::QueueFlags as Flags;
    let mut allowed = Stages::TOP_OF_PIPE | Stages::BOTTOM_OF_PIPE | Stages::ALL_COMMANDS;
    let mut add = |on: bool, stages| {
        if on {
            allowed |= stages;
        }
    };
    add(
        queue.intersects(Flags::GRAPHICS | Flags::COMPUTE | Flags::TRANSFER),
        Stages::ALL_TRANSFER | Stages::COPY | Stages::CLEAR,
    );
    add(queue.intersects(Flags::GRAPHICS | Flags::COMPUTE), Stages::DRAW_INDIRECT);
    let compute = queue.contains(Flags::COMPUTE);
    add(compute, Stages::COMPUTE_SHADER);
    add(compute && enabled.acceleration_structure, Stages::ACCELERATION_STRUCTURE_BUILD_KHR);
    add(compute && enabled.ray_tracing_pipeline, Stages::RAY_TRACING_SHADER_KHR);
    let graphics = queue.contains(Flags::GRAPHICS);
    add(
        graphics,
        Stages::VERTEX_INPUT
            | Stages::INDEX_INPUT
            | Stages::VERTEX_ATTRIBUTE_INPUT
            | Stages::VERTEX_SHADER
            | Stages::PRE_RASTERIZATION_SHADERS
            | Stages::FRAGMENT_SHADER
            | Stages::EARLY_FRAGMENT_TESTS
            | Stages::LATE_FRAGMENT_TESTS
            | Stages::COLOR_ATTACHMENT_OUTPUT
            | Stages::ALL_GRAPHICS
            | Stages::RESOLVE
            | Stages::BLIT,
    );
    add(
        graphics && enabled.tessellation_shader,
        Stages::TESSELLATION_CONTROL_SHADER | Stages::TESSELLATION_EVALUATION_SHADER,
    );
    add(graphics && enabled.geometry_shader, Stages::GEOMETRY_SHADER);
    add(graphics && enabled.task_shader, Stages::TASK_SHADER_EXT);
    add(graphics && enabled.mesh_shader, Stages::MESH_SHADER_EXT);
    allowed
}

/// Returns the accesses that none of `stages` performs, and unknown accesses. Host accesses are
/// always included.
///
/// Source: the table "Supported access types" of the Vulkan specification
/// (VUID-VkBufferMemoryBarrier2-srcAccessMask-03900 and the following).
fn unsupported_accesses(stages: Stages, access: Access) -> Access {
    let all_commands = if stages.contains(Stages::ALL_COMMANDS) { !Stages::empty() } else { Stages::empty() };
    let stages = stages | all_commands;
    let makers = PERFORMING_STAGES.iter().filter(|(_, makers)| stages.intersects(*makers));
    let made = makers.fold(Access::empty(), |made, (accesses, _)| made | *accesses);
    // Valid for any stage.
    let general = if stages.is_empty() { Access::empty() } else { Access::MEMORY_READ | Access::MEMORY_WRITE };
    access & !(made | general)
}

const fn union(first: Access, second: Access) -> Access {
    Access::from_raw(first.as_raw() | second.as_raw())
}

const fn union_of_stages(stages: &[Stages]) -> Stages {
    let (mut all, mut index) = (0, 0);
    while index < stages.len() {
        all |= stages[index].as_raw();
        index += 1;
    }
    Stages::from_raw(all)
}

/// Accesses, each with the stages that perform it.
const PERFORMING_STAGES: &[(Access, Stages)] = &[
    (
        Access::INDIRECT_COMMAND_READ,
        union_of_stages(&[Stages::DRAW_INDIRECT, Stages::ACCELERATION_STRUCTURE_BUILD_KHR, Stages::ALL_GRAPHICS]),
    ),
    (Access::INDEX_READ, union_of_stages(&[Stages::VERTEX_INPUT, Stages::INDEX_INPUT, Stages::ALL_GRAPHICS])),
    (
        Access::VERTEX_ATTRIBUTE_READ,
        union_of_stages(&[Stages::VERTEX_INPUT, Stages::VERTEX_ATTRIBUTE_INPUT, Stages::ALL_GRAPHICS]),
    ),
    (Access::INPUT_ATTACHMENT_READ, union_of_stages(&[Stages::FRAGMENT_SHADER, Stages::ALL_GRAPHICS])),
    (union(Access::UNIFORM_READ, Access::SHADER_SAMPLED_READ), union_of_stages(&[SHADERS, Stages::ALL_GRAPHICS])),
    (
        union(Access::SHADER_STORAGE_READ, Access::SHADER_STORAGE_WRITE),
        union_of_stages(&[SHADERS, Stages::ALL_GRAPHICS]),
    ),
    (Access::SHADER_READ, union_of_stages(&[SHADERS, Stages::ACCELERATION_STRUCTURE_BUILD_KHR, Stages::ALL_GRAPHICS])),
    (Access::SHADER_WRITE, union_of_stages(&[SHADERS, Stages::ALL_GRAPHICS])),
    (
        union(Access::COLOR_ATTACHMENT_READ, Access::COLOR_ATTACHMENT_WRITE),
        union_of_stages(&[Stages::COLOR_ATTACHMENT_OUTPUT, Stages::ALL_GRAPHICS]),
    ),
    (
        union(Access::DEPTH_STENCIL_ATTACHMENT_READ, Access::DEPTH_STENCIL_ATTACHMENT_WRITE),
        union_of_stages(&[Stages::EARLY_FRAGMENT_TESTS, Stages::LATE_FRAGMENT_TESTS, Stages::ALL_GRAPHICS]),
    ),
    (
        union(Access::TRANSFER_READ, Access::TRANSFER_WRITE),
        union_of_stages(&[
            Stages::ALL_TRANSFER,
            Stages::COPY,
            Stages::RESOLVE,
            Stages::BLIT,
            Stages::ACCELERATION_STRUCTURE_BUILD_KHR,
        ]),
    ),
    (Access::TRANSFER_WRITE, Stages::CLEAR),
    (
        Access::ACCELERATION_STRUCTURE_READ_KHR,
        union_of_stages(&[SHADERS, Stages::ACCELERATION_STRUCTURE_BUILD_KHR, Stages::ALL_GRAPHICS]),
    ),
    (Access::ACCELERATION_STRUCTURE_WRITE_KHR, Stages::ACCELERATION_STRUCTURE_BUILD_KHR),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::access::BufferAccess;
    use crate::image::access::ImageAccess;

    const ALL: vk::QueueFlags = vk::QueueFlags::from_raw(
        vk::QueueFlags::GRAPHICS.as_raw() | vk::QueueFlags::COMPUTE.as_raw() | vk::QueueFlags::TRANSFER.as_raw(),
    );

    #[test]
    fn all_predefined_accesses_fit_a_graphics_queue() {
        let buffers = [
            BufferAccess::VERTEX_INPUT,
            BufferAccess::INDEX_INPUT,
            BufferAccess::INDIRECT,
            BufferAccess::SHADER_READ,
            BufferAccess::SHADER_READ_WRITE,
            BufferAccess::UNIFORM_READ,
            BufferAccess::COMPUTE_READ,
            BufferAccess::COMPUTE_READ_WRITE,
            BufferAccess::TRANSFER_READ,
            BufferAccess::TRANSFER_WRITE,
        ];
        let images = ImageAccess::ALL;
        let scopes = buffers.map(|c| (c.stages, c.access)).into_iter().chain(images.map(|c| (c.stages, c.access)));
        let allowed = allowed_stages(ALL, &EnabledFeatures::default());
        for (stages, access) in scopes {
            assert!(allowed.contains(stages), "{stages:?}");
            assert!(unsupported_accesses(stages, access).is_empty(), "{stages:?} {access:?}");
        }
    }

    #[test]
    fn stages_require_their_queue_and_feature() {
        let off = EnabledFeatures::default();
        assert!(
            !allowed_stages(vk::QueueFlags::TRANSFER, &off).intersects(SHADERS | Stages::BLIT | Stages::DRAW_INDIRECT)
        );
        assert!(!allowed_stages(vk::QueueFlags::COMPUTE, &off).intersects(Stages::VERTEX_SHADER | Stages::RESOLVE));
        let of_features = [
            (Stages::RAY_TRACING_SHADER_KHR, EnabledFeatures { ray_tracing_pipeline: true, ..off }),
            (Stages::ACCELERATION_STRUCTURE_BUILD_KHR, EnabledFeatures { acceleration_structure: true, ..off }),
            (Stages::GEOMETRY_SHADER, EnabledFeatures { geometry_shader: true, ..off }),
            (Stages::TESSELLATION_CONTROL_SHADER, EnabledFeatures { tessellation_shader: true, ..off }),
            (Stages::TASK_SHADER_EXT, EnabledFeatures { task_shader: true, ..off }),
            (Stages::MESH_SHADER_EXT, EnabledFeatures { mesh_shader: true, ..off }),
        ];
        for (stage, on) in of_features {
            assert!(!allowed_stages(ALL, &off).intersects(stage), "{stage:?}");
            assert!(allowed_stages(ALL, &on).contains(stage), "{stage:?}");
        }
        assert!(!allowed_stages(ALL, &off).intersects(Stages::HOST));
        let unknown = Stages::from_raw(1 << 63);
        assert!(!allowed_stages(ALL, &off).intersects(unknown | Stages::VIDEO_DECODE_KHR));
    }

    #[test]
    fn blits_and_clears_are_no_copies() {
        assert!(!covers_copies(Stages::BLIT | Stages::RESOLVE | Stages::CLEAR | Stages::ALL_GRAPHICS));
        assert!([Stages::COPY, Stages::ALL_TRANSFER, Stages::ALL_COMMANDS].into_iter().all(covers_copies));
    }

    #[test]
    fn accesses_require_a_stage_that_performs_them() {
        assert_eq!(
            unsupported_accesses(Stages::COPY, Access::SHADER_STORAGE_READ | Access::TRANSFER_READ),
            Access::SHADER_STORAGE_READ
        );
        assert_eq!(unsupported_accesses(Stages::CLEAR, Access::TRANSFER_READ), Access::TRANSFER_READ);
        assert!(unsupported_accesses(Stages::CLEAR, Access::TRANSFER_WRITE | Access::MEMORY_WRITE).is_empty());
        assert!(unsupported_accesses(Stages::ALL_GRAPHICS, Access::INDEX_READ | Access::UNIFORM_READ).is_empty());
        assert!(unsupported_accesses(Stages::ALL_COMMANDS, Access::TRANSFER_READ | Access::SHADER_WRITE).is_empty());
        assert_eq!(unsupported_accesses(Stages::ALL_COMMANDS, Access::HOST_READ), Access::HOST_READ);
        assert_eq!(
            unsupported_accesses(Stages::HOST, Access::HOST_READ | Access::HOST_WRITE),
            Access::HOST_READ | Access::HOST_WRITE
        );
        assert_eq!(unsupported_accesses(Stages::NONE, Access::MEMORY_READ), Access::MEMORY_READ);
        let unknown = Access::from_raw(1 << 62);
        assert_eq!(unsupported_accesses(Stages::ALL_COMMANDS, unknown), unknown);
    }
}
