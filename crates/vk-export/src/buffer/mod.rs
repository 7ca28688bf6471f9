//! Shared buffers.

#![allow(unsafe_code)] // Vulkan calls, and a pointer into mapped memory.
pub(crate) mod access;
pub(crate) mod barrier;
pub(crate) mod block;
pub(crate) mod check;
pub(crate) mod raw;

use std::ptr::NonNull;
use std::sync::Arc;

use ash::vk;

use crate::buffer::block::Block;
use crate::buffer::check::{log_range_warning, query_handle_type, require_possible};
use crate::buffer::raw::RawBuffer;
use crate::device::ExportDevice;
use crate::device::requirements::MEMORY_EXTENSION;
use crate::error::Result;
use crate::handle::MemoryHandle;
use crate::handle::handle_type::HandleType;
use crate::handle::os::Exporter;
use crate::memory::size::{check_placed, placed_size};
use crate::memory::{Memory, MemoryDescriptor, Placement, Request, Resource, is_dedicated};

/// Configuration of a shared buffer.
#[derive(Debug, Clone, Copy, Default)]
pub struct BufferInfo<'a> {
    /// The name in errors, traces and GPU debuggers. Default: empty.
    pub name: &'a str,
    /// Size in bytes, not zero.
    pub size: u64,
    /// Vulkan usage; not empty. See [`BufferAccess`](crate::BufferAccess).
    pub usage: vk::BufferUsageFlags,
    /// Placement of the memory: exportable, mapped for the host, or for Vulkan alone. Default:
    /// exportable.
    pub placement: Placement,
}

/// A buffer that is shared with another API or with the host, in its own memory or in a [`Block`].
///
/// Dropping it frees it immediately, so the owner must keep it until the GPU no longer uses it.
///
/// See [`VkExternalMemoryBufferCreateInfo`] and [`VkExportMemoryAllocateInfo`].
///
/// [`VkExternalMemoryBufferCreateInfo`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkExternalMemoryBufferCreateInfo.html
/// [`VkExportMemoryAllocateInfo`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkExportMemoryAllocateInfo.html
#[derive(Debug)]
pub struct Buffer {
    // Field order is drop order: the buffer goes before its memory.
    raw: RawBuffer,
    backing: Backing,
    offset: u64,
    size: u64,
    name: String,
}

/// The owner of the memory.
#[derive(Debug)]
enum Backing {
    /// The buffer alone: freed after the buffer.
    Own(Memory),
    /// The block, which its buffers own together: freed after the last of them and the block's own
    /// handle.
    Block(Arc<Block>),
}

/// An exported buffer.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExportedBuffer {
    /// A handle to the memory, owned by this object. Closed on drop if its type requires that.
    pub handle: MemoryHandle,
    /// Parameters that the importer must repeat.
    pub descriptor: MemoryDescriptor,
}

impl Buffer {
    /// Creates a buffer with its own memory. First queries whether the driver can export exactly
    /// this buffer.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for zero bytes or no usage,
    /// [`Error::TooLarge`](crate::Error::TooLarge) beyond the device's limits,
    /// [`Error::NotExportable`](crate::Error::NotExportable) or
    /// [`Error::Missing`](crate::Error::Missing) if it cannot be exported, otherwise the error of
    /// the failed driver call.
    pub fn new(device: &ExportDevice, info: &BufferInfo<'_>) -> Result<Self> {
        Self::create(device, info, Exporter::new)
    }

    /// Creates a buffer as [`new`](Self::new) does, with a name or a security descriptor for the
    /// exported handle. It is [`Placement::Exportable`] regardless of `info`.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a
    /// name that is invalid or in use, and for a security descriptor that Windows rejects or that
    /// grants access to everyone.
    #[cfg(windows)]
    pub fn new_shared(
        device: &ExportDevice,
        info: &BufferInfo<'_>,
        sharing: &crate::handle::nt::NtSharing<'_>,
    ) -> Result<Self> {
        let info = BufferInfo { placement: Placement::Exportable, ..*info };
        Self::create(device, &info, |handle_type, object| Exporter::shared(handle_type, sharing, object))
    }

