//! A wgpu device on any available Vulkan driver, with a log that collects the messages of the
//! validation layer.
#![allow(dead_code, unreachable_pub, unsafe_code, clippy::unwrap_used)] // Each test uses a part of it; kernel launches.

pub mod asleep;
#[path = "../../../gate.rs"]
pub mod gate;
pub mod latest;
#[path = "../../../test_log.rs"]
pub mod test_log;
pub mod texels;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bridge_wgpu::bridge::{BufferSpec, Direction, EnabledFeatures, Kernel};
use bridge_wgpu::{Backend, Bridge, ComputeTurn, ExchangeInfo, LaunchConfig, SharedBuffer, Work, wgpu};
pub use test_log::logged;

/// Longer than any wait of the tests takes.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Returns the lines of the log so far that come from the validation layer.
pub fn validation_messages() -> Vec<String> {
    test_log::logged_lines(|line| line.starts_with("ERROR wgpu_hal::vulkan") || line.contains("VUID"))
}

/// Clears the log, after a test has caused messages on purpose.
pub fn forget_messages() {
    test_log::forget();
}

/// Returns wgpu's instance, with the validation layer if it is installed.
pub fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        test_log::install();
        if !has_layer() {
            test_support::skip_case(test_support::Need::Other, "validation", "the validation layer is not installed");
        }
    });
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    descriptor.flags = wgpu::InstanceFlags::debugging();
    wgpu::Instance::new(descriptor)
}

/// Returns `true` if the validation layer is installed, and so enabled by [`instance`].
pub fn has_layer() -> bool {
    // SAFETY: loads the system's Vulkan library, as wgpu does.
    let entry = unsafe { ash::Entry::load() }.unwrap();
    // SAFETY: only queries the loader.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap();
    layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(c"VK_LAYER_KHRONOS_validation"))
}

pub fn adapter() -> wgpu::Adapter {
    // Never destroyed: the loader unloads the driver with the last instance, and NVIDIA's (observed
    // with 580.159) can be loaded only some hundred times ("cannot allocate memory in static TLS
    // block").
    static KEPT: OnceLock<wgpu::Instance> = OnceLock::new();
    KEPT.get_or_init(|| instance(wgpu::Backends::VULKAN));
    let options = wgpu::RequestAdapterOptions::default();
    pollster::block_on(instance(wgpu::Backends::VULKAN).request_adapter(&options)).expect("a Vulkan device")
}

/// Returns a device with a compute side, or `None`, with a skip, if this machine has no such
/// compute side.
pub fn bridge_on(backend: Backend) -> Option<Bridge> {
    bridge_of(&adapter(), backend)
}

/// Like [`bridge_on`], of this adapter.
pub fn bridge_of(adapter: &wgpu::Adapter, backend: Backend) -> Option<Bridge> {
    match Bridge::request_device(adapter, &wgpu::DeviceDescriptor::default(), backend) {
        Ok(bridge) => Some(bridge),
        Err(error) if backend == Backend::Cuda => {
            test_support::skip_case(test_support::Need::Gpu, "on cuda", &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Devices with each compute side of this machine.
pub fn bridges() -> impl Iterator<Item = Bridge> {
    [Backend::Host, Backend::Cuda].into_iter().filter_map(bridge_on)
}

/// Both kinds of submission, with each compute side of this machine.
pub fn ways() -> impl Iterator<Item = Bridge> {
    bridges().chain(adopted())
}

/// Devices that are adopted as if created elsewhere, with each compute side of this machine: their
/// semaphores are staged, whereas wgpu's submissions include those of [`bridges`].
pub fn adopted() -> impl Iterator<Item = Bridge> {
    [Backend::Host, Backend::Cuda].into_iter().filter_map(|backend| {
        let adapter = adapter();
        let bridge = bridge_of(&adapter, backend)?;
        let mut enabled = EnabledFeatures::default();
        enabled.timeline_semaphore = true;
        enabled.synchronization2 = true;
        // SAFETY: device and queue were created from the adapter, with both features.
        let adopted = unsafe { Bridge::adopt(&adapter, bridge.device(), bridge.queue(), enabled, backend) };
        Some(adopted.unwrap())
    })
}

/// Live objects are counted for the whole process, so one test runs at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn info(name: &str) -> ExchangeInfo<'_> {
    ExchangeInfo { name, timeout: std::time::Duration::from_secs(60), ..Default::default() }
}

/// Waits until the device has finished all submitted work. Unlike a wait of wgpu's own, this runs
/// none of wgpu's callbacks.
pub fn await_queue(bridge: &Bridge) {
    // SAFETY: nothing is destroyed.
    let device = unsafe { bridge.device().as_hal::<wgpu::hal::api::Vulkan>() }.unwrap();
    // SAFETY: no other thread uses the device's queues, because the tests of a program run one at a
    // time.
    unsafe { device.raw_device().device_wait_idle() }.unwrap();
}

/// Returns the contents of a buffer, through a staging buffer.
pub fn read_buffer(bridge: &Bridge, buffer: &wgpu::Buffer) -> Vec<u32> {
    let staging = staging(bridge, buffer.size());
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    commands.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    bridge.queue().submit([commands.finish()]);
    mapped(bridge, &staging)
}

pub fn staging(bridge: &Bridge, size: u64) -> wgpu::Buffer {
    bridge.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("staging"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// Waits for the queue and reads a staging buffer.
pub fn mapped(bridge: &Bridge, staging: &wgpu::Buffer) -> Vec<u32> {
    staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let words = {
        let bytes = staging.get_mapped_range(..).unwrap();
        bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
    };
    staging.unmap();
    words
}

/// Fills a turn's buffer, on every backend.
pub struct Filler(Option<Kernel>);

impl Filler {
    pub fn new(bridge: &Bridge) -> Self {
        let ptx = include_str!("../../../../shaders/probe.ptx");
        let load = || bridge.load("probe", ptx).unwrap().kernel("fill_after").unwrap();
        Self((bridge.backend() != Backend::Host).then(load))
    }

    /// Returns the contents that [`fill`](Self::fill) leaves.
    pub fn pattern(len: usize, base: u32) -> Vec<u32> {
        (0..u32::try_from(len).unwrap()).map(|index| base.wrapping_add(index)).collect()
    }

    /// Enqueues a delay and then a write of the pattern.
    pub fn fill<D: Direction>(&self, turn: &mut ComputeTurn<SharedBuffer<u32>, D>, base: u32, delay: Duration) {
        self.fill_work(turn.work(), base, delay);
    }

    /// Like [`fill`](Self::fill), for the work of any turn.
    pub fn fill_work(&self, work: Work<'_, BufferSpec<u32>>, base: u32, delay: Duration) {
        match (work, &self.0) {
            (Work::Host(host), _) => host
                .run(move |words| {
                    std::thread::sleep(delay);
                    words.iter_mut().zip(0u32..).for_each(|(word, index)| *word = base.wrapping_add(index));
                })
                .unwrap(),
            (work, Some(kernel)) => {
                let work = work.kernels().unwrap();
                let words = work.resources;
                let (len, nanoseconds) =
                    (u32::try_from(words.len()).unwrap(), u64::try_from(delay.as_nanos()).unwrap());
                let config = LaunchConfig::for_elements(u64::from(len), 256);
                // SAFETY: the kernel's four parameters, of these types, and it writes `len`
                // elements.
                unsafe { work.launch(kernel, &config, (words, len, base, nanoseconds)) }.unwrap();
            }
            (_, None) => panic!("the kernel was not loaded"),
        }
    }
}
