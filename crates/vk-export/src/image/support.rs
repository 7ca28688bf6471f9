//! Queries of a device's support for one specific image, before it is created.
#![allow(unsafe_code)] // Vulkan queries.

use ash::vk;

use crate::device::ExportDevice;
use crate::device::requirements::MEMORY_EXTENSION;
use crate::error::{Error, Result};
use crate::handle::handle_type::HandleType;
use crate::image::info::ImageInfo;
use crate::memory::Placement;
use crate::memory::size::check_image;

/// Support of a device for images of one kind, format, tiling, usage and placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageSupport {
    /// `true` if the image can be exported; only queried for [`Placement::Exportable`].
    pub exportable: bool,
    /// The handle type as which it can be exported: the first of [`HandleType::MEMORY_TYPES`] that
    /// the driver supports.
    pub handle_type: Option<HandleType>,
    /// `true` if the export needs a dedicated allocation.
    pub dedicated_only: bool,
    /// The largest width, height and depth.
    pub max_extent: [u32; 3],
    /// The maximum number of mip levels.
    pub max_mip_levels: u32,
    /// The maximum number of array layers.
    pub max_array_layers: u32,
    /// The maximum size in bytes.
    pub max_resource_size: u64,
}

/// Queries the support of `device` for an image as described by `info`.
/// [`Image::new`](crate::Image::new) does this itself.
///
/// It is not an error if the image can be created but not exported; see
/// [`ImageSupport::exportable`].
///
/// # Errors
/// [`Error::InvalidArgument`] for an image that no driver can create, without a query;
/// [`Error::UnsupportedImage`], with what to change; otherwise the error of the failed driver call.
#[doc(alias = "vkGetPhysicalDeviceImageFormatProperties2")]
pub fn image_support(device: &ExportDevice, info: &ImageInfo<'_>) -> Result<ImageSupport> {
    info.validate(&device.physical().limits)?;
    if let Some(reason) = device.format_fault(info.format) {
        return Err(Error::invalid(info.object(), reason));
    }
    let exported = info.placement == Placement::Exportable && device.check_can_export(MEMORY_EXTENSION).is_ok();
    let mut support = None;
    for &handle_type in if exported { HandleType::MEMORY_TYPES } else { &[] } {
        let answer = query_support(device, info, Some(handle_type))?;
        if let Some(exportable) = answer.filter(|answer| answer.exportable) {
            return Ok(exportable);
        }
        support = support.or(answer);
    }
    if let Some(support) = support {
        return Ok(support);
    }
    query_support(device, info, None)?.ok_or_else(|| Error::UnsupportedImage {
        object: info.object(),
        format: info.format,
        device: device.name().to_owned(),
        reason: format!(
            "{} with {:?} tiling and usage {:?}; {}",
            info.kind.as_str(),
            info.tiling,
            info.usage,
            advice(device, info)
        ),
    })
}

impl ExportDevice {
    /// Returns the driver's features for images of a format in a tiling. Returns empty features,
    /// without asking the driver, for an unknown format or one of an extension that is not enabled.
    #[doc(alias = "vkGetPhysicalDeviceFormatProperties")]
    pub fn format_features(&self, format: vk::Format, tiling: vk::ImageTiling) -> vk::FormatFeatureFlags {
        if self.format_fault(format).is_some() {
            return vk::FormatFeatureFlags::empty();
        }
        let properties =
            // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties-physicalDevice-parameter: a device
            // of this instance; -format-parameter: checked above.
            unsafe { self.instance().get_physical_device_format_properties(self.physical().handle, format) };
        match tiling {
            vk::ImageTiling::LINEAR => properties.linear_tiling_features,
            vk::ImageTiling::OPTIMAL => properties.optimal_tiling_features,
            _ => vk::FormatFeatureFlags::empty(),
        }
    }
}

/// Returns `None` if such an image is not supported.
fn query_support(
    device: &ExportDevice,
    info: &ImageInfo<'_>,
    exported: Option<HandleType>,
) -> Result<Option<ImageSupport>> {
    let formats = info.formats();
    let mut list = vk::ImageFormatListCreateInfo::default().view_formats(&formats);
    let mut external_question = vk::PhysicalDeviceExternalImageFormatInfo::default();
    let mut external_answer = vk::ExternalImageFormatProperties::default();
    let mut question = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(info.format)
        .ty(info.kind.image_type())
        .tiling(info.tiling)
        .usage(info.usage)
        .flags(info.flags());
    if !info.view_formats.is_empty() {
        question = question.push_next(&mut list);
    }
    let mut answer = vk::ImageFormatProperties2::default();
    if let Some(handle_type) = exported {
        external_question = external_question.handle_type(handle_type.memory());
        question = question.push_next(&mut external_question);
        answer = answer.push_next(&mut external_answer);
    }
    // SAFETY: VUID-vkGetPhysicalDeviceImageFormatProperties2-physicalDevice-parameter: a device of
    // this instance; the chained structures are core in 1.2, the usage is not empty
    // (`ImageInfo::validate`).
    let result = unsafe {
        device.instance().get_physical_device_image_format_properties2(device.physical().handle, &question, &mut answer)
    };
    let limits = answer.image_format_properties;
    match result {
        Ok(()) => {}
        Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED) => return Ok(None),
        Err(result) => return Err(device.failed("vkGetPhysicalDeviceImageFormatProperties2", &info.object())(result)),
    }
    let features = external_answer.external_memory_properties.external_memory_features;
    let vk::Extent3D { width, height, depth } = limits.max_extent;
    let exportable = features.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE);
    Ok(Some(ImageSupport {
        exportable,
        handle_type: exported.filter(|_| exportable),
        dedicated_only: features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY),
        max_extent: [width, height, depth],
        max_mip_levels: limits.max_mip_levels,
        max_array_layers: limits.max_array_layers,
        max_resource_size: limits.max_resource_size,
    }))
}

