//! A Vulkan device that is lost in the middle. One test: the device's functions are stood in for.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{Backend, BufferSpec, Compute, Consumer, Error, Exchange, ExchangeInfo};
use bridge_tests::{Engine, Readback, Rig, compute};

/// From now on, nothing on the device completes.
static LOST: AtomicBool = AtomicBool::new(false);

/// A stand-in that returns `ERROR_DEVICE_LOST` once the device is lost, and calls the real function before.
macro_rules! stand_in {
    ($module:ident, $real:ty, $($argument:ident: $kind:ty),+) => {
        mod $module {
            use super::*;

            pub(super) type Real = $real;
            pub(super) static REAL: OnceLock<Real> = OnceLock::new();

            pub(super) unsafe extern "system" fn function($($argument: $kind),+) -> vk::Result {
                if LOST.load(Ordering::Acquire) {
                    return vk::Result::ERROR_DEVICE_LOST;
                }
                let real = REAL.get().unwrap();
                // SAFETY: handed on.
                unsafe { real($($argument),+) }
            }
        }
    };
}

stand_in!(submit, vk::PFN_vkQueueSubmit2, queue: vk::Queue, count: u32, batches: *const vk::SubmitInfo2<'_>, fence: vk::Fence);
stand_in!(wait, vk::PFN_vkWaitSemaphores, device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, timeout: u64);
stand_in!(signal, vk::PFN_vkSignalSemaphore, device: vk::Device, info: *const vk::SemaphoreSignalInfo<'_>);
stand_in!(value, vk::PFN_vkGetSemaphoreCounterValue, device: vk::Device, semaphore: vk::Semaphore, value: *mut u64);

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    macro_rules! replace {
        ($module:ident) => {{
            // SAFETY: the function of that name has this type.
            let _ = $module::REAL.set(unsafe { std::mem::transmute::<*const c_void, $module::Real>(real) });
            $module::function as *const c_void
        }};
    }
    match name.to_bytes() {
        b"vkQueueSubmit2" => replace!(submit),
        b"vkWaitSemaphores" => replace!(wait),
        b"vkSignalSemaphore" => replace!(signal),
        b"vkGetSemaphoreCounterValue" => replace!(value),
        _ => real,
    }
}

#[test]
fn a_lost_device_is_an_error_on_every_call_and_dropping_does_not_hang() {
    for backend in [Backend::Host, Backend::Cuda] {
        LOST.store(false, Ordering::Release);
        // Never destroyed: what the exchange leaks, since a lost device tells nothing, is still its child.
        let engine = Box::leak(Box::new(Engine::new(Some(hook))));
        // SAFETY: the engine's own handles, which live for ever.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        if let Some(compute) = compute(&device, backend, "a_lost_device") {
            lose(&device, &compute);
        }
    }
}

fn lose(device: &ExportDevice, compute: &Compute) {
    let info = ExchangeInfo { name: "doomed", slots: 2, timeout: Duration::from_secs(10), ..Default::default() };
    let spec = BufferSpec::<u32>::new(16, Consumer::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let readback = Readback::new(device, 64);
    let mut last = None;
    for _ in 0..3 {
        let turn = exchange.begin().unwrap().finish().unwrap();
        let commands = readback.record(&turn, &[]);
        // SAFETY: recorded with the turn's barriers, waited for here.
        let point = unsafe { turn.submit(device.queue(), &[commands]) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        last = Some(point);
    }
    let turn = exchange.begin().unwrap().finish().unwrap();
    let commands = readback.record(&turn, &[]);

    LOST.store(true, Ordering::Release);
    let start = Instant::now();
    // SAFETY: as above; refused.
    let error = unsafe { turn.submit(device.queue(), &[commands]) }.unwrap_err();
    assert!(error.is_device_lost(), "{error}");
    assert!(error.to_string().contains("recreate the device"), "{error}");
    let error = last.unwrap().wait(Rig::LONG).unwrap_err();
    assert!(error.is_device_lost(), "{error}");
    let error: Error = exchange.close().unwrap_err();
    assert!(error.is_device_lost(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
