//! Textures: a shared image with a sampler, for kernels.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use crate::device::ExportDevice;
use crate::device::registry::Registered;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::format::is_ycbcr;
use crate::image::info::ImageKind;
use crate::image::view::view_type;
use crate::kernel::surface::KernelView;

/// Sampling parameters of a [`KernelTexture`]. Coordinates are normalized: 0 to 1 across the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextureInfo {
    /// Filter between the texels of a level. Default: `LINEAR`, which integer formats do not
    /// support.
    pub filter: vk::Filter,
    /// Filter between levels. Default: `LINEAR`.
    pub mipmap_mode: vk::SamplerMipmapMode,
    /// Address modes outside of 0 to 1, along x, y and z. `CLAMP_TO_BORDER` returns zeros, as in
    /// CUDA. Default: `CLAMP_TO_EDGE`.
    pub address_modes: [vk::SamplerAddressMode; 3],
    /// One of the image's [`view_formats`](crate::ImageInfo::view_formats), such as the sRGB
    /// counterpart of its own format; `None` for its own. Default: `None`.
    pub format: Option<vk::Format>,
    /// Whether kernels see an array even if there is only one layer, or one cube. A 3D image has no
    /// layers and is not affected. Default: `false`.
    pub layered: bool,
}

impl Default for TextureInfo {
    fn default() -> Self {
        Self {
            filter: vk::Filter::LINEAR,
            mipmap_mode: vk::SamplerMipmapMode::LINEAR,
            address_modes: [vk::SamplerAddressMode::CLAMP_TO_EDGE; 3],
            format: None,
            layered: false,
        }
    }
}

/// A `cudaTextureObject_t` of an [`Image`] with a sampler, for CUDA kernels that Vulkan launches.
///
/// It includes all levels and layers. While a kernel uses it, the image must be in
/// `VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL` or `VK_IMAGE_LAYOUT_GENERAL`. The sampler takes
/// effect because modules are loaded as PTX.
///
/// Keep the texture and the image until the GPU has executed the recorded launches.
#[derive(Debug)]
pub struct KernelTexture {
    handle: u32,
    _view: KernelView,
    _sampler: Sampler,
}

/// A sampler, destroyed when dropped.
#[derive(Debug)]
struct Sampler {
    raw: vk::Sampler,
    device: Registered,
}

impl KernelTexture {
    /// Creates the texture of an image, sampled as described by `info`.
    ///
    /// # Errors
    /// [`Error::Missing`] if the device does not support CUDA kernels, [`Error::InvalidArgument`]
    /// for an image without `VK_IMAGE_USAGE_SAMPLED_BIT`, a format in which the image cannot be
    /// viewed or that does not support the filter, an address mode that needs a feature, or an
    /// array of cubes without `imageCubeArray`, otherwise the error of the failed driver call.
    #[doc(alias = "vkGetImageViewHandleNVX")]
    pub fn new(image: &Image, info: &TextureInfo) -> Result<Self> {
        let (device, object) = (image.device(), format!("texture of image \"{}\"", image.name()));
        device.kernel_calls()?;
        let format = info.format.unwrap_or(image.format());
        if let Some(reason) = fault(image, info, format) {
            return Err(Error::invalid(object, reason));
        }
        let mut range = image.range();
        // A sampled view must have one aspect (VUID-VkDescriptorImageInfo-imageView-01976).
        if range.aspect_mask.contains(vk::ImageAspectFlags::DEPTH) {
            range.aspect_mask = vk::ImageAspectFlags::DEPTH;
        }
        let view_type = view_type(image.kind(), image.array_layers(), info.layered, device.enabled().image_cube_array);
        let view = KernelView::new(image, view_type, format, range, vk::ImageUsageFlags::SAMPLED, &object)?;
        let sampler = Sampler::new(device, info, border(format), &object)?;
        let handle = view.handle(vk::DescriptorType::COMBINED_IMAGE_SAMPLER, sampler.raw)?;
        Ok(Self { handle, _view: view, _sampler: sampler })
    }

    /// Returns the value to pass to a kernel as its `cudaTextureObject_t`, which has 64 bits: pass
    /// `u64::from(handle)`.
    pub fn handle(&self) -> u32 {
        self.handle
    }
}

