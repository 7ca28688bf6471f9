//! Adoption of the device of an engine that does not use this crate's `ash`.
#![allow(unsafe_code)] // Handles from the engine.

use std::ffi::{CStr, c_void};

use ash::vk;
use ash::vk::Handle as _;

use super::AdoptInfo;
use crate::device::requirements_of::{DeviceRequirements, requirements_for};
use crate::error::{Error, Result};

/// An engine's handles as numbers, which every Vulkan binding can provide: `handle().as_raw()` of
/// vulkano, `as_raw()` of another version of ash, or the handles of a program in C or C++ cast to
/// `uint64_t`.
///
/// See [`AdoptInfo::from_raw`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawHandles {
    /// The `VkInstance`.
    pub instance: u64,
    /// The `apiVersion` that the instance was created with, packed.
    pub api_version: u32,
    /// The `VkPhysicalDevice`.
    pub physical_device: u64,
    /// The `VkDevice`.
    pub device: u64,
    /// The `VkQueue` that will use the shared resources.
    pub queue: u64,
    /// The family of that queue.
    pub queue_family: u32,
}

impl AdoptInfo<'_> {
    /// Describes a device as [`new`](Self::new) does, from handles of any Vulkan binding: another
    /// version of ash, vulkano, or an engine in C or C++. The fields that [`new`](Self::new) leaves
    /// empty can be set afterwards; create additional queues with `vk::Queue::from_raw`.
    ///
    /// `get_instance_proc_addr` is the engine's `vkGetInstanceProcAddr`, a function pointer cast to
    /// `*const c_void`. All functions are loaded through it, so that the engine's own layers and
    /// loaders see the calls.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] that names every null handle, or the functions that
    /// `get_instance_proc_addr` does not return for the instance.
    ///
    /// # Safety
    /// - `get_instance_proc_addr` is null or a `PFN_vkGetInstanceProcAddr`, and the library that
    ///   contains it stays loaded as long as the adopted device and everything made from it live.
    /// - The handles are null, or valid and belong together.
    ///
    /// See [`ExportDevice::adopt`](crate::ExportDevice::adopt) for how long the handles must stay
    /// valid, and for what is forbidden without [`keep_alive`](Self::keep_alive), which is not set
    /// here.
    #[doc(alias = "vkGetInstanceProcAddr")]
    pub unsafe fn from_raw(get_instance_proc_addr: *const c_void, handles: &RawHandles) -> Result<Self> {
        let RawHandles { instance, api_version, physical_device, device, queue, queue_family } = *handles;
        require_not_null(&[
            ("get_instance_proc_addr", get_instance_proc_addr.is_null()),
            ("instance", instance == 0),
            ("physical_device", physical_device == 0),
            ("device", device == 0),
            ("queue", queue == 0),
        ])?;
        // SAFETY: this function's contract; neither is null.
        let (entry, instance) = unsafe { load(get_instance_proc_addr, instance) }?;
        // SAFETY: as above; a live device of the instance, by this function's contract.
        let device = unsafe { ash::Device::load(instance.fp_v1_0(), vk::Device::from_raw(device)) };
        Ok(Self::new(
            (entry, instance, api_version),
            vk::PhysicalDevice::from_raw(physical_device),
            device,
            (vk::Queue::from_raw(queue), queue_family),
        ))
    }
}

/// Returns [`requirements_for`](crate::requirements_for) an engine that uses another Vulkan binding
/// and creates its own device: see [`AdoptInfo::from_raw`].
///
/// # Errors
/// Those of [`AdoptInfo::from_raw`], otherwise the error of the failed query.
///
/// # Safety
/// - `get_instance_proc_addr` is null or a `PFN_vkGetInstanceProcAddr`.
/// - The handles are null, or `physical_device` belongs to `instance`, which is alive and was
///   created with `api_version`.
pub unsafe fn requirements_for_raw(
    get_instance_proc_addr: *const c_void,
    (instance, api_version): (u64, u32),
    physical_device: u64,
) -> Result<DeviceRequirements> {
    require_not_null(&[
        ("get_instance_proc_addr", get_instance_proc_addr.is_null()),
        ("instance", instance == 0),
        ("physical_device", physical_device == 0),
    ])?;
    // SAFETY: this function's contract; neither is null.
    let (_entry, instance) = unsafe { load(get_instance_proc_addr, instance) }?;
    // SAFETY: this function's contract.
    unsafe { requirements_for(&instance, api_version, vk::PhysicalDevice::from_raw(physical_device)) }
}

