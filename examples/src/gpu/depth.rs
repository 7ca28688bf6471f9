//! A depth buffer.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;

use super::failed;

/// A depth buffer. Dropping it frees it immediately: keep it until the GPU has finished with it.
pub struct Depth {
    raw: vk::Image,
    memory: vk::DeviceMemory,
    view: vk::ImageView,
    device: ExportDevice,
}

impl Depth {
    /// The format, which every desktop GPU supports as a depth attachment.
    pub const FORMAT: vk::Format = vk::Format::D32_SFLOAT;

    /// The whole image.
    pub(crate) const RANGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
        aspect_mask: vk::ImageAspectFlags::DEPTH,
        base_mip_level: 0,
        level_count: 1,
        base_array_layer: 0,
        layer_count: 1,
    };

    /// Creates a depth buffer for targets of this size.
    ///
    /// # Errors
    /// The error of the failed driver call.
    pub fn new(device: &ExportDevice, [width, height]: [u32; 2]) -> Result<Self> {
        let raw = device.as_raw();
        // A failure from here on drops the objects created so far; null handles are ignored.
        let mut depth = Self {
            raw: vk::Image::null(),
            memory: vk::DeviceMemory::null(),
            view: vk::ImageView::null(),
            device: device.clone(),
        };
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(Self::FORMAT)
            .extent(vk::Extent3D { width, height, depth: 1 })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(vk::ImageTiling::OPTIMAL)
            .usage(vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT);
        // SAFETY: VUID-VkImageCreateInfo-extent-00944, -00945: a target of this size was created
        // before.
        depth.raw = unsafe { raw.create_image(&info, None) }.map_err(failed(device, "vkCreateImage (depth)"))?;
        // SAFETY: VUID-vkGetImageMemoryRequirements-image-01588: just created, with one plane.
        let needs = unsafe { raw.get_image_memory_requirements(depth.raw) };
        let (instance, physical) = (device.instance(), device.physical().handle);
        // SAFETY: VUID-vkGetPhysicalDeviceMemoryProperties-physicalDevice-parameter: the physical
        // device of this device.
        let memory = unsafe { instance.get_physical_device_memory_properties(physical) };
        let local = |index: &u32| {
            let properties = memory.memory_types[*index as usize].property_flags;
            properties.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL)
        };
        let mut fitting = (0..memory.memory_type_count).filter(|index| needs.memory_type_bits & (1 << index) != 0);
        let index = fitting.clone().find(local).or_else(|| fitting.next()).context("no memory for a depth buffer")?;
        let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
        depth.memory =
            // SAFETY: VUID-vkAllocateMemory-pAllocateInfo-01714: one of the types that the device
            // lists.
            unsafe { raw.allocate_memory(&info, None) }.map_err(failed(device, "vkAllocateMemory (depth)"))?;
        // SAFETY: VUID-vkBindImageMemory-memory-01047, -01048, -size-01049: of the type and size
        // that the image requires.
        unsafe { raw.bind_image_memory(depth.raw, depth.memory, 0) }
            .map_err(failed(device, "vkBindImageMemory (depth)"))?;
        let info = vk::ImageViewCreateInfo::default()
            .image(depth.raw)
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(Self::FORMAT)
            .subresource_range(Self::RANGE);
        depth.view =
            // SAFETY: VUID-VkImageViewCreateInfo-image-01020: the image is bound; the format and
            // the range are those of the image.
            unsafe { raw.create_image_view(&info, None) }.map_err(failed(device, "vkCreateImageView (depth)"))?;
        // SAFETY: just created on this device; no other thread has the handle yet.
        unsafe { device.set_name(depth.raw, "depth") };
        Ok(depth)
    }

    /// Returns the Vulkan handle, which the depth buffer owns.
    pub(crate) fn as_raw(&self) -> vk::Image {
        self.raw
    }

    /// Returns the view of the whole image, which the depth buffer owns.
    pub(crate) fn view(&self) -> vk::ImageView {
        self.view
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyImageView-imageView-01026: the owner kept it until the GPU was
        // done, as documented.
        unsafe { raw.destroy_image_view(self.view, None) };
        // SAFETY: VUID-vkDestroyImage-image-01000: as above.
        unsafe { raw.destroy_image(self.raw, None) };
        // SAFETY: VUID-vkFreeMemory-memory-00677: as above, and the image that was bound to it is
        // destroyed.
        unsafe { raw.free_memory(self.memory, None) };
    }
}
