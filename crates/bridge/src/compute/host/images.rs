//! Images of the CPU backend: mapped if the driver supports them as LINEAR images, otherwise copied
//! through a staging buffer.
//!
//! Only this module chooses between the two.

use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{ExportDevice, Image, ImageAccess, ImageInfo, Placement, image_support};

use crate::compute::host::memory::HostImage;
use crate::error::{Error, Result};
use crate::observe::log_info;
use crate::staging::{Staging, staged_info};

/// Creates an image and maps it, or maps its staging buffer. `T` is the texel type of the image's
/// format.
///
/// The image is LINEAR and mapped if the device supports every format feature for it that it
/// supports for an OPTIMAL image of these usages. Otherwise it is OPTIMAL and device-local, and the
/// hand-over copies it from and to the staging buffer.
///
/// # Errors
/// Errors of creating the OPTIMAL image. An error of creating the LINEAR image is returned only if
/// it does not depend on the tiling, for example if the device is out of memory.
pub(in crate::compute) fn share<T: Texel>(
    device: &ExportDevice,
    info: &ImageInfo<'_>,
    accesses: ImageAccess,
) -> Result<(Image, Option<Staging>, HostImage<T>)> {
    let reason = match share_linear(device, info) {
        Ok((image, mapping)) => return Ok((image, None, mapping)),
        Err(NotLinear::For(reason)) => reason,
        Err(NotLinear::Failed(error)) => return Err(error),
    };
    let image = Image::new(device, &staged_info(info, accesses))?;
    // No queue family ownership transfer is needed.
    let family = vk::QUEUE_FAMILY_IGNORED;
    let staging = Staging::new(&image, size_of::<T>() as u64, accesses, super::SHARING, family)?;
    let mapping = HostImage::of_rows(&image, &staging)?;
    log_info!(
        "image \"{}\": the CPU works on rows in a staging buffer of {} bytes, copied when a frame is handed over: {reason}",
        info.name,
        staging.buffer().size()
    );
    Ok((image, Some(staging), mapping))
}

/// Returns `true` if the driver reports support for the image in one of the two ways that [`share`]
/// creates it.
pub(in crate::compute) fn can_share(device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool {
    image_support(device, &linear_info(info)).is_ok() || image_support(device, &staged_info(info, accesses)).is_ok()
}

/// Why an image is not mapped directly.
enum NotLinear {
    /// The driver does not support the LINEAR image, or supports fewer features for it.
    For(String),
    /// An error that does not depend on the tiling.
    Failed(Error),
}

fn share_linear<T: Texel>(device: &ExportDevice, info: &ImageInfo<'_>) -> Result<(Image, HostImage<T>), NotLinear> {
    let lost = lost_features(device, info);
    if !lost.is_empty() {
        return Err(NotLinear::For(format!("LINEAR images of {:?} do not support {lost:?}", info.format)));
    }
    let image = Image::new(device, &linear_info(info)).map_err(|error| match error {
        vk_export::Error::UnsupportedImage { .. }
        | vk_export::Error::InvalidArgument { .. }
        | vk_export::Error::TooLarge { .. } => NotLinear::For(error.to_string()),
        error => NotLinear::Failed(error.into()),
    })?;
    match HostImage::map(&image) {
        Ok(mapping) => Ok((image, mapping)),
        Err(error) => Err(NotLinear::For(error.to_string())),
    }
}

fn linear_info<'a>(info: &ImageInfo<'a>) -> ImageInfo<'a> {
    ImageInfo { tiling: vk::ImageTiling::LINEAR, placement: Placement::HostVisible, ..*info }
}

/// Format features, such as linear filtering, that OPTIMAL images of these formats and usages have
/// and LINEAR ones lack. Support for a usage does not imply them.
fn lost_features(device: &ExportDevice, info: &ImageInfo<'_>) -> vk::FormatFeatureFlags {
    use vk::{FormatFeatureFlags as Feature, ImageUsageFlags as Usage};
    let of_usages = [
        (Usage::SAMPLED, Feature::SAMPLED_IMAGE | Feature::SAMPLED_IMAGE_FILTER_LINEAR),
        (Usage::STORAGE, Feature::STORAGE_IMAGE | Feature::STORAGE_IMAGE_ATOMIC),
        (Usage::COLOR_ATTACHMENT, Feature::COLOR_ATTACHMENT | Feature::COLOR_ATTACHMENT_BLEND),
        (Usage::TRANSFER_SRC, Feature::TRANSFER_SRC | Feature::BLIT_SRC),
        (Usage::TRANSFER_DST, Feature::TRANSFER_DST | Feature::BLIT_DST),
    ];
    let used = of_usages.into_iter().filter(|(usage, _)| info.usage.contains(*usage));
    let used = used.fold(Feature::empty(), |all, (_, features)| all | features);
    let formats = std::iter::once(&info.format).chain(info.view_formats);
    formats.fold(Feature::empty(), |lost, format| {
        let features = |tiling| device.format_features(*format, tiling);
        lost | (used & features(vk::ImageTiling::OPTIMAL) & !features(vk::ImageTiling::LINEAR))
    })
}
