//! Images and buffers that the copying queue writes and wgpu reads.
//!
//! wgpu frees what it owns when its device is destroyed or lost, whatever another queue does with
//! it, so that it owns none of them.
#![allow(unsafe_code)] // Makes and frees them.

use ash::vk;
use wgpu::hal::vulkan::Device;

/// The call that failed.
pub(crate) type Failed = (&'static str, vk::Result);

/// An image or a buffer, in memory of its own on the device.
pub(crate) struct Owned<H: Bound> {
    device: ash::Device,
    raw: H,
    memory: vk::DeviceMemory,
}

/// What memory is bound to.
pub(crate) trait Bound: Copy + Send + Sync + 'static {
    /// # Safety
    /// It is of this device.
    unsafe fn needs(self, device: &ash::Device) -> vk::MemoryRequirements;

    /// # Safety
    /// As above. The memory fits, and nothing is bound yet.
    unsafe fn bind(self, device: &ash::Device, memory: vk::DeviceMemory) -> Result<(), Failed>;

    /// # Safety
    /// As above. Nobody uses it any more, the GPU included.
    unsafe fn destroy(self, device: &ash::Device);
}

impl<H: Bound> Owned<H> {
    /// Binds memory to it. Where that fails it is destroyed.
    ///
    /// # Safety
    /// It was just made on this device, and is nobody else's. The result is dropped once nobody
    /// uses it, the GPU included, and before the device ends.
    pub(super) unsafe fn new(hal: &Device, raw: H) -> Result<Self, Failed> {
        let device = hal.raw_device();
        // SAFETY: of this device.
        let needs = unsafe { raw.needs(device) };
        let bound = allocate(hal, needs).and_then(|memory| {
            // SAFETY: the memory was allocated for it; nothing was bound before.
            let bound = unsafe { raw.bind(device, memory) };
            bound.map(|()| memory).inspect_err(|_| {
                // SAFETY: allocated above, and used by nothing.
                unsafe { device.free_memory(memory, None) };
            })
        });
        let memory = bound.inspect_err(|_| {
            // SAFETY: it is the caller's alone, who has not used it.
            unsafe { raw.destroy(device) };
        })?;
        Ok(Self { device: device.clone(), raw, memory })
    }

    pub(crate) fn raw(&self) -> H {
        self.raw
    }

    /// The memory, of which all is bound.
    pub(super) fn memory(&self) -> vk::DeviceMemory {
        self.memory
    }
}

impl<H: Bound> Drop for Owned<H> {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more, as was promised to `new`.
        unsafe { self.raw.destroy(&self.device) };
        // SAFETY: the same, and what was bound to it here is destroyed.
        unsafe { self.device.free_memory(self.memory, None) };
    }
}

/// Allocates on the device.
fn allocate(hal: &Device, needs: vk::MemoryRequirements) -> Result<vk::DeviceMemory, Failed> {
    let (instance, physical) = (hal.shared_instance().raw_instance(), hal.raw_physical_device());
    // SAFETY: the physical device is wgpu's, of this instance.
    let memory = unsafe { instance.get_physical_device_memory_properties(physical) };
    let local = vk::MemoryPropertyFlags::DEVICE_LOCAL;
    let kind = (0u32..)
        .zip(memory.memory_types_as_slice())
        .find(|(index, kind)| needs.memory_type_bits >> index & 1 == 1 && kind.property_flags.contains(local));
    let (index, _) = kind.ok_or(("vkAllocateMemory", vk::Result::ERROR_FEATURE_NOT_PRESENT))?;
    let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
    // SAFETY: a type that the device has.
    unsafe { hal.raw_device().allocate_memory(&info, None) }.map_err(|result| ("vkAllocateMemory", result))
}

impl Bound for vk::Image {
    unsafe fn needs(self, device: &ash::Device) -> vk::MemoryRequirements {
        // SAFETY: the caller's promise.
        unsafe { device.get_image_memory_requirements(self) }
    }

    unsafe fn bind(self, device: &ash::Device, memory: vk::DeviceMemory) -> Result<(), Failed> {
        // SAFETY: the caller's promise.
        unsafe { device.bind_image_memory(self, memory, 0) }.map_err(|result| ("vkBindImageMemory", result))
    }

    unsafe fn destroy(self, device: &ash::Device) {
        // SAFETY: the caller's promise.
        unsafe { device.destroy_image(self, None) };
    }
}

impl Bound for vk::Buffer {
    unsafe fn needs(self, device: &ash::Device) -> vk::MemoryRequirements {
        // SAFETY: the caller's promise.
        unsafe { device.get_buffer_memory_requirements(self) }
    }

    unsafe fn bind(self, device: &ash::Device, memory: vk::DeviceMemory) -> Result<(), Failed> {
        // SAFETY: the caller's promise.
        unsafe { device.bind_buffer_memory(self, memory, 0) }.map_err(|result| ("vkBindBufferMemory", result))
    }

    unsafe fn destroy(self, device: &ash::Device) {
        // SAFETY: the caller's promise.
        unsafe { device.destroy_buffer(self, None) };
    }
}
