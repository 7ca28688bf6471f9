//! Devices that are created with all requirements, adopted, or refused with everything that is
//! missing.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; devices created with `wgpu::hal`.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Filler, adapter, bridge_on, info, read_buffer, validation_messages};
use bridge_wgpu::bridge::vk_export::EXPORT_EXTENSIONS;
use bridge_wgpu::bridge::{CudaDevice, EnabledFeatures};
use bridge_wgpu::{Backend, Bridge, Error, Exchange, Requirements, SharedBuffer, Work, wgpu};
use wgpu::hal::api::Vulkan;

fn fails(adapter: &wgpu::Adapter, descriptor: &wgpu::DeviceDescriptor<'_>, backend: Backend) -> Error {
    match Bridge::request_device(adapter, descriptor, backend) {
        Ok(bridge) => panic!("{bridge:?}"),
        Err(error) => error,
    }
}

/// Checks that frames are transferred.
fn check(bridge: &Bridge) {
    let spec = SharedBuffer::<u32>::new(256, wgpu::BufferUsages::COPY_SRC);
    let mut exchange = Exchange::new(bridge, &info("numbers"), spec).unwrap();
    let filler = Filler::new(bridge);
    for frame in 0..4 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, frame, Duration::ZERO);
        bridge.submit([], turn.finish().unwrap()).unwrap();
        assert_eq!(read_buffer(bridge, exchange.objects()), Filler::pattern(256, frame));
    }
}

#[test]
fn another_backend_of_wgpu_is_named() {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let error = fails(&adapter, &wgpu::DeviceDescriptor::default(), Backend::Auto);
    assert!(matches!(error, Error::NotVulkan { backend: wgpu::Backend::Noop, .. }), "{error}");
    assert!(error.to_string().contains("Backends::VULKAN"), "{error}");
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    // SAFETY: the device and the queue were created from this adapter; no feature is claimed to be
    // enabled.
    let adopted = unsafe { Bridge::adopt(&adapter, &device, &queue, EnabledFeatures::default(), Backend::Auto) };
    assert!(matches!(adopted, Err(Error::NotVulkan { .. })));
}

#[test]
fn what_a_device_of_wgpus_own_lacks_is_named_at_once() {
    let adapter = adapter();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    // SAFETY: the device and the queue were created from this adapter; no feature is claimed to be
    // enabled.
    let adopted = unsafe { Bridge::adopt(&adapter, &device, &queue, EnabledFeatures::default(), Backend::Auto) };
    let text = adopted.unwrap_err().to_string();
    for name in ["timelineSemaphore", "synchronization2", "`Requirements`"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    // Extensions that the device has, but wgpu does not enable.
    let exports = {
        // SAFETY: the guard is only read.
        let hal = unsafe { adapter.as_hal::<Vulkan>() }.unwrap();
        EXPORT_EXTENSIONS.iter().all(|name| hal.physical_device_capabilities().supports_extension(name))
    };
    assert_eq!(text.contains("VK_KHR_external_semaphore"), exports, "{text}");
    // Missing extensions that only exporting needs are an error for CUDA, but not for the CPU
    // backend.
    let mut enabled = EnabledFeatures::default();
    enabled.timeline_semaphore = true;
    enabled.synchronization2 = true;
    // SAFETY: created from this adapter. `synchronization2` is not actually enabled, so nothing is
    // created with the result.
    let adopt = |backend| unsafe { Bridge::adopt(&adapter, &device, &queue, enabled, backend) };
    let text = adopt(Backend::Cuda).unwrap_err().to_string();
    assert_eq!(text.contains("VK_KHR_external_semaphore"), exports, "{text}");
    assert!(!text.contains("timelineSemaphore"), "{text}");
    assert_eq!(adopt(Backend::Host).unwrap().backend(), Backend::Host);
}

#[test]
fn a_device_created_elsewhere_is_adopted() {
    let adapter = adapter();
    let descriptor = wgpu::DeviceDescriptor::default();
    let mut called = false;
    let bridge = {
        // SAFETY: only used to open a device.
        let hal = unsafe { adapter.as_hal::<Vulkan>() }.unwrap();
        let mut needed = Requirements::of(&hal).unwrap();
        let callback = needed.with(|args| {
            // No extension is listed twice.
            let mut names = args.extensions.clone();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), args.extensions.len());
            called = true;
        });
        let features = wgpu::Features::empty();
        // SAFETY: the callback only adds extensions and features that the device has.
        let opened = unsafe {
            hal.open_with_callback(
                features,
                &descriptor.required_limits,
                &descriptor.memory_hints,
                Some(Box::new(callback)),
            )
        };
        drop(hal);
        // SAFETY: opened from this adapter, without features.
        let (device, queue) = unsafe { adapter.create_device_from_hal(opened.unwrap(), &descriptor) }.unwrap();
        let mut enabled = EnabledFeatures::default();
        enabled.timeline_semaphore = true;
        enabled.synchronization2 = true;
        // SAFETY: created from this adapter with both features: one from `Requirements`, one from
        // wgpu.
        unsafe { Bridge::adopt(&adapter, &device, &queue, enabled, Backend::Auto) }.unwrap()
    };
    assert!(called);
    check(&bridge);
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn what_a_device_cannot_be_asked_for_is_said() {
    let adapter = adapter();
    let lacking = wgpu::Features::all() - adapter.features();
    assert!(!lacking.is_empty());
    let descriptor = wgpu::DeviceDescriptor { required_features: lacking, ..Default::default() };
    let Error::Missing { missing, .. } = fails(&adapter, &descriptor, Backend::Auto) else { panic!() };
    assert!(missing.len() >= lacking.iter().count(), "{missing:?}");

    let mut descriptor = wgpu::DeviceDescriptor::default();
    descriptor.required_limits.max_texture_dimension_2d = u32::MAX;
    descriptor.required_limits.max_bind_groups = 1000;
    let text = fails(&adapter, &descriptor, Backend::Auto).to_string();
    assert!(text.contains("max_texture_dimension_2d of 4294967295") && text.contains("max_bind_groups"), "{text}");

    // wgpu itself has the same requirement, because experimental features may be unsound.
    let experimental = adapter.features() & wgpu::Features::all_experimental_mask();
    if !experimental.is_empty() {
        let descriptor = wgpu::DeviceDescriptor { required_features: experimental, ..Default::default() };
        let text = fails(&adapter, &descriptor, Backend::Auto).to_string();
        assert!(text.contains("`experimental_features` for"), "{text}");
    }

    // This backend submits by itself, which wgpu's lock does not allow.
    let error = fails(&adapter, &wgpu::DeviceDescriptor::default(), Backend::Inline);
    assert!(error.to_string().contains("`Bridge::launch`"), "{error}");
}

