//! A device with stand-ins for Vulkan functions, for tests.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use vk_export::ash::vk;
use vk_export::{AdoptInfo, ExportDevice, OpenInfo, ash, required_device_extensions};

static SIGNAL: OnceLock<vk::PFN_vkSignalSemaphore> = OnceLock::new();

thread_local! {
    static REFUSES: Cell<bool> = const { Cell::new(false) };
}

unsafe extern "system" fn signal(device: vk::Device, info: *const vk::SemaphoreSignalInfo<'_>) -> vk::Result {
    // SAFETY: handed on.
    let result = unsafe { SIGNAL.get().unwrap()(device, info) };
    if REFUSES.replace(false) { vk::Result::ERROR_OUT_OF_HOST_MEMORY } else { result }
}

/// The next signal by this thread on a device of [`refusing`] is made, and returns an error.
pub(crate) fn refuse_next_signal() {
    REFUSES.set(true);
}

/// A device for [`refuse_next_signal`].
pub(crate) fn refusing() -> Option<ExportDevice> {
    hooked(|name, real| {
        if name != c"vkSignalSemaphore" {
            return real;
        }
        // SAFETY: the function of that name has this type.
        let _ = SIGNAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkSignalSemaphore>(real) });
        signal as *const c_void
    })
}

/// A device whose functions `stand_in` may replace; `None`, and the test is skipped, without one.
pub(crate) fn hooked(stand_in: impl Fn(&CStr, *const c_void) -> *const c_void) -> Option<ExportDevice> {
    // Never destroyed: NVIDIA's driver deadlocks when a device goes while a thread that has used
    // Vulkan exits.
    let opened = match ExportDevice::open(&OpenInfo::default()) {
        Ok(opened) => Box::leak(Box::new(opened)),
        Err(error) => {
            test_support::skip(test_support::Need::Other, &error.to_string());
            return None;
        }
    };
    let (entry, instance) = (opened.entry().clone(), opened.instance().clone());
    let load = |name: &CStr| {
        // SAFETY: a live device and a string.
        let real = unsafe { (instance.fp_v1_0().get_device_proc_addr)(opened.as_raw().handle(), name.as_ptr()) };
        stand_in(name, real.map_or(std::ptr::null(), |function| function as *const c_void))
    };
    // SAFETY: every function is the device's own, or a stand-in with its signature.
    let device = unsafe { ash::Device::load_with(load, opened.as_raw().handle()) };
    let queue = opened.queue().with(|raw| raw).unwrap();
    // SAFETY: the instance lives.
    let all = unsafe { opened.instance().enumerate_physical_devices() }.unwrap();
    let is_it = |physical: &vk::PhysicalDevice| {
        let mut id = vk::PhysicalDeviceIDProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut id);
        // SAFETY: as above.
        unsafe { opened.instance().get_physical_device_properties2(*physical, &mut properties) };
        id.device_uuid == *opened.uuid().as_bytes()
    };
    let physical = all.into_iter().find(is_it).unwrap();
    let version = opened.api_version();
    let mut info =
        AdoptInfo::new((entry, opened.instance().clone(), version), physical, device, (queue, opened.queue().family()));
    let extensions: Vec<_> =
        required_device_extensions(version).filter(|name| opened.physical().has_extension(name)).collect();
    info.device_extensions = &extensions;
    info.features.timeline_semaphore = true;
    info.features.synchronization2 = true;
    // SAFETY: handles that live for ever, with what the crate enables where the device has it, and
    // a queue that nobody else uses.
    Some(unsafe { ExportDevice::adopt(info) }.unwrap())
}
