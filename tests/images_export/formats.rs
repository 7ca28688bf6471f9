//! Tests of formats: the bytes of a color, views, layouts, depth, blocks and planes.

use bridge::ash::vk;
use bridge::vk_export::{Counterpart, Image, ImageAccess, ImageInfo, Placement};
use bridge_tests::Rig;

use crate::handover::{Copies, initialize, turn};
use crate::{TRANSFERS, counterpart, info, make, placement, tiling};

/// Clears all levels and layers.
fn fill(image: &Image, counterpart: Counterpart, color: [f32; 4]) {
    turn(image, counterpart, ImageAccess::TRANSFER_WRITE, |commands| {
        let color = vk::ClearColorValue { float32: color };
        let (raw, layout) = (image.device().as_raw(), ImageAccess::TRANSFER_WRITE.layout);
        // SAFETY: between the barriers, in the barriers' layout.
        unsafe { raw.cmd_clear_color_image(commands, image.as_raw(), layout, &color, &[image.range()]) };
    });
}

fn assert_filled(image: &Image, counterpart: Counterpart, texel: &[u8]) {
    let got = Copies::of_texels(texel.len() as u64).read(image, counterpart);
    let first = got.chunks(texel.len()).position(|got| got != texel);
    assert!(!got.is_empty() && first.is_none(), "{:?}: texel {first:?} is not {texel:?}", image.format());
}

#[test]
fn formats_of_every_size_are_cleared_and_viewed() {
    let rig = Rig::open();
    use vk::Format as F;
    let half = 0x3c00u16.to_le_bytes();
    let one = 1.0f32.to_le_bytes();
    // Red and alpha are 1, green and blue are 0.
    for (format, texel) in [
        (F::R8_UNORM, vec![255]),
        (F::R8G8B8A8_UNORM, vec![255, 0, 0, 255]),
        (F::B8G8R8A8_UNORM, vec![0, 0, 255, 255]),
        (F::R16G16B16A16_SFLOAT, [half, [0; 2], [0; 2], half].concat()),
        (F::R32_SFLOAT, one.to_vec()),
        (F::R32G32B32A32_SFLOAT, [one, [0; 4], [0; 4], one].concat()),
    ] {
        let usage = TRANSFERS | ImageAccess::SAMPLED.usage | ImageAccess::COLOR_ATTACHMENT.usage;
        let info = ImageInfo { name: "format", format, usage, mip_levels: 3, ..info() };
        let info = ImageInfo { placement: placement(&rig), tiling: tiling(&rig), ..info };
        let info = if info.placement == Placement::HostVisible { ImageInfo { mip_levels: 1, ..info } } else { info };
        let Some(image) = make(&rig, &format!("formats, {format:?}"), &info) else { continue };
        initialize(&image, counterpart(&info));
        fill(&image, counterpart(&info), [1.0, 0.0, 0.0, 1.0]);
        assert_filled(&image, counterpart(&info), &texel);
        assert!(image.view().is_some() && image.view_as(format) == image.view());
        assert_eq!(image.view_as(F::R8G8_SNORM), None);
    }
}

#[test]
fn every_consumer_gets_its_layout() {
    let rig = Rig::open();
    let consumers = [
        ImageAccess::SAMPLED,
        ImageAccess::COMPUTE_SAMPLED,
        ImageAccess::STORAGE_READ,
        ImageAccess::STORAGE_READ_WRITE,
        ImageAccess::COLOR_ATTACHMENT,
        ImageAccess::TRANSFER_READ,
        ImageAccess::TRANSFER_WRITE,
        ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ,
    ];
    let usage = consumers.iter().fold(vk::ImageUsageFlags::empty(), |all, accesses| all | accesses.usage);
    let mut info = ImageInfo { name: "consumed", format: vk::Format::R32_SFLOAT, usage, mip_levels: 4, ..info() };
    if placement(&rig) == Placement::HostVisible {
        info = ImageInfo { placement: Placement::HostVisible, tiling: vk::ImageTiling::LINEAR, mip_levels: 1, ..info };
    }
    let Some(image) = make(&rig, "every_consumer", &info) else { return };
    let counterpart = counterpart(&info);
    initialize(&image, counterpart);
    fill(&image, counterpart, [0.75; 4]);
    for accesses in consumers {
        turn(&image, counterpart, accesses, |_| {});
        assert_filled(&image, counterpart, &0.75f32.to_le_bytes());
    }
}

#[test]
fn an_srgb_view_of_a_storage_image_is_for_sampling() {
    let rig = Rig::open();
    let views = [vk::Format::R8G8B8A8_SRGB, vk::Format::R8G8B8A8_UNORM, vk::Format::R32_UINT];
    let usage = TRANSFERS | vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::STORAGE;
    let info = ImageInfo { name: "srgb", usage, view_formats: &views, ..info() };
    let info = ImageInfo { placement: placement(&rig), tiling: tiling(&rig), ..info };
    let Some(image) = make(&rig, "an_srgb_view", &info) else { return };
    let all = [image.view(), image.view_as(views[0]), image.view_as(views[2])];
    assert!(all.iter().all(Option::is_some) && all[0] != all[1] && all[1] != all[2]);
    assert_eq!(image.view_as(views[1]), image.view(), "its own format is viewed once");
    assert_eq!(image.view_as(vk::Format::B8G8R8A8_SRGB), None);
    let Some(moved) = make(&rig, "a transfer image", &ImageInfo { usage: TRANSFERS, ..info }) else { return };
    assert_eq!(moved.view(), None, "nothing can be viewed");
}

#[test]
fn depth_blocks_and_planes_keep_what_was_written() {
    use vk::{Format as F, ImageAspectFlags as Aspect, ImageUsageFlags as Usage};
    let rig = Rig::open();
    let attached = Usage::DEPTH_STENCIL_ATTACHMENT;
    for (format, usage, aspect, block, side) in [
        (F::D32_SFLOAT, attached | Usage::SAMPLED, Aspect::DEPTH, 4, 1),
        (F::D24_UNORM_S8_UINT, attached, Aspect::STENCIL, 1, 1),
        (F::BC7_UNORM_BLOCK, Usage::SAMPLED, Aspect::COLOR, 16, 4),
        (F::G8_B8R8_2PLANE_420_UNORM, Usage::SAMPLED, Aspect::PLANE_0, 1, 1),
    ] {
        let info = ImageInfo { name: "special", format, usage: usage | TRANSFERS, ..info() };
        let Some(image) = make(&rig, &format!("special, {format:?}"), &info) else { continue };
        initialize(&image, Counterpart::External);
        let copies = Copies { aspect, block, side };
        let size = usize::try_from(copies.total(&image)).unwrap();
        let written: Vec<u8> = match format {
            // Depths from 0 to 1.
            F::D32_SFLOAT => (0..size / 4).flat_map(|i| (i as f32 / 4096.0).to_le_bytes()).collect(),
            _ => (0..size).map(|i| (i * 7 + i / 251) as u8).collect(),
        };
        copies.write(&image, Counterpart::External, &written);
        assert!(copies.read(&image, Counterpart::External) == written, "{format:?}");
        assert_eq!(image.view().is_some(), format != F::G8_B8R8_2PLANE_420_UNORM);
        image.export().unwrap();
    }
}
