//! Textures: filters, address modes and sRGB views, as kernels see them.

use bridge::ash::vk;
use bridge::vk_export::{ImageInfo, KernelTexture, LaunchConfig, Placement, TextureInfo};
use bridge_tests::PROBE;

use crate::gpu::{Gpu, KERNEL, TRANSFER, address, launch};
use crate::images::{image, region, to_general};

const SIZE: u32 = 8;

/// The red channel of a texel; the other channels are derived from it or constant.
fn red(x: u32, y: u32) -> u32 {
    (x * 31 + y * 3) & 0xff
}

/// Returns what a kernel samples at each position of `at`: the red channel of the texture.
fn sample(gpu: &Gpu, info: &TextureInfo, at: &[(f32, f32)]) -> Vec<f32> {
    let texels: Vec<u32> = (0..SIZE * SIZE)
        .map(|i| {
            let red = red(i % SIZE, i / SIZE);
            red | (255 - red) << 8 | 0xff << 24
        })
        .collect();
    let shape = ImageInfo {
        format: vk::Format::R8G8B8A8_UNORM,
        view_formats: &[vk::Format::R8G8B8A8_SRGB],
        extent: [SIZE, SIZE, 1],
        placement: Placement::DeviceLocal,
        ..ImageInfo::default()
    };
    let image = image(gpu, &shape);
    let texture = KernelTexture::new(&image, info).unwrap();
    let kernel = gpu.module(PROBE).kernel("sample").unwrap();
    let (texels, words) = (gpu.filled(&texels), at.iter().flat_map(|(x, y)| [x.to_bits(), y.to_bits()]));
    let at_buffer = gpu.filled(&words.collect::<Vec<_>>());
    let seen = gpu.buffer(4 * at.len(), Placement::HostVisible);
    gpu.run(gpu.device.queue(), |commands| {
        to_general(gpu, commands, &image, TRANSFER, TRANSFER);
        let (to, layout) = (image.as_raw(), vk::ImageLayout::GENERAL);
        // SAFETY: recording; the buffer has a word for each texel.
        unsafe {
            gpu.device.as_raw().cmd_copy_buffer_to_image(commands, texels.as_raw(), to, layout, &region(&image));
        }
        gpu.barrier(commands, TRANSFER, (KERNEL.0, vk::AccessFlags2::SHADER_SAMPLED_READ | KERNEL.1));
        let handle = u64::from(texture.handle()).to_ne_bytes();
        let (len, config) = (at.len() as u32, LaunchConfig::for_elements(at.len() as u64, 64));
        launch(&kernel, commands, config, &[&handle, &address(&at_buffer), &address(&seen), &len.to_ne_bytes()]);
    });
    gpu.words(&seen).chunks_exact(4).map(|texel| f32::from_bits(texel[0])).collect()
}

fn center(x: u32) -> f32 {
    (x as f32 + 0.5) / SIZE as f32
}

fn info(filter: vk::Filter, mode: vk::SamplerAddressMode) -> TextureInfo {
    TextureInfo { filter, address_modes: [mode; 3], ..TextureInfo::default() }
}

#[track_caller]
fn assert_near(found: f32, expected: f32, tolerance: f32) {
    assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
}

#[test]
fn the_nearest_texel_is_exact() {
    let Some(gpu) = Gpu::new() else { return };
    let at: Vec<_> = (0..SIZE * SIZE).map(|i| (center(i % SIZE), center(i / SIZE))).collect();
    let found = sample(&gpu, &info(vk::Filter::NEAREST, vk::SamplerAddressMode::CLAMP_TO_EDGE), &at);
    for (i, found) in (0..).zip(found) {
        assert_near(found, red(i % SIZE, i / SIZE) as f32 / 255.0, 1e-6);
    }
}

#[test]
fn the_filter_is_honored() {
    let Some(gpu) = Gpu::new() else { return };
    // Between two texels: the sampler of a cubin would return one of the two.
    let at = [((3.0) / SIZE as f32, center(0)), (center(2), 5.0 / SIZE as f32)];
    let found = sample(&gpu, &info(vk::Filter::LINEAR, vk::SamplerAddressMode::CLAMP_TO_EDGE), &at);
    let mean = |a: u32, b: u32| (a + b) as f32 / 2.0 / 255.0;
    assert_near(found[0], mean(red(2, 0), red(3, 0)), 0.5 / 255.0);
    assert_near(found[1], mean(red(2, 4), red(2, 5)), 0.5 / 255.0);
}

#[test]
fn address_modes_are_honored() {
    use vk::SamplerAddressMode as Mode;
    let Some(gpu) = Gpu::new() else { return };
    // One texel past the right edge, in the second row.
    let at = [(1.0 + center(0), center(1))];
    for (mode, expected) in [
        (Mode::CLAMP_TO_EDGE, red(7, 1)),
        (Mode::REPEAT, red(0, 1)),
        (Mode::MIRRORED_REPEAT, red(7, 1)),
        (Mode::CLAMP_TO_BORDER, 0),
    ] {
        let found = sample(&gpu, &info(vk::Filter::NEAREST, mode), &at);
        assert_near(found[0], expected as f32 / 255.0, 1e-6);
    }
    // Two texels past the edge: here the mirrored one differs from the clamped one.
    let at = [(1.0 + center(1), center(1))];
    assert_near(
        sample(&gpu, &info(vk::Filter::NEAREST, Mode::MIRRORED_REPEAT), &at)[0],
        red(6, 1) as f32 / 255.0,
        1e-6,
    );
}

#[test]
fn an_srgb_view_is_linear_to_the_kernel() {
    let Some(gpu) = Gpu::new() else { return };
    let at = [(center(6), center(1))];
    let srgb = TextureInfo {
        format: Some(vk::Format::R8G8B8A8_SRGB),
        ..info(vk::Filter::NEAREST, vk::SamplerAddressMode::CLAMP_TO_EDGE)
    };
    let encoded = red(6, 1) as f32 / 255.0;
    let linear = ((encoded + 0.055) / 1.055).powf(2.4);
    assert!((encoded - linear).abs() > 0.1, "the two differ");
    assert_near(sample(&gpu, &srgb, &at)[0], linear, 0.005);
}
