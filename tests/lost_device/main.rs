//! A Vulkan device that is lost while it is in use. This is one test, because the device's
//! functions are replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

mod succeeding;
mod waits;

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LatestInfo, LiveObjects, QueueKind,
    TimelinePoint, Work,
};
use bridge_tests::{Engine, Gate, Need, Readback, Rig, case_on, skip_case};
use bridge_view::{Element, ImageFormat, Look, View, ViewInfo};
use succeeding::{WAITS_SUCCEED, fences, wait};

/// The value that a driver reports for a timeline once the device is lost. Waits, submissions and
/// signals report the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    /// The loss.
    Lost,
    /// `u64::MAX` with `VK_SUCCESS`, as reported for example in issue 4566 of the Khronos
    /// validation layers.
    Maximum,
    /// The last value with `VK_SUCCESS`.
    Stale,
}

/// While this is set, nothing on the device completes.
static LOST: Mutex<Option<Counter>> = Mutex::new(None);

/// A replacement that returns `ERROR_DEVICE_LOST` once the device is lost, and calls the real
/// function before that.
macro_rules! stand_in {
    ($module:ident, $real:ty, $($argument:ident: $kind:ty),+) => {
        mod $module {
            use super::*;

            pub(super) type Real = $real;
            /// The function of the one device.
            pub(super) static REAL: Mutex<Option<Real>> = Mutex::new(None);

            pub(super) unsafe extern "system" fn function($($argument: $kind),+) -> vk::Result {
                if LOST.lock().unwrap().is_some() {
                    return vk::Result::ERROR_DEVICE_LOST;
                }
                let real = REAL.lock().unwrap().unwrap();
                // SAFETY: forwarded to the real function.
                unsafe { real($($argument),+) }
            }
        }
    };
}

