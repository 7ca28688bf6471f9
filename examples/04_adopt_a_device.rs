//! Adopts a Vulkan device that an engine has created.
//!
//! Run it with `cargo run --example 04_adopt_a_device`, on any Vulkan 1.3 device; it uses CUDA
//! where the GPU has it. It checks what Vulkan sees and exits with an error if that is wrong.

#![allow(unsafe_code)] // Plain Vulkan.

use std::error::Error;
use std::ffi::CStr;
use std::time::Duration;

use bridge::ash::{Device, Entry, Instance, vk};
use bridge::{
    AdoptInfo, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, RequiredFeatures, Work,
    requirements_for,
};

const VERSION: u32 = vk::API_VERSION_1_3;
const LEN: usize = 1000;

/// The objects that an engine already has.
struct Engine {
    entry: Entry,
    instance: Instance,
    physical: vk::PhysicalDevice,
    device: Device,
    extensions: Vec<&'static CStr>,
}

impl Engine {
    /// A minimal engine. The bridge only requires some extensions and features.
    fn new() -> Result<Self, Box<dyn Error>> {
        // SAFETY: loads the system's Vulkan loader.
        let entry = unsafe { Entry::load() }?;
        let application = vk::ApplicationInfo::default().api_version(VERSION);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: an instance without layers and extensions.
        let instance = unsafe { entry.create_instance(&info, None) }?;
        // SAFETY: the instance is alive.
        let physical = *unsafe { instance.enumerate_physical_devices() }?.first().ok_or("there is no Vulkan device")?;
        // What sharing needs: without some of the extensions only the CPU backend works.
        // SAFETY: the physical device is one of the instance's, which was made with this version.
        let needed = unsafe { requirements_for(&instance, VERSION, physical) }?;
        needed.check_met()?;
        let extensions = needed.extensions;
        let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
        let mut features = RequiredFeatures::default();
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features.timeline_semaphore)
            .push_next(&mut features.synchronization2);
        // SAFETY: the extensions are there, Vulkan 1.3 has the features, and family 0 exists.
        let device = unsafe { instance.create_device(physical, &info, None) }?;
        Ok(Self { entry, instance, physical, device, extensions })
    }
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new()?;
    {
        // SAFETY: the one queue of family 0.
        let queue = unsafe { engine.device.get_device_queue(0, 0) };
        let instance = (engine.entry.clone(), engine.instance.clone(), VERSION);
        let mut info = AdoptInfo::new(instance, engine.physical, engine.device.clone(), (queue, 0));
        info.device_extensions = &engine.extensions;
        info.features.timeline_semaphore = true;
        info.features.synchronization2 = true;
        // SAFETY: the handles belong together and outlive `device`; all that is named is enabled.
        let device = unsafe { ExportDevice::adopt(info) }?;
        let compute = Compute::for_device(&device)?;
        println!("Vulkan on {}, compute on {} ({})", device.name(), compute.backend(), compute.reason());
        let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
        let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "adopted", ..Default::default() }, spec)?;
        let mut turn = exchange.begin()?;
        match turn.work() {
            Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&[7; LEN], &mut cuda.resources)?,
            Work::Host(host) => host.run(|numbers| numbers.fill(7))?,
            _ => return Err("this program knows no such backend".into()),
        }
        if turn.finish()?.read_back(Duration::from_secs(10))? != [7; LEN] {
            return Err("Vulkan sees other numbers than were computed".into());
        }
        println!("{LEN} numbers are right");
    }
    // SAFETY: the bridge's objects are gone, and it destroys nothing that was lent to it.
    unsafe { engine.device.destroy_device(None) };
    // SAFETY: its device is gone.
    unsafe { engine.instance.destroy_instance(None) };
    Ok(())
}
