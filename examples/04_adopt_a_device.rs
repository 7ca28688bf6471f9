//! Adopts a Vulkan device that an engine has created.
//!
//! Run it with `cargo run --example 04_adopt_a_device`, on any Vulkan 1.3 device; it uses CUDA
//! where the GPU has it. It checks what Vulkan sees and exits with an error if that is wrong.

#![allow(unsafe_code)] // Plain Vulkan.

use std::error::Error;
use std::time::Duration;

use bridge::ash::{Device, Entry, Instance, vk};
use bridge::{
    AdoptInfo, BufferAccess, BufferSpec, Compute, DeviceRequirements, Exchange, ExchangeInfo, ExportDevice,
    RequiredFeatures, Work, requirements_for,
};

/// The objects that an engine already has.
struct Engine {
    instance: (Entry, Instance, u32),
    physical: vk::PhysicalDevice,
    device: Device,
    family: u32,
    needs: DeviceRequirements,
}

impl Engine {
    fn new() -> Result<Self, Box<dyn Error>> {
        // SAFETY: loads the system's Vulkan loader.
        let entry = unsafe { Entry::load() }?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: an instance without layers and extensions.
        let instance = unsafe { entry.create_instance(&info, None) }?;
        // What sharing needs; some of the extensions are only missing on devices without CUDA.
        // SAFETY: the physical device is the instance's, which was created with this version.
        let needs = |device| Some((device, unsafe { requirements_for(&instance, vk::API_VERSION_1_3, device) }.ok()?));
        let discrete = vk::PhysicalDeviceType::DISCRETE_GPU;
        let rank = |needs: &DeviceRequirements| (needs.is_met(), needs.physical.device_type == discrete);
        // SAFETY: the instance is alive.
        let devices = unsafe { instance.enumerate_physical_devices() }?.into_iter().rev().filter_map(needs);
        let (physical, needs) = devices.max_by_key(|(_, needs)| rank(needs)).ok_or("no Vulkan device")?;
        needs.check_met()?;
        // SAFETY: the physical device is the instance's.
        let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
        let graphics = families.iter().position(|family| family.queue_flags.contains(vk::QueueFlags::GRAPHICS));
        let family = graphics.ok_or("no queue for graphics")? as u32;
        let names: Vec<_> = needs.extensions.iter().map(|name| name.as_ptr()).collect();
        let mut features = RequiredFeatures::default();
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features.timeline_semaphore)
            .push_next(&mut features.synchronization2);
        // SAFETY: the extensions are there, Vulkan 1.3 has the features, and the family exists.
        let device = unsafe { instance.create_device(physical, &info, None) }?;
        Ok(Self { instance: (entry, instance, vk::API_VERSION_1_3), physical, device, family, needs })
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
    // SAFETY: the device was created with one queue of this family.
    let queue = (unsafe { engine.device.get_device_queue(engine.family, 0) }, engine.family);
    let mut info = AdoptInfo::new(engine.instance.clone(), engine.physical, engine.device.clone(), queue);
    (info.device_extensions, info.features) = (&engine.needs.extensions, engine.needs.features);
    // SAFETY: the handles belong together and outlive `device`; all that is named is enabled.
    let device = unsafe { ExportDevice::adopt(info) }?;
    let compute = Compute::for_device(&device)?;
    println!("Vulkan on {}, compute on {} ({})", device.name(), compute.backend(), compute.reason());
    let spec = BufferSpec::<u32>::new(1000, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "adopted", ..Default::default() }, spec)?;
    let mut turn = exchange.begin()?;
    match turn.work() {
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&[7; 1000], &mut cuda.resources)?,
        Work::Host(host) => host.run(|numbers| numbers.fill(7))?,
        _ => return Err("this program knows no such backend".into()),
    }
    if turn.finish()?.read_back(Duration::from_secs(10))? != [7; 1000] {
        return Err("Vulkan sees other numbers than were computed".into());
    }
    println!("1000 numbers are right");
    exchange.close()?;
    drop(compute);
    device.try_release().map_err(|in_use| in_use.to_string())?;
    // SAFETY: the bridge has released it.
    unsafe { engine.device.destroy_device(None) };
    // SAFETY: its device is gone.
    unsafe { engine.instance.1.destroy_instance(None) };
    Ok(())
}
