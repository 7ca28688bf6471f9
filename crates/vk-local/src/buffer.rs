//! Buffers.
#![allow(unsafe_code)] // Vulkan calls, and slices of mapped memory.

use vk_export::ExportDevice;
use vk_export::ash::vk;

use crate::error::{About, Result};
use crate::memory::{Memory, MemoryLocation};

/// A buffer that stays with Vulkan. Dropping it frees it at once: keep it until the GPU is done
/// with it.
#[derive(Debug)]
pub struct LocalBuffer {
    raw: vk::Buffer,
    /// Freed after `Drop` below has destroyed the buffer.
    memory: Option<Memory>,
    size: u64,
    device: ExportDevice,
}

/// The usages of Vulkan 1.0; later ones take features.
const USAGES: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(0x1ff);

impl LocalBuffer {
    /// Makes a buffer of `size` bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for zero bytes, usages that are
    /// not Vulkan 1.0's and more bytes than there are; otherwise the error of the failed driver
    /// call.
    pub fn new(
        device: &ExportDevice,
        name: &str,
        size: u64,
        usage: vk::BufferUsageFlags,
        location: MemoryLocation,
    ) -> Result<Self> {
        let about = About { device, object: format!("buffer \"{name}\"") };
        if size == 0 || usage.is_empty() {
            return Err(about.invalid("neither its size nor its usage may be 0".into()));
        }
        if !USAGES.contains(usage) {
            return Err(about.invalid(format!("its usage has {:?}, which takes features", usage & !USAGES)));
        }
        if let Some(limit) = device.physical().max_buffer_size.filter(|limit| size > *limit) {
            return Err(about.invalid(format!("it has {size} bytes, but a buffer at most {limit} (maxBufferSize)")));
        }
        let create = vk::BufferCreateInfo::default().size(size).usage(usage).sharing_mode(vk::SharingMode::EXCLUSIVE);
        // SAFETY: VUID-VkBufferCreateInfo-size-00912, -None-09499, -size-06409: size and usage were
        // checked above.
        let raw = unsafe { device.as_raw().create_buffer(&create, None) }.map_err(about.failed("vkCreateBuffer"))?;
        // From here on a failure drops it.
        let mut buffer = Self { raw, memory: None, size, device: device.clone() };
        // SAFETY: a live buffer of this device.
        let requirements = unsafe { device.as_raw().get_buffer_memory_requirements(raw) };
        let memory = buffer.memory.insert(Memory::allocate(&about, requirements, location)?);
        // SAFETY: VUID-vkBindBufferMemory-memory-01035, -memoryOffset-01036, -size-01037: of a type
        // and size that the buffer asks for, from its start.
        unsafe { device.as_raw().bind_buffer_memory(raw, memory.raw, 0) }
            .map_err(about.failed("vkBindBufferMemory"))?;
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(raw, name) };
        Ok(buffer)
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::Buffer {
        self.raw
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the start of the contents, if the memory is mapped; valid as long as the buffer
    /// lives.
    pub fn host_ptr(&self) -> Option<std::ptr::NonNull<u8>> {
        self.memory.as_ref()?.mapped()
    }

    /// Returns the contents, if the memory is mapped.
    ///
    /// # Safety
    /// While the slice lives nothing writes the buffer: what the GPU wrote has been waited for and
    /// made visible to the host, and nothing that writes is submitted.
    pub unsafe fn bytes(&self) -> Option<&[u8]> {
        let size = usize::try_from(self.size).ok()?;
        let start = self.host_ptr()?;
        // SAFETY: so many bytes are mapped, at least, for as long as the buffer lives; the caller
        // keeps writers away.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), size) })
    }

    /// Returns the contents, if the memory is mapped.
    ///
    /// # Safety
    /// While the slice lives the GPU neither reads nor writes the buffer.
    pub unsafe fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let size = usize::try_from(self.size).ok()?;
        let start = self.host_ptr()?;
        // SAFETY: as in `bytes`; the caller keeps the GPU away, and `&mut self` everyone else.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), size) })
    }
}

impl Drop for LocalBuffer {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: kept by its owner until the GPU was done, as
        // documented.
        unsafe { self.device.as_raw().destroy_buffer(self.raw, None) };
    }
}