/// Checks that no value is null. Each is given with its name.
fn require_not_null(given: &[(&str, bool)]) -> Result<()> {
    let null: Vec<&str> = given.iter().filter(|(_, is_null)| *is_null).map(|(name, _)| *name).collect();
    if null.is_empty() { Ok(()) } else { Err(invalid(format!("{} must not be null", null.join(", ")))) }
}

/// Loads the functions of a loader and of an instance.
///
/// # Safety
/// `get_instance_proc_addr` is a `PFN_vkGetInstanceProcAddr`, and the instance is alive.
unsafe fn load(get_instance_proc_addr: *const c_void, instance: u64) -> Result<(ash::Entry, ash::Instance)> {
    // SAFETY: this function's contract. Data and function pointers have the same size on every
    // platform that Vulkan runs on (`PFN_vkVoidFunction` relies on it as well).
    let load = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkGetInstanceProcAddr>(get_instance_proc_addr) };
    let instance = vk::Instance::from_raw(instance);
    let needed = [c"vkGetDeviceProcAddr", c"vkGetPhysicalDeviceProperties2", c"vkGetPhysicalDeviceFeatures2"];
    let is_lacking = |name: &&&CStr| {
        // SAFETY: VUID-vkGetInstanceProcAddr-instance-parameter: a live instance by this function's
        // contract; the name is null-terminated.
        unsafe { load(instance, name.as_ptr()) }.is_none()
    };
    let lacking: Vec<String> =
        needed.iter().filter(is_lacking).map(|name| name.to_string_lossy().into_owned()).collect();
    if !lacking.is_empty() {
        return Err(invalid(format!(
            "get_instance_proc_addr has no {} for the instance: it is not the loader's `vkGetInstanceProcAddr`, or the \
             instance is of a version below 1.1",
            lacking.join(", ")
        )));
    }
    // SAFETY: the functions are looked up by name, through the loader's own function.
    let entry = unsafe { ash::Entry::from_static_fn(ash::StaticFn { get_instance_proc_addr: load }) };
    // SAFETY: as above, for a live instance; the loader's function was checked to return the needed
    // functions.
    let instance = unsafe { ash::Instance::load(entry.static_fn(), instance) };
    Ok((entry, instance))
}

fn invalid(reason: String) -> Error {
    Error::invalid("adopted handles", reason)
}

#[cfg(test)]
mod tests {
    use std::ffi::c_char;

    use super::*;

    unsafe extern "system" fn knows_nothing(_: vk::Instance, _: *const c_char) -> vk::PFN_vkVoidFunction {
        None
    }

    fn error(get_instance_proc_addr: *const c_void, handles: &RawHandles) -> String {
        // SAFETY: null, or a function of this type that ignores its arguments; the handles are not
        // used.
        unsafe { AdoptInfo::from_raw(get_instance_proc_addr, handles) }.err().unwrap().to_string()
    }

    #[test]
    fn all_null_handles_are_reported_together() {
        let text = error(std::ptr::null(), &RawHandles::default());
        let all = "get_instance_proc_addr, instance, physical_device, device, queue must not be null";
        assert!(text.contains(all), "{text}");
        let handles = RawHandles { instance: 1, physical_device: 2, device: 3, ..RawHandles::default() };
        let text = error(knows_nothing as *const c_void, &handles);
        assert!(text.contains(": queue must not be null"), "{text}");
    }

    #[test]
    fn queries_without_a_device_accept_no_device() {
        // SAFETY: null pointers are rejected.
        let null = unsafe { requirements_for_raw(std::ptr::null(), (0, vk::API_VERSION_1_3), 7) };
        let text = null.err().unwrap().to_string();
        assert!(text.contains(": get_instance_proc_addr, instance must not be null"), "{text}");
    }

    #[test]
    fn loader_that_returns_no_functions_is_refused() {
        let handles = RawHandles { instance: 1, physical_device: 2, device: 3, queue: 4, ..RawHandles::default() };
        let text = error(knows_nothing as *const c_void, &handles);
        assert!(
            text.contains("vkGetDeviceProcAddr, vkGetPhysicalDeviceProperties2, vkGetPhysicalDeviceFeatures2"),
            "{text}"
        );
    }
}
