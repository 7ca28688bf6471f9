//! Surfaces: a level of a shared image, for kernels to read and write.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use crate::device::registry::Registered;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::info::ImageKind;
use crate::image::view::view_type;

/// A level of an [`Image`] as CUDA kernels that Vulkan launches read and write it: a
/// `cudaSurfaceObject_t`.
///
/// While a kernel uses it the image is in `VK_IMAGE_LAYOUT_GENERAL`. Texels are in the image's own
/// order of channels: BGRA is not swizzled. `sust.b` moves bytes, and counts x in them; `sust.p`
/// converts to the format. Cubes, and arrays of them, are layered surfaces.
///
/// Keep it, and the image, until the GPU is done with what was recorded.
#[derive(Debug)]
pub struct KernelSurface {
    handle: u32,
    _view: KernelView,
}

/// A view of its own, destroyed when dropped.
#[derive(Debug)]
pub(super) struct KernelView {
    raw: vk::ImageView,
    device: Registered,
}

impl KernelSurface {
    /// Creates the surface of all layers of one level; level 0 is the largest.
    ///
    /// # Errors
    /// [`Error::Missing`] where the device has no CUDA kernels, [`Error::InvalidArgument`] for an
    /// image without `VK_IMAGE_USAGE_STORAGE_BIT`, a format that has no storage images, and a level
    /// that is not there, otherwise the error of the failed driver call.
    #[doc(alias = "vkGetImageViewHandleNVX")]
    pub fn new(image: &Image, level: u32) -> Result<Self> {
        Self::create(image, level, false)
    }

    /// Creates the surface as [`new`](Self::new) does, but kernels see an array of layers even if
    /// there is only one. A 3D image has no layers and is not affected.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn layered(image: &Image, level: u32) -> Result<Self> {
        Self::create(image, level, true)
    }

    fn create(image: &Image, level: u32, layered: bool) -> Result<Self> {
        let (device, object) = (image.device(), format!("surface of image \"{}\"", image.name()));
        device.kernel_calls()?;
        let invalid = |reason: String| Err(Error::invalid(&object, reason));
        if !image.usage().contains(vk::ImageUsageFlags::STORAGE) {
            return invalid(format!(
                "the image's usage {:?} lacks STORAGE (`ImageAccess::STORAGE_READ_WRITE`)",
                image.usage()
            ));
        }
        let features = device.format_features(image.format(), image.tiling());
        if !features.contains(vk::FormatFeatureFlags::STORAGE_IMAGE) {
            return invalid(format!("{} has no storage images of {:?}", device.name(), image.format()));
        }
        if level >= image.mip_levels() {
            return invalid(format!("there is no level {level}, the image has {}", image.mip_levels()));
        }
        // A cube's faces are layers to a surface.
        let kind = if image.kind() == ImageKind::Cube { ImageKind::D2 } else { image.kind() };
        let view_type = view_type(kind, image.array_layers(), layered, device.enabled().image_cube_array);
        let range = vk::ImageSubresourceRange { base_mip_level: level, level_count: 1, ..image.range() };
        let view = KernelView::new(image, view_type, image.format(), range, vk::ImageUsageFlags::STORAGE, &object)?;
        let handle = view.handle(vk::DescriptorType::STORAGE_IMAGE, vk::Sampler::null())?;
        Ok(Self { handle, _view: view })
    }

    /// Returns the value that a kernel takes as its `cudaSurfaceObject_t`, which has 64 bits: pass
    /// it as `u64::from(handle)`.
    pub fn handle(&self) -> u32 {
        self.handle
    }
}

impl KernelView {
    /// A view in a format that the image can be viewed in, with a usage that image and format have.
    pub(super) fn new(
        image: &Image,
        view_type: vk::ImageViewType,
        format: vk::Format,
        range: vk::ImageSubresourceRange,
        usage: vk::ImageUsageFlags,
        object: &str,
    ) -> Result<Self> {
        let device = image.device();
        let mut usage = vk::ImageViewUsageCreateInfo::default().usage(usage);
        let create = vk::ImageViewCreateInfo::default()
            .image(image.as_raw())
            .view_type(view_type)
            .format(format)
            .subresource_range(range)
            .push_next(&mut usage);
        // SAFETY: VUID-VkImageViewCreateInfo-image-01020: the image is bound; -image-01761: the
        // format is one of those that the image was made for; -usage-02274, -02275: the callers
        // have asked for the format's features; -subresourceRange-01478, -01718: the range is
        // inside of the image's; -viewType-01004: cube arrays only with their feature.
        let raw = unsafe { device.as_raw().create_image_view(&create, None) }
            .map_err(device.failed("vkCreateImageView", object))?;
        // Owned before it is named: a logger that panics leaves no view behind.
        let view = Self { raw, device: device.register(object) };
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(raw, image.name()) };
        Ok(view)
    }

    /// The handle of the view as a descriptor of a type, with a sampler where that type has one.
    pub(super) fn handle(&self, descriptor_type: vk::DescriptorType, sampler: vk::Sampler) -> Result<u32> {
        let info = vk::ImageViewHandleInfoNVX::default()
            .image_view(self.raw)
            .descriptor_type(descriptor_type)
            .sampler(sampler);
        let calls = self.device.kernel_calls()?;
        // SAFETY: VUID-VkImageViewHandleInfoNVX-descriptorType-02654: a storage image or a combined
        // image sampler; -sampler-02655: the latter comes with a sampler that is alive;
        // -imageView-02656, -02657: the view has the usage.
        Ok(unsafe { (calls.view_handle)(self.device.as_raw().handle(), &info) })
    }
}

impl Drop for KernelView {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyImageView-imageView-01026: the owner keeps it until the submissions
        // that use it have completed, as the documentation of both types says.
        unsafe { self.device.as_raw().destroy_image_view(self.raw, None) };
    }
}
