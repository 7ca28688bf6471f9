//! Buffers that are shared.

#![allow(unsafe_code)] // Vulkan calls, and a pointer into mapped memory.
pub(crate) mod access;
pub(crate) mod barrier;
pub(crate) mod raw;

use std::ptr::NonNull;
use std::sync::Arc;

use ash::vk;

use crate::buffer::raw::RawBuffer;
use crate::device::requirements::MEMORY_EXTENSION;
use crate::device::{EnabledFeatures, ExportDevice};
use crate::error::{Error, Result};
use crate::handle::os::Exporter;
use crate::handle::{HandleType, MemoryHandle};
use crate::memory::block::Block;
use crate::memory::{Memory, Request, Resource};
use crate::memory::{MemoryDescriptor, Placement};

/// What a shared buffer is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct BufferInfo<'a> {
    /// Its name, in errors, traces and GPU debuggers. Default: empty.
    pub name: &'a str,
    /// Bytes; not zero.
    pub size: u64,
    /// How Vulkan uses it; not empty. A [`Consumer`](crate::Consumer) knows.
    pub usage: vk::BufferUsageFlags,
    /// Exportable, or mapped for the host. Default: exportable.
    pub placement: Placement,
}

/// A buffer that is shared with another API or with the host, in memory of its own or in a [`Block`].
///
/// Dropping it frees it at once: whoever holds it keeps it until the GPU is done with it.
#[derive(Debug)]
pub struct Buffer {
    // Field order is drop order: the buffer goes before its memory.
    raw: RawBuffer,
    backing: Backing,
    offset: u64,
    size: u64,
    name: String,
}

/// Whose the memory is.
#[derive(Debug)]
enum Backing {
    /// The buffer's alone.
    Own(Memory),
    /// Shared with the other buffers in the block.
    Block(Arc<Block>),
}

/// A buffer as it left Vulkan.
#[derive(Debug)]
pub struct ExportedBuffer {
    /// A handle of its own, which knows whether it is to be closed.
    pub handle: MemoryHandle,
    /// What the importer must repeat.
    pub descriptor: MemoryDescriptor,
}

impl Buffer {
    /// Makes a buffer in memory of its own, after asking the driver whether exactly this one can be exported.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for zero bytes or no usage, [`Error::TooLarge`] past the device's limits,
    /// [`Error::NotExportable`] and [`Error::Missing`] where it cannot leave, else the failed call.
    pub fn new(device: &ExportDevice, info: &BufferInfo<'_>) -> Result<Self> {
        Self::make(device, info, Exporter::new)
    }

    /// As [`new`](Self::new), with a name or security of its own. It is exportable whatever `info` says.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); [`Error::InvalidArgument`] for a name that cannot be or is taken, and for a security
    /// descriptor that Windows does not understand or that would let everyone in.
    #[cfg(windows)]
    pub fn new_shared(
        device: &ExportDevice,
        info: &BufferInfo<'_>,
        sharing: &crate::handle::nt::NtSharing<'_>,
    ) -> Result<Self> {
        let info = BufferInfo { placement: Placement::Exportable, ..*info };
        Self::make(device, &info, |handle_type, object| Exporter::shared(handle_type, sharing, object))
    }

