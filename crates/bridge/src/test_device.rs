//! Vulkan devices for tests.

use std::sync::{Mutex, OnceLock, PoisonError};

use vk_export::{ExportDevice, OpenInfo};

/// Returns a device that all tests share and that is never destroyed: NVIDIA's driver deadlocks if
/// a device is destroyed while a thread that has used Vulkan exits, and every test is such a
/// thread. Returns `None`, and skips the test, if there is none.
pub(crate) fn device() -> Option<ExportDevice> {
    static DEVICE: OnceLock<Result<ExportDevice, String>> = OnceLock::new();
    let open = || {
        let device = ExportDevice::open(&OpenInfo::default()).map_err(|error| error.to_string())?;
        exit_without_the_driver();
        Ok(device)
    };
    match DEVICE.get_or_init(open) {
        Ok(device) => Some(device.clone()),
        Err(reason) => {
            test_support::skip(test_support::Need::Other, reason);
            None
        }
    }
}

/// Makes the process exit without running the driver's exit handlers. The exit status is kept.
///
/// In these handlers, NVIDIA's driver unloads libraries in which threads of live devices still run,
/// and the process crashes (seen with 580.159.04, after all tests had passed). Exit handlers run in
/// reverse order of their registration, so call this after the driver has registered its own.
#[allow(unsafe_code)] // Functions of the C library.
fn exit_without_the_driver() {
    #[cfg(target_env = "gnu")]
    {
        use std::ffi::{c_int, c_void};
        use std::ptr::null_mut;

        unsafe extern "C" {
            fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
            fn _exit(status: c_int) -> !;
        }
        extern "C" fn exit_now(status: c_int, _: *mut c_void) {
            // SAFETY: ends the process; Rust has flushed its output before `exit`.
            unsafe { _exit(status) }
        }
        // SAFETY: the handler is a function of this program, which is never unloaded, and ignores
        // its argument.
        unsafe { on_exit(exit_now, null_mut()) };
    }
}

/// Returns a device that no other test uses at the same time, for a test that blocks the queue. It
/// is reused once nothing made from it is alive, because a process can open NVIDIA's driver only a
/// limited number of times.
pub(crate) fn own_device() -> Option<ExportDevice> {
    static OPENED: Mutex<Vec<ExportDevice>> = Mutex::new(Vec::new());
    device()?;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(unused) = opened.iter().find(|device| is_unused(device)) {
        return Some(unused.clone());
    }
    let own = open_another();
    opened.push(own.clone());
    Some(own)
}

/// Returns a separate device that is never reused, for a test that replaces its functions.
pub(crate) fn unshared_device() -> Option<ExportDevice> {
    device()?;
    let own = open_another();
    std::mem::forget(own.clone());
    Some(own)
}

fn open_another() -> ExportDevice {
    ExportDevice::open(&OpenInfo::default()).expect("another device can be opened")
}

/// Returns `true` if the only clone is that of the list, and no object of the device is alive.
fn is_unused(device: &ExportDevice) -> bool {
    device.clone().try_release().is_err_and(|used| used.alive.is_empty() && used.clones == 1)
}
