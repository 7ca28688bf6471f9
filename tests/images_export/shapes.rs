//! Every kind of image, with and without layers and levels, keeps what either side writes.

use bridge::ash::vk;
use bridge::vk_export::{Counterpart, Image, ImageInfo, ImageKind, Placement, mip_count};
use bridge_tests::{Need, Rig, skip_case};

use crate::handover::{clear, initialize, read, subresources, value};
use crate::{TRANSFERS, counterpart, describe, info, make, placement};

/// Every kind with and without layers, with one level and with all levels.
fn shapes() -> Vec<ImageInfo<'static>> {
    use ImageKind::{Cube, D1, D2, D3};
    let kinds = [
        (D1, [37, 1, 1], 1),
        (D1, [37, 1, 1], 3),
        (D2, [37, 19, 1], 1),
        (D2, [37, 19, 1], 3),
        (D3, [13, 7, 5], 1),
        (Cube, [16, 16, 1], 6),
        (Cube, [16, 16, 1], 12),
    ];
    let mut shapes = Vec::new();
    for (kind, extent, array_layers) in kinds {
        for mip_levels in [1, mip_count(extent)] {
            let format = vk::Format::R32_UINT;
            let usage = TRANSFERS | vk::ImageUsageFlags::SAMPLED;
            shapes.push(ImageInfo { name: "shape", kind, format, extent, mip_levels, array_layers, usage, ..info() });
        }
    }
    shapes
}

#[test]
fn every_shape_keeps_what_was_written_through_hand_overs() {
    let rig = Rig::open();
    let (mut made, mut exported) = (0, 0);
    for shape in shapes() {
        for (tiling, placement) in [
            (vk::ImageTiling::OPTIMAL, Placement::Exportable),
            (vk::ImageTiling::LINEAR, Placement::Exportable),
            (vk::ImageTiling::LINEAR, Placement::HostVisible),
        ] {
            let info = ImageInfo { tiling, placement, ..shape };
            let Some(image) = make(&rig, "every_shape", &info) else { continue };
            made += 1;
            assert!(image.view().is_some());
            let counterpart = counterpart(&info);
            initialize(&image, counterpart);
            clear(&image, counterpart, 7_000);
            for (at, texels) in read(&image, counterpart) {
                assert!(texels.iter().all(|texel| *texel == value(at, 7_000)), "{}: {at:?}", describe(&info));
            }
            if placement == Placement::Exportable {
                let descriptor = image.export().unwrap().descriptor;
                assert_eq!((descriptor.kind, descriptor.extent), (info.kind, info.extent));
                assert_eq!((descriptor.mip_levels, descriptor.array_layers), (info.mip_levels, info.array_layers));
                assert_eq!((descriptor.tiling, descriptor.usage), (info.tiling, info.usage));
                assert!(descriptor.memory.allocation_size >= 4 * u64::from(info.extent[0]));
                exported += 1;
            }
        }
    }
    assert!(made > 0);
    if placement(&rig) == Placement::Exportable {
        assert!(exported > 0, "{made} images were made, and none was exported");
    } else {
        skip_case(Need::Gpu, "exports", "the device exports no images");
    }
}

#[test]
fn host_and_vulkan_read_each_others_writes() {
    let rig = Rig::open();
    let mut made = 0;
    for shape in shapes() {
        let info = ImageInfo { tiling: vk::ImageTiling::LINEAR, placement: Placement::HostVisible, ..shape };
        let Some(image) = make(&rig, "the_host_writes", &info) else { continue };
        made += 1;
        initialize(&image, Counterpart::Host);
        for at in subresources(&image) {
            for (index, pointer) in texels(&image, at).into_iter().enumerate() {
                // SAFETY: inside the mapping and aligned to 4; nothing else uses the image now.
                unsafe { pointer.write(pattern(at, index)) };
            }
        }
        for (at, texels) in read(&image, Counterpart::Host) {
            let expected: Vec<u32> = (0..texels.len()).map(|index| pattern(at, index)).collect();
            assert_eq!(texels, expected, "{}: {at:?}", describe(&info));
        }
        clear(&image, Counterpart::Host, 9_000);
        for at in subresources(&image) {
            for pointer in texels(&image, at) {
                // SAFETY: as above; the clear was waited for and made visible to the host.
                assert_eq!(unsafe { pointer.read() }, value(at, 9_000));
            }
        }
        assert_eq!(image.host_layout(info.mip_levels, 0), None);
        assert_eq!(image.host_layout(0, info.array_layers), None);
        assert!(image.export().unwrap_err().to_string().contains("HostVisible"));
    }
    assert!(made > 0);
}

fn pattern((level, layer): (u32, u32), index: usize) -> u32 {
    u32::try_from(index).unwrap().wrapping_mul(2_654_435_761) ^ (level << 8) ^ layer
}

/// The addresses of the texels of a layer of a level, row by row and slice by slice.
fn texels(image: &Image, (level, layer): (u32, u32)) -> Vec<*mut u32> {
    let layout = image.host_layout(level, layer).unwrap();
    let [width, height, depth] = image.level_extent(level).map(u64::from);
    let mut texels = Vec::new();
    for (z, y, x) in (0..depth).flat_map(|z| (0..height).flat_map(move |y| (0..width).map(move |x| (z, y, x)))) {
        let within = z * layout.depth_pitch * u64::from(depth > 1) + y * layout.row_pitch + x * 4;
        assert!(within + 4 <= layout.size, "{layout:?}");
        let offset = usize::try_from(layout.offset + within).unwrap();
        // SAFETY: inside the mapping, according to the driver's layout.
        texels.push(unsafe { image.host_ptr().unwrap().add(offset) }.cast::<u32>().as_ptr());
    }
    texels
}
