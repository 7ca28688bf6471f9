//! Opening, refusing and destroying devices. A single test, see `Rig`.
#![allow(unsafe_code, clippy::unwrap_used)] // A deliberately invalid call.

use bridge::ash::{self, vk};
use bridge::vk_export::{Buffer, BufferInfo, DeviceSelector, ExportDevice, Placement, Validation};
use bridge::{Backend, Compute, OpenInfo};
use bridge_tests::{Engine, Need, Rig, assert_silent, skip_case};

#[test]
fn devices_come_and_go() {
    drivers_stay_loaded_between_devices();
    devices_open_and_close_many_times();
    an_error_for_a_missing_device_lists_the_present_ones();
    messages_of_the_validation_layer_are_received();
    messages_of_an_engines_layer_are_received();
    nothing_made_from_a_device_outlives_it();
}

/// Runs first in the process, before any instance exists.
#[cfg(target_os = "linux")]
fn drivers_stay_loaded_between_devices() {
    // Without validation, whose layer may be loaded and unloaded.
    let device = ExportDevice::open(&OpenInfo::default()).unwrap();
    let open = bridge_tests::vulkan_libraries();
    assert!(open.len() >= 2, "the loader and a driver: {open:?}");
    drop(device);
    let gone: Vec<_> = open.difference(&bridge_tests::vulkan_libraries()).cloned().collect();
    assert!(gone.is_empty(), "unloaded with the last device: {gone:?}");
}

#[cfg(not(target_os = "linux"))]
fn drivers_stay_loaded_between_devices() {}

/// Opens and closes many devices. Round 29 used to fail on NVIDIA's driver, and threads crashed it.
fn devices_open_and_close_many_times() {
    // With and without the layer, which is a separate library that is loaded and unloaded.
    let round = |number: usize| {
        let validation = if number.is_multiple_of(2) { Validation::IfPresent } else { Validation::Off };
        let device = ExportDevice::open(&OpenInfo { validation, ..OpenInfo::default() }).unwrap();
        let info = BufferInfo {
            name: "round",
            size: 4096,
            usage: vk::BufferUsageFlags::TRANSFER_DST,
            placement: Placement::HostVisible,
        };
        let buffer = Buffer::new(&device, &info).unwrap();
        let fill = |commands| {
            // SAFETY: a live buffer with the usage for it, all of it.
            unsafe { device.as_raw().cmd_fill_buffer(commands, buffer.as_raw(), 0, vk::WHOLE_SIZE, 7) }
        };
        // SAFETY: the device's own queue; the buffer lives until the commands have run.
        unsafe { device.run_once(device.queue(), "fill", Rig::LONG, fill) }.unwrap();
        drop(buffer);
        assert_silent(&device);
    };
    // A long run uses 200: that number on one thread, then on eight.
    let rounds = std::env::var("BRIDGE_TEST_DEVICE_ROUNDS").ok().map(|rounds| rounds.parse::<usize>().unwrap());
    let (alone, threads) = rounds.map_or((60, 4), |rounds| (rounds, 8));
    (0..alone).for_each(round);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..alone.div_ceil(threads)).for_each(round));
        }
    });
}

fn an_error_for_a_missing_device_lists_the_present_ones() {
    let device = Rig::open_own();
    let open = |device: &str| {
        let info = OpenInfo { device: device.parse::<DeviceSelector>().unwrap(), ..OpenInfo::default() };
        ExportDevice::open(&info).map(|device| device.name().to_owned())
    };
    for wrong in ["99", "no such card", "00000000-0000-0000-0000-000000000000"] {
        let error = open(wrong).unwrap_err().to_string();
        assert!(error.contains(device.name()), "{error}");
    }
    assert_eq!(open(&device.uuid().to_string()).unwrap(), device.name());
    let missing = OpenInfo { device_extensions: &[c"VK_NV_none", c"VK_NV_neither"], ..OpenInfo::default() };
    let error = ExportDevice::open(&missing).unwrap_err().to_string();
    assert!(error.contains("VK_NV_none") && error.contains("VK_NV_neither"), "all that is missing at once: {error}");
    let missing = OpenInfo { instance_extensions: &[c"VK_NV_none"], ..OpenInfo::default() };
    assert!(ExportDevice::open(&missing).unwrap_err().to_string().contains("instance extension VK_NV_none"));
    assert_silent(&device);
}

fn messages_of_the_validation_layer_are_received() {
    let device = Rig::open_own();
    if !device.is_validated() {
        return skip_case(
            Need::Other,
            "messages_of_the_validation_layer_are_received",
            "no validation layer is installed",
        );
    }
    assert!(device.validation_messages().is_empty());
    make_nothing(device.as_raw());
    let messages = device.validation_messages();
    assert!(messages.iter().any(|m| m.id.contains("VkBufferCreateInfo-size-00912")), "{messages:#?}");
}

/// Creates a buffer of size 0, which the layer reports.
fn make_nothing(device: &ash::Device) {
    let info = vk::BufferCreateInfo::default().size(0).usage(vk::BufferUsageFlags::VERTEX_BUFFER);
    // SAFETY: invalid on purpose: drivers merely create or refuse it.
    let made = unsafe { device.create_buffer(&info, None) };
    if let Ok(buffer) = made {
        // SAFETY: just made.
        unsafe { device.destroy_buffer(buffer, None) };
    }
}

/// Messages of an engine's validation layer are received, which programs with their own engine rely
/// on.
fn messages_of_an_engines_layer_are_received() {
    if !Rig::open_own().is_validated() {
        return skip_case(Need::Other, "messages_of_an_engines_layer_are_received", "no validation layer is installed");
    }
    // Never dropped, because its drop would fail the test for the reported message.
    let engine = Box::leak(Box::new(Engine::new(None)));
    engine.assert_silent();
    make_nothing(engine.device());
    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.assert_silent())).unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("VkBufferCreateInfo-size-00912"), "{said}");
}

/// The CPU backend's thread, which has used Vulkan, ends before the device is destroyed,
/// repeatedly.
fn nothing_made_from_a_device_outlives_it() {
    for _ in 0..20 {
        let device = Rig::open_own();
        let compute = Compute::new(&device, Backend::Host).unwrap();
        drop(device);
        assert_eq!(compute.backend(), Backend::Host);
        assert_silent(compute.device());
        drop(compute);
    }
}