/// Returns changes with which the driver supports the image: each of them alone was queried and is
/// sufficient.
fn advice(device: &ExportDevice, info: &ImageInfo<'_>) -> String {
    let would_do = |changed: &ImageInfo<'_>| matches!(query_support(device, changed, None), Ok(Some(_)));
    let mut ways = Vec::new();
    if info.tiling == vk::ImageTiling::LINEAR && would_do(&ImageInfo { tiling: vk::ImageTiling::OPTIMAL, ..*info }) {
        ways.push("with OPTIMAL tiling".to_owned());
    }
    let bits = (0..u32::BITS).map(|bit| vk::ImageUsageFlags::from_raw(1 << bit));
    for bit in bits.filter(|bit| info.usage.contains(*bit) && info.usage != *bit) {
        if would_do(&ImageInfo { usage: info.usage & !bit, ..*info }) {
            ways.push(format!("without {bit:?}"));
        }
    }
    if ways.is_empty() { "choose another format".into() } else { format!("it would do {}", ways.join(", or ")) }
}

impl ImageSupport {
    /// Checks that `info` is within the limits, and that the image is exportable if `info` requires
    /// it.
    pub(crate) fn check_info(&self, device: &ExportDevice, info: &ImageInfo<'_>) -> Result<()> {
        if let Some(reason) = self.fault(info) {
            return Err(Error::invalid(info.object(), format!("{reason} on {}", device.name())));
        }
        check_image(device.physical(), info.min_size().unwrap_or(0), self.max_resource_size, &info.object())?;
        if info.placement != Placement::Exportable || self.exportable {
            return Ok(());
        }
        let handle_type = device.check_can_export(MEMORY_EXTENSION)?;
        Err(Error::NotExportable {
            object: info.object(),
            handle_type: handle_type.as_str(),
            device: device.name().to_owned(),
            reason: format!(
                "the driver does not export {} images of {:?} with {:?} tiling and usage {:?}; share a buffer, or try \
                 another format or less usage",
                info.kind.as_str(),
                info.format,
                info.tiling,
                info.usage
            ),
        })
    }

    fn fault(&self, info: &ImageInfo<'_>) -> Option<String> {
        let hint = if info.tiling == vk::ImageTiling::LINEAR { " (OPTIMAL tiling may take more)" } else { "" };
        let what = format!("{} images of {:?} with {:?} tiling", info.kind.as_str(), info.format, info.tiling);
        let [width, height, depth] = info.extent;
        let [max_width, max_height, max_depth] = self.max_extent;
        if width > max_width || height > max_height || depth > max_depth {
            return Some(format!(
                "{width} x {height} x {depth} texels are too many: {what} have at most {max_width} x {max_height} x \
                 {max_depth}{hint}"
            ));
        }
        [(info.mip_levels, self.max_mip_levels, "mip levels"), (info.array_layers, self.max_array_layers, "layers")]
            .into_iter()
            .find(|(asked, most, _)| asked > most)
            .map(|(asked, most, name)| format!("{asked} {name} are too many: {what} have at most {most}{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_limits_are_reported() {
        let support = ImageSupport {
            handle_type: None,
            exportable: true,
            dedicated_only: false,
            max_extent: [4096, 4096, 1],
            max_mip_levels: 1,
            max_array_layers: 1,
            max_resource_size: 1 << 31,
        };
        let info = ImageInfo {
            format: vk::Format::R8_UNORM,
            extent: [4096, 4096, 1],
            tiling: vk::ImageTiling::LINEAR,
            ..ImageInfo::default()
        };
        assert_eq!(support.fault(&info), None);
        let text = |info: ImageInfo<'_>| support.fault(&info).unwrap_or_default();
        let levels = text(ImageInfo { mip_levels: 2, ..info });
        assert!(levels.contains("2 mip levels are too many") && levels.contains("at most 1 (OPTIMAL"), "{levels}");
        assert!(text(ImageInfo { array_layers: 3, ..info }).starts_with("3 layers are too many"));
        assert!(text(ImageInfo { extent: [1, 4097, 1], ..info }).contains("at most 4096 x 4096 x 1"));
    }
}
