//! Stand-ins for functions of a Vulkan device, for tests.

use std::ffi::{CStr, c_void};

use ash::vk;

/// Loads the functions of a device. `replace` receives the name and the device's own pointer of
/// each function, and returns the one to call: that pointer, or a stand-in with the same signature.
pub(crate) fn load(
    instance: &ash::Instance,
    device: vk::Device,
    replace: impl Fn(&CStr, *const c_void) -> *const c_void,
) -> ash::Device {
    let function = |name: &CStr| {
        // SAFETY: the caller's device lives; the name is null-terminated.
        let real = unsafe { (instance.fp_v1_0().get_device_proc_addr)(device, name.as_ptr()) };
        replace(name, real.map_or(std::ptr::null(), |function| function as *const c_void))
    };
    // SAFETY: every function is the device's own, or a stand-in with the same signature.
    unsafe { ash::Device::load_with(function, device) }
}
