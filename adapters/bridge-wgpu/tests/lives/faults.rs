//! Waits for the compute side, after which wgpu's own waits end.

use std::time::Duration;

use crate::support::gate::Gate;
use crate::support::latest::LEN;
use crate::support::{LIMIT, alone, bridge_of, info, ways};
use bridge_wgpu::wgpu::rwh;
use bridge_wgpu::{Backend, Error, Exchange, SharedBuffer, bridge, wgpu};

fn numbers() -> SharedBuffer<u32> {
    SharedBuffer::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

/// Less than any frame of the tests takes while it is held.
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_wait_ends_with_the_work_of_cuda() {
    let _alone = alone();
    for bridge in ways() {
        bridge.wait_for_signals(SHORT).expect("there is no frame");
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut turn = exchange.begin().unwrap();
        let gate = Gate::hold(turn.work());
        let frame = turn.finish().unwrap();
        let held = bridge.wait_for_signals(SHORT);
        gate.open();
        bridge.wait_for_signals(LIMIT).unwrap();
        if bridge.backend() == Backend::Cuda {
            assert!(is_timeout_of(&held.unwrap_err(), "numbers"));
            assert!(frame.computed().is_reached().unwrap());
        } else {
            held.expect("with the CPU backend there is nothing to wait for");
        }
        bridge.submit([], frame).unwrap();
        bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
}

fn is_timeout_of(error: &Error, exchange: &str) -> bool {
    matches!(error, Error::Bridge(bridge::Error::Timeout { .. })) && error.to_string().contains(exchange)
}

/// Configures a surface that only wgpu's no-op backend has, which wgpu refuses on a Vulkan device
/// before its own wait. Without a display, it shows what precedes wgpu's call.
#[test]
fn a_surface_is_configured_after_the_wait() {
    let _alone = alone();
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    let adapter = adapters.into_iter().next().expect("a Vulkan device");
    let target = wgpu::SurfaceTargetUnsafe::RawHandle {
        raw_display_handle: Some(rwh::RawDisplayHandle::Web(rwh::WebDisplayHandle::new())),
        raw_window_handle: rwh::RawWindowHandle::Web(rwh::WebWindowHandle::new(0)),
    };
    // SAFETY: only the no-op backend accepts these handles, and does not use them.
    let surface = unsafe { instance.create_surface_unsafe(target) }.unwrap();
    let config = wgpu::SurfaceConfiguration {
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
        format: wgpu::TextureFormat::Bgra8Unorm,
        color_space: wgpu::SurfaceColorSpace::Auto,
        width: 1,
        height: 1,
        present_mode: wgpu::PresentMode::Fifo,
        desired_maximum_frame_latency: 2,
        alpha_mode: wgpu::CompositeAlphaMode::Auto,
        view_formats: Vec::new(),
    };
    for backend in [Backend::Host, Backend::Cuda] {
        let Some(bridge) = bridge_of(&adapter, backend) else { continue };
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut turn = exchange.begin().unwrap();
        let gate = Gate::hold(turn.work());
        let frame = turn.finish().unwrap();
        if backend == Backend::Cuda {
            let error = bridge.configure_surface(&surface, &config, SHORT).unwrap_err();
            assert!(is_timeout_of(&error, "numbers"), "wgpu would wait without a limit: {error}");
        }
        gate.open();
        let error = bridge.configure_surface(&surface, &config, LIMIT).unwrap_err();
        assert!(matches!(error, Error::Refused { call: "Surface::configure", .. }), "{error}");
        frame.computed().wait(LIMIT).unwrap();
        bridge.submit([], frame).unwrap();
    }
}

/// The driver double acts as CUDA, whose context is lost while wgpu's queue waits for it. On an
/// adopted device the software driver would block in the submission of the frame's signal.
#[test]
#[cfg(target_os = "linux")]
fn a_fault_of_cuda_hangs_no_wait() {
    use std::time::Instant;

    use crate::support::bridge_on;
    use driver_double::Double;

    /// `CUDA_ERROR_LAUNCH_FAILED`
    const LAUNCH_FAILED: u32 = 719;

    let _alone = alone();
    if !Double::has_software_vulkan() {
        return test_support::skip(test_support::Need::Other, "there is no software Vulkan driver");
    }
    let Some(double) = Double::in_child_with_vulkan("faults::a_fault_of_cuda_hangs_no_wait") else { return };
    let bridge = bridge_on(Backend::Cuda).expect("the double acts as CUDA");
    let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
    double.hold_work();
    let frame = exchange.begin().unwrap().finish().unwrap();
    bridge.submit([], frame).unwrap();
    let slow = bridge.wait_for_signals(SHORT).unwrap_err();
    assert!(is_timeout_of(&slow, "numbers"), "CUDA works, but is slow: {slow}");
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    let limited = wgpu::PollType::Wait { submission_index: None, timeout: Some(SHORT) };
    let polled = bridge.device().poll(limited);
    assert!(matches!(polled, Err(wgpu::PollError::Timeout)), "the control: nothing signals in place of CUDA");
    let start = Instant::now();
    bridge.wait_for_signals(LIMIT).unwrap();
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let error = exchange.begin().unwrap_err();
    assert!(error.to_string().contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
    bridge.wait_for_signals(LIMIT).expect("it can be called after a fault");
    // Ending the exchange is not a part of this test.
    std::mem::forget(exchange);
}
