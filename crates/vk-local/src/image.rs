//! Images that only Vulkan uses.
#![allow(unsafe_code)] // Vulkan calls.

use vk_export::ash::vk;
use vk_export::{ExportDevice, is_ycbcr};

use crate::error::{About, Result};
use crate::memory::{Memory, MemoryLocation};

/// Configuration of a 2D image.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalImageInfo<'a> {
    /// The name. Default: empty.
    pub name: &'a str,
    /// The format. Default: `UNDEFINED`, which is rejected.
    pub format: vk::Format,
    /// Width and height in pixels, neither zero.
    pub extent: vk::Extent2D,
    /// Vulkan usage.
    pub usage: vk::ImageUsageFlags,
}

/// A 2D color image with one mip level and one layer, and its view, which only Vulkan uses.
/// Dropping it frees it immediately: keep it until the GPU no longer uses it.
#[derive(Debug)]
pub struct LocalImage {
    raw: vk::Image,
    view: vk::ImageView,
    /// Freed after `Drop` below has destroyed the view and the image.
    memory: Option<Memory>,
    extent: vk::Extent2D,
    format: vk::Format,
    device: ExportDevice,
}

/// The usages of Vulkan 1.0 that a color image in memory of its own can have with any other.
const USAGES: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    0xff & !(vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT.as_raw()
        | vk::ImageUsageFlags::TRANSIENT_ATTACHMENT.as_raw()),
);

/// The usages that allow a view; an image needs at least one
/// (VUID-VkImageViewCreateInfo-image-04441).
const VIEWED: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    USAGES.as_raw() & !(vk::ImageUsageFlags::TRANSFER_SRC.as_raw() | vk::ImageUsageFlags::TRANSFER_DST.as_raw()),
);

impl LocalImage {
    /// Creates an image and its view.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an extent of zero, a usage
    /// that no view of a color image supports, transient attachments, depth, stencil and Y'CbCr
    /// formats, and an image that the device does not support; otherwise the error of the failed
    /// driver call.
    pub fn new(device: &ExportDevice, info: &LocalImageInfo<'_>) -> Result<Self> {
        let about = About { device, object: format!("image \"{}\"", info.name) };
        let vk::Extent2D { width, height } = info.extent;
        if width == 0 || height == 0 {
            return Err(about.invalid(format!("its extent is {width}x{height}")));
        }
        if !USAGES.contains(info.usage) || !info.usage.intersects(VIEWED) {
            return Err(
                about.invalid(format!("its usage {:?} is not supported, or none that a view can have", info.usage))
            );
        }
        if !is_color(info.format) {
            return Err(about.invalid(format!(
                "its format {:?} has depth, stencil or Y'CbCr texels; choose a color format",
                info.format
            )));
        }
        // Unknown formats and those of extensions that are not enabled do not reach the driver.
        if device.format_features(info.format, vk::ImageTiling::OPTIMAL).is_empty() {
            return Err(about.invalid(format!(
                "{} has no images of {:?} with OPTIMAL tiling; choose another format",
                device.name(),
                info.format
            )));
        }
        let (kind, tiling, flags) = (vk::ImageType::TYPE_2D, vk::ImageTiling::OPTIMAL, vk::ImageCreateFlags::empty());
        let (instance, physical) = (device.instance(), device.physical().handle);
        // SAFETY: VUID-vkGetPhysicalDeviceImageFormatProperties-physicalDevice-parameter,
        // -usage-requiredbitmask: the device's own physical device, and a usage that is not empty.
        let limits = unsafe {
            instance.get_physical_device_image_format_properties(physical, info.format, kind, tiling, info.usage, flags)
        }
        .map_err(about.failed("vkGetPhysicalDeviceImageFormatProperties"))?
        .max_extent;
        if width > limits.width || height > limits.height {
            let most = format!("{}x{}", limits.width, limits.height);
            return Err(about.invalid(format!("its extent is {width}x{height}, but such an image has at most {most}")));
        }
        let create = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(info.format)
            .extent(vk::Extent3D { width, height, depth: 1 })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(vk::ImageTiling::OPTIMAL)
            .usage(info.usage)
            .initial_layout(vk::ImageLayout::UNDEFINED);
        // SAFETY: VUID-VkImageCreateInfo-imageCreateMaxMipLevels-02251 to -02257: the driver was
        // queried for exactly this image.
        let raw = unsafe { device.as_raw().create_image(&create, None) }.map_err(about.failed("vkCreateImage"))?;
        // From here on, an error drops the image.
        let mut image = Self {
            raw,
            view: vk::ImageView::null(),
            memory: None,
            extent: info.extent,
            format: info.format,
            device: device.clone(),
        };
        // SAFETY: a live image of this device.
        let requirements = unsafe { device.as_raw().get_image_memory_requirements(raw) };
        let memory = image.memory.insert(Memory::allocate(&about, requirements, MemoryLocation::GpuOnly)?);
        // SAFETY: VUID-vkBindImageMemory-memory-01047, -01048 and -size-01049: type and size meet
        // the image's requirements, offset 0.
        unsafe { device.as_raw().bind_image_memory(raw, memory.raw, 0) }.map_err(about.failed("vkBindImageMemory"))?;
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { device.set_name(raw, info.name) };
        let view = vk::ImageViewCreateInfo::default()
            .image(raw)
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(info.format)
            .subresource_range(Self::RANGE);
        image.view =
            // SAFETY: VUID-VkImageViewCreateInfo-image-01020, -04441: the image is bound and has a
            // usage that allows views; format and range are its own.
            unsafe { device.as_raw().create_image_view(&view, None) }.map_err(about.failed("vkCreateImageView"))?;
        Ok(image)
    }

    /// The subresource range of the whole image.
    pub const RANGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        base_mip_level: 0,
        level_count: 1,
        base_array_layer: 0,
        layer_count: 1,
    };

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::Image {
        self.raw
    }

    /// Returns the view of the whole image.
    pub fn view(&self) -> vk::ImageView {
        self.view
    }

    /// Returns the width and height in pixels.
    pub fn extent(&self) -> vk::Extent2D {
        self.extent
    }

    /// Returns the format.
    pub fn format(&self) -> vk::Format {
        self.format
    }
}

/// Returns `true` if a view of the color aspect shows all of an image, without a conversion.
fn is_color(format: vk::Format) -> bool {
    let depth_stencil = vk::Format::D16_UNORM.as_raw()..=vk::Format::D32_SFLOAT_S8_UINT.as_raw();
    !depth_stencil.contains(&format.as_raw()) && !is_ycbcr(format)
}

impl Drop for LocalImage {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyImageView-imageView-01026: the owner keeps it until the GPU no
        // longer uses it, as documented.
        unsafe { self.device.as_raw().destroy_image_view(self.view, None) };
        // SAFETY: VUID-vkDestroyImage-image-01000: as above.
        unsafe { self.device.as_raw().destroy_image(self.raw, None) };
    }
}
