//! Findings like those in `findings`, for images.

use crate::common::finds::{IMAGE, SIZE, expect_findings, image, memory};
use crate::common::{kinds, raw};
use cuda_import::cudarc::driver::sys::{CUDA_ARRAY3D_CUBEMAP as CUBEMAP, CUDA_ARRAY3D_LAYERED as LAYERED};
use driver_double::ImageShape;

#[test]
fn correct_use_of_an_image_has_no_findings() {
    expect_findings("images::correct_use_of_an_image_has_no_findings", &[], |double| {
        let memory = image(double, &IMAGE);
        let array = raw::map_array(memory, |desc| desc.arrayDesc.Flags = 0x02).unwrap();
        let level = raw::level(array, 0).unwrap();
        let texture = raw::texture(array, true, |desc| desc.flags |= 0x02).unwrap();
        let surface = raw::surface(level).unwrap();
        let buffers = raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap();
        let address = raw::map(buffers, 0, 32).unwrap();
        assert_eq!([raw::fill(address, 32), raw::copy_to_level(level, address, 4, 0)], [0; 2]);
        assert_eq!([raw::destroy_surface(surface), raw::destroy_texture(texture), raw::destroy_array(array)], [0; 3]);
        assert_eq!([raw::free(address), raw::destroy_memory(buffers), raw::destroy_memory(memory)], [0; 3]);
        assert_eq!(raw::release(0), 0);
        crate::common::assert_clean(double);
    });
}

#[test]
fn an_image_mapped_as_another_one() {
    expect_findings("images::an_image_mapped_as_another_one", &["image-differs"; 12], |double| {
        let large = ImageShape { extent: [16, 8, 1], levels: 2, ..IMAGE };
        for (shape, what) in [
            (ImageShape { offset: 64, ..IMAGE }, "another offset"),
            (ImageShape { extent: [7, 4, 1], ..IMAGE }, "another width"),
            (ImageShape { dimensions: 1, extent: [8, 1, 1], ..IMAGE }, "another height"),
            (ImageShape { layers: 2, ..IMAGE }, "another depth or layers, layered flag"),
            (ImageShape { layered: true, ..IMAGE }, "another layered flag"),
            (ImageShape { dimensions: 3, extent: [8, 4, 2], ..IMAGE }, "another depth or layers"),
            (ImageShape { levels: 2, ..IMAGE }, "another levels"),
            (ImageShape { channels: 2, ..IMAGE }, "another format"),
            (ImageShape { format: 0x08, ..IMAGE }, "another format"),
            (ImageShape { color_attachment: true, ..IMAGE }, "another color attachment flag"),
            (large, "another width, height, levels"),
        ] {
            // The call succeeds, as it does in the driver.
            raw::map_array(image(double, &shape), |_| {}).unwrap();
            let found = double.findings();
            assert!(kinds(&found) == ["image-differs"] && found[0].text.ends_with(what), "{what}: {found:#?}");
        }
        for _ in 0..10 {
            raw::map_array(memory(double), |_| {}).unwrap();
        }
        // Layers mapped as the depth of a 3D image, and a depth mapped as layers.
        let layers = ImageShape { layers: 2, ..IMAGE };
        raw::map_array(image(double, &layers), |desc| desc.arrayDesc.Depth = 2).unwrap();
        let block = ImageShape { dimensions: 3, extent: [8, 4, 2], ..IMAGE };
        raw::map_array(image(double, &block), |desc| (desc.arrayDesc.Depth, desc.arrayDesc.Flags) = (2, LAYERED))
            .unwrap();
    });
}

/// The driver maps such images without an error, but places the layers differently from Vulkan.
#[test]
fn layers_with_some_of_the_mip_levels() {
    expect_findings("images::layers_with_some_of_the_mip_levels", &["mip-layout"; 3], |double| {
        let cube = |layers, levels| ImageShape { extent: [8, 8, 1], layers, cube: true, levels, ..IMAGE };
        for (shape, flags) in [
            (ImageShape { layers: 2, levels: 2, ..IMAGE }, LAYERED),
            (ImageShape { layered: true, levels: 4, ..IMAGE }, LAYERED),
            (cube(6, 3), CUBEMAP),
            // These have the same layout in both.
            (ImageShape { layers: 2, levels: 4, ..IMAGE }, LAYERED),
            (ImageShape { layers: 2, levels: 1, ..IMAGE }, LAYERED),
            (ImageShape { levels: 2, ..IMAGE }, 0),
            (cube(6, 4), CUBEMAP),
            (cube(12, 1), CUBEMAP | LAYERED),
        ] {
            let mapped = raw::map_array(image(double, &shape), |desc| {
                desc.arrayDesc.Height = shape.extent[1] as usize;
                desc.arrayDesc.Depth = if flags == 0 { 0 } else { shape.layers as usize };
                desc.arrayDesc.Flags = flags;
                desc.numLevels = shape.levels;
            });
            mapped.unwrap();
        }
    });
}

