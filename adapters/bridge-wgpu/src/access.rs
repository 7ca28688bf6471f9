//! The bridge's accesses for wgpu usages: those that a slot is created with, and those of its
//! barriers.

use bridge::ash::vk;
use bridge::{BufferAccess, ImageAccess};

use crate::error::{Error, Result};

/// The stages in which wgpu binds resources.
const SHADERS: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::from_raw(
    vk::PipelineStageFlags2::VERTEX_SHADER.as_raw()
        | vk::PipelineStageFlags2::FRAGMENT_SHADER.as_raw()
        | vk::PipelineStageFlags2::COMPUTE_SHADER.as_raw(),
);

/// Returns the Vulkan access that corresponds to a use of a buffer in wgpu.
///
/// # Errors
/// [`Error::InvalidArgument`] for no usage, and for usages that a shared buffer cannot have.
pub(crate) fn of_buffer(usage: wgpu::BufferUsages, object: &str) -> Result<BufferAccess> {
    use wgpu::BufferUsages as Usages;
    let storage = BufferAccess { stages: SHADERS, ..BufferAccess::COMPUTE_READ_WRITE };
    let table = [
        (Usages::COPY_SRC, BufferAccess::TRANSFER_READ),
        (Usages::COPY_DST, BufferAccess::TRANSFER_WRITE),
        (Usages::VERTEX, BufferAccess::VERTEX_INPUT),
        (Usages::INDEX, BufferAccess::INDEX_INPUT),
        (Usages::UNIFORM, BufferAccess { stages: SHADERS, ..BufferAccess::UNIFORM_READ }),
        (Usages::STORAGE, storage),
        // wgpu validates the indirect arguments in a compute shader.
        (Usages::INDIRECT, BufferAccess::INDIRECT.union(BufferAccess::COMPUTE_READ)),
    ];
    let known = table.iter().fold(Usages::empty(), |all, (usage, _)| all | *usage);
    if !(usage - known).is_empty() {
        return Err(Error::invalid(object, format!("a slot cannot have the usage {:?}", usage - known)));
    }
    let accesses = table.into_iter().filter(|(one, _)| usage.contains(*one)).map(|(_, access)| access);
    accesses.reduce(BufferAccess::union).ok_or_else(|| Error::invalid(object, "it has no usage"))
}

/// Returns the Vulkan access that corresponds to a use of a texture in wgpu, and the wgpu state in
/// which the texture is handed over.
///
/// # Errors
/// [`Error::InvalidArgument`] for no usage, and for usages that a shared texture cannot have.
pub(crate) fn of_texture(usage: wgpu::TextureUsages, object: &str) -> Result<(ImageAccess, wgpu::TextureUses)> {
    use wgpu::{TextureUsages as Usages, TextureUses as Uses};
    // The first matching entry decides the state, and the layout is wgpu's layout for that state.
    let table = [
        (Usages::TEXTURE_BINDING, Uses::RESOURCE, ImageAccess { stages: SHADERS, ..ImageAccess::SAMPLED }),
        (Usages::RENDER_ATTACHMENT, Uses::COLOR_TARGET, ImageAccess::COLOR_ATTACHMENT),
        (
            Usages::STORAGE_BINDING,
            Uses::STORAGE_WRITE_ONLY,
            ImageAccess { stages: SHADERS, ..ImageAccess::STORAGE_READ_WRITE },
        ),
        (Usages::COPY_SRC, Uses::COPY_SRC, ImageAccess::TRANSFER_READ),
        (Usages::COPY_DST, Uses::COPY_DST, ImageAccess::TRANSFER_WRITE),
    ];
    let known = table.iter().fold(Usages::empty(), |all, (usage, ..)| all | *usage);
    if !(usage - known).is_empty() {
        return Err(Error::invalid(object, format!("a slot cannot have the usage {:?}", usage - known)));
    }
    let used = || table.iter().filter(|(one, ..)| usage.contains(*one));
    let (_, state, first) = used().next().ok_or_else(|| Error::invalid(object, "it has no usage"))?;
    let all = used().fold(*first, |all, (_, _, access)| all.union(*access));
    Ok((ImageAccess { layout: first.layout, ..all }, *state))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use super::*;

    #[test]
    fn every_usage_of_a_buffer_is_in_usage_stages_and_accesses() {
        let usage = wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let access = of_buffer(usage, "buffer").unwrap();
        assert!(access.usage.contains(vk::BufferUsageFlags::VERTEX_BUFFER | vk::BufferUsageFlags::STORAGE_BUFFER));
        assert!(access.stages.contains(SHADERS | vk::PipelineStageFlags2::VERTEX_INPUT));
        assert!(access.access.contains(vk::AccessFlags2::SHADER_STORAGE_WRITE | vk::AccessFlags2::TRANSFER_READ));
        assert!(!access.usage.contains(vk::BufferUsageFlags::INDEX_BUFFER));
        let indirect = of_buffer(wgpu::BufferUsages::INDIRECT, "buffer").unwrap();
        assert!(indirect.usage.contains(vk::BufferUsageFlags::STORAGE_BUFFER), "wgpu binds it to validate it");
    }

    #[test]
    fn the_layout_of_a_texture_is_that_of_its_state() {
        use wgpu::TextureUsages as Usages;
        let (access, state) = of_texture(Usages::RENDER_ATTACHMENT | Usages::TEXTURE_BINDING, "texture").unwrap();
        assert_eq!((access.layout, state), (vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL, wgpu::TextureUses::RESOURCE));
        assert!(access.usage.contains(vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::SAMPLED));
        assert!(access.stages.contains(SHADERS | vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT));
        let (access, state) = of_texture(Usages::STORAGE_BINDING | Usages::COPY_SRC, "texture").unwrap();
        assert_eq!((access.layout, state), (vk::ImageLayout::GENERAL, wgpu::TextureUses::STORAGE_WRITE_ONLY));
    }

    #[test]
    fn what_a_slot_cannot_be_is_named() {
        let mapped = of_buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST, "buffer").unwrap_err();
        assert!(mapped.to_string().contains("MAP_READ") && !mapped.to_string().contains("COPY_DST"), "{mapped}");
        assert!(of_buffer(wgpu::BufferUsages::empty(), "buffer").is_err());
        assert!(of_texture(wgpu::TextureUsages::STORAGE_ATOMIC, "texture").is_err());
        assert!(of_texture(wgpu::TextureUsages::empty(), "texture").is_err());
    }
}
