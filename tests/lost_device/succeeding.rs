//! Waits that succeed on a lost device, as the specification permits, whatever was reached.

use std::sync::atomic::{AtomicBool, Ordering};

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge_tests::Rig;

use crate::waits::while_dropping_submissions;
use crate::{Counter, LOST};

/// `true` if waits succeed once the device is lost.
pub(crate) static WAITS_SUCCEED: AtomicBool = AtomicBool::new(false);

/// Whether waits succeed now whatever was reached.
fn succeeds() -> bool {
    WAITS_SUCCEED.load(Ordering::Relaxed) && LOST.lock().unwrap().is_some()
}

pub(crate) mod wait {
    use super::*;

    pub(crate) use crate::lost_wait::{REAL, Real};

    pub(crate) unsafe extern "system" fn function(
        device: vk::Device,
        info: *const vk::SemaphoreWaitInfo<'_>,
        timeout: u64,
    ) -> vk::Result {
        if succeeds() {
            return vk::Result::SUCCESS;
        }
        // SAFETY: handed on.
        unsafe { crate::lost_wait::function(device, info, timeout) }
    }
}

pub(crate) mod fences {
    use super::*;

    pub(crate) type Real = vk::PFN_vkWaitForFences;
    /// The function of the one device.
    pub(crate) static REAL: std::sync::Mutex<Option<Real>> = std::sync::Mutex::new(None);

    pub(crate) unsafe extern "system" fn function(
        device: vk::Device,
        count: u32,
        fences: *const vk::Fence,
        all: vk::Bool32,
        timeout: u64,
    ) -> vk::Result {
        if succeeds() {
            return vk::Result::SUCCESS;
        }
        let real = REAL.lock().unwrap().unwrap();
        // SAFETY: handed on.
        unsafe { real(device, count, fences, all, timeout) }
    }
}

/// Commands that the lost device has taken and does not run are no commands that have run.
pub(crate) fn lose_commands_that_run_once(device: &ExportDevice, counter: Counter) {
    WAITS_SUCCEED.store(true, Ordering::Relaxed);
    *LOST.lock().unwrap() = Some(counter);
    // SAFETY: no commands.
    let ran = while_dropping_submissions(|| unsafe { device.run_once(device.queue(), "lost", Rig::LONG, |_| {}) });
    *LOST.lock().unwrap() = None;
    WAITS_SUCCEED.store(false, Ordering::Relaxed);
    let error = ran.unwrap_err();
    assert!(error.is_device_lost(), "{counter:?}: {error}");
}
