//! An engine's own Vulkan, adopted: its instance, its device, its queue, its submissions, nothing of it destroyed.
//! One test, see `Rig`.
#![allow(unsafe_code, clippy::unwrap_used)] // The engine.

use bridge::ash::{self, vk};
use bridge::vk_export::{
    AdoptInfo, EnabledFeatures, Error, ExportDevice, MINIMUM_API_VERSION, RequiredFeatures, required_device_extensions,
};
use bridge::{Backend, BufferSpec, Compute, Consumer, Exchange, ExchangeInfo};
use bridge_tests::{Filler, Need, Readback, Rig, skip};

/// A small engine that set its device up with the lists that the bridge publishes.
struct Engine {
    entry: ash::Entry,
    instance: ash::Instance,
    physical: vk::PhysicalDevice,
    device: ash::Device,
    extensions: Vec<&'static std::ffi::CStr>,
}

const VERSION: u32 = vk::API_VERSION_1_3;

impl Engine {
    fn new() -> Self {
        let best = Rig::open_own().physical().clone();
        // SAFETY: the system's loader.
        let entry = unsafe { ash::Entry::load() }.unwrap();
        let application = vk::ApplicationInfo::default().api_version(VERSION);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: a plain instance.
        let instance = unsafe { entry.create_instance(&info, None) }.unwrap();
        // SAFETY: the instance lives.
        let physical = unsafe { instance.enumerate_physical_devices() }
            .unwrap()
            .into_iter()
            .find(|physical| {
                let mut id = vk::PhysicalDeviceIDProperties::default();
                let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut id);
                // SAFETY: as above.
                unsafe { instance.get_physical_device_properties2(*physical, &mut properties) };
                id.device_uuid == *best.uuid.as_bytes()
            })
            .unwrap();
        let extensions: Vec<_> = required_device_extensions(VERSION).filter(|e| best.has_extension(e)).collect();
        let names: Vec<_> = extensions.iter().map(|e| e.as_ptr()).collect();
        let mut features = RequiredFeatures::default();
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features.timeline_semaphore)
            .push_next(&mut features.synchronization2);
        // SAFETY: what the device was seen to have.
        let device = unsafe { instance.create_device(physical, &info, None) }.unwrap();
        Self { entry, instance, physical, device, extensions }
    }

    fn info(&self) -> AdoptInfo<'_> {
        AdoptInfo {
            entry: self.entry.clone(),
            instance: self.instance.clone(),
            api_version: VERSION,
            physical_device: self.physical,
            device: self.device.clone(),
            // SAFETY: the one queue that was made.
            queue: unsafe { self.device.get_device_queue(0, 0) },
            queue_family: 0,
            device_extensions: &self.extensions,
            instance_extensions: &[],
            features: EnabledFeatures { timeline_semaphore: true, synchronization2: true },
            keep_alive: None,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: everything made from the device is gone, or the test has failed already.
        unsafe { self.device.destroy_device(None) };
        // SAFETY: the device is gone.
        unsafe { self.instance.destroy_instance(None) };
    }
}

#[test]
fn an_engine_keeps_its_own() {
    what_the_engine_left_off_is_named_at_once();
    for backend in [Backend::Host, Backend::Cuda] {
        for legacy in [false, true] {
            frames_through_the_engines_own_submissions(backend, legacy);
        }
    }
}

fn what_the_engine_left_off_is_named_at_once() {
    let engine = Engine::new();
    let info = AdoptInfo { device_extensions: &[], features: EnabledFeatures::default(), ..engine.info() };
    // SAFETY: the engine's own handles.
    let error = unsafe { ExportDevice::adopt(info) }.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("timelineSemaphore") && text.contains("synchronization2"), "{text}");
    let info = AdoptInfo { api_version: vk::API_VERSION_1_1, ..engine.info() };
    // SAFETY: as above.
    let error = unsafe { ExportDevice::adopt(info) }.unwrap_err();
    assert!(MINIMUM_API_VERSION == vk::API_VERSION_1_2 && error.to_string().contains("Vulkan 1.2 (it has 1.1)"));
    let info = AdoptInfo { queue_family: 1000, ..engine.info() };
    // SAFETY: as above; the wrong family is refused.
    assert!(matches!(unsafe { ExportDevice::adopt(info) }, Err(Error::InvalidArgument { .. })));
    // Without the export extensions the device is good for the CPU backend, and says what is missing for CUDA.
    let info = AdoptInfo { device_extensions: &[], ..engine.info() };
    // SAFETY: as above.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    assert_eq!(device.export_gaps().len(), 2);
}

fn frames_through_the_engines_own_submissions(backend: Backend, legacy: bool) {
    const LEN: usize = 1024;
    let engine = Engine::new();
    {
        // SAFETY: the engine's own handles, which outlive the block.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        let compute = match Compute::new(&device, backend) {
            Ok(compute) => compute,
            Err(error) => {
                return skip(Need::Gpu, "frames_through_the_engines_own_submissions on cuda", &error.to_string());
            }
        };
        let spec = BufferSpec::<u32>::new(LEN, Consumer::TRANSFER_READ | Consumer::VERTEX_INPUT);
        let mut exchange =
            Exchange::new(&compute, &ExchangeInfo { name: "engine", slots: 2, timeout: Rig::LONG }, spec).unwrap();
        let (filler, readback) = (Filler::new(&compute), Readback::new(&device, 4 * LEN as u64));
        for frame in 0..6u32 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, frame * 10, std::time::Duration::from_millis(5));
            let mut turn = turn.finish().unwrap();
            let commands = [readback.record(&turn, &[(turn.resources().as_raw(), 4 * LEN as u64)])];
            let parts = turn.submit_parts().unwrap();
            let queue = *device.queue().lock();
            if legacy {
                let parts = parts.legacy();
                let (waits, signals) = ([parts.wait_semaphore], [parts.signal_semaphore]);
                let (wait_values, signal_values) = ([parts.wait_value], [parts.signal_value]);
                let stages = [parts.wait_stages];
                let mut values = vk::TimelineSemaphoreSubmitInfo::default()
                    .wait_semaphore_values(&wait_values)
                    .signal_semaphore_values(&signal_values);
                let batch = vk::SubmitInfo::default()
                    .command_buffers(&commands)
                    .wait_semaphores(&waits)
                    .wait_dst_stage_mask(&stages)
                    .signal_semaphores(&signals)
                    .push_next(&mut values);
                // SAFETY: the engine's own submission, waited for below.
                unsafe { engine.device.queue_submit(queue, &[batch], vk::Fence::null()) }.unwrap();
            } else {
                let infos = commands.map(|c| vk::CommandBufferSubmitInfo::default().command_buffer(c));
                let (waits, signals) = ([parts.wait], [parts.signal]);
                let batch = vk::SubmitInfo2::default()
                    .command_buffer_infos(&infos)
                    .wait_semaphore_infos(&waits)
                    .signal_semaphore_infos(&signals);
                // SAFETY: as above.
                unsafe { engine.device.queue_submit2(queue, &[batch], vk::Fence::null()) }.unwrap();
            }
            // SAFETY: the parts went into the submission above, unchanged.
            let rendered = unsafe { turn.submitted() };
            rendered.wait(Rig::LONG).unwrap();
            assert_eq!(readback.words(), Filler::pattern(LEN, frame * 10));
        }
    }
    // The engine's device still works after the bridge is gone.
    // SAFETY: alive until `engine` drops.
    unsafe { engine.device.device_wait_idle() }.unwrap();
}
