//! Buffers and images from the engine's allocator.
#![allow(unsafe_code)] // Vulkan calls.

use std::sync::Arc;

use anyhow::{Context, Result};
use ash::vk;
use gpu_allocator::MemoryLocation;
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, AllocationScheme};

use crate::gpu::Gpu;

/// The whole of a color image.
pub const RANGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 1,
    base_array_layer: 0,
    layer_count: 1,
};

/// The whole of a color image, for copies.
pub const LAYERS: vk::ImageSubresourceLayers = vk::ImageSubresourceLayers {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    mip_level: 0,
    base_array_layer: 0,
    layer_count: 1,
};

/// A buffer. The owner must keep it until the GPU has finished with it.
pub struct Buffer {
    raw: vk::Buffer,
    size: u64,
    memory: Option<Allocation>,
    gpu: Arc<Gpu>,
}

impl Buffer {
    /// Creates a buffer: in host-readable memory if `mapped`, otherwise in device memory.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(gpu: &Arc<Gpu>, name: &str, size: u64, usage: vk::BufferUsageFlags, mapped: bool) -> Result<Self> {
        let info = vk::BufferCreateInfo::default().size(size).usage(usage);
        // SAFETY: VUID-VkBufferCreateInfo-size-00912: callers pass a size above 0.
        let raw = unsafe { gpu.device().create_buffer(&info, None) }.with_context(|| format!("buffer {name}"))?;
        let mut buffer = Self { raw, size, memory: None, gpu: Arc::clone(gpu) };
        // SAFETY: just created.
        let requirements = unsafe { gpu.device().get_buffer_memory_requirements(raw) };
        let location = if mapped { MemoryLocation::GpuToCpu } else { MemoryLocation::GpuOnly };
        let memory = buffer.memory.insert(allocate(gpu, name, requirements, location, true)?);
        // SAFETY: the allocation is an exclusive range of memory.
        let raw_memory = unsafe { memory.memory() };
        // SAFETY: VUID-vkBindBufferMemory-memory-01035 and related: allocated with the buffer's own
        // requirements.
        unsafe { gpu.device().bind_buffer_memory(raw, raw_memory, memory.offset()) }?;
        Ok(buffer)
    }

    /// Returns the Vulkan handle.
    pub fn raw(&self) -> vk::Buffer {
        self.raw
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the contents of a mapped buffer, whose writes must have completed and been made
    /// visible to the host.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.memory.as_ref()?.mapped_slice()?.get(..usize::try_from(self.size).ok()?)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: the owner kept it until the GPU was done.
        unsafe { self.gpu.device().destroy_buffer(self.raw, None) };
        free(&self.gpu, self.memory.take());
    }
}

/// A 2D image of one level with a view. The owner must keep it until the GPU has finished with it.
pub struct Image {
    raw: vk::Image,
    view: vk::ImageView,
    extent: vk::Extent2D,
    memory: Option<Allocation>,
    gpu: Arc<Gpu>,
}

impl Image {
    /// The format of the engine's images.
    pub const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;

    /// Creates an image.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(gpu: &Arc<Gpu>, name: &str, extent: vk::Extent2D, usage: vk::ImageUsageFlags) -> Result<Self> {
        let vk::Extent2D { width, height } = extent;
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(Self::FORMAT)
            .extent(vk::Extent3D { width, height, depth: 1 })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .usage(usage);
        // SAFETY: every device renders to and samples images of this format; the extent is that of
        // a target.
        let raw = unsafe { gpu.device().create_image(&info, None) }.with_context(|| format!("image {name}"))?;
        let mut image = Self { raw, view: vk::ImageView::null(), extent, memory: None, gpu: Arc::clone(gpu) };
        // SAFETY: just created.
        let requirements = unsafe { gpu.device().get_image_memory_requirements(raw) };
        let memory = image.memory.insert(allocate(gpu, name, requirements, MemoryLocation::GpuOnly, false)?);
        // SAFETY: the allocation is an exclusive range of memory.
        let raw_memory = unsafe { memory.memory() };
        // SAFETY: VUID-vkBindImageMemory-memory-01047 and related: allocated with the image's own
        // requirements.
        unsafe { gpu.device().bind_image_memory(raw, raw_memory, memory.offset()) }?;
        let view = vk::ImageViewCreateInfo::default()
            .image(raw)
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(Self::FORMAT)
            .subresource_range(RANGE);
        // SAFETY: VUID-VkImageViewCreateInfo-image-01020: bound above.
        image.view = unsafe { gpu.device().create_image_view(&view, None) }?;
        Ok(image)
    }

    /// Returns the Vulkan handle.
    pub fn raw(&self) -> vk::Image {
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
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyImageView-imageView-01026: the owner kept it until the GPU was
        // done; null is ignored.
        unsafe { self.gpu.device().destroy_image_view(self.view, None) };
        // SAFETY: VUID-vkDestroyImage-image-01000: as above.
        unsafe { self.gpu.device().destroy_image(self.raw, None) };
        free(&self.gpu, self.memory.take());
    }
}

fn allocate(
    gpu: &Gpu,
    name: &str,
    requirements: vk::MemoryRequirements,
    location: MemoryLocation,
    linear: bool,
) -> Result<Allocation> {
    let scheme = AllocationScheme::GpuAllocatorManaged;
    let desc = AllocationCreateDesc { name, requirements, location, linear, allocation_scheme: scheme };
    gpu.allocator().allocate(&desc).with_context(|| format!("no memory for {name}"))
}

fn free(gpu: &Gpu, memory: Option<Allocation>) {
    if let Some(Err(error)) = memory.map(|memory| gpu.allocator().free(memory)) {
        log::error!("memory was not freed: {error}");
    }
}
