//! The part of the benchmark that runs in a separate process, to measure startup times.
#![allow(unsafe_code)] // Vulkan and driver calls.

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use bridge::ash::{Device, Entry, Instance, vk};
use bridge::cuda_import::cudarc::driver::sys;
use bridge::vk_export::DeviceSelector;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, OpenInfo, RequiredFeatures, Uuid,
    Work, required_device_extensions,
};

use crate::harness::LIMIT;
use crate::raw::cuda::check;

/// The output of the process when its part is done.
pub(crate) const BEGUN: [u8; 1] = *b"!";

/// The part of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cold {
    /// Opens both sides, creates an exchange, and computes and reads back a frame.
    Bridge,
    /// Creates an instance, a device and a CUDA context by hand: the minimum for any program that
    /// shares resources.
    Devices,
    /// Does nothing.
    Nothing,
}

impl Cold {
    /// Returns the name for the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Devices => "devices",
            Self::Nothing => "nothing",
        }
    }
}

/// Runs the part with the GPU of this UUID, and reports when it is done.
pub(crate) fn run(way: Cold, gpu: Option<&str>, backend: Backend) -> Result<()> {
    let gpu: Uuid = gpu.unwrap_or_default().parse().context("a cold start takes a GPU's UUID")?;
    match way {
        Cold::Bridge => {
            let exchange = first_frame(gpu, backend)?;
            say()?;
            exchange.close()?;
        }
        Cold::Devices => {
            let _made = Devices::new(gpu, backend)?;
            say()?;
        }
        Cold::Nothing => say()?,
    }
    Ok(())
}

fn say() -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(&BEGUN)?;
    Ok(out.flush()?)
}

fn first_frame(gpu: Uuid, backend: Backend) -> Result<Exchange<BufferSpec<u32>>> {
    const LEN: usize = 16 << 10;
    let device = ExportDevice::open(&OpenInfo { device: DeviceSelector::Uuid(gpu), ..OpenInfo::default() })?;
    let compute = Compute::new(&device, backend)?;
    let info = ExchangeInfo { name: "cold", timeout: LIMIT, ..Default::default() };
    let mut exchange = Exchange::new(&compute, &info, BufferSpec::new(LEN, BufferAccess::TRANSFER_READ))?;
    let mut turn = exchange.begin()?;
    match turn.work() {
        Work::Cuda(mut cuda) => cuda.stream.memset_zeros(&mut cuda.resources)?,
        Work::Host(host) => host.run(|words| words.fill(0))?,
        _ => anyhow::bail!("no bench of this backend"),
    }
    let words = turn.finish()?.read_back(LIMIT)?;
    ensure!(words == vec![0; LEN], "the first frame is wrong");
    Ok(exchange)
}

/// The objects that every sharing program needs, created by hand. The process exits right after
/// that.
struct Devices {
    // Field order is drop order: the functions of each object come from the fields after it.
    device: Device,
    instance: Instance,
    _entry: Entry,
}

impl Devices {
    fn new(gpu: Uuid, backend: Backend) -> Result<Self> {
        // SAFETY: the system's Vulkan loader.
        let entry = unsafe { Entry::load() }?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: VUID-vkCreateInstance-ppEnabledExtensionNames-01388: none are asked for.
        let instance = unsafe { entry.create_instance(&info, None) }?;
        // SAFETY: a live instance.
        let all = unsafe { instance.enumerate_physical_devices() }?;
        let uuid = |physical: &vk::PhysicalDevice| {
            let mut ids = vk::PhysicalDeviceIDProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut ids);
            // SAFETY: a physical device of this instance, which supports Vulkan 1.1 or newer.
            unsafe { instance.get_physical_device_properties2(*physical, &mut properties) };
            Uuid::from_bytes(ids.device_uuid)
        };
        let physical = all.into_iter().find(|physical| uuid(physical) == gpu).context("the GPU is gone")?;
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        let shares = backend == Backend::Cuda;
        let extensions: Vec<_> = required_device_extensions(vk::API_VERSION_1_3).collect();
        let names: Vec<_> = extensions.iter().filter(|_| shares).map(|name| name.as_ptr()).collect();
        let mut features = RequiredFeatures::default();
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features.timeline_semaphore)
            .push_next(&mut features.synchronization2);
        // SAFETY: VUID-VkDeviceQueueCreateInfo-queueFamilyIndex-00381: every device has a family 0;
        // the bridge has opened the same device with these extensions and features.
        let device = unsafe { instance.create_device(physical, &info, None) }?;
        if shares {
            context(gpu)?;
        }
        Ok(Self { device, instance, _entry: entry })
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyDevice-device-05137: the device has no child objects.
        unsafe { self.device.destroy_device(None) };
        // SAFETY: VUID-vkDestroyInstance-instance-00629: its device is destroyed.
        unsafe { self.instance.destroy_instance(None) };
    }
}

/// Retains the primary context of a GPU; the end of the process releases it.
fn context(gpu: Uuid) -> Result<()> {
    // SAFETY: flags must be 0.
    check("cuInit", unsafe { sys::cuInit(0) })?;
    let mut count = 0;
    // SAFETY: the driver is initialized.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    for ordinal in 0..count {
        let mut device = 0;
        // SAFETY: below the count.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal) })?;
        let mut uuid = sys::CUuuid { bytes: [0; 16] };
        // SAFETY: a device that the driver returned.
        check("cuDeviceGetUuid", unsafe { sys::cuDeviceGetUuid_v2(&mut uuid, device) })?;
        if uuid.bytes.map(|byte| byte as u8) == *gpu.as_bytes() {
            let mut context = std::ptr::null_mut();
            // SAFETY: a device that the driver returned.
            return check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) });
        }
    }
    anyhow::bail!("no CUDA device has the UUID {gpu}")
}
