//! Requests that safe code can make but that Vulkan must not see: each is refused, or harmless.
//! Each test runs in its own process, because some set the logger and a failure may end the
//! process.
#![allow(unsafe_code, clippy::unwrap_used)] // A call that the validation layer does not let pass.

mod locked;
mod loggers;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::ash::{ext, khr};
use bridge::vk_export::{
    self, Buffer, BufferInfo, Counterpart, Handover, Image, ImageInfo, OpenInfo, Placement, Validation,
};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, ExportDevice, ImageAccess, ImageSpec,
    LatestInfo, SharedImage,
};
use bridge_tests::{Need, Rig, assert_silent, skip};

/// The time limit of a test; tests wait only for the CPU.
const LIMIT: Duration = Duration::from_secs(120);
const CHILD: &str = "MISUSE_CHILD";

/// Creates the command for the process of a test.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").stdin(Stdio::null());
    command
}

/// Runs the process, and checks that the test has passed in it.
#[track_caller]
fn assert_passes(mut command: Command) {
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return assert!(status.success(), "{status}");
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns `true` in the test's own process, where the test continues. Elsewhere, runs that process
/// and returns `false` once the test has passed there.
#[track_caller]
fn in_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    assert_passes(child(test));
    false
}

/// Opens the device for a test that shows nothing without the validation layer. Otherwise, skips
/// the test.
fn validated(test: &'static str) -> Option<ExportDevice> {
    let device = Rig::open_own();
    if !device.is_validated() {
        skip(Need::Other, &format!("{test}: no validation layer is installed"));
        return None;
    }
    Some(device)
}

/// Vulkan's own error for a layer or function table that refuses.
fn reason(error: &Error) -> Option<&str> {
    match error {
        Error::Vulkan(vk_export::Error::InvalidArgument { reason, .. }) | Error::InvalidArgument { reason, .. } => {
            Some(reason)
        }
        _ => None,
    }
}

/// The layout is a public field. A layout that the usage does not allow would be used in the
/// barriers of every turn.
#[test]
fn a_layout_that_the_usage_does_not_allow_is_refused() {
    if !in_child("a_layout_that_the_usage_does_not_allow_is_refused") {
        return;
    }
    let device = Rig::open_own();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    for (layout, named) in [
        (vk::ImageLayout::UNDEFINED, "UNDEFINED"),
        (vk::ImageLayout::PREINITIALIZED, "PREINITIALIZED"),
        (
            vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
            "SHADER_READ_ONLY_OPTIMAL needs the usage SAMPLED or INPUT_ATTACHMENT",
        ),
        (vk::ImageLayout::TRANSFER_DST_OPTIMAL, "TRANSFER_DST_OPTIMAL needs the usage TRANSFER_DST"),
        (vk::ImageLayout::PRESENT_SRC_KHR, "PRESENT_SRC_KHR"),
        (vk::ImageLayout::from_raw(4711), "4711"),
    ] {
        let accesses = ImageAccess { layout, ..ImageAccess::TRANSFER_READ };
        let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [4, 4], accesses);
        let info = ExchangeInfo { name: "misused", slots: 1, ..Default::default() };
        for error in [SharedImage::new(&compute, "misused", &spec).err(), Exchange::new(&compute, &info, spec).err()] {
            let error = error.unwrap_or_else(|| panic!("{layout:?} is accepted"));
            assert!(reason(&error).is_some_and(|text| text.contains(named) && text.contains("GENERAL")), "{error}");
        }
    }
    let general = ImageAccess { layout: vk::ImageLayout::GENERAL, ..ImageAccess::TRANSFER_READ };
    SharedImage::new(&compute, "fine", &ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [4, 4], general))
        .unwrap();
    assert_silent(&device);
}

