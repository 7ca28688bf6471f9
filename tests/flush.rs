//! Lent turns that were dropped, on an engine's device: the bridge submits nothing on its own, and
//! a submission of the flush parts proves the end. A single test, because the device's functions
//! are replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // A replaced Vulkan function, and submissions.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, LiveObjects, SubmitParts};
use bridge_tests::{Engine, Rig, case_on};

static REAL: OnceLock<vk::PFN_vkQueueSubmit2> = OnceLock::new();
static SUBMISSIONS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn count(
    queue: vk::Queue,
    batches: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    SUBMISSIONS.fetch_add(1, Ordering::Relaxed);
    let real = REAL.get().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(queue, batches, infos, fence) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkQueueSubmit2" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let _ = REAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
    count as *const c_void
}

#[test]
fn an_engine_flushes_its_own_queue() {
    let engine = Engine::new(Some(hook));
    for backend in [Backend::Host, Backend::Cuda] {
        // SAFETY: the engine's own handles, which outlive the loop.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        if let Some(compute) = case_on(&device, backend, "the_parts_of_a_flush_prove_the_end") {
            assert!(!device.queues_are_synchronized());
            the_parts_of_a_flush_prove_the_end(&device, &compute);
        }
    }
    // Last, because its leaks keep the device alive, and so the engine. SAFETY: the engine's own
    // handles, which are never destroyed.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    without_the_parts_closing_times_out(&Compute::new(&device, Backend::Host).unwrap());
    std::mem::forget(engine);
}

/// Returns an exchange whose only turn was lent, perhaps submitted, and dropped.
fn lost(compute: &Compute, is_submitted: bool, timeout: Duration) -> Exchange<BufferSpec<u32>> {
    let info = ExchangeInfo { name: "lost", slots: 1, timeout, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, BufferSpec::new(16, BufferAccess::TRANSFER_READ)).unwrap();
    let lent = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
    if is_submitted {
        submit(compute.device(), &lent.parts());
    }
    drop(lent);
    exchange
}

/// Submits parts alone. Closing the exchange waits for their signal.
fn submit(device: &ExportDevice, parts: &SubmitParts) {
    let signals = [parts.signal()];
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
    // SAFETY: the unmodified parts; closing waits for the signal.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
}

fn the_parts_of_a_flush_prove_the_end(device: &ExportDevice, compute: &Compute) {
    let before = LiveObjects::now();
    let mut exchange = lost(compute, false, Rig::LONG);
    submit(device, &exchange.flush_parts().unwrap().unwrap());
    let submissions = SUBMISSIONS.load(Ordering::Relaxed);
    assert!(submissions > 0, "the stand-in is not called");
    exchange.close().unwrap();
    assert_eq!(SUBMISSIONS.load(Ordering::Relaxed), submissions);
    assert_eq!(LiveObjects::now(), before);
}

/// Parts that were returned count as possibly submitted, so closing waits for them, even if the
/// turn itself has ended.
fn without_the_parts_closing_times_out(compute: &Compute) {
    lost(compute, true, Rig::LONG).close().unwrap();
    let mut leaked = LiveObjects::now();
    let submissions = SUBMISSIONS.load(Ordering::Relaxed);
    for (is_submitted, returned) in [(false, 0), (false, 2), (true, 1)] {
        let mut exchange = lost(compute, is_submitted, Duration::from_millis(300));
        (0..returned).for_each(|_| assert!(exchange.flush_parts().unwrap().is_some()));
        match exchange.close() {
            Err(error @ Error::Timeout { value, last_seen, .. })
                if (value, last_seen) == (1 + returned, u64::from(is_submitted)) =>
            {
                assert!(error.to_string().contains("lost.rendered"), "{error}");
            }
            other => panic!("{is_submitted}, {returned}: {other:?}"),
        }
        let now = LiveObjects::now();
        leaked.leaked_buffers += 1;
        leaked.leaked_timelines += 2;
        let counted = |objects: &LiveObjects| (objects.leaked_buffers, objects.leaked_timelines);
        assert_eq!(counted(&now), counted(&leaked), "{now}");
    }
    assert_eq!(SUBMISSIONS.load(Ordering::Relaxed), submissions + 1, "behind the engine's back");
}
