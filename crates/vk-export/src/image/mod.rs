//! Shared images.

#![allow(unsafe_code)] // Vulkan calls.
pub(crate) mod access;
pub(crate) mod barrier;
pub(crate) mod check;
mod create;
pub(crate) mod descriptor;
pub(crate) mod format;
pub(crate) mod info;
pub(crate) mod layout;
pub(crate) mod support;
pub(crate) mod view;

use std::ptr::NonNull;

use ash::vk;

use crate::device::ExportDevice;
use crate::device::registry::Registered;
use crate::error::Result;
use crate::handle::handle_type::HandleType;
use crate::handle::os::Exporter;
use crate::image::descriptor::{ExportedImage, HostLayout, ImageDescriptor};
use crate::image::format::aspects;
use crate::image::info::level_extent;
use crate::image::info::{ImageInfo, ImageKind};
use crate::image::support::image_support;
use crate::memory::{Memory, Placement, Request, Resource, is_dedicated};

/// An image with its own memory that is shared with another API or with the host.
///
/// It starts in `VK_IMAGE_LAYOUT_UNDEFINED`; an [`ImageHandover`](crate::ImageHandover) provides
/// the barriers that transition it. Dropping the image frees it and its views immediately, so the
/// owner must keep it until the GPU no longer uses it.
///
/// See [`VkExternalMemoryImageCreateInfo`] and [`VkMemoryDedicatedAllocateInfo`].
///
/// [`VkExternalMemoryImageCreateInfo`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkExternalMemoryImageCreateInfo.html
/// [`VkMemoryDedicatedAllocateInfo`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkMemoryDedicatedAllocateInfo.html
#[derive(Debug)]
pub struct Image {
    raw: vk::Image,
    /// Views in the image's own format and then in the further ones, except formats that cannot be
    /// viewed.
    views: Vec<(vk::Format, vk::ImageView)>,
    memory: Memory, // Freed after `Drop` below has destroyed the views and the image.
    kind: ImageKind,
    format: vk::Format,
    extent: [u32; 3],
    mip_levels: u32,
    array_layers: u32,
    tiling: vk::ImageTiling,
    usage: vk::ImageUsageFlags,
    name: String,
    device: Registered,
}

impl Image {
    /// Creates an image and its views. First queries whether the driver can create and export
    /// exactly this image.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an image that no driver can
    /// create, or that is too large for this one;
    /// [`Error::UnsupportedImage`](crate::Error::UnsupportedImage) and
    /// [`Error::TooLarge`](crate::Error::TooLarge) if the driver does not support it;
    /// [`Error::NotExportable`](crate::Error::NotExportable) and
    /// [`Error::Missing`](crate::Error::Missing) if it cannot be exported; otherwise the error of
    /// the failed driver call.
    pub fn new(device: &ExportDevice, info: &ImageInfo<'_>) -> Result<Self> {
        Self::create(device, info, Exporter::new)
    }

    /// Creates an image as [`new`](Self::new) does, with a name or a security descriptor for the
    /// exported handle. It is exportable regardless of `info`.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a
    /// name that is invalid or in use, and for a security descriptor that Windows rejects or that
    /// grants access to everyone.
    #[cfg(windows)]
    pub fn new_shared(
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        sharing: &crate::handle::nt::NtSharing<'_>,
    ) -> Result<Self> {
        let info = ImageInfo { placement: Placement::Exportable, ..*info };
        Self::create(device, &info, |handle_type, object| Exporter::shared(handle_type, sharing, object))
    }

