//! Images and buffers that the copying queue writes and wgpu reads.
//!
//! wgpu frees its own objects when its device is destroyed or lost, even while another queue uses
//! them. Therefore it does not own these.
#![allow(unsafe_code)] // Creates and frees them.

use ash::vk;
use wgpu::hal::vulkan::Device;

/// The call that failed.
pub(crate) type Failed = (&'static str, vk::Result);

/// An image or a buffer, in its own memory on the device.
pub(crate) struct Owned<H: Bound> {
    device: ash::Device,
    raw: H,
    memory: vk::DeviceMemory,
}

/// A handle that memory can be bound to.
pub(crate) trait Bound: Copy + Send + Sync + 'static {
    /// # Safety
    /// The object belongs to this device.
    unsafe fn needs(self, device: &ash::Device) -> vk::MemoryRequirements;

    /// # Safety
    /// The object belongs to this device, the memory fits, and none is bound yet.
    unsafe fn bind(self, device: &ash::Device, memory: vk::DeviceMemory) -> Result<(), Failed>;

    /// # Safety
    /// The object belongs to this device, and nothing uses it any more, including the GPU.
    unsafe fn destroy(self, device: &ash::Device);
}

impl<H: Bound> Owned<H> {
    /// Allocates memory and binds it to the object; on failure, destroys the object.
    ///
    /// # Safety
    /// The object was just created on this device, and nothing else uses it. The result is dropped
    /// when nothing uses it any more, including the GPU, and before the device is destroyed.
    pub(super) unsafe fn new(hal: &Device, raw: H) -> Result<Self, Failed> {
        let device = hal.raw_device();
        // SAFETY: the object belongs to this device.
        let needs = unsafe { raw.needs(device) };
        let bound = allocate(hal, needs).and_then(|memory| {
            // SAFETY: the memory was allocated for the object, and none was bound before.
            let bound = unsafe { raw.bind(device, memory) };
            bound.map(|()| memory).inspect_err(|_| {
                // SAFETY: allocated above and not in use.
                unsafe { device.free_memory(memory, None) };
            })
        });
        let memory = bound.inspect_err(|_| {
            // SAFETY: only the caller has the object, and has not used it.
            unsafe { raw.destroy(device) };
        })?;
        Ok(Self { device: device.clone(), raw, memory })
    }

    pub(crate) fn raw(&self) -> H {
        self.raw
    }

    /// Returns the memory, which is bound as a whole.
    pub(super) fn memory(&self) -> vk::DeviceMemory {
        self.memory
    }
}

impl<H: Bound> Drop for Owned<H> {
    fn drop(&mut self) {
        // SAFETY: nothing uses the object any more, by the contract of `new`.
        unsafe { self.raw.destroy(&self.device) };
        // SAFETY: as for the object, which was bound to this memory and is destroyed.
        unsafe { self.device.free_memory(self.memory, None) };
    }
}

/// Returns the sharing mode of an object that these families use. With two, it is concurrent, so
/// that neither has to release it to the other: wgpu cannot record such a barrier.
pub(super) fn sharing(families: &[u32]) -> vk::SharingMode {
    if families.len() > 1 { vk::SharingMode::CONCURRENT } else { vk::SharingMode::EXCLUSIVE }
}

/// Allocates device-local memory that meets the requirements.
fn allocate(hal: &Device, needs: vk::MemoryRequirements) -> Result<vk::DeviceMemory, Failed> {
    let (instance, physical) = (hal.shared_instance().raw_instance(), hal.raw_physical_device());
    // SAFETY: the physical device is wgpu's, from this instance.
    let memory = unsafe { instance.get_physical_device_memory_properties(physical) };
    let local = vk::MemoryPropertyFlags::DEVICE_LOCAL;
    let kind = (0u32..)
        .zip(memory.memory_types_as_slice())
        .find(|(index, kind)| needs.memory_type_bits >> index & 1 == 1 && kind.property_flags.contains(local));
    let (index, _) = kind.ok_or(("vkAllocateMemory", vk::Result::ERROR_FEATURE_NOT_PRESENT))?;
    let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
    // SAFETY: the memory type exists on the device.
    unsafe { hal.raw_device().allocate_memory(&info, None) }.map_err(|result| ("vkAllocateMemory", result))
}

impl Bound for vk::Image {
    unsafe fn needs(self, device: &ash::Device) -> vk::MemoryRequirements {
        // SAFETY: the caller upholds the contract.
        unsafe { device.get_image_memory_requirements(self) }
    }

    unsafe fn bind(self, device: &ash::Device, memory: vk::DeviceMemory) -> Result<(), Failed> {
        // SAFETY: the caller upholds the contract.
        unsafe { device.bind_image_memory(self, memory, 0) }.map_err(|result| ("vkBindImageMemory", result))
    }

    unsafe fn destroy(self, device: &ash::Device) {
        // SAFETY: the caller upholds the contract.
        unsafe { device.destroy_image(self, None) };
    }
}

impl Bound for vk::Buffer {
    unsafe fn needs(self, device: &ash::Device) -> vk::MemoryRequirements {
        // SAFETY: the caller upholds the contract.
        unsafe { device.get_buffer_memory_requirements(self) }
    }

    unsafe fn bind(self, device: &ash::Device, memory: vk::DeviceMemory) -> Result<(), Failed> {
        // SAFETY: the caller upholds the contract.
        unsafe { device.bind_buffer_memory(self, memory, 0) }.map_err(|result| ("vkBindBufferMemory", result))
    }

    unsafe fn destroy(self, device: &ash::Device) {
        // SAFETY: the caller upholds the contract.
        unsafe { device.destroy_buffer(self, None) };
    }
}
