//! Device memory allocations: exportable, mapped for the host, or for Vulkan alone, with one
//! allocation per resource, or one block for many buffers.

#![allow(unsafe_code)] // Vulkan calls.
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
    /// In device memory, exportable to another API as the first of [`HandleType::MEMORY_TYPES`]
    /// that the driver supports. The allocation is owned by the buffer or image, or by a
    /// [`Block`](crate::Block) that its buffers keep alive; an importer must free its mapping
    /// first.
    #[default]
    Exportable,
    /// In device memory, exportable, and mapped by other GPUs too. The allocation has the same
    /// owner as that of [`Exportable`](Self::Exportable), and every GPU must free its mapping
    /// first. This takes whole pages of 2 MiB: a buffer outside of a [`Block`](crate::Block) has
    /// its own allocation, and the Vulkan buffer is as large as that allocation. Its `size` is
    /// still the requested one, but a descriptor with `VK_WHOLE_SIZE` includes the rest, which
    /// contains no data. Not for images.
    Peers,
    /// Mapped and coherent for the host as long as it lives. Only Vulkan owns it, and it is freed
    /// with the resource.
    HostVisible,
    /// In device memory, neither exported nor mapped. Only Vulkan owns it, and it is freed with the
    /// resource. Used for resources that are shared through copies.
    DeviceLocal,
}

impl Placement {
    /// Returns `true` if memory of this placement is exported to other APIs.
    pub(crate) fn is_exportable(self) -> bool {
        match self {
            Self::Exportable | Self::Peers => true,
            Self::HostVisible | Self::DeviceLocal => false,
        }
    }
}

/// Parameters that an importer must repeat exactly.
///
/// Drivers do not check these: a wrong size or dedicated flag is silently accepted and is undefined
/// behavior (CUDA programming guide 6.2.16: "The mappings must match the mappings setup in the
/// exporting API").
///
/// The importer passes them in [`CUDA_EXTERNAL_MEMORY_HANDLE_DESC`].
///
/// [`CUDA_EXTERNAL_MEMORY_HANDLE_DESC`]: https://docs.nvidia.com/cuda/cuda-driver-api/structCUDA__EXTERNAL__MEMORY__HANDLE__DESC__v1.html
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryDescriptor {
    /// The type of the handle.
    pub handle_type: HandleType,
    /// Bytes passed to `vkAllocateMemory`, which the importer must specify as the size of the
    /// memory.
    pub allocation_size: u64,
    /// Offset of the resource in the allocation, in bytes.
    pub offset: u64,
    /// Size of the resource in bytes.
    pub size: u64,
    /// `true` if the allocation is dedicated to the resource.
    pub dedicated: bool,
    /// The index of the Vulkan memory type.
    pub memory_type: u32,
    /// The UUID of the device that the memory is on.
    pub device_uuid: Uuid,
    /// The name of the resource.
    pub name: String,
}

/// The parameters of an allocation.
pub(crate) struct Request<'a> {
    pub(crate) name: &'a str,
    pub(crate) requirements: vk::MemoryRequirements,
    /// The resource, if [`is_dedicated`] returns `true`.
    pub(crate) dedicated_to: Option<Resource>,
    pub(crate) device_address: bool,
    pub(crate) placement: Placement,
    /// `Some` if and only if the placement is exportable.
    pub(crate) exporter: Option<Exporter>,
}

/// Returns `true` if a resource needs a dedicated allocation: if it is exported, or if the driver
/// `asks` for it.
///
/// NVIDIA's driver asks for it only for large resources, and compresses exportable memory that is
/// not dedicated: on an H100, CUDA reads 4 GiB of such memory at random at a sixth of the speed of
/// its own memory, and buffers of 16 MiB take twice as long to create.
pub(crate) fn is_dedicated(exported: bool, asks: bool) -> bool {
    exported || asks
}

/// A resource that an allocation can be dedicated to.
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

// SAFETY: the pointer is to a mapping that lives as long as this does; the users of `host_ptr` must
// order accesses through it. The Vulkan handle may be used from any thread.
unsafe impl Send for Memory {}
// SAFETY: as above; no method here accesses the memory through the pointer.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn allocate(device: &ExportDevice, request: Request<'_>) -> Result<Self> {
        let size = request.requirements.size;
        let object = format!("memory of \"{}\"", request.name);
        use vk::MemoryPropertyFlags as Flags;
        let (wanted, preferred) = match request.placement {
            Placement::Exportable | Placement::Peers | Placement::DeviceLocal => (Flags::DEVICE_LOCAL, Flags::empty()),
            // The specification guarantees a type with both to every buffer and every LINEAR image.
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
        // the size of a dedicated allocation is the resource's own.
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
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { device.set_name(raw, request.name) };
        if request.placement == Placement::HostVisible {
            // SAFETY: VUID-vkMapMemory-memory-00678/-00682: newly allocated, not mapped yet, of a
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

    /// Returns the bytes passed to `vkAllocateMemory`.
    pub(crate) fn allocation_size(&self) -> u64 {
        self.allocation_size
    }

    /// Returns the index of the memory type.
    pub(crate) fn memory_type(&self) -> u32 {
        self.memory_type
    }

    /// Returns the start of the host mapping, if any.
    pub(crate) fn mapped(&self) -> Option<NonNull<u8>> {
        self.mapped
    }

    /// Returns a new handle, and the descriptor for a resource of `size` bytes at offset 0.
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
        // SAFETY: VUID-vkFreeMemory-memory-00677: the resource bound to it is destroyed first (see
        // `Buffer`), and its owner keeps it until the submissions that use it have completed.
        // Freeing unmaps.
        unsafe { self.device.as_raw().free_memory(self.raw, None) };
        self.device.count_freed(self.memory_type, self.allocation_size);
    }
}
