//! One allocation for many buffers.

use std::sync::Arc;

use ash::vk;

use crate::buffer::check::{query_handle_type, require_possible};
use crate::buffer::raw::RawBuffer;
use crate::device::ExportDevice;
use crate::device::registry::Registered;
use crate::device::requirements::MEMORY_EXTENSION;
use crate::error::{Error, Result};
use crate::handle::MemoryHandle;
use crate::handle::handle_type::HandleType;
use crate::handle::os::Exporter;
use crate::memory::size::{check_placed, placed_size};
use crate::memory::{Memory, Request};
use crate::memory::{MemoryDescriptor, Placement};

/// Configuration of a block.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockInfo<'a> {
    /// The name in errors, traces and GPU debuggers. Default: empty.
    pub name: &'a str,
    /// Size in bytes, not zero. Rounded up if other GPUs map the block.
    pub size: u64,
    /// Vulkan usage of the buffers in the block, all usages combined; not empty. Every buffer in
    /// the block has this usage.
    pub usage: vk::BufferUsageFlags,
    /// Placement of the memory: exportable, mapped for the host, or for Vulkan alone. Default:
    /// exportable.
    pub placement: Placement,
}

/// One allocation for many buffers, which are created with
/// [`Buffer::new_in`](crate::Buffer::new_in): one export, one import and one mapping for all of
/// them. Each buffer keeps the block alive.
///
/// All buffers have the usage of the block, so one memory type and one alignment apply to all
/// (Vulkan specification, `VkMemoryRequirements`: both are the same for all buffers of one usage).
/// `bufferImageGranularity` does not apply, because a block contains no images. The caller chooses
/// the offsets of the buffers; the contents of buffers that overlap are undefined.
///
/// See [`VkExportMemoryAllocateInfo`] and [`vkBindBufferMemory2`].
///
/// [`VkExportMemoryAllocateInfo`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkExportMemoryAllocateInfo.html
/// [`vkBindBufferMemory2`]: https://docs.vulkan.org/refpages/latest/refpages/source/vkBindBufferMemory2.html
#[derive(Debug)]
pub struct Block {
    memory: Memory,
    size: u64,
    alignment: u64,
    usage: vk::BufferUsageFlags,
    handle_type: Option<HandleType>,
    name: String,
    device: Registered,
}

/// An exported block.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExportedBlock {
    /// A handle to the memory, owned by this object. Closed on drop if its type requires that.
    pub handle: MemoryHandle,
    /// Parameters that the importer must repeat. Its `size` is the whole allocation.
    pub descriptor: MemoryDescriptor,
}

