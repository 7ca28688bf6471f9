//! A device whose driver reports small limits of memory, so that requests beyond them can be tested
//! on every machine, without allocating gigabytes.
#![allow(unsafe_code)] // Replacements of Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use bridge::ExportDevice;
use bridge::ash::{self, vk};

use crate::replaced::{adopted_with, replaced_instance};

/// The limits that the driver reports, in bytes.
#[derive(Debug)]
pub struct SmallLimits;

impl SmallLimits {
    /// `maxMemoryAllocationSize`, which real drivers exceed too.
    pub const ALLOCATION: u64 = 1 << 20;
    /// The size of each memory heap.
    pub const HEAP: u64 = 64 << 20;
    /// `maxBufferSize`, larger than a heap.
    pub const BUFFER: u64 = 96 << 20;
    /// `maxResourceSize` of images of each kind, larger than a heap.
    pub const IMAGE: u64 = 96 << 20;

    /// Returns an instance's functions, with the queries of these limits replaced.
    pub fn instance(entry: &ash::Entry, instance: &ash::Instance) -> ash::Instance {
        // SAFETY: the replacements have the signatures of the functions that they replace.
        unsafe { replaced_instance(entry, instance, replace) }
    }

    /// Returns the same device, adopted with the functions of such a driver.
    ///
    /// # Panics
    /// Panics if it cannot be adopted.
    pub fn device(device: &ExportDevice) -> ExportDevice {
        adopted_with(Self::instance(device.entry(), device.instance()), device)
    }
}

type GetProperties = vk::PFN_vkGetPhysicalDeviceProperties2;
type GetMemory = vk::PFN_vkGetPhysicalDeviceMemoryProperties;
type GetImageFormat = vk::PFN_vkGetPhysicalDeviceImageFormatProperties2;

static GET_PROPERTIES: OnceLock<GetProperties> = OnceLock::new();
static GET_MEMORY: OnceLock<GetMemory> = OnceLock::new();
static GET_IMAGE_FORMAT: OnceLock<GetImageFormat> = OnceLock::new();

fn replace(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkGetPhysicalDeviceProperties2" => {
            // SAFETY: the function of that name has this type.
            let _ = GET_PROPERTIES.set(unsafe { std::mem::transmute::<*const c_void, GetProperties>(real) });
            small_buffers as *const c_void
        }
        b"vkGetPhysicalDeviceMemoryProperties" => {
            // SAFETY: as above.
            let _ = GET_MEMORY.set(unsafe { std::mem::transmute::<*const c_void, GetMemory>(real) });
            small_heaps as *const c_void
        }
        b"vkGetPhysicalDeviceImageFormatProperties2" => {
            // SAFETY: as above.
            let _ = GET_IMAGE_FORMAT.set(unsafe { std::mem::transmute::<*const c_void, GetImageFormat>(real) });
            small_images as *const c_void
        }
        _ => real,
    }
}

unsafe extern "system" fn small_buffers(
    physical: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: the arguments are passed on unchanged.
    unsafe { GET_PROPERTIES.get().unwrap()(physical, properties) };
    // SAFETY: the caller's structure, which lives for the call.
    let mut next: *mut vk::BaseOutStructure<'_> = unsafe { (*properties).p_next }.cast();
    while !next.is_null() {
        // SAFETY: every structure of a chain begins like this one.
        match unsafe { (*next).s_type } {
            vk::StructureType::PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES => {
                let maintenance3: *mut vk::PhysicalDeviceMaintenance3Properties<'_> = next.cast();
                // SAFETY: its structure type identifies it.
                unsafe { (*maintenance3).max_memory_allocation_size = SmallLimits::ALLOCATION };
            }
            vk::StructureType::PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES => {
                let maintenance4: *mut vk::PhysicalDeviceMaintenance4Properties<'_> = next.cast();
                // SAFETY: as above.
                unsafe { (*maintenance4).max_buffer_size = SmallLimits::BUFFER };
            }
            _ => {}
        }
        // SAFETY: as above.
        next = unsafe { (*next).p_next };
    }
}

unsafe extern "system" fn small_heaps(physical: vk::PhysicalDevice, memory: *mut vk::PhysicalDeviceMemoryProperties) {
    // SAFETY: the arguments are passed on unchanged.
    unsafe { GET_MEMORY.get().unwrap()(physical, memory) };
    // SAFETY: the caller's structure, which lives for the call.
    for heap in unsafe { &mut (*memory).memory_heaps } {
        heap.size = SmallLimits::HEAP;
    }
}

unsafe extern "system" fn small_images(
    physical: vk::PhysicalDevice,
    question: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    answer: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    // SAFETY: the arguments are passed on unchanged.
    let result = unsafe { GET_IMAGE_FORMAT.get().unwrap()(physical, question, answer) };
    // SAFETY: the caller's structure, which lives for the call.
    unsafe { (*answer).image_format_properties.max_resource_size = SmallLimits::IMAGE };
    result
}