/// "If either srcStageMask or dstStageMask includes VK_PIPELINE_STAGE_2_HOST_BIT,
/// srcQueueFamilyIndex and dstQueueFamilyIndex must be equal"
/// (VUID-VkBufferMemoryBarrier2-srcStageMask-03851).
#[test]
fn a_stage_of_the_host_is_refused_where_ownership_moves() {
    if !in_child("a_stage_of_the_host_is_refused_where_ownership_moves") {
        return;
    }
    let device = Rig::open_own();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let (stages, host) = (vk::PipelineStageFlags2::COPY, vk::PipelineStageFlags2::HOST);
    let accesses = BufferAccess { stages: stages | host, ..BufferAccess::TRANSFER_READ };
    let family = device.queue().family();
    let spec = BufferSpec::<u32>::new(16, accesses);
    let error = Exchange::new(&compute, &ExchangeInfo::default(), spec).expect_err("HOST is accepted");
    assert!(reason(&error).is_some_and(|text| text.contains("HOST") && text.contains("leave it out")), "{error}");
    for access in [vk::AccessFlags2::HOST_READ, vk::AccessFlags2::HOST_WRITE] {
        for stages in [vk::PipelineStageFlags2::ALL_COMMANDS, stages | host, host] {
            assert!(device.check_stages(family, stages, access, "buffer").is_err(), "{stages:?} {access:?}");
        }
    }
    // Barriers still add the host stage themselves if no ownership moves to another API.
    let place = BufferInfo { name: "shared", size: 64, usage: accesses.usage, placement: Placement::HostVisible };
    let buffer = Buffer::new(&device, &place).unwrap();
    let of = |counterpart| Handover::new(&buffer, counterpart, family, BufferAccess::TRANSFER_READ);
    for barrier in [of(Counterpart::External).acquire(), of(Counterpart::External).release()] {
        assert!(!(barrier.src_stage_mask | barrier.dst_stage_mask).contains(host), "{barrier:?}");
    }
    assert!(of(Counterpart::Host).acquire().src_stage_mask.contains(host));
    assert_silent(&device);
}

/// Numbers that are not formats, and formats of extensions that are not enabled.
#[test]
fn invalid_formats_do_not_reach_the_driver() {
    if !in_child("invalid_formats_do_not_reach_the_driver") {
        return;
    }
    let Some(device) = validated("invalid_formats_do_not_reach_the_driver") else { return };
    for raw in [-1, 4711, i32::MAX, vk::Format::PVRTC1_2BPP_UNORM_BLOCK_IMG.as_raw()] {
        let format = vk::Format::from_raw(raw);
        for tiling in [vk::ImageTiling::OPTIMAL, vk::ImageTiling::LINEAR] {
            assert!(device.format_features(format, tiling).is_empty(), "{format:?}");
        }
        let usage = vk::ImageUsageFlags::TRANSFER_SRC;
        let image = ImageInfo { name: "i", format, extent: [4, 4, 1], usage, ..ImageInfo::default() };
        for error in [Image::new(&device, &image).err(), vk_export::image_support(&device, &image).err()] {
            let error = error.unwrap();
            assert!(matches!(error, vk_export::Error::InvalidArgument { .. }), "{error}");
            assert!(error.to_string().contains(" format "), "{error}");
        }
        let info = vk_local::LocalImageInfo {
            name: "local",
            format,
            extent: vk::Extent2D { width: 4, height: 4 },
            usage: vk::ImageUsageFlags::SAMPLED,
        };
        assert!(vk_local::LocalImage::new(&device, &info).is_err(), "{format:?}");
    }
    assert_silent(&device);
}

