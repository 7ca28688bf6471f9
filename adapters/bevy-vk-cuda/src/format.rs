//! Formats of shared textures.

use bridge::ash::vk;
use wgpu::TextureFormat;

use crate::error::{Error, Result};

/// Returns the format of the shared memory: that of the texture without sRGB, which only affects
/// views. Copies between the two formats copy bytes.
pub(crate) fn memory_format(name: &str, format: TextureFormat) -> Result<vk::Format> {
    use TextureFormat as F;
    Ok(match format.remove_srgb_suffix() {
        F::R8Unorm => vk::Format::R8_UNORM,
        F::Rg8Unorm => vk::Format::R8G8_UNORM,
        F::Rgba8Unorm => vk::Format::R8G8B8A8_UNORM,
        F::Bgra8Unorm => vk::Format::B8G8R8A8_UNORM,
        F::R16Float => vk::Format::R16_SFLOAT,
        F::Rg16Float => vk::Format::R16G16_SFLOAT,
        F::Rgba16Float => vk::Format::R16G16B16A16_SFLOAT,
        F::R32Float => vk::Format::R32_SFLOAT,
        F::Rg32Float => vk::Format::R32G32_SFLOAT,
        F::Rgba32Float => vk::Format::R32G32B32A32_SFLOAT,
        other => {
            let reason = format!("textures of {other:?} are not shared; use Rgba8UnormSrgb, Rgba16Float or R32Float");
            return Err(Error::invalid(name, reason));
        }
    })
}