    fn make(
        device: &ExportDevice,
        info: &BufferInfo<'_>,
        exporter: impl FnOnce(HandleType, &str) -> Result<Exporter>,
    ) -> Result<Self> {
        let object = format!("buffer \"{}\"", info.name);
        check(device, info.size, info.usage, &object)?;
        let (mut handle_type, mut dedicated_only, mut shared) = (None, false, None);
        if info.placement == Placement::Exportable {
            device.check_can_export(MEMORY_EXTENSION)?;
            let (of_type, only) = ask(device, info.usage, &object)?;
            shared = Some(exporter(of_type, &object)?);
            (handle_type, dedicated_only) = (Some(of_type), only);
        }
        let raw = RawBuffer::create(device, info.size, info.usage, handle_type, &object)?;
        let requirements = raw.requirements();
        let dedicated = dedicated_only || requirements.requires_dedicated || requirements.prefers_dedicated;
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
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(raw.as_raw(), info.name) };
        Ok(Self { raw, backing: Backing::Own(memory), offset: 0, size: info.size, name: info.name.to_owned() })
    }

    /// Makes a buffer of `size` bytes that starts `offset` bytes into `block`, with the block's usage and placement.
    ///
    /// The caller keeps buffers that are alive at the same time apart: each takes up its size, rounded up to the block's
    /// [`alignment`](Block::alignment).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for zero bytes, an offset that is not aligned and bytes outside of the block, else the
    /// failed call.
    pub fn new_in(block: &Arc<Block>, name: &str, offset: u64, size: u64) -> Result<Self> {
        let object = format!("buffer \"{name}\" in block \"{}\"", block.name());
        let raw = block.place(offset, size, &object)?;
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { block.device().set_name(raw.as_raw(), name) };
        Ok(Self { raw, backing: Backing::Block(Arc::clone(block)), offset, size, name: name.to_owned() })
    }

    /// The Vulkan handle, lent.
    pub fn as_raw(&self) -> vk::Buffer {
        self.raw.as_raw()
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The name given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device it is on.
    pub fn device(&self) -> &ExportDevice {
        self.raw.device()
    }

    /// The start of the host's mapping of [`size`](Self::size) bytes, with [`Placement::HostVisible`]; it is valid as
    /// long as the buffer lives. Reading and writing through it, and ordering that with the GPU, is up to the caller.
    pub fn host_ptr(&self) -> Option<NonNull<u8>> {
        let start = self.memory().mapped()?;
        // SAFETY: the offset was seen to lie inside the memory, all of which is mapped.
        usize::try_from(self.offset).ok().map(|offset| unsafe { start.add(offset) })
    }

    /// A fresh handle to the buffer's memory, with what an importer must repeat. In a block it is that of the whole block,
    /// and the descriptor's offset says where the buffer starts.
    ///
    /// The handle is the caller's; each import takes one of its own.
    ///
    /// # Errors
    /// [`Error::NotExportable`] for a host-visible buffer, else the failed call.
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

/// That neither is zero, the usage is known and its features are on, and the device takes as many bytes in one buffer.
pub(crate) fn check(device: &ExportDevice, size: u64, usage: vk::BufferUsageFlags, object: &str) -> Result<()> {
    let invalid = |reason: &str| Err(Error::InvalidArgument { object: object.to_owned(), reason: reason.to_owned() });
    if size == 0 {
        return invalid("its size is 0 bytes; share at least one element");
    }
    if usage.is_empty() {
        return invalid("its usage is empty; say how Vulkan uses it");
    }
    let foreign = usage & !usages(device.enabled());
    if !foreign.is_empty() {
        return invalid(&format!(
            "its usage has {foreign:?}, which no shared buffer can have, or only with a feature that is not on: \
             `buffer_device_address` for SHADER_DEVICE_ADDRESS, `acceleration_structure` for build inputs"
        ));
    }
    let physical = device.physical();
    // Unlike maxMemoryAllocationSize it is a limit (VUID-VkBufferCreateInfo-size-06409).
    if let Some(limit) = physical.max_buffer_size.filter(|limit| size > *limit) {
        return Err(Error::TooLarge {
            object: object.to_owned(),
            size,
            limit,
            limit_name: "maxBufferSize",
            device: physical.name.clone(),
        });
    }
    let range = physical.limits.max_storage_buffer_range;
    if usage.contains(vk::BufferUsageFlags::STORAGE_BUFFER) && size > u64::from(range) {
        log::warn!(
            "{object} has {size} bytes, but a descriptor shows shaders of {} at most {range} (maxStorageBufferRange)",
            physical.name
        );
    }
    Ok(())
}

/// The usages that a shared buffer can have: those of Vulkan 1.0, and those of features that are on.
fn usages(enabled: &EnabledFeatures) -> vk::BufferUsageFlags {
    use vk::BufferUsageFlags as Usage;
    let mut usages = Usage::TRANSFER_SRC
        | Usage::TRANSFER_DST
        | Usage::UNIFORM_TEXEL_BUFFER
        | Usage::STORAGE_TEXEL_BUFFER
        | Usage::UNIFORM_BUFFER
        | Usage::STORAGE_BUFFER
        | Usage::INDEX_BUFFER
        | Usage::VERTEX_BUFFER
        | Usage::INDIRECT_BUFFER;
    if enabled.buffer_device_address {
        usages |= Usage::SHADER_DEVICE_ADDRESS;
    }
    if enabled.acceleration_structure {
        usages |= Usage::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR;
    }
    usages
}

/// Asks as what this usage can be exported, and whether only from a dedicated allocation.
pub(crate) fn ask(device: &ExportDevice, usage: vk::BufferUsageFlags, object: &str) -> Result<(HandleType, bool)> {
    for &handle_type in HandleType::OF_MEMORY {
        let features = external_features(device.instance(), device.physical().handle, usage, handle_type);
        if features.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE) {
            return Ok((handle_type, features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY)));
        }
    }
    Err(Error::NotExportable {
        object: object.to_owned(),
        handle_type: HandleType::NATIVE.as_str(),
        device: device.name().to_owned(),
        reason: format!("the driver does not export buffers of usage {usage:?}"),
    })
}

/// What a physical device of `instance` does with buffers of `usage` as handles of a type.
pub(crate) fn external_features(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    usage: vk::BufferUsageFlags,
    handle_type: HandleType,
) -> vk::ExternalMemoryFeatureFlags {
    let question = vk::PhysicalDeviceExternalBufferInfo::default().usage(usage).handle_type(handle_type.memory());
    let mut answer = vk::ExternalBufferProperties::default();
    // SAFETY: a query of a physical device of this instance.
    unsafe { instance.get_physical_device_external_buffer_properties(physical, &question, &mut answer) };
    answer.external_memory_properties.external_memory_features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_are_those_whose_features_are_on() {
        use vk::BufferUsageFlags as Usage;
        let off = EnabledFeatures::default();
        let address = EnabledFeatures { buffer_device_address: true, ..off };
        let inputs = EnabledFeatures { acceleration_structure: true, ..off };
        assert!(usages(&off).contains(Usage::STORAGE_BUFFER | Usage::VERTEX_BUFFER | Usage::TRANSFER_DST));
        assert!(!usages(&off).intersects(Usage::SHADER_DEVICE_ADDRESS | Usage::from_raw(1 << 31)));
        assert!(usages(&address).contains(Usage::SHADER_DEVICE_ADDRESS));
        assert!(!usages(&address).contains(Usage::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR));
        assert!(usages(&inputs).contains(Usage::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR));
    }
}