/// Extensions whose dependencies are not enabled
/// (VUID-vkCreateDevice-ppEnabledExtensionNames-01387, and the equivalent for instances).
#[test]
fn an_extension_without_its_dependencies_is_refused() {
    if !in_child("an_extension_without_its_dependencies_is_refused") {
        return;
    }
    let Some(device) = validated("an_extension_without_its_dependencies_is_refused") else { return };
    if !device.physical().has_extension(khr::swapchain::NAME) {
        return skip(Need::Other, "an_extension_without_its_dependencies_is_refused: no VK_KHR_swapchain");
    }
    let swapchain = OpenInfo {
        validation: Validation::Required,
        device_extensions: &[khr::swapchain::NAME],
        ..OpenInfo::default()
    };
    let refused = |info: &OpenInfo<'_>, needed: &str, by: &str| {
        let error = ExportDevice::open(info).err().unwrap_or_else(|| panic!("{by} is accepted without {needed}"));
        assert!(matches!(error, vk_export::Error::Missing { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("extension {needed} for {by} (add it to `OpenInfo::")), "{text}");
    };
    refused(&swapchain, "VK_KHR_surface", "VK_KHR_swapchain");
    let capabilities = &[khr::get_surface_capabilities2::NAME];
    let capable = OpenInfo { instance_extensions: capabilities, ..OpenInfo::default() };
    refused(&capable, "VK_KHR_surface", "VK_KHR_get_surface_capabilities2");
    if device.physical().has_extension(ext::swapchain_maintenance1::NAME) {
        let maintained = &[ext::swapchain_maintenance1::NAME];
        let maintained = OpenInfo { device_extensions: maintained, ..OpenInfo::default() };
        refused(&maintained, "VK_KHR_swapchain", "VK_EXT_swapchain_maintenance1");
    }
    let whole = OpenInfo { instance_extensions: &[khr::surface::NAME], ..swapchain };
    assert_silent(&ExportDevice::open(&whole).unwrap());
    assert_silent(&device);
}

/// Every value except 0 is treated as `VK_TRUE`: 2 neither reaches the driver nor bypasses the
/// check.
#[test]
fn features_are_true_or_false() {
    if !in_child("features_are_true_or_false") {
        return;
    }
    let Some(device) = validated("features_are_true_or_false") else { return };
    let there = device.physical().features;
    let mut wanted = [vk::PhysicalDeviceFeatures::default(); 3];
    wanted[0].geometry_shader = 2;
    wanted[1].sparse_residency16_samples = 2;
    wanted[2].texture_compression_astc_ldr = u32::MAX;
    let has = [there.geometry_shader, there.sparse_residency16_samples, there.texture_compression_astc_ldr];
    let names = ["geometry_shader", "sparse_residency16_samples", "texture_compression_astc_ldr"];
    for ((features, has), name) in wanted.into_iter().zip(has).zip(names) {
        let info = OpenInfo { validation: Validation::Required, features, ..OpenInfo::default() };
        match ExportDevice::open(&info) {
            Ok(opened) => {
                assert_ne!(has, 0, "{name} is not there");
                assert_silent(&opened);
            }
            Err(error) => assert!(has == 0 && error.to_string().contains(name), "{error}"),
        }
    }
    assert!(has.contains(&0), "every feature is there: this test is void");
}

#[test]
fn an_exchange_has_no_more_slots_than_can_be_in_flight() {
    if !in_child("an_exchange_has_no_more_slots_than_can_be_in_flight") {
        return;
    }
    let device = Rig::open_own();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    for slots in [1025, usize::MAX] {
        let info = ExchangeInfo { name: "misused", slots, ..Default::default() };
        let made = Exchange::new(&compute, &info, BufferSpec::<u32>::new(1, BufferAccess::TRANSFER_READ));
        let error = made.err().unwrap_or_else(|| panic!("{slots} slots are accepted"));
        let text = format!("it has {slots} slots; the maximum is 1024");
        assert!(reason(&error).is_some_and(|reason| reason.contains(&text)), "{error}");
        let info = LatestInfo { name: "misused", slots: Some(slots), ..Default::default() };
        let made = Exchange::latest(&compute, &info, BufferSpec::<u32>::new(1, BufferAccess::TRANSFER_READ));
        let error = made.err().unwrap_or_else(|| panic!("{slots} slots are accepted"));
        assert!(reason(&error).is_some_and(|reason| reason.contains(&text)), "{error}");
    }
    assert_silent(&device);
}
