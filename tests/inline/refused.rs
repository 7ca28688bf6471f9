//! Calls that the inline backend refuses, and the errors.

use bridge::{Backend, Compute, Exchange, ExchangeInfo, ExportDevice, LiveObjects, OpenInfo, QueueKind};
use bridge_tests::{PROBE, Rig};

use super::{Inline, fill, words, work};

#[test]
fn a_device_without_buffer_addresses_is_refused_with_the_remedy() {
    let _turn = Rig::open();
    let device = ExportDevice::open(&OpenInfo { application_name: "tests", ..OpenInfo::default() }).unwrap();
    // NVIDIA's driver would deadlock if a device were destroyed while a test's thread ends.
    std::mem::forget(device.clone());
    let error = Compute::inline(&device, QueueKind::Graphics).unwrap_err().to_string();
    assert!(error.contains(device.name()) && error.contains("OpenInfo::cuda_kernels"), "{error}");
    let error = Compute::new(&device, Backend::Inline).unwrap_err().to_string();
    assert!(error.contains("VK_NVX_binary_import") && error.contains("CUDA kernels in command buffers"), "{error}");
}

#[test]
fn kernels_are_refused_where_no_queue_runs_them() {
    let rig = Rig::open();
    let device = rig.device();
    if device.has_cuda_kernels() {
        return;
    }
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    assert_eq!(compute.backend(), Backend::Inline);
    let error = compute.load("probe", PROBE).unwrap_err().to_string();
    assert!(error.contains("VK_NVX_binary_import") && error.contains("stream"), "{error}");
}

#[test]
fn the_cpu_backend_has_no_kernels() {
    let rig = Rig::open();
    let device = rig.device();
    let compute = Compute::new(device, Backend::Host).unwrap();
    let module = compute.load("probe", PROBE).unwrap();
    let error = module.kernel("fill_after").unwrap_err().to_string();
    assert!(error.contains("no twin in Rust"), "{error}");
}

#[test]
fn an_exchange_on_another_queue_is_refused() {
    let rig = Rig::open();
    let device = rig.device();
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    for queue in [QueueKind::Compute, QueueKind::Transfer] {
        let info = ExchangeInfo { name: "elsewhere", queue, ..Default::default() };
        let error = Exchange::new(&compute, &info, words()).unwrap_err().to_string();
        assert!(error.contains("elsewhere") && error.contains(&queue.to_string()), "{error}");
    }
    let error = Compute::inline(device, QueueKind::Transfer).unwrap_err().to_string();
    assert!(error.contains("transfer"), "{error}");
}

/// Calls from inside a recording closure that would place work before its commands are errors.
#[test]
fn work_ahead_of_a_closures_own_commands_is_refused() {
    let inline = Inline::open();
    let before = LiveObjects::now();
    let (mut one, mut other) = (inline.exchange("one", 2), inline.exchange("other", 2));
    let mut turn = other.begin().unwrap();
    fill(&inline, &mut turn, 1);
    let finished = turn.finish().unwrap();
    let mut second = other.begin().unwrap();
    let mut open = one.begin().unwrap();
    let mut told = Vec::new();
    let inside = |_| {
        told.push(finished.computed().is_reached().map(|_| ()));
        told.push(finished.computed().wait(Rig::LONG));
        // SAFETY: nothing is recorded.
        told.push(unsafe { work(&mut second).record(|_| {}) });
        told.push(second.finish().map(|_| ()));
        told.push(finished.lend().map(|_| ()));
        drop(other);
    };
    // SAFETY: as above.
    unsafe { work(&mut open).record(inside) }.unwrap();
    for told in told {
        let error = told.unwrap_err().to_string();
        assert!(error.contains("inside a closure of `KernelWork::record`"), "{error}");
    }
    open.skip().unwrap();
    one.close().unwrap();
    // The exchange that was dropped inside ends on another thread.
    let start = std::time::Instant::now();
    while LiveObjects::now() != before {
        assert!(start.elapsed() < Rig::LONG, "{:?}", LiveObjects::now());
        std::thread::yield_now();
    }
    inline.finish();
}

/// A closure that panics leaves the stream as it was, with a barrier after what it has recorded.
#[test]
fn a_closure_that_panics_leaves_the_stream_usable() {
    let inline = Inline::open();
    let readback = bridge_tests::Readback::new(&inline.device, super::SIZE);
    let mut exchange = inline.exchange("words", 1);
    let mut turn = exchange.begin().unwrap();
    fill(&inline, &mut turn, 1);
    let panics = std::panic::AssertUnwindSafe(|| {
        // SAFETY: nothing is recorded.
        let _ = unsafe { work(&mut turn).record(|_| panic!("on purpose")) };
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    let source = (turn.resources().as_raw(), super::SIZE);
    assert!(readback.run(turn, &[source]).iter().all(|word| *word == 1));
    exchange.close().unwrap();
    drop(readback);
    inline.finish();
}
