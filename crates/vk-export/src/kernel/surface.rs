//! Surfaces: access of kernels to one level of a shared image.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use crate::device::registry::Registered;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::info::ImageKind;
use crate::image::view::view_type;

/// A `cudaSurfaceObject_t` of one level of an [`Image`], for CUDA kernels that Vulkan launches.
///
/// While a kernel uses the surface, the image must be in `VK_IMAGE_LAYOUT_GENERAL`. Texels have the
/// image's own channel order: BGRA is not swizzled. `sust.b` writes raw bytes, with x in bytes;
/// `sust.p` converts to the format. Cubes and arrays of cubes are layered surfaces.
///
/// Keep the surface and the image until the GPU has executed the recorded launches.
#[derive(Debug)]
pub struct KernelSurface {
    handle: u32,
    _view: KernelView,
}

/// An image view, destroyed when dropped.
#[derive(Debug)]
pub(super) struct KernelView {
    raw: vk::ImageView,
    device: Registered,
}

impl KernelSurface {
    /// Creates the surface of all layers of one level; level 0 is the largest.
    ///
    /// [`Error::Missing`] if the device does not support CUDA kernels, [`Error::InvalidArgument`]
    /// for an image without `VK_IMAGE_USAGE_STORAGE_BIT`, a format without storage images, or a
    /// level that does not exist, otherwise the error of the failed driver call.
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
            return invalid(format!("{} does not support storage images of {:?}", device.name(), image.format()));
        }
        if level >= image.mip_levels() {
            return invalid(format!("there is no level {level}, the image has {}", image.mip_levels()));
        }
        // A surface accesses the faces of a cube as layers.
        let kind = if image.kind() == ImageKind::Cube { ImageKind::D2 } else { image.kind() };
        let view_type = view_type(kind, image.array_layers(), layered, device.enabled().image_cube_array);
        let range = vk::ImageSubresourceRange { base_mip_level: level, level_count: 1, ..image.range() };
        let view = KernelView::new(image, view_type, image.format(), range, vk::ImageUsageFlags::STORAGE, &object)?;
        let handle = view.handle(vk::DescriptorType::STORAGE_IMAGE, vk::Sampler::null())?;
        Ok(Self { handle, _view: view })
    }

    /// Returns the value to pass to a kernel as its `cudaSurfaceObject_t`, which has 64 bits: pass
    /// `u64::from(handle)`.
    pub fn handle(&self) -> u32 {
        self.handle
    }
}

impl KernelView {
    /// Creates a view in a format in which the image can be viewed, with a usage that both the
    /// image and the format support.
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
        // format is one of those that the image was created for; -usage-02274, -02275: the callers
        // have queried the format's features; -subresourceRange-01478, -01718: the range lies
        // inside the image's; -viewType-01004: cube arrays only with their feature.
        let raw = unsafe { device.as_raw().create_image_view(&create, None) }
            .map_err(device.failed("vkCreateImageView", object))?;
        // Stored before it is named: a logger that panics does not leak the view.
        let view = Self { raw, device: device.register(object) };
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { device.set_name(raw, image.name()) };
        Ok(view)
    }

    /// Returns the handle of the view as a descriptor of a type, with a sampler if the type has
    /// one.
    pub(super) fn handle(&self, descriptor_type: vk::DescriptorType, sampler: vk::Sampler) -> Result<u32> {
        let info = vk::ImageViewHandleInfoNVX::default()
            .image_view(self.raw)
            .descriptor_type(descriptor_type)
            .sampler(sampler);
        let calls = self.device.kernel_calls()?;
        // SAFETY: VUID-VkImageViewHandleInfoNVX-descriptorType-02654: a storage image or a combined
        // image sampler; -sampler-02655: the latter has a sampler that is alive; -imageView-02656,
        // -02657: the view has the usage.
        Ok(unsafe { (calls.view_handle)(self.device.as_raw().handle(), &info) })
    }
}

impl Drop for KernelView {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyImageView-imageView-01026: the owner keeps it until the submissions
        // that use it have completed, as the documentation of both types requires.
        unsafe { self.device.as_raw().destroy_image_view(self.raw, None) };
    }
}
