//! Timelines between Vulkan and the host. Reading a counter does not order memory accesses, so code
//! that reads mapped memory after it also waits. A signal counts if the driver performs it and
//! still returns an error. A single test, because the replaced Vulkan functions are global to the
//! process.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions, and replaced Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bridge::ash::vk;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, QueueLock, TimelinePoint, Work,
};
use bridge_tests::{Engine, Rig};

static WAIT: OnceLock<vk::PFN_vkWaitSemaphores> = OnceLock::new();
static SIGNAL: OnceLock<vk::PFN_vkSignalSemaphore> = OnceLock::new();
/// Timelines and values that were waited for in Vulkan.
static WAITED: Mutex<Vec<(vk::Semaphore, u64)>> = Mutex::new(Vec::new());
/// `true` if the next signal is performed but returns an error.
static REFUSES: AtomicBool = AtomicBool::new(false);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn wait(device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, limit: u64) -> vk::Result {
    // SAFETY: VUID-vkWaitSemaphores-pWaitInfo-parameter: a valid structure.
    let waited = unsafe { &*info };
    // SAFETY: the bridge waits for one timeline at a time.
    let semaphore = unsafe { waited.p_semaphores.read() };
    // SAFETY: as above.
    let value = unsafe { waited.p_values.read() };
    WAITED.lock().unwrap().push((semaphore, value));
    // SAFETY: forwarded to the real function.
    unsafe { WAIT.get().unwrap()(device, info, limit) }
}

unsafe extern "system" fn signal(device: vk::Device, info: *const vk::SemaphoreSignalInfo<'_>) -> vk::Result {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
    // SAFETY: forwarded to the real function.
    let result = unsafe { SIGNAL.get().unwrap()(device, info) };
    if REFUSES.swap(false, Ordering::SeqCst) { vk::Result::ERROR_OUT_OF_HOST_MEMORY } else { result }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkWaitSemaphores" => {
            // SAFETY: the function of that name has this type.
            let _ = WAIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitSemaphores>(real) });
            wait as *const c_void
        }
        b"vkSignalSemaphore" => {
            // SAFETY: as above.
            let _ = SIGNAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkSignalSemaphore>(real) });
            signal as *const c_void
        }
        _ => real,
    }
}

/// A queue lock without a mutex, because the test is the engine's only thread.
struct Lock;

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

#[test]
fn the_host_waits_in_order_and_signals_once() {
    let engine = Engine::new(Some(hook));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock));
    // SAFETY: the engine's own handles, which outlive everything that is created from them here.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    waits_order_memory(&device, &compute);
    a_performed_signal_is_not_repeated_after_an_error(&compute);
    drop((compute, device));
    engine.assert_silent();
}

fn words() -> BufferSpec<u32> {
    BufferSpec::new(64, BufferAccess::TRANSFER_READ)
}

/// Returns the values of a timeline that were waited for since the last call.
fn take_waits(timeline: vk::Semaphore) -> Vec<u64> {
    let waited = std::mem::take(&mut *WAITED.lock().unwrap());
    waited.into_iter().filter(|(semaphore, _)| *semaphore == timeline).map(|(_, value)| value).collect()
}

fn waits_order_memory(device: &ExportDevice, compute: &Compute) {
    let info = ExchangeInfo { name: "ordered", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, words()).unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    // SAFETY: no commands use the slot, so nothing must be acquired or released.
    let rendered = unsafe { turn.submit(&[]) }.unwrap();
    let timeline = rendered.wait_info(vk::PipelineStageFlags2::NONE).unwrap().semaphore;
    // Later waits find the value reached. SAFETY: nothing else uses the device.
    unsafe { device.as_raw().device_wait_idle() }.unwrap();
    assert!(rendered.is_reached().unwrap());
    take_waits(timeline);
    let waits: [fn(&TimelinePoint) -> bridge::Result<()>; 3] =
        [|point| point.wait(Rig::LONG), |point| point.wait_blocking(Rig::LONG), |point| point.wait_ended(Rig::LONG)];
    for wait in waits {
        wait(&rendered).unwrap();
        assert!(take_waits(timeline).contains(&1), "a program may read its own memory now");
    }
    // The compute thread writes to the slot, which Vulkan has read.
    let mut turn = exchange.begin().unwrap();
    let Work::Host(host) = turn.work() else { panic!() };
    host.run(|words: &mut [u32]| words.fill(1)).unwrap();
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    assert!(take_waits(timeline).contains(&1), "Vulkan's reads come before the writes");
    assert_eq!(turn.read_back(Rig::LONG).unwrap(), [1; 64]);
    assert!(take_waits(timeline).contains(&2), "the copy comes before the reads");
    exchange.close().unwrap();
}

/// A signal that is performed but returns an error is not repeated. A second signal of the same
/// value would fail permanently, and the compute side with it.
fn a_performed_signal_is_not_repeated_after_an_error(compute: &Compute) {
    let info = ExchangeInfo { name: "signaled", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, words()).unwrap();
    for refuses in [true, false] {
        let before = SIGNALS.load(Ordering::SeqCst);
        REFUSES.store(refuses, Ordering::SeqCst);
        let turn = exchange.begin().unwrap().finish().unwrap();
        turn.computed().wait(Rig::LONG).unwrap();
        // SAFETY: no commands use the slot, so nothing must be acquired or released.
        unsafe { turn.submit(&[]) }.unwrap().wait(Rig::LONG).unwrap();
        assert_eq!(SIGNALS.load(Ordering::SeqCst) - before, 1);
    }
    exchange.close().unwrap();
}
