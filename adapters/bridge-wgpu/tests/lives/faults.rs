//! Waits for the compute side, after which wgpu's own waits end.

use crate::support::latest::LEN;
use crate::support::{LIMIT, info, ways};
use bridge_wgpu::{Exchange, SharedBuffer, wgpu};

fn numbers() -> SharedBuffer<u32> {
    SharedBuffer::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

#[test]
fn a_wait_ends_with_the_compute_sides_work() {
    for bridge in ways() {
        bridge.wait_for_compute(LIMIT).unwrap();
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let frame = exchange.begin().unwrap().finish().unwrap();
        bridge.submit([], frame).unwrap();
        bridge.wait_for_compute(LIMIT).unwrap();
        bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
}

/// The driver double acts as CUDA, whose context is lost while wgpu's queue waits for it. On an
/// adopted device the software driver would block in the submission of the frame's signal.
#[test]
#[cfg(target_os = "linux")]
fn a_fault_of_cuda_hangs_no_wait() {
    use std::time::{Duration, Instant};

    use crate::support::bridge_on;
    use bridge_wgpu::{Backend, Error};
    use driver_double::Double;

    /// `CUDA_ERROR_LAUNCH_FAILED`
    const LAUNCH_FAILED: u32 = 719;
    const SHORT: Duration = Duration::from_millis(50);

    if !Double::has_software_vulkan() {
        return test_support::skip(test_support::Need::Other, "there is no software Vulkan driver");
    }
    let Some(double) = Double::in_child_with_vulkan("faults::a_fault_of_cuda_hangs_no_wait") else { return };
    let bridge = bridge_on(Backend::Cuda).expect("the double acts as CUDA");
    let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
    double.hold_work();
    let frame = exchange.begin().unwrap().finish().unwrap();
    bridge.submit([], frame).unwrap();
    let slow = bridge.wait_for_compute(SHORT).unwrap_err();
    let is_timeout = matches!(slow, Error::Bridge(bridge_wgpu::bridge::Error::Timeout { .. }));
    assert!(is_timeout && slow.to_string().contains("numbers"), "CUDA works, but is slow: {slow}");
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    let limited = wgpu::PollType::Wait { submission_index: None, timeout: Some(SHORT) };
    let polled = bridge.device().poll(limited);
    assert!(matches!(polled, Err(wgpu::PollError::Timeout)), "the control: nothing signals in place of CUDA");
    let start = Instant::now();
    bridge.wait_for_compute(LIMIT).unwrap();
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let error = exchange.begin().unwrap_err();
    assert!(error.to_string().contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
    bridge.wait_for_compute(LIMIT).expect("it can be called after a fault");
    // Ending the exchange is not a part of this test.
    std::mem::forget(exchange);
}
