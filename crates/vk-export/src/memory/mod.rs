//! Memory of our own: exportable, or mapped for the host. One allocation a resource, or a block of
//! many buffers.

#![allow(unsafe_code)] // Vulkan calls.
pub(crate) mod block;
pub(crate) mod select;
pub(crate) mod size;

use std::ptr::NonNull;

use ash::vk;
use uuid::Uuid;

use crate::device::ExportDevice;
use crate::error::{Error, Result};
use crate::handle::MemoryHandle;
use crate::handle::handle_type::HandleType;
use crate::handle::os::Exporter;
use crate::logging::log_debug;

/// Placement of shared memory, and who else can access it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Placement {
    /// On the device, exportable to another API as the first of [`HandleType::OF_MEMORY`] that the
    /// driver offers. The buffer or image owns its allocation, or a [`Block`](crate::Block) does that
    /// its buffers keep alive; an importer frees its mapping first.
    #[default]
    Exportable,
    /// In device memory, exportable, and mapped by other GPUs too. This takes whole pages of 2 MiB:
    /// a buffer outside of a [`Block`](crate::Block) has its own allocation, and the Vulkan buffer
    /// is as large as that. Its `size` is still the requested one, but a descriptor with
    /// `VK_WHOLE_SIZE` includes the rest, which holds no data. Not for images.
    Peers,
    /// Mapped and coherent for the host, for as long as it lives. Vulkan owns it alone, and frees it
    /// with the resource.
    HostVisible,
    /// On the device, for Vulkan alone, which frees it with the resource: neither exported nor
    /// mapped. What is shared through copies of it lies here.
    DeviceLocal,
}

impl Placement {
    /// Returns `true` if memory there is exported to other APIs.
    pub(crate) fn is_exportable(self) -> bool {
        match self {
            Self::Exportable | Self::Peers => true,
            Self::HostVisible | Self::DeviceLocal => false,
        }
    }
}

/// Parameters that an importer must repeat exactly.
///
/// No driver checks these: a wrong size or dedicated flag is accepted without a word and is
/// undefined behavior (CUDA programming guide 6.2.16: "The mappings must match the mappings setup
/// in the exporting API").
///
/// The importer's side is [`CUDA_EXTERNAL_MEMORY_HANDLE_DESC`].
///
/// [`CUDA_EXTERNAL_MEMORY_HANDLE_DESC`]: https://docs.nvidia.com/cuda/cuda-driver-api/structCUDA__EXTERNAL__MEMORY__HANDLE__DESC__v1.html
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryDescriptor {
    /// The type of the handle.
    pub handle_type: HandleType,
    /// Bytes given to `vkAllocateMemory`; what the importer states as the size of the memory.
    pub allocation_size: u64,
    /// Offset of the resource in it, in bytes.
    pub offset: u64,
    /// Bytes of the resource.
    pub size: u64,
    /// Whether the allocation is dedicated to the resource.
    pub dedicated: bool,
    /// The index of the Vulkan memory type.
    pub memory_type: u32,
    /// The UUID of the device that the memory is on.
    pub device_uuid: Uuid,
    /// Name of the resource.
    pub name: String,
}

/// Resource to allocate for.
pub(crate) struct Request<'a> {
    pub(crate) name: &'a str,
    pub(crate) requirements: vk::MemoryRequirements,
    /// The resource, where [`is_dedicated`] says so.
    pub(crate) dedicated_to: Option<Resource>,
    pub(crate) device_address: bool,
    pub(crate) placement: Placement,
    /// `Some` if and only if the placement is exportable.
    pub(crate) exporter: Option<Exporter>,
}

/// Returns `true` if a resource's allocation is dedicated to it: wherever it is exported, and where
/// the driver `asks` for it.
///
/// NVIDIA's driver asks for it with large resources only, and compresses exportable memory that is
/// not dedicated: on an H100, CUDA reads 4 GiB of that at random at a sixth of the speed of its own
/// memory, and buffers of 16 MiB take twice as long to make.
pub(crate) fn is_dedicated(exported: bool, asks: bool) -> bool {
    exported || asks
}

/// Resource that an allocation can be dedicated to.
#[derive(Clone, Copy)]
pub(crate) enum Resource {
    Buffer(vk::Buffer),
    Image(vk::Image),
}

impl Resource {
    fn dedicated_info(self) -> vk::MemoryDedicatedAllocateInfo<'static> {
        match self {
            Self::Buffer(buffer) => vk::MemoryDedicatedAllocateInfo::default().buffer(buffer),
            Self::Image(image) => vk::MemoryDedicatedAllocateInfo::default().image(image),
        }
    }
}

/// One `VkDeviceMemory`.
#[derive(Debug)]
pub(crate) struct Memory {
    raw: vk::DeviceMemory,
    allocation_size: u64,
    memory_type: u32,
    dedicated: bool,
    mapped: Option<NonNull<u8>>,
    exporter: Option<Exporter>,
    device: ExportDevice,
}

