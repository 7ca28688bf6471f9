//! Buffers and images that are not shared: staging, readback, targets. gpu-allocator places them.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc};
use gpu_allocator::{AllocationSizes, MemoryLocation};

use crate::device::ExportDevice;
use crate::error::{Error, Result};

/// A buffer that stays with Vulkan. Dropping it frees it at once: keep it until the GPU is done with it.
#[derive(Debug)]
pub struct LocalBuffer {
    raw: vk::Buffer,
    allocation: Option<Allocation>,
    size: u64,
    device: ExportDevice,
}

impl LocalBuffer {
    /// Makes a buffer of `size` bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for zero bytes, [`Error::Allocator`] where there is no room, else the failed call.
    pub fn new(
        device: &ExportDevice,
        name: &str,
        size: u64,
        usage: vk::BufferUsageFlags,
        location: MemoryLocation,
    ) -> Result<Self> {
        let object = format!("buffer \"{name}\"");
        if size == 0 || usage.is_empty() {
            return Err(Error::InvalidArgument { object, reason: "neither its size nor its usage may be 0".into() });
        }
        let create = vk::BufferCreateInfo::default().size(size).usage(usage).sharing_mode(vk::SharingMode::EXCLUSIVE);
        // SAFETY: VUID-VkBufferCreateInfo-size-00912: neither is zero, checked above.
        let raw = unsafe { device.as_raw().create_buffer(&create, None) }
            .map_err(device.failed("vkCreateBuffer", &object))?;
        // From here on a failure drops it.
        let mut buffer = Self { raw, allocation: None, size, device: device.clone() };
        // SAFETY: a live buffer of this device.
        let requirements = unsafe { device.as_raw().get_buffer_memory_requirements(raw) };
        let allocation = allocate(device, name, requirements, location, true)?;
        let allocation = buffer.allocation.insert(allocation);
        // SAFETY: lent to the bind call below; the allocation outlives the buffer.
        let memory = unsafe { allocation.memory() };
        let offset = allocation.offset();
        // SAFETY: VUID-vkBindBufferMemory-memory-01035 to -01037: the allocator kept to the buffer's requirements.
        unsafe { device.as_raw().bind_buffer_memory(raw, memory, offset) }
            .map_err(device.failed("vkBindBufferMemory", &object))?;
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(raw, name) };
        Ok(buffer)
    }

    /// The Vulkan handle, lent.
    pub fn as_raw(&self) -> vk::Buffer {
        self.raw
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The contents, where the memory is mapped. The GPU must be done writing them.
    pub fn bytes(&self) -> Option<&[u8]> {
        let size = usize::try_from(self.size).ok()?;
        self.allocation.as_ref()?.mapped_slice()?.get(..size)
    }

    /// The contents, where the memory is mapped. The GPU must not be using them.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let size = usize::try_from(self.size).ok()?;
        self.allocation.as_mut()?.mapped_slice_mut()?.get_mut(..size)
    }
}

impl Drop for LocalBuffer {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: kept by its owner until the GPU was done, as documented.
        unsafe { self.device.as_raw().destroy_buffer(self.raw, None) };
        free(&self.device, self.allocation.take());
    }
}

/// What a 2D image is to be.
#[derive(Debug, Clone, Copy)]
pub struct LocalImageInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its format.
    pub format: vk::Format,
    /// Width and height in pixels, neither zero.
    pub extent: vk::Extent2D,
    /// How it is used.
    pub usage: vk::ImageUsageFlags,
}

/// A 2D colour image with one mip and one layer, and its view, that stays with Vulkan. Dropping it frees it at once:
/// keep it until the GPU is done with it.
#[derive(Debug)]
pub struct LocalImage {
    raw: vk::Image,
    view: vk::ImageView,
    allocation: Option<Allocation>,
    extent: vk::Extent2D,
    format: vk::Format,
    device: ExportDevice,
}