stand_in!(lost_submit, vk::PFN_vkQueueSubmit2, queue: vk::Queue, count: u32, batches: *const vk::SubmitInfo2<'_>, fence: vk::Fence);
stand_in!(lost_wait, vk::PFN_vkWaitSemaphores, device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, timeout: u64);
stand_in!(signal, vk::PFN_vkSignalSemaphore, device: vk::Device, info: *const vk::SemaphoreSignalInfo<'_>);
stand_in!(lost_value, vk::PFN_vkGetSemaphoreCounterValue, device: vk::Device, semaphore: vk::Semaphore, value: *mut u64);

/// `true` if submissions are accepted but do not run, like those that a device has when it is lost.
static DROPS_SUBMISSIONS: AtomicBool = AtomicBool::new(false);

mod submit {
    use super::*;

    pub(super) use super::lost_submit::{REAL, Real};

    pub(super) unsafe extern "system" fn function(
        queue: vk::Queue,
        count: u32,
        batches: *const vk::SubmitInfo2<'_>,
        fence: vk::Fence,
    ) -> vk::Result {
        if DROPS_SUBMISSIONS.load(Ordering::Relaxed) {
            return vk::Result::SUCCESS;
        }
        // SAFETY: forwarded to the real function.
        unsafe { lost_submit::function(queue, count, batches, fence) }
    }
}

mod value {
    use super::*;

    pub(super) use super::lost_value::{REAL, Real};

    pub(super) unsafe extern "system" fn function(
        device: vk::Device,
        semaphore: vk::Semaphore,
        value: *mut u64,
    ) -> vk::Result {
        let lost = *LOST.lock().unwrap();
        match lost {
            // SAFETY: forwarded to the real function.
            Some(Counter::Lost) | None => unsafe { lost_value::function(device, semaphore, value) },
            Some(Counter::Maximum) => {
                // SAFETY: the caller's pointer, as for the real function.
                unsafe { *value = u64::MAX };
                vk::Result::SUCCESS
            }
            Some(Counter::Stale) => {
                let real = REAL.lock().unwrap().unwrap();
                // SAFETY: forwarded to the real function.
                unsafe { real(device, semaphore, value) }
            }
        }
    }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    macro_rules! replace {
        ($module:ident) => {{
            // SAFETY: the function of that name has this type.
            *$module::REAL.lock().unwrap() = Some(unsafe { std::mem::transmute::<*const c_void, $module::Real>(real) });
            $module::function as *const c_void
        }};
    }
    match name.to_bytes() {
        b"vkQueueSubmit2" => replace!(submit),
        b"vkWaitSemaphores" => replace!(wait),
        b"vkWaitForFences" => replace!(fences),
        b"vkSignalSemaphore" => replace!(signal),
        b"vkGetSemaphoreCounterValue" => replace!(value),
        _ => real,
    }
}

#[test]
fn a_lost_device_is_an_error_on_every_call_and_dropping_does_not_hang() {
    // One device, because the functions are its own. Never destroyed: NVIDIA's driver deadlocks if
    // a device is destroyed while a thread that has used Vulkan exits.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    let counters = [Counter::Lost, Counter::Maximum, Counter::Stale];
    for (backend, counter) in [Backend::Host, Backend::Cuda].into_iter().flat_map(|b| counters.map(|c| (b, c))) {
        *LOST.lock().unwrap() = None;
        // SAFETY: the engine's own handles, which live forever.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        let Some(compute) = case_on(&device, backend, &format!("{counter:?}")) else { continue };
        for succeed in [false, true] {
            WAITS_SUCCEED.store(succeed, Ordering::Relaxed);
            lose(&device, &compute, counter);
            *LOST.lock().unwrap() = None;
            lose_latest(&compute, counter);
            *LOST.lock().unwrap() = None;
            lose_view(&compute, counter);
            *LOST.lock().unwrap() = None;
            if backend == Backend::Cuda {
                waits::lose_what_cuda_waits_for(&compute, counter, true);
                *LOST.lock().unwrap() = None;
                waits::lose_what_cuda_waits_for(&compute, counter, false);
                *LOST.lock().unwrap() = None;
            }
        }
        succeeding::lose_commands_that_run_once(&device, counter);
    }
    *LOST.lock().unwrap() = None;
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    if !device.physical().buffer_device_address {
        skip_case(Need::Other, "inline", "the device has no bufferDeviceAddress");
        return engine.assert_silent();
    }
    for (succeed, counter) in [false, true].into_iter().flat_map(|s| counters.map(|c| (s, c))) {
        *LOST.lock().unwrap() = None;
        WAITS_SUCCEED.store(succeed, Ordering::Relaxed);
        let mut info = engine.info();
        info.queue_lock = Some(Arc::new(Unlocked));
        info.features.buffer_device_address = true;
        // SAFETY: the engine's own handles, which live forever.
        let device = unsafe { ExportDevice::adopt(info) }.unwrap();
        lose(&device, &Compute::inline(&device, QueueKind::Graphics).unwrap(), counter);
    }
    engine.assert_silent();
}

/// The lock of an engine that submits nothing besides the bridge.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

fn lose(device: &ExportDevice, compute: &Compute, counter: Counter) {
    let info = ExchangeInfo { name: "doomed", slots: 2, timeout: 10 * Rig::LONG, ..Default::default() };
    let spec = BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let readback = Readback::new(device, 64);
    let mut last = None;
    for _ in 0..3 {
        let turn = exchange.begin().unwrap().finish().unwrap();
        let commands = readback.record(&turn, &[]);
        // SAFETY: recorded with the turn's barriers, waited for here.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        last = Some(point);
    }
    let turn = exchange.begin().unwrap().finish().unwrap();
    let commands = readback.record(&turn, &[]);

    // Nothing is pending, so the value of each counter is known.
    turn.computed().wait(Rig::LONG).unwrap();
    if compute.backend() != Backend::Inline {
        wait_for_a_point_that_is_not_reached(compute, counter);
    }

    *LOST.lock().unwrap() = Some(counter);
    let start = Instant::now();
    // SAFETY: as above; refused.
    let error = unsafe { turn.submit(&[commands]) }.unwrap_err();
    assert!(error.is_device_lost(), "{error}");
    assert!(error.to_string().contains("recreate the device"), "{error}");
    // A point that was reached before the loss may be known to be reached; a point that was not
    // must not be.
    let reached = last.unwrap().wait(Rig::LONG);
    match counter {
        Counter::Stale => reached.unwrap(),
        _ => assert!(reached.unwrap_err().is_device_lost()),
    }
    // Objects of a lost device may be destroyed, and are.
    exchange.close().unwrap();
    let now = LiveObjects::now();
    assert!(now.is_empty(), "{counter:?}: {now}");
    assert!(start.elapsed() < Rig::LONG, "{:?}", start.elapsed());
}

/// A point that the compute side has not reached: its counter keeps saying so, or returns nonsense.
/// The wait reports the loss in either case, and long before its limit.
fn wait_for_a_point_that_is_not_reached(compute: &Compute, counter: Counter) {
    let info = ExchangeInfo { name: "held", timeout: 10 * Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ)).unwrap();
    let gate = Gate::on(compute);
    // The CPU's thread would see the loss if it waited for a gate.
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let mut turn = exchange.begin().unwrap();
    match turn.work() {
        Work::Host(host) => host.run(move |_| assert!(opened.recv().is_err())).unwrap(),
        work => gate.hold_work(work),
    }
    let turn = turn.finish().unwrap();
    for wait in [TimelinePoint::wait, TimelinePoint::wait_blocking] {
        *LOST.lock().unwrap() = Some(counter);
        let start = Instant::now();
        let error = wait(&turn.computed(), Rig::LONG).unwrap_err();
        let took = start.elapsed();
        *LOST.lock().unwrap() = None;
        assert!(error.is_device_lost(), "{counter:?}: {error}");
        assert!(took < Rig::LONG / 2, "{counter:?}: {took:?}");
    }
    drop(open);
    gate.open();
    turn.computed().wait(Rig::LONG).unwrap();
    turn.skip();
    exchange.close().unwrap();
}

/// The two sides of a latest exchange: both report the loss, and neither waits.
fn lose_latest(compute: &Compute, counter: Counter) {
    let info = LatestInfo { name: "doomed", timeout: 10 * Rig::LONG, ..Default::default() };
    let spec = BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ);
    let (mut writer, mut reader) = Exchange::latest(compute, &info, spec).unwrap();
    for _ in 0..3 {
        writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
        reader.newest().unwrap().unwrap().read_back(Rig::LONG).unwrap();
    }
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    let turn = reader.newest().unwrap().unwrap();
    assert!(turn.is_new());

    *LOST.lock().unwrap() = Some(counter);
    let start = Instant::now();
    // SAFETY: refused; nothing is used.
    let error = unsafe { turn.submit(&[]) }.unwrap_err();
    assert!(error.is_device_lost() && error.to_string().contains("recreate the device"), "{error}");
    match counter {
        // The counter keeps its last value, so the frame is available; submitting it reports the
        // loss.
        Counter::Stale => assert!(reader.newest().unwrap().unwrap().is_new()),
        _ => assert!(reader.newest().unwrap_err().is_device_lost()),
    }
    if counter != Counter::Stale {
        assert!(writer.begin().unwrap_err().is_device_lost());
    }
    writer.close(reader).unwrap();
    let now = LiveObjects::now();
    assert!(now.is_empty(), "{counter:?}: {now}");
    assert!(start.elapsed() < Rig::LONG, "{:?}", start.elapsed());
}

/// The next call of a view reports the loss, and the view ends.
fn lose_view(compute: &Compute, counter: Counter) {
    let size = [16, 8];
    let mut view = View::headless(compute, &ViewInfo { size, timeout: 10 * Rig::LONG }).unwrap();
    let format = ImageFormat::new(size, 1, Element::U8).unwrap();
    let info = ExchangeInfo { name: "doomed", timeout: 10 * Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, format.spec::<u8>().unwrap()).unwrap();
    for _ in 0..4 {
        view.show_image(exchange.begin().unwrap().finish().unwrap(), format, &Look::default()).unwrap();
        assert!(view.draw().unwrap());
    }
    view.pixels().unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();

    *LOST.lock().unwrap() = Some(counter);
    let start = Instant::now();
    view.show_image(turn, format, &Look::default()).unwrap();
    let error = view.draw().unwrap_err();
    assert!(error.is_device_lost() && error.to_string().contains("recreate the device"), "{error}");
    assert!(view.pixels().unwrap_err().is_device_lost());
    drop(view);
    exchange.close().unwrap();
    let now = LiveObjects::now();
    assert!(now.is_empty(), "{counter:?}: {now}");
    assert!(start.elapsed() < Rig::LONG, "{:?}", start.elapsed());
}