// SAFETY: the pointer is to a mapping that lives as long as this does; who reads and writes through
// it, and when, is for the users of `host_ptr` to order. The Vulkan handle may be used from any
// thread.
unsafe impl Send for Memory {}
// SAFETY: as above; no method here reads or writes through the pointer.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn allocate(device: &ExportDevice, request: Request<'_>) -> Result<Self> {
        let size = request.requirements.size;
        let object = format!("memory of \"{}\"", request.name);
        use vk::MemoryPropertyFlags as Flags;
        let (wanted, preferred) = match request.placement {
            Placement::Exportable | Placement::Peers | Placement::DeviceLocal => (Flags::DEVICE_LOCAL, Flags::empty()),
            // The specification promises a type with both to every buffer and every LINEAR image.
            Placement::HostVisible => (Flags::HOST_VISIBLE | Flags::HOST_COHERENT, Flags::HOST_CACHED),
        };
        let physical = device.physical();
        let memory_type =
            physical.memory_type(request.requirements.memory_type_bits, wanted, preferred).ok_or_else(|| {
                Error::invalid(&object, format!("{} has no {wanted:?} memory type for it", device.name()))
            })?;
        size::check_memory(physical, size, memory_type, &object)?;

        let exporter = request.exporter;
        let handle_types = exporter.as_ref().map(|exporter| exporter.handle_type().memory());
        let mut export_info = vk::ExportMemoryAllocateInfo::default().handle_types(handle_types.unwrap_or_default());
        #[cfg(windows)]
        let mut nt_info = exporter.as_ref().and_then(Exporter::memory_info);
        let mut dedicated_info = request.dedicated_to.map(Resource::dedicated_info);
        let mut flags_info = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let mut info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(memory_type);
        if handle_types.is_some() {
            info = info.push_next(&mut export_info);
        }
        #[cfg(windows)]
        if let Some(nt_info) = &mut nt_info {
            info = info.push_next(nt_info);
        }
        if let Some(dedicated_info) = &mut dedicated_info {
            info = info.push_next(dedicated_info);
        }
        if request.device_address {
            info = info.push_next(&mut flags_info);
        }
        // SAFETY: VUID-vkAllocateMemory-pAllocateInfo-01713/-01714: size and type were checked
        // against the device above; VUID-VkMemoryDedicatedAllocateInfo-buffer-02965, -image-02964:
        // a dedicated size is the resource's own.
        let raw = unsafe { device.as_raw().allocate_memory(&info, None) }.map_err(|result| match result {
            vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY => {
                size::refused(device, result, (size, memory_type), object)
            }
            result => device.failed("vkAllocateMemory", &format!("{object}, {size} bytes"))(result),
        })?;
        device.count_allocated(memory_type, size);
        let mut memory = Self {
            raw,
            allocation_size: size,
            memory_type,
            dedicated: request.dedicated_to.is_some(),
            mapped: None,
            exporter,
            device: device.clone(),
        };
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(raw, request.name) };
        if request.placement == Placement::HostVisible {
            // SAFETY: VUID-vkMapMemory-memory-00678/-00682: freshly allocated, not mapped yet, of a
            // HOST_VISIBLE type.
            let pointer = unsafe { device.as_raw().map_memory(raw, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) }
                .map_err(device.failed("vkMapMemory", request.name))?;
            memory.mapped = NonNull::new(pointer.cast());
        }
        Ok(memory)
    }

    pub(crate) fn as_raw(&self) -> vk::DeviceMemory {
        self.raw
    }

    /// Bytes given to `vkAllocateMemory`.
    pub(crate) fn allocation_size(&self) -> u64 {
        self.allocation_size
    }

    /// The index of its memory type.
    pub(crate) fn memory_type(&self) -> u32 {
        self.memory_type
    }

    /// The start of the host's mapping, if there is one.
    pub(crate) fn mapped(&self) -> Option<NonNull<u8>> {
        self.mapped
    }

    /// A fresh handle, and the descriptor for a resource of `size` bytes at offset 0.
    pub(crate) fn export(&self, name: &str, size: u64) -> Result<(MemoryHandle, MemoryDescriptor)> {
        let object = format!("memory of \"{name}\"");
        let Some(exporter) = &self.exporter else {
            let placement = if self.mapped.is_some() { Placement::HostVisible } else { Placement::DeviceLocal };
            return Err(Error::NotExportable {
                object,
                handle_type: HandleType::NATIVE.as_str(),
                device: self.device.name().to_owned(),
                reason: format!("it was made with Placement::{placement:?}; make it Exportable"),
            });
        };
        let handle = exporter.memory(&self.device, self.raw, &object)?;
        log_debug!("exported {object}: {} bytes, dedicated: {}", self.allocation_size, self.dedicated);
        let descriptor = MemoryDescriptor {
            handle_type: exporter.handle_type(),
            allocation_size: self.allocation_size,
            offset: 0,
            size,
            dedicated: self.dedicated,
            memory_type: self.memory_type,
            device_uuid: self.device.uuid(),
            name: name.to_owned(),
        };
        Ok((handle, descriptor))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: VUID-vkFreeMemory-memory-00677: the resource bound to it goes first (see
        // `Buffer`), and the owner of that keeps it until the submissions which use it have
        // completed. Freeing unmaps.
        unsafe { self.device.as_raw().free_memory(self.raw, None) };
        self.device.count_freed(self.memory_type, self.allocation_size);
    }
}