/// Returns the first problem.
fn fault(image: &Image, info: &TextureInfo, format: vk::Format) -> Option<String> {
    if !image.usage().contains(vk::ImageUsageFlags::SAMPLED) {
        let usage = image.usage();
        return Some(format!("the image's usage {usage:?} lacks SAMPLED (`ImageAccess::COMPUTE_SAMPLED`)"));
    }
    // With `SAMPLED`, the image has a view in every format in which it can be viewed.
    if is_ycbcr(format) || image.view_as(format).is_none() {
        return Some(format!("it cannot be viewed as {format:?}; name it among `ImageInfo::view_formats`"));
    }
    use vk::FormatFeatureFlags as Features;
    let device = image.device();
    let cube_array = image.kind() == ImageKind::Cube && (info.layered || image.array_layers() > 6);
    if cube_array && !device.enabled().image_cube_array {
        return Some(format!(
            "kernels sample an array of cubes only with `imageCubeArray`, which is not enabled on {}",
            device.name()
        ));
    }
    let features = device.format_features(format, image.tiling());
    if !features.contains(Features::SAMPLED_IMAGE) {
        return Some(format!("{} cannot sample images of {format:?}", device.name()));
    }
    let linear = match info.filter {
        vk::Filter::NEAREST => false,
        vk::Filter::LINEAR => true,
        other => return Some(format!("its filter is {other:?}; it can be NEAREST or LINEAR")),
    };
    let mixes_levels = match info.mipmap_mode {
        vk::SamplerMipmapMode::NEAREST => false,
        // With one level there is nothing to interpolate.
        vk::SamplerMipmapMode::LINEAR => image.mip_levels() > 1,
        other => return Some(format!("its mipmap mode is {other:?}; it can be NEAREST or LINEAR")),
    };
    if (linear || mixes_levels) && !features.contains(Features::SAMPLED_IMAGE_FILTER_LINEAR) {
        return Some(format!("{} does not filter {format:?} linearly; sample it with NEAREST", device.name()));
    }
    let known = [
        vk::SamplerAddressMode::REPEAT,
        vk::SamplerAddressMode::MIRRORED_REPEAT,
        vk::SamplerAddressMode::CLAMP_TO_EDGE,
        vk::SamplerAddressMode::CLAMP_TO_BORDER,
    ];
    let other = info.address_modes.into_iter().find(|mode| !known.contains(mode))?;
    Some(format!("its address mode {other:?} needs a feature that is not enabled; it can be one of {known:?}"))
}

/// Returns the zero border color in the type as which a format's texels are read (Vulkan
/// specification, "Texel Replacement": the two must match). The format's name contains the type; a
/// format with depth is read as depth.
fn border(format: vk::Format) -> vk::BorderColor {
    let name = format!("{format:?}");
    if !name.starts_with('D') && (name.contains("_UINT") || name.contains("_SINT")) {
        vk::BorderColor::INT_TRANSPARENT_BLACK
    } else {
        vk::BorderColor::FLOAT_TRANSPARENT_BLACK
    }
}

impl Sampler {
    fn new(device: &ExportDevice, info: &TextureInfo, border: vk::BorderColor, object: &str) -> Result<Self> {
        let [u, v, w] = info.address_modes;
        let create = vk::SamplerCreateInfo::default()
            .mag_filter(info.filter)
            .min_filter(info.filter)
            .mipmap_mode(info.mipmap_mode)
            .address_mode_u(u)
            .address_mode_v(v)
            .address_mode_w(w)
            .max_lod(vk::LOD_CLAMP_NONE)
            .border_color(border);
        // SAFETY: VUID-VkSamplerCreateInfo-anisotropyEnable-01070 and the similar VUIDs: no
        // anisotropy, comparison or unnormalized coordinates; -addressModeU-01079: the modes are of
        // Vulkan 1.0 (`fault`); -addressModeU-01078: the border is valid.
        let raw = unsafe { device.as_raw().create_sampler(&create, None) }
            .map_err(device.failed("vkCreateSampler", object))?;
        Ok(Self { raw, device: device.register(object) })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroySampler-sampler-01082: the owner keeps it until the submissions
        // that use it have completed, as the documentation of `KernelTexture` requires.
        unsafe { self.device.as_raw().destroy_sampler(self.raw, None) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_have_the_type_of_the_texels() {
        use vk::Format as F;
        for (format, integer) in [
            (F::R8_UINT, true),
            (F::R32G32_SINT, true),
            (F::A2B10G10R10_UINT_PACK32, true),
            (F::R8G8B8A8_UNORM, false),
            (F::R16_SFLOAT, false),
            (F::D24_UNORM_S8_UINT, false),
        ] {
            assert_eq!(border(format) == vk::BorderColor::INT_TRANSPARENT_BLACK, integer, "{format:?}");
        }
    }
}
