//! Impossible images, and commands that do not end: each results in one clear error.

use std::time::Duration;

use bridge::QueueKind;
use bridge::ash::vk;
use bridge::vk_export::{Error, Image, ImageInfo, ImageKind, Placement};
use bridge_tests::{Gate, Rig};

use crate::{TRANSFERS, info};

#[test]
fn invalid_requests_are_refused_by_name() {
    let rig = Rig::open();
    let error = |info: ImageInfo<'_>| Image::new(rig.device(), &info).unwrap_err();
    let says = |info: ImageInfo<'_>, because: &str| {
        let text = error(info).to_string();
        assert!(text.contains("image \"image\"") && text.contains(because), "{text}");
    };
    says(ImageInfo { extent: [0, 32, 1], ..info() }, "its extent is 0 x 32 x 1");
    says(ImageInfo { mip_levels: 8, ..info() }, "at most 7");
    says(ImageInfo { kind: ImageKind::Cube, extent: [8, 8, 1], array_layers: 7, ..info() }, "not a multiple of 6");
    says(ImageInfo { extent: [u32::MAX, 1, 1], ..info() }, "maxImageDimension2D");
    says(ImageInfo { usage: vk::ImageUsageFlags::empty(), ..info() }, "its usage is empty");
    says(ImageInfo { placement: Placement::HostVisible, ..info() }, "make the tiling LINEAR");
    says(ImageInfo { view_formats: &[vk::Format::R8_UNORM], ..info() }, "cannot be viewed as R8_UNORM");

    // Drivers commonly do not support sRGB formats for storage images; the error says what would
    // work.
    let storage = TRANSFERS | vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::STORAGE;
    let srgb = ImageInfo { format: vk::Format::R8G8B8A8_SRGB, usage: storage, ..info() };
    if Image::new(rig.device(), &srgb).is_err() {
        let refused = error(srgb);
        assert!(matches!(refused, Error::UnsupportedImage { .. }), "{refused}");
        for part in ["R8G8B8A8_SRGB", "OPTIMAL", "it would do without STORAGE", rig.device().name()] {
            assert!(refused.to_string().contains(part), "{refused}");
        }
    }
    let limits = &rig.device().physical().limits;
    let huge = ImageInfo {
        format: vk::Format::R32G32B32A32_SFLOAT,
        extent: [limits.max_image_dimension2_d, limits.max_image_dimension2_d, 1],
        array_layers: limits.max_image_array_layers,
        ..info()
    };
    let huge = error(huge);
    assert!(matches!(huge, Error::TooLarge { .. } | Error::InvalidArgument { .. }), "{huge}");
}

#[test]
fn commands_that_do_not_end_are_a_timeout() {
    let rig = Rig::open();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let limit = Duration::from_millis(50);
    // SAFETY: nothing is recorded.
    let error = unsafe { rig.device().run_once(rig.device().queue(), "stuck", limit, |_| {}) }.unwrap_err();
    assert!(matches!(&error, Error::Unfinished { waited, .. } if *waited >= limit), "{error}");
    assert!(error.to_string().contains("commands \"stuck\" did not finish"), "{error}");
    drop(gate);
    // SAFETY: as above.
    unsafe { rig.device().run_once(rig.device().queue(), "free", Rig::LONG, |_| {}) }.unwrap();
}