#[test]
fn invalid_images_are_refused() {
    expect_findings("images::invalid_images_are_refused", &[], |double| {
        let memory = image(double, &IMAGE);
        assert_eq!(raw::map_array(memory, |desc| desc.offset = SIZE - 16), Err(1));
        assert_eq!(raw::map_array(memory, |desc| desc.numLevels = 5), Err(1));
        assert_eq!(raw::map_array(memory, |desc| desc.arrayDesc.NumChannels = 3), Err(1));
        let array = raw::map_array(memory, |_| {}).unwrap();
        assert_eq!(raw::level(array, 1), Err(1));
        assert_eq!(raw::surface(raw::level(array, 0).unwrap()), Err(1), "it was not made for surfaces");
    });
}

#[test]
fn an_array_destroyed_before_its_objects() {
    let expected = ["objects-at-destroy", "objects-at-destroy", "use-after-destroy", "use-after-destroy"];
    expect_findings("images::an_array_destroyed_before_its_objects", &expected, |double| {
        let memory = image(double, &IMAGE);
        let array = raw::map_array(memory, |desc| desc.arrayDesc.Flags = 0x02).unwrap();
        let level = raw::level(array, 0).unwrap();
        raw::texture(level, false, |_| {}).unwrap();
        raw::surface(level).unwrap();
        assert_eq!([raw::destroy_array(array), raw::destroy_array(array)], [0, 400]);
        assert_eq!(raw::surface(level), Err(400), "the level went with it");
    });
}

#[test]
fn memory_destroyed_before_its_array() {
    let expected = ["mapped-at-destroy", "outlives-context"];
    expect_findings("images::memory_destroyed_before_its_array", &expected, |double| {
        let memory = image(double, &IMAGE);
        raw::map_array(memory, |_| {}).unwrap();
        assert_eq!([raw::destroy_memory(memory), raw::release(0)], [0, 0]);
    });
}

#[test]
fn an_array_destroyed_in_use() {
    // The pending copies write to a destroyed array, which loses the context.
    expect_findings("images::an_array_destroyed_in_use", &["pending-at-destroy", "use-after-destroy"], |double| {
        let array = raw::map_array(image(double, &IMAGE), |_| {}).unwrap();
        let level = raw::level(array, 0).unwrap();
        let address = raw::map(memory(double), 0, 32).unwrap();
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = raw::import_semaphore(exported, true).unwrap();
        let stream = raw::create_stream().unwrap();
        assert_eq!(raw::wait(timeline, 1, stream), 0);
        assert_eq!(raw::copy_to_level(level, address, 4, stream), 0);
        assert_eq!(raw::destroy_array(array), 0);
        assert_eq!(raw::query(stream), 600);
        double.signal(number, 1);
        assert_eq!([raw::query(stream), raw::query(0), raw::free(address)], [700; 3]);
    });
}

#[test]
fn copies_past_the_end() {
    expect_findings("images::copies_past_the_end", &["out-of-bounds"], |double| {
        let array = raw::map_array(image(double, &IMAGE), |_| {}).unwrap();
        let level = raw::level(array, 0).unwrap();
        let [short, long] = [16, 64].map(|size| raw::map(memory(double), 0, size).unwrap());
        assert_eq!(raw::copy_to_level(level, short, 4, 0), 1);
        assert_eq!(raw::copy_to_level(level, long, 5, 0), 1);
        assert_eq!(raw::copy_to_level(level, long, 4, 0), 0);
    });
}

#[test]
fn textures_that_the_header_forbids() {
    use cuda_import::cudarc::driver::sys::{CUaddress_mode, CUfilter_mode};
    expect_findings("images::textures_that_the_header_forbids", &["texture-forbidden"; 6], |double| {
        let array = raw::map_array(image(double, &IMAGE), |_| {}).unwrap();
        let level = raw::level(array, 0).unwrap();
        assert_eq!(raw::texture(array, true, |_| {}), Err(1), "coordinates are not normalized");
        let wrap = CUaddress_mode::CU_TR_ADDRESS_MODE_WRAP;
        assert_eq!(raw::texture(level, false, |desc| desc.addressMode[1] = wrap), Err(1));
        let linear = CUfilter_mode::CU_TR_FILTER_MODE_LINEAR;
        assert_eq!(raw::texture(level, false, |desc| desc.filterMode = linear), Err(1));
        assert_eq!(raw::texture(level, false, |desc| desc.mipmapFilterMode = linear), Err(1));
        assert_eq!(raw::texture(level, false, |desc| desc.flags |= 0x40), Err(1), "no cube is seamless");
        assert_eq!(raw::texture(level, false, |desc| desc.minMipmapLevelClamp = 1.0), Err(1));
    });
}