    fn create(
        device: &ExportDevice,
        info: &BufferInfo<'_>,
        exporter: impl FnOnce(HandleType, &str) -> Result<Exporter>,
    ) -> Result<Self> {
        let object = format!("buffer \"{}\"", info.name);
        let size = placed_size(info.size, info.placement);
        // Zero stays zero.
        require_possible(device, size, info.usage, &object)?;
        log_range_warning(device, info.size, info.usage, &object);
        let (mut handle_type, mut shared) = (None, None);
        if info.placement.is_exportable() {
            device.check_can_export(MEMORY_EXTENSION)?;
            let (of_type, _) = query_handle_type(device, info.usage, &object)?;
            shared = Some(exporter(of_type, &object)?);
            handle_type = Some(of_type);
        }
        let raw = RawBuffer::create(device, size, info.usage, handle_type, &object)?;
        let requirements = raw.requirements();
        check_placed(device.physical(), requirements.memory.size, info.placement, &object)?;
        let dedicated =
            is_dedicated(shared.is_some(), requirements.requires_dedicated || requirements.prefers_dedicated);
        let request = Request {
            name: info.name,
            requirements: requirements.memory,
            dedicated_to: dedicated.then_some(Resource::Buffer(raw.as_raw())),
            device_address: info.usage.contains(vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS),
            placement: info.placement,
            exporter: shared,
        };
        let memory = Memory::allocate(device, request)?;
        raw.bind(&memory, 0, &object)?;
        let made = Self { raw, backing: Backing::Own(memory), offset: 0, size: info.size, name: info.name.to_owned() };
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { device.set_name(made.as_raw(), info.name) };
        Ok(made)
    }

    /// Creates a buffer of `size` bytes that starts `offset` bytes into `block`, with the block's
    /// usage and placement.
    ///
    /// The caller must not let buffers that are alive at the same time overlap: each occupies its
    /// size, rounded up to the block's [`alignment`](Block::alignment).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for zero bytes, an offset that is
    /// not aligned, or bytes outside of the block, otherwise the error of the failed driver call.
    pub fn new_in(block: &Arc<Block>, name: &str, offset: u64, size: u64) -> Result<Self> {
        let object = format!("buffer \"{name}\" in block \"{}\"", block.name());
        let raw = block.place(offset, size, &object)?;
        log_range_warning(block.device(), size, block.usage(), &object);
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { block.device().set_name(raw.as_raw(), name) };
        Ok(Self { raw, backing: Backing::Block(Arc::clone(block)), offset, size, name: name.to_owned() })
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::Buffer {
        self.raw.as_raw()
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the Vulkan usage flags of the buffer.
    pub fn usage(&self) -> vk::BufferUsageFlags {
        self.raw.usage()
    }

    /// Returns the buffer's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device that the buffer belongs to.
    pub fn device(&self) -> &ExportDevice {
        self.raw.device()
    }

    /// Returns the start of the host mapping of [`size`](Self::size) bytes if the placement is
    /// [`Placement::HostVisible`]. The pointer is valid as long as the buffer lives. The caller is
    /// responsible for accesses through it and for ordering them with the GPU.
    pub fn host_ptr(&self) -> Option<NonNull<u8>> {
        let start = self.memory().mapped()?;
        // SAFETY: the offset was checked to lie inside the memory, all of which is mapped.
        usize::try_from(self.offset).ok().map(|offset| unsafe { start.add(offset) })
    }

    /// Returns the buffer's address in the GPU's address space, for shaders and for CUDA kernels
    /// that Vulkan launches; `None` if its usage lacks `SHADER_DEVICE_ADDRESS`, which
    /// [`with_device_address`](crate::BufferAccess::with_device_address) adds. Another API that
    /// imported the buffer uses a different address.
    #[doc(alias = "vkGetBufferDeviceAddress")]
    pub fn device_address(&self) -> Option<u64> {
        self.raw.device_address()
    }

    /// Exports a new handle to the buffer's memory, with the parameters that an importer must
    /// repeat. For a buffer in a block, the handle is to the memory of the whole block, and the
    /// descriptor's offset is the start of the buffer.
    ///
    /// The caller owns the handle. Each import needs its own handle.
    ///
    /// # Errors
    /// [`Error::NotExportable`](crate::Error::NotExportable) for a buffer of another placement,
    /// otherwise the error of the failed driver call.
    #[doc(alias = "vkGetMemoryFdKHR")]
    #[doc(alias = "vkGetMemoryWin32HandleKHR")]
    pub fn export(&self) -> Result<ExportedBuffer> {
        let (handle, descriptor) = self.memory().export(&self.name, self.size)?;
        Ok(ExportedBuffer { handle, descriptor: MemoryDescriptor { offset: self.offset, ..descriptor } })
    }

    fn memory(&self) -> &Memory {
        match &self.backing {
            Backing::Own(memory) => memory,
            Backing::Block(block) => block.memory(),
        }
    }
}
