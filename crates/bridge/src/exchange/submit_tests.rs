//! What is submitted, as the driver sees it.
#![allow(unsafe_code, clippy::unwrap_used)] // A stand-in for a Vulkan function, and submitting.

use std::ffi::{CStr, c_void};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use vk_export::ash;
use vk_export::{AdoptInfo, BufferAccess, ExportDevice, OpenInfo, required_device_extensions};

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::exchange::ExchangeInfo;
use crate::exchange::ledger::First;

const LIMIT: Duration = Duration::from_secs(20);

/// The semaphores and values that each batch of a call signals.
type Signals = Vec<Vec<(vk::Semaphore, u64)>>;

static REAL: OnceLock<vk::PFN_vkQueueSubmit2> = OnceLock::new();
static CALLS: Mutex<Vec<Signals>> = Mutex::new(Vec::new());

unsafe extern "system" fn record(
    queue: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the specification: an array of `count`.
    let infos = unsafe { std::slice::from_raw_parts(batches, count as usize) };
    let signals = infos.iter().map(|info| {
        let count = info.signal_semaphore_info_count as usize;
        // SAFETY: as above; each batch of these tests signals something.
        let infos = unsafe { std::slice::from_raw_parts(info.p_signal_semaphore_infos, count) };
        infos.iter().map(|info| (info.semaphore, info.value)).collect()
    });
    CALLS.lock().unwrap().push(signals.collect());
    let real = REAL.get().unwrap();
    // SAFETY: handed on.
    unsafe { real(queue, count, batches, fence) }
}

/// The device, whose submissions are recorded; `None`, and the test is skipped, without one.
fn recorded() -> Option<ExportDevice> {
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
        let real = real.map_or(std::ptr::null(), |function| function as *const c_void);
        if name != c"vkQueueSubmit2" {
            return real;
        }
        // SAFETY: the function of that name has this type.
        let _ = REAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
        record as *const c_void
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

/// Whoever sees `rendered` reach a value may free the mirror: its signal must be in an earlier
/// batch, however the queue orders them. No software driver shows the
/// difference, since both are signaled before anybody looks.
#[test]
fn the_mirror_is_signaled_before_rendered() {
    let Some(device) = recorded() else { return };
    let compute = Compute::remote_of(&device, false, Trust::Played).unwrap();
    let info = ExchangeInfo { name: "mirrored", timeout: LIMIT, ..Default::default() };
    let words = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ);
    let state = State::new(&compute, &info, &words, First::Compute).unwrap();
    let mirror = state.held.mirror.as_ref().map(Arc::clone).unwrap();
    let (mirror, rendered) = (mirror.semaphore().as_raw(), state.held.rendered.semaphore().as_raw());
    CALLS.lock().unwrap().clear();
    for value in 1..=2 {
        {
            let _order = state.submitting().unwrap();
            assert_eq!(state.ledger().last_rendered() + 1, value);
            // SAFETY: no commands; the value is the next, taken under the lock that is held.
            unsafe { state.submit_batch(&[], value, &SubmitInfo::default()) }.unwrap();
            state.ledger().take_rendered();
        }
        state.held.rendered.issue(value).wait(LIMIT).unwrap();
        let calls = std::mem::take(&mut *CALLS.lock().unwrap());
        assert_eq!(calls, [vec![vec![(mirror, value)], vec![(rendered, value)]]]);
    }
}