impl LocalImage {
    /// Makes an image and its view.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an extent of zero, [`Error::TooLarge`] past the device's limit,
    /// [`Error::Allocator`] where there is no room, else the failed call.
    pub fn new(device: &ExportDevice, info: &LocalImageInfo<'_>) -> Result<Self> {
        let object = format!("image \"{}\"", info.name);
        let vk::Extent2D { width, height } = info.extent;
        if width == 0 || height == 0 {
            return Err(Error::InvalidArgument { object, reason: format!("its extent is {width}x{height}") });
        }
        let limit = device.physical().limits.max_image_dimension2_d;
        if width.max(height) > limit {
            return Err(Error::TooLarge {
                object,
                size: u64::from(width.max(height)),
                limit: u64::from(limit),
                limit_name: "maxImageDimension2D",
                device: device.name().to_owned(),
            });
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
        // SAFETY: VUID-VkImageCreateInfo-extent-00944/-00945: the extent is within the limits, checked above.
        let raw =
            unsafe { device.as_raw().create_image(&create, None) }.map_err(device.failed("vkCreateImage", &object))?;
        // From here on a failure drops it.
        let mut image = Self {
            raw,
            view: vk::ImageView::null(),
            allocation: None,
            extent: info.extent,
            format: info.format,
            device: device.clone(),
        };
        // SAFETY: a live image of this device.
        let requirements = unsafe { device.as_raw().get_image_memory_requirements(raw) };
        let allocation = allocate(device, info.name, requirements, MemoryLocation::GpuOnly, false)?;
        let allocation = image.allocation.insert(allocation);
        // SAFETY: lent to the bind call below; the allocation outlives the image.
        let memory = unsafe { allocation.memory() };
        let offset = allocation.offset();
        // SAFETY: VUID-vkBindImageMemory-memory-01047, -01048 and -size-01049: the allocator kept to the requirements.
        unsafe { device.as_raw().bind_image_memory(raw, memory, offset) }
            .map_err(device.failed("vkBindImageMemory", &object))?;
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(raw, info.name) };
        let view = vk::ImageViewCreateInfo::default()
            .image(raw)
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(info.format)
            .subresource_range(Self::RANGE);
        // SAFETY: VUID-VkImageViewCreateInfo-image-01020: the image is bound, its format and range are its own.
        image.view = unsafe { device.as_raw().create_image_view(&view, None) }
            .map_err(device.failed("vkCreateImageView", &object))?;
        Ok(image)
    }

    /// All of the image.
    pub const RANGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        base_mip_level: 0,
        level_count: 1,
        base_array_layer: 0,
        layer_count: 1,
    };

    /// The Vulkan handle, lent.
    pub fn as_raw(&self) -> vk::Image {
        self.raw
    }

    /// The view of all of it, lent.
    pub fn view(&self) -> vk::ImageView {
        self.view
    }

    /// Width and height in pixels.
    pub fn extent(&self) -> vk::Extent2D {
        self.extent
    }

    /// The format.
    pub fn format(&self) -> vk::Format {
        self.format
    }
}

impl Drop for LocalImage {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyImageView-imageView-01026: kept by its owner until the GPU was done, as documented.
        unsafe { self.device.as_raw().destroy_image_view(self.view, None) };
        // SAFETY: VUID-vkDestroyImage-image-01000: as above.
        unsafe { self.device.as_raw().destroy_image(self.raw, None) };
        free(&self.device, self.allocation.take());
    }
}

const MIB: u64 = 1 << 20;

pub(crate) fn make_allocator(device: &ExportDevice, object: &str) -> Result<Allocator> {
    Allocator::new(&AllocatorCreateDesc {
        instance: device.instance().clone(),
        device: device.as_raw().clone(),
        physical_device: device.physical().handle,
        debug_settings: gpu_allocator::AllocatorDebugSettings::default(),
        buffer_device_address: false,
        allocation_sizes: AllocationSizes::new(64 * MIB, 32 * MIB),
    })
    .map_err(|error| refused(device, object, &error))
}

fn allocate(
    device: &ExportDevice,
    name: &str,
    requirements: vk::MemoryRequirements,
    location: MemoryLocation,
    linear: bool,
) -> Result<Allocation> {
    let mut allocator = device.allocator(name)?;
    let allocator = allocator
        .as_mut()
        .ok_or_else(|| refused(device, name, &gpu_allocator::AllocationError::Internal("no allocator".into())))?;
    allocator
        .allocate(&AllocationCreateDesc {
            name,
            requirements,
            location,
            linear,
            allocation_scheme: AllocationScheme::GpuAllocatorManaged,
        })
        .map_err(|error| refused(device, name, &error))
}

fn free(device: &ExportDevice, allocation: Option<Allocation>) {
    let Some(allocation) = allocation else { return };
    let freed =
        device.allocator("freeing").map(|mut allocator| allocator.as_mut().map(|allocator| allocator.free(allocation)));
    if let Ok(Some(Err(error))) = freed {
        log::error!("gpu-allocator could not free: {error}");
    }
}

fn refused(device: &ExportDevice, object: &str, error: &gpu_allocator::AllocationError) -> Error {
    Error::Allocator { object: object.to_owned(), device: device.name().to_owned(), detail: error.to_string() }
}
