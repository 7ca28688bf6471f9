//! Buffers that only Vulkan uses.
#![allow(unsafe_code)] // Vulkan calls, and slices of mapped memory.

use vk_export::ExportDevice;
use vk_export::ash::vk;

use crate::error::{About, Result};
use crate::memory::{Memory, MemoryLocation};

/// A buffer that only Vulkan uses. Dropping it frees it immediately: keep it until the GPU no
/// longer uses it.
#[derive(Debug)]
pub struct LocalBuffer {
    raw: vk::Buffer,
    /// Freed after `Drop` below has destroyed the buffer.
    memory: Option<Memory>,
    size: u64,
    device: ExportDevice,
}

/// The usages of Vulkan 1.0; later ones need features.
const USAGES: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(0x1ff);

impl LocalBuffer {
    /// Creates a buffer of `size` bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for zero bytes, usages that Vulkan
    /// 1.0 does not have, and sizes beyond the device's limits; otherwise the error of the failed
    /// driver call.
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
            return Err(about.invalid(format!("its usage has {:?}, which requires device features", usage & !USAGES)));
        }
        if let Some(limit) = device.physical().max_buffer_size.filter(|limit| size > *limit) {
            return Err(about.invalid(format!("it has {size} bytes, but a buffer at most {limit} (maxBufferSize)")));
        }
        let create = vk::BufferCreateInfo::default().size(size).usage(usage).sharing_mode(vk::SharingMode::EXCLUSIVE);
        // SAFETY: VUID-VkBufferCreateInfo-size-00912, -None-09499, -size-06409: size and usage were
        // checked above.
        let raw = unsafe { device.as_raw().create_buffer(&create, None) }.map_err(about.failed("vkCreateBuffer"))?;
        // From here on, an error drops the buffer.
        let mut buffer = Self { raw, memory: None, size, device: device.clone() };
        // SAFETY: a live buffer of this device.
        let requirements = unsafe { device.as_raw().get_buffer_memory_requirements(raw) };
        let memory = buffer.memory.insert(Memory::allocate(&about, requirements, location)?);
        // SAFETY: VUID-vkBindBufferMemory-memory-01035, -memoryOffset-01036, -size-01037: type and
        // size meet the buffer's requirements, offset 0.
        unsafe { device.as_raw().bind_buffer_memory(raw, memory.raw, 0) }
            .map_err(about.failed("vkBindBufferMemory"))?;
        // SAFETY: just created on this device, and not yet shared with another thread.
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
    /// As long as the slice lives, the buffer is not written: writes by the GPU have completed and
    /// were made visible to the host, and no submitted work writes to it.
    pub unsafe fn bytes(&self) -> Option<&[u8]> {
        let size = usize::try_from(self.size).ok()?;
        let start = self.host_ptr()?;
        // SAFETY: at least `size` bytes are mapped as long as the buffer lives; the caller
        // guarantees that there are no writes.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), size) })
    }

    /// Returns the contents, if the memory is mapped.
    ///
    /// # Safety
    /// As long as the slice lives, the GPU neither reads nor writes the buffer.
    pub unsafe fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let size = usize::try_from(self.size).ok()?;
        let start = self.host_ptr()?;
        // SAFETY: as in `bytes`; the caller excludes accesses by the GPU, and `&mut self` all
        // others.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), size) })
    }
}

impl Drop for LocalBuffer {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: the owner keeps it until the GPU no longer
        // uses it, as documented.
        unsafe { self.device.as_raw().destroy_buffer(self.raw, None) };
    }
}
