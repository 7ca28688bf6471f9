//! The entry points of a driver ("Architecture of the Vulkan Loader Interfaces"), and the functions
//! of the software driver that are replaced.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};

use super::queues::calls as queues;
use super::underlying::{Find, load, symbol, underlying};
use super::{device, families, image, memory, timeline};
use ash::vk;

type Negotiate = unsafe extern "system" fn(*mut u32) -> vk::Result;

#[unsafe(no_mangle)]
unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(version: *mut u32) -> vk::Result {
    let negotiate = symbol::<Negotiate>(c"vk_icdNegotiateLoaderICDInterfaceVersion");
    // SAFETY: the same contract.
    negotiate.map_or(vk::Result::ERROR_INCOMPATIBLE_DRIVER, |negotiate| unsafe { negotiate(version) })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    let find = symbol::<Find>(c"vk_icdGetInstanceProcAddr")?;
    if instance != vk::Instance::null() {
        load(instance, find);
        // SAFETY: the specification: a NUL-terminated string.
        if let Some(own) = replacement(unsafe { CStr::from_ptr(name) }) {
            return Some(own);
        }
    }
    // SAFETY: the same contract.
    unsafe { find(instance, name) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn vk_icdGetPhysicalDeviceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    let find = symbol::<Find>(c"vk_icdGetPhysicalDeviceProcAddr")?;
    // SAFETY: the same contract.
    let found = unsafe { find(instance, name) }?;
    // SAFETY: the specification: a NUL-terminated string.
    Some(replacement(unsafe { CStr::from_ptr(name) }).unwrap_or(found))
}

unsafe extern "system" fn get_device_proc_addr(device: vk::Device, name: *const c_char) -> vk::PFN_vkVoidFunction {
    // SAFETY: the specification: a NUL-terminated string.
    if let Some(own) = replacement(unsafe { CStr::from_ptr(name) }) {
        return Some(own);
    }
    // SAFETY: the same contract.
    unsafe { (underlying().instance.fp_v1_0().get_device_proc_addr)(device, name) }
}

/// Returns the replacement for the function with this name, if any.
fn replacement(name: &CStr) -> vk::PFN_vkVoidFunction {
    let name = name.to_str().ok()?;
    let name = name.strip_suffix("KHR").unwrap_or(name);
    let function: *const c_void = match name {
        "vkGetDeviceProcAddr" => get_device_proc_addr as _,
        "vkEnumerateDeviceExtensionProperties" => device::enumerate_extensions as _,
        "vkCreateDevice" => device::create as _,
        "vkGetPhysicalDeviceProperties2" => device::properties as _,
        "vkGetPhysicalDeviceExternalBufferProperties" => device::external_buffers as _,
        "vkGetPhysicalDeviceExternalSemaphoreProperties" => device::external_semaphores as _,
        "vkGetPhysicalDeviceImageFormatProperties2" => device::image_format as _,
        "vkCreateImage" => image::create as _,
        "vkDestroyImage" => image::destroy as _,
        "vkBindImageMemory" => image::bind as _,
        "vkBindImageMemory2" => image::bind_several as _,
        "vkAllocateMemory" => memory::allocate as _,
        "vkFreeMemory" => memory::free as _,
        "vkGetMemoryFd" => memory::get_fd as _,
        "vkCreateSemaphore" => timeline::create as _,
        "vkDestroySemaphore" => timeline::destroy as _,
        "vkGetSemaphoreFd" => timeline::get_fd as _,
        "vkSignalSemaphore" => timeline::signal as _,
        _ => replacement_for_queues(name)?,
    };
    // SAFETY: a function; callers cast it back to the type that its name implies.
    Some(unsafe { std::mem::transmute::<*const c_void, unsafe extern "system" fn()>(function) })
}

/// Returns the replacement for a function that is only replaced if the underlying driver's queues
/// are not the reported ones.
fn replacement_for_queues(name: &str) -> Option<*const c_void> {
    families::reported()?;
    Some(match name {
        "vkGetPhysicalDeviceQueueFamilyProperties" => families::properties as _,
        "vkGetPhysicalDeviceQueueFamilyProperties2" => families::properties2 as _,
        "vkCreateCommandPool" => families::create_pool as _,
        "vkDestroyCommandPool" => families::destroy_pool as _,
        "vkAllocateCommandBuffers" => families::allocate_commands as _,
        "vkFreeCommandBuffers" => families::free_commands as _,
        "vkDestroyDevice" => queues::destroy_device as _,
        "vkDeviceWaitIdle" => queues::device_wait_idle as _,
        "vkGetDeviceQueue" => queues::get as _,
        "vkGetDeviceQueue2" => queues::get2 as _,
        "vkQueueBindSparse" => queues::bind_sparse as _,
        "vkQueuePresent" => queues::present as _,
        "vkQueueSubmit" => queues::submit as _,
        "vkQueueSubmit2" => queues::submit2 as _,
        "vkQueueWaitIdle" => queues::wait_idle as _,
        "vkSetDebugUtilsObjectNameEXT" => queues::set_name as _,
        "vkQueueBeginDebugUtilsLabelEXT" | "vkQueueInsertDebugUtilsLabelEXT" => queues::label as _,
        "vkQueueEndDebugUtilsLabelEXT" => queues::end_label as _,
        _ => return None,
    })
}