#[test]
fn cuda_or_the_reason_why_not() {
    let adapter = adapter();
    match Bridge::request_device(&adapter, &wgpu::DeviceDescriptor::default(), Backend::Cuda) {
        Ok(bridge) => {
            assert!(bridge.backend() == Backend::Cuda && bridge.cuda().is_some());
            check(&bridge);
        }
        Err(error) => {
            assert!(error.to_string().contains("no CUDA for"), "{error}");
            let bridge = Bridge::request_device(&adapter, &wgpu::DeviceDescriptor::default(), Backend::Auto).unwrap();
            assert!(bridge.backend() == Backend::Host && bridge.cuda().is_none());
            assert!(crate::support::logged("computing on the CPU"), "the fallback is told");
            assert!(bridge.load("kernels", "").is_err());
        }
    }
}

/// The work of frames runs on the program's stream, and frames of the device's other compute side
/// can be in the same submission.
#[test]
fn cuda_computes_on_the_programs_own_stream() {
    let Some(cuda) = bridge_on(Backend::Cuda) else { return };
    let device = CudaDevice::by_uuid(cuda.uuid()).unwrap();
    assert_eq!(device.ordinal(), cuda.cuda().unwrap().device().ordinal(), "the same GPU");
    let stream = device.context().new_stream().unwrap();
    for other in [cuda, bridge_on(Backend::Host).unwrap()] {
        let bridge = other.on_stream(Arc::clone(&stream)).unwrap();
        assert_eq!((bridge.backend(), bridge.reason()), (Backend::Cuda, "the program's own stream"));
        check(&bridge);
        let spec = || SharedBuffer::<u32>::new(256, wgpu::BufferUsages::COPY_SRC);
        let mut on_own = Exchange::new(&bridge, &info("on its own"), spec()).unwrap();
        let mut beside = Exchange::new(&other, &info("beside"), spec()).unwrap();
        let (filler, other_filler) = (Filler::new(&bridge), Filler::new(&other));
        for frame in 0..4 {
            let mut turn = on_own.begin().unwrap();
            match turn.work() {
                Work::Cuda(cuda) => assert!(Arc::ptr_eq(cuda.stream, &stream)),
                _ => panic!("it computes with CUDA"),
            }
            filler.fill(&mut turn, frame, Duration::from_millis(5));
            let mut second = beside.begin().unwrap();
            other_filler.fill(&mut second, 1000 + frame, Duration::ZERO);
            bridge.submit([], (turn.finish().unwrap(), second.finish().unwrap())).unwrap();
            assert_eq!(read_buffer(&bridge, on_own.objects()), Filler::pattern(256, frame));
            assert_eq!(read_buffer(&bridge, beside.objects()), Filler::pattern(256, 1000 + frame));
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