    fn create(
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        exporter: impl FnOnce(HandleType, &str) -> Result<Exporter>,
    ) -> Result<Self> {
        let object = info.object();
        let support = image_support(device, info)?;
        support.check_info(device, info)?;
        let formats = info.formats();
        let exporter = match (info.placement, support.handle_type) {
            (Placement::Exportable, Some(handle_type)) => Some(exporter(handle_type, &object)?),
            _ => None,
        };
        let handle_types = exporter.as_ref().map(|exporter| exporter.handle_type().memory());
        // SAFETY: the driver was queried for exactly this image, and `support` has checked it.
        let raw = unsafe { create::raw(device, info, &formats, handle_types) }?;
        let memory = match allocate(device, info, raw, exporter) {
            Ok(memory) => memory,
            Err(error) => {
                // SAFETY: `raw` was just created and is not used.
                unsafe { device.as_raw().destroy_image(raw, None) };
                return Err(error);
            }
        };
        // From here on, an error drops the image.
        let mut image = Self {
            raw,
            views: Vec::with_capacity(formats.len()),
            memory,
            kind: info.kind,
            format: info.format,
            extent: info.extent,
            mip_levels: info.mip_levels,
            array_layers: info.array_layers,
            tiling: info.tiling,
            usage: info.usage,
            name: info.name.to_owned(),
            device: device.register(&object),
        };
        // SAFETY: VUID-vkBindImageMemory-image-07460, -memory-01047 to -01049: a new image, with
        // its own memory of the right type, size and alignment, offset 0.
        unsafe { device.as_raw().bind_image_memory(raw, image.memory.as_raw(), 0) }
            .map_err(device.failed("vkBindImageMemory", &object))?;
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { device.set_name(raw, info.name) };
        for format in formats {
            if let Some(view) = view::create(device, info, raw, image.range(), format)? {
                // Stored before it is named: a logger that panics does not leak the view.
                image.views.push((format, view));
                // SAFETY: just created on this device, and not yet shared with another thread.
                unsafe { device.set_name(view, info.name) };
            }
        }
        Ok(image)
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::Image {
        self.raw
    }

    /// Returns the view of all levels and layers in the image's own format, which stays owned by
    /// the image. Its type is 1D, 2D, 3D or cube, or an array of these if there are more layers.
    /// Several cubes are viewed as a 2D array if `imageCubeArray` is not enabled; a device that
    /// this crate [opened](ExportDevice::open) enables it if the driver supports it.
    ///
    /// Returns `None` if [`usage`](Self::usage) contains only transfers, and for Y'CbCr formats. To
    /// render to a single level of several, create a view of that level.
    pub fn view(&self) -> Option<vk::ImageView> {
        self.view_as(self.format)
    }

    /// Returns the [`view`](Self::view) in one of [`ImageInfo::view_formats`]; `None` for any other
    /// format.
    pub fn view_as(&self, format: vk::Format) -> Option<vk::ImageView> {
        self.views.iter().find(|(viewed, _)| *viewed == format).map(|(_, view)| *view)
    }

    /// Returns all levels and layers.
    pub fn range(&self) -> vk::ImageSubresourceRange {
        vk::ImageSubresourceRange {
            aspect_mask: aspects(self.format),
            base_mip_level: 0,
            level_count: self.mip_levels,
            base_array_layer: 0,
            layer_count: self.array_layers,
        }
    }

    /// Returns the dimensions.
    pub fn kind(&self) -> ImageKind {
        self.kind
    }

    /// Returns the format.
    pub fn format(&self) -> vk::Format {
        self.format
    }

    /// Returns the width, height and depth of the first level, in texels.
    pub fn extent(&self) -> [u32; 3] {
        self.extent
    }

    /// Returns the width, height and depth of a level, in texels: halved and rounded down at each
    /// level, at least 1.
    pub fn level_extent(&self, level: u32) -> [u32; 3] {
        level_extent(self.extent, level)
    }

    /// Returns the number of mip levels.
    pub fn mip_levels(&self) -> u32 {
        self.mip_levels
    }

    /// Returns the number of layers, six per cube.
    pub fn array_layers(&self) -> u32 {
        self.array_layers
    }

    /// Returns the layout of the texels in memory.
    pub fn tiling(&self) -> vk::ImageTiling {
        self.tiling
    }

    /// Returns the Vulkan usage flags of the image.
    pub fn usage(&self) -> vk::ImageUsageFlags {
        self.usage
    }

    /// Returns the image's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device that the image belongs to.
    pub fn device(&self) -> &ExportDevice {
        &self.device
    }

    /// Returns the start of the host mapping if the placement is [`Placement::HostVisible`]. The
    /// pointer is valid as long as the image lives. For the location of the texels, see
    /// [`host_layout`](Self::host_layout).
    ///
    /// Access the texels only while the image is in `VK_IMAGE_LAYOUT_GENERAL`, which is not the
    /// layout of a new image. The caller is responsible for accesses through the pointer and for
    /// ordering them with the GPU.
    pub fn host_ptr(&self) -> Option<NonNull<u8>> {
        self.memory.mapped()
    }

    /// Returns the size of the host mapping in bytes.
    pub fn host_size(&self) -> u64 {
        self.memory.allocation_size()
    }

    /// Returns the location of one layer of one level in the host mapping; `None` if there is no
    /// mapping, if the level or layer does not exist, and for formats with several aspects or
    /// planes.
    #[doc(alias = "vkGetImageSubresourceLayout")]
    pub fn host_layout(&self, level: u32, layer: u32) -> Option<HostLayout> {
        self.memory.mapped()?;
        let aspect_mask = aspects(self.format);
        let one_aspect = aspect_mask.as_raw().is_power_of_two() && !crate::image::format::is_ycbcr(self.format);
        if !one_aspect || level >= self.mip_levels || layer >= self.array_layers {
            return None;
        }
        let subresource = vk::ImageSubresource { aspect_mask, mip_level: level, array_layer: layer };
        // SAFETY: VUID-vkGetImageSubresourceLayout-image-07790: mapped images are LINEAR
        // (`ImageInfo::validate`); -mipLevel-01716, -arrayLayer-01717, -aspectMask-00997: checked
        // above.
        let layout = unsafe { self.device.as_raw().get_image_subresource_layout(self.raw, subresource) };
        Some(HostLayout {
            offset: layout.offset,
            size: layout.size,
            row_pitch: layout.row_pitch,
            array_pitch: layout.array_pitch,
            depth_pitch: layout.depth_pitch,
        })
    }

    /// Exports a new handle to the image's memory, with the parameters that an importer must
    /// repeat.
    ///
    /// The caller owns the handle. Each import needs its own handle.
    ///
    /// # Errors
    /// [`Error::NotExportable`](crate::Error::NotExportable) for an image of another placement,
    /// otherwise the error of the failed driver call.
    #[doc(alias = "vkGetMemoryFdKHR")]
    pub fn export(&self) -> Result<ExportedImage> {
        let (handle, memory) = self.memory.export(&self.name, self.memory.allocation_size())?;
        let descriptor = ImageDescriptor {
            memory,
            kind: self.kind,
            format: self.format,
            extent: self.extent,
            mip_levels: self.mip_levels,
            array_layers: self.array_layers,
            tiling: self.tiling,
            usage: self.usage,
        };
        Ok(ExportedImage { handle, descriptor })
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for (_, view) in self.views.drain(..) {
            // SAFETY: VUID-vkDestroyImageView-imageView-01026: the owner keeps the image until the
            // submissions that use it have completed, as the type's documentation requires.
            unsafe { self.device.as_raw().destroy_image_view(view, None) };
        }
        // SAFETY: VUID-vkDestroyImage-image-01000: as above.
        unsafe { self.device.as_raw().destroy_image(self.raw, None) };
    }
}

fn allocate(device: &ExportDevice, info: &ImageInfo<'_>, raw: vk::Image, exporter: Option<Exporter>) -> Result<Memory> {
    let mut dedicated = vk::MemoryDedicatedRequirements::default();
    let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
    let question = vk::ImageMemoryRequirementsInfo2::default().image(raw);
    // SAFETY: VUID-VkImageMemoryRequirementsInfo2-image-parameter: a live image of this device, not
    // disjoint.
    unsafe { device.as_raw().get_image_memory_requirements2(&question, &mut requirements) };
    let requirements = requirements.memory_requirements;
    let asks = dedicated.requires_dedicated_allocation | dedicated.prefers_dedicated_allocation;
    let dedicated = is_dedicated(exporter.is_some(), asks != 0);
    Memory::allocate(
        device,
        Request {
            name: info.name,
            requirements,
            dedicated_to: dedicated.then_some(Resource::Image(raw)),
            device_address: false,
            placement: info.placement,
            exporter,
        },
    )
}
