//! Buffers that are shared.
#![allow(unsafe_code)] // Vulkan calls.

use std::ptr::NonNull;

use ash::vk;

use crate::memory::{Memory, Request, Resource};
use crate::os::Exporter;
use crate::requirements::MEMORY_EXTENSION;
use crate::{Error, ExportDevice, HandleType, MemoryDescriptor, MemoryHandle, Placement, Result};

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

/// A buffer in memory of its own that is shared with another API or with the host.
///
/// Dropping it frees it at once: whoever holds it keeps it until the GPU is done with it.
#[derive(Debug)]
pub struct Buffer {
    raw: vk::Buffer,
    memory: Memory, // Freed after `Drop` below has destroyed the buffer.
    size: u64,
    name: String,
    device: ExportDevice,
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
    /// Makes a buffer, after asking the driver whether exactly this one can be exported.
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
    pub fn new_shared(device: &ExportDevice, info: &BufferInfo<'_>, sharing: &crate::NtSharing<'_>) -> Result<Self> {
        let info = BufferInfo { placement: Placement::Exportable, ..*info };
        Self::make(device, &info, |handle_type, object| Exporter::shared(handle_type, sharing, object))
    }

    fn make(
        device: &ExportDevice,
        info: &BufferInfo<'_>,
        exporter: impl FnOnce(HandleType, &str) -> Result<Exporter>,
    ) -> Result<Self> {
        let object = format!("buffer \"{}\"", info.name);
        check(device, info, &object)?;
        let mut external = vk::ExternalMemoryBufferCreateInfo::default();
        let mut create =
            vk::BufferCreateInfo::default().size(info.size).usage(info.usage).sharing_mode(vk::SharingMode::EXCLUSIVE);
        let (mut dedicated_only, mut shared) = (false, None);
        if info.placement == Placement::Exportable {
            device.check_can_export(MEMORY_EXTENSION)?;
            let handle_type;
            (handle_type, dedicated_only) = ask(device, info, &object)?;
            shared = Some(exporter(handle_type, &object)?);
            external = external.handle_types(handle_type.memory());
            create = create.push_next(&mut external);
        }
        // SAFETY: VUID-VkBufferCreateInfo-size-00912 and -None-09499 (usage): neither is zero, checked above;
        // VUID-VkBufferCreateInfo-pNext-00920: the external handle type was asked for with this usage.
        let raw = unsafe { device.as_raw().create_buffer(&create, None) }
            .map_err(device.failed("vkCreateBuffer", &object))?;
        // SAFETY: `raw` was just made, nothing uses it.
        let destroy = || unsafe { device.as_raw().destroy_buffer(raw, None) };

        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        let question = vk::BufferMemoryRequirementsInfo2::default().buffer(raw);
        // SAFETY: `raw` is a live buffer of this device.
        unsafe { device.as_raw().get_buffer_memory_requirements2(&question, &mut requirements) };
        let requirements = requirements.memory_requirements;
        let wants_own = dedicated.requires_dedicated_allocation | dedicated.prefers_dedicated_allocation;
        let request = Request {
            name: info.name,
            requirements,
            dedicated_to: (dedicated_only || wants_own != 0).then_some(Resource::Buffer(raw)),
            device_address: info.usage.contains(vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS),
            placement: info.placement,
            exporter: shared,
        };
        let memory = match Memory::allocate(device, request) {
            Ok(memory) => memory,
            Err(error) => {
                destroy();
                return Err(error);
            }
        };
        let buffer = Self { raw, memory, size: info.size, name: info.name.to_owned(), device: device.clone() };
        // SAFETY: VUID-vkBindBufferMemory-buffer-07459, -memory-01035 to -01037: fresh buffer, memory of its own type,
        // size and alignment, offset 0.
        unsafe { device.as_raw().bind_buffer_memory(raw, buffer.memory.as_raw(), 0) }
            .map_err(device.failed("vkBindBufferMemory", &object))?;
        device.set_name(raw, info.name);
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

    /// The name given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device it is on.
    pub fn device(&self) -> &ExportDevice {
        &self.device
    }

    /// The start of the host's mapping of [`size`](Self::size) bytes, with [`Placement::HostVisible`]; it is valid as
    /// long as the buffer lives. Reading and writing through it, and ordering that with the GPU, is up to the caller.
    pub fn host_ptr(&self) -> Option<NonNull<u8>> {
        self.memory.mapped()
    }

    /// A fresh handle to the buffer's memory, with what an importer must repeat.
    ///
    /// The handle is the caller's; each import takes one of its own.
    ///
    /// # Errors
    /// [`Error::NotExportable`] for a host-visible buffer, else the failed call.
    #[doc(alias = "vkGetMemoryFdKHR")]
    #[doc(alias = "vkGetMemoryWin32HandleKHR")]
    pub fn export(&self) -> Result<ExportedBuffer> {
        let (handle, descriptor) = self.memory.export(&self.name, self.size)?;
        Ok(ExportedBuffer { handle, descriptor })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: the owner keeps the buffer until the submissions that use it have
        // completed, as the type's documentation says.
        unsafe { self.device.as_raw().destroy_buffer(self.raw, None) };
    }
}

fn check(device: &ExportDevice, info: &BufferInfo<'_>, object: &str) -> Result<()> {
    let invalid = |reason: &str| Err(Error::InvalidArgument { object: object.to_owned(), reason: reason.to_owned() });
    if info.size == 0 {
        return invalid("its size is 0 bytes; share at least one element");
    }
    if info.usage.is_empty() {
        return invalid("its usage is empty; say how Vulkan uses it");
    }
    let physical = device.physical();
    let limits =
        [(physical.max_buffer_size, "maxBufferSize"), (Some(physical.max_allocation_size), "maxMemoryAllocationSize")];
    for (limit, limit_name) in limits {
        if let Some(limit) = limit.filter(|limit| info.size > *limit) {
            return Err(Error::TooLarge {
                object: object.to_owned(),
                size: info.size,
                limit,
                limit_name,
                device: physical.name.clone(),
            });
        }
    }
    Ok(())
}

/// Asks as what this usage can be exported, and whether only from a dedicated allocation.
fn ask(device: &ExportDevice, info: &BufferInfo<'_>, object: &str) -> Result<(HandleType, bool)> {
    for &handle_type in HandleType::OF_MEMORY {
        let features = external_features(device.instance(), device.physical().handle, info.usage, handle_type);
        if features.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE) {
            return Ok((handle_type, features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY)));
        }
    }
    Err(Error::NotExportable {
        object: object.to_owned(),
        handle_type: HandleType::NATIVE.as_str(),
        device: device.name().to_owned(),
        reason: format!("the driver does not export buffers of usage {:?}", info.usage),
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