impl Block {
    /// Allocates a block. First queries whether the driver can export buffers of this usage from
    /// memory that several buffers share.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for zero bytes or no usage, [`Error::TooLarge`] beyond the
    /// device's limits, [`Error::NotExportable`] if such buffers cannot be exported, or only from
    /// dedicated allocations, [`Error::Missing`], otherwise the error of the failed driver call.
    pub fn new(device: &ExportDevice, info: &BlockInfo<'_>) -> Result<Arc<Self>> {
        let object = format!("block \"{}\"", info.name);
        let size = placed_size(info.size, info.placement);
        require_possible(device, size, info.usage, &object)?;
        let own_only = || Error::NotExportable {
            object: object.clone(),
            handle_type: HandleType::NATIVE.as_str(),
            device: device.name().to_owned(),
            reason: format!(
                "the driver requires a dedicated allocation for each buffer of usage {:?}: create them without a \
                 block or a pool",
                info.usage
            ),
        };
        let (mut handle_type, mut exporter) = (None, None);
        if info.placement.is_exportable() {
            device.check_can_export(MEMORY_EXTENSION)?;
            let (of_type, dedicated_only) = query_handle_type(device, info.usage, &object)?;
            if dedicated_only {
                return Err(own_only());
            }
            exporter = Some(Exporter::new(of_type, &object)?);
            handle_type = Some(of_type);
        }
        // The requirements of a buffer over the whole block apply to every buffer in it. This
        // buffer is destroyed before the block is used.
        let requirements = RawBuffer::create(device, size, info.usage, handle_type, &object)?.requirements();
        if requirements.requires_dedicated {
            return Err(own_only());
        }
        check_placed(device.physical(), requirements.memory.size, info.placement, &object)?;
        let request = Request {
            name: info.name,
            requirements: requirements.memory,
            dedicated_to: None,
            device_address: info.usage.contains(vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS),
            placement: info.placement,
            exporter,
        };
        let memory = Memory::allocate(device, request)?;
        if handle_type.is_some() {
            device.count_exported_block(size);
        }
        Ok(Arc::new(Self {
            memory,
            size,
            alignment: requirements.memory.alignment,
            usage: info.usage,
            handle_type,
            name: info.name.to_owned(),
            device: device.register(&object),
        }))
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the alignment in bytes, a power of two: the offset of each buffer is a multiple of
    /// it, and a buffer occupies its size, rounded up to it.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Returns the usage of the buffers in the block.
    pub fn usage(&self) -> vk::BufferUsageFlags {
        self.usage
    }

    /// Returns the block's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device that the block belongs to.
    pub fn device(&self) -> &ExportDevice {
        &self.device
    }

    /// Exports a new handle to the block, with the parameters that an importer must repeat.
    ///
    /// The caller owns the handle. Each import needs its own handle.
    ///
    /// # Errors
    /// [`Error::NotExportable`] for a block of another placement, otherwise the error of the failed
    /// driver call.
    #[doc(alias = "vkGetMemoryFdKHR")]
    #[doc(alias = "vkGetMemoryWin32HandleKHR")]
    pub fn export(&self) -> Result<ExportedBlock> {
        let (handle, descriptor) = self.memory.export(&self.name, self.memory.allocation_size())?;
        Ok(ExportedBlock { handle, descriptor })
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Creates a `VkBuffer` of `size` bytes and binds it at `offset`.
    pub(crate) fn place(&self, offset: u64, size: u64, object: &str) -> Result<RawBuffer> {
        let invalid = |reason: String| Error::invalid(object, reason);
        if !offset.is_multiple_of(self.alignment) {
            return Err(invalid(format!("offset {offset} is not a multiple of {}, its alignment", self.alignment)));
        }
        let outside = || {
            let end = u128::from(offset) + u128::from(size);
            invalid(format!("bytes {offset}..{end} do not lie inside the block, which has {}", self.size))
        };
        if size == 0 {
            return Err(invalid("its size is 0 bytes; share at least one element".to_owned()));
        }
        offset.checked_add(size).filter(|end| *end <= self.size).ok_or_else(outside)?;
        let raw = RawBuffer::create(&self.device, size, self.usage, self.handle_type, object)?;
        let wanted = raw.requirements();
        let misfit = self.misfit(offset, size, &wanted.memory);
        let misfit = misfit.or(wanted.requires_dedicated.then_some("an allocation of its own"));
        if let Some(what) = misfit {
            return Err(invalid(format!("{} requires {what} for it; create it without a block", self.device.name())));
        }
        raw.bind(&self.memory, offset, object)?;
        Ok(raw)
    }

    /// Returns a requirement of a buffer that the block does not meet. The specification guarantees
    /// that there is none, but binding depends on it.
    fn misfit(&self, offset: u64, size: u64, wanted: &vk::MemoryRequirements) -> Option<&'static str> {
        // An out-of-range memory type, which would be a driver bug, matches no mask.
        let of_type = 1u32.checked_shl(self.memory.memory_type()).unwrap_or(0) & wanted.memory_type_bits != 0;
        if !of_type {
            return Some("another type of memory");
        }
        if !offset.is_multiple_of(wanted.alignment) {
            return Some("more alignment than the block has");
        }
        let room = self.memory.allocation_size().saturating_sub(offset);
        let reserved = size.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX);
        (wanted.size > room.min(reserved)).then_some("more bytes than its size")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.handle_type.is_some() {
            self.device.count_freed_block(self.size);
        }
    }
}
