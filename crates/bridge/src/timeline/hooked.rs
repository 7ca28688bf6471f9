//! A device whose Vulkan functions can be replaced, for tests.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use vk_export::ash::vk;
use vk_export::{AdoptInfo, ExportDevice, ash, required_device_extensions};

use crate::test_device::unshared_device;

static SIGNAL: OnceLock<vk::PFN_vkSignalSemaphore> = OnceLock::new();

/// The next call of `vkSignalSemaphore`.
#[derive(Clone, Copy, Default)]
enum Next {
    #[default]
    Works,
    /// Signals, and returns an error.
    Refuses,
    /// Does not signal, and returns an error.
    Fails,
}

thread_local! {
    static NEXT: Cell<Next> = const { Cell::new(Next::Works) };
}

unsafe extern "system" fn signal(device: vk::Device, info: *const vk::SemaphoreSignalInfo<'_>) -> vk::Result {
    let next = NEXT.take();
    if let Next::Fails = next {
        return vk::Result::ERROR_OUT_OF_HOST_MEMORY;
    }
    // SAFETY: upheld by the caller.
    let result = unsafe { SIGNAL.get().unwrap()(device, info) };
    if let Next::Refuses = next { vk::Result::ERROR_OUT_OF_HOST_MEMORY } else { result }
}

/// Lets the next signal by this thread on a device of [`refusing`] succeed but return an error.
pub(crate) fn refuse_next_signal() {
    NEXT.set(Next::Refuses);
}

/// Lets the next signal by this thread on a device of [`refusing`] fail.
pub(crate) fn fail_next_signal() {
    NEXT.set(Next::Fails);
}

/// Creates a device for [`refuse_next_signal`] and [`fail_next_signal`].
pub(crate) fn refusing() -> Option<ExportDevice> {
    hooked(|name, real| {
        if name != c"vkSignalSemaphore" {
            return real;
        }
        // SAFETY: the function of this name has this type.
        let _ = SIGNAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkSignalSemaphore>(real) });
        signal as *const c_void
    })
}

/// Creates a device whose functions `stand_in` may replace. Returns `None` and skips the test if
/// there is no device.
pub(crate) fn hooked(stand_in: impl Fn(&CStr, *const c_void) -> *const c_void) -> Option<ExportDevice> {
    let opened = unshared_device()?;
    let (entry, instance) = (opened.entry().clone(), opened.instance().clone());
    let load = |name: &CStr| {
        // SAFETY: the device is alive, and the name is a C string.
        let real = unsafe { (instance.fp_v1_0().get_device_proc_addr)(opened.as_raw().handle(), name.as_ptr()) };
        stand_in(name, real.map_or(std::ptr::null(), |function| function as *const c_void))
    };
    // SAFETY: every function is the device's own, or a replacement with the same signature.
    let device = unsafe { ash::Device::load_with(load, opened.as_raw().handle()) };
    let queue = opened.queue().with(|raw| raw).unwrap();
    // SAFETY: the instance is alive.
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
    // SAFETY: the handles are never destroyed; this crate opened the device and enabled the listed
    // extensions and features; nothing else uses the queue.
    Some(unsafe { ExportDevice::adopt(info) }.unwrap())
}
