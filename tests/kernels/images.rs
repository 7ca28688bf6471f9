//! Surfaces: what kernels write is what Vulkan copies, for each texel size, and for layers and
//! depth.

use bridge::ash::vk;
use bridge::vk_export::{Buffer, Image, ImageInfo, ImageKind, KernelSurface, LaunchConfig, Placement};
use bridge_tests::PROBE;

use crate::gpu::{Gpu, KERNEL, Scope, TRANSFER, address, launch};

pub(crate) const WIDTH: u32 = 60;
pub(crate) const HEIGHT: u32 = 36;

/// Writes `1000 * z + 100 * y + x` to each texel of a layered surface and of a 3D surface; nothing
/// is written outside of it.
const LAYERS: &str = "
.version 8.0
.target sm_52
.address_size 64

.visible .entry layered(.param .u64 surface)
{
    .reg .b32 %r<6>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [surface];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %tid.y;
    mov.u32 %r3, %ctaid.z;
    mad.lo.u32 %r4, %r3, 1000, %r1;
    mad.lo.u32 %r4, %r2, 100, %r4;
    shl.b32 %r5, %r1, 2;
    sust.b.a2d.b32.zero [%rd1, {%r3, %r5, %r2, %r2}], {%r4};
    ret;
}

.visible .entry deep(.param .u64 surface)
{
    .reg .b32 %r<6>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [surface];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %tid.y;
    mov.u32 %r3, %ctaid.z;
    mad.lo.u32 %r4, %r3, 1000, %r1;
    mad.lo.u32 %r4, %r2, 100, %r4;
    shl.b32 %r5, %r1, 2;
    sust.b.3d.b32.zero [%rd1, {%r5, %r2, %r3, %r3}], {%r4};
    ret;
}
";

pub(crate) fn image(gpu: &Gpu, info: &ImageInfo<'_>) -> Image {
    use vk::ImageUsageFlags as Usage;
    let usage = Usage::STORAGE | Usage::SAMPLED | Usage::TRANSFER_SRC | Usage::TRANSFER_DST;
    Image::new(&gpu.device, &ImageInfo { name: "texels", usage, ..*info }).unwrap()
}

/// Transitions an image to `GENERAL`, discarding its contents.
pub(crate) fn to_general(gpu: &Gpu, commands: vk::CommandBuffer, image: &Image, before: Scope, after: Scope) {
    let barrier = [vk::ImageMemoryBarrier2::default()
        .src_stage_mask(before.0)
        .src_access_mask(before.1)
        .dst_stage_mask(after.0)
        .dst_access_mask(after.1)
        .old_layout(vk::ImageLayout::UNDEFINED)
        .new_layout(vk::ImageLayout::GENERAL)
        .image(image.as_raw())
        .subresource_range(image.range())];
    let dependency = vk::DependencyInfo::default().image_memory_barriers(&barrier);
    // SAFETY: recording; the previous contents of the image are not needed.
    unsafe { gpu.device.cmd_pipeline_barrier2(commands, &dependency) };
}

/// The whole first level, tightly packed.
pub(crate) fn region(image: &Image) -> [vk::BufferImageCopy; 1] {
    let [width, height, depth] = image.extent();
    let layers = vk::ImageSubresourceLayers {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        mip_level: 0,
        base_array_layer: 0,
        layer_count: image.array_layers(),
    };
    let extent = vk::Extent3D { width, height, depth };
    [vk::BufferImageCopy::default().image_subresource(layers).image_extent(extent)]
}

fn copy_to(gpu: &Gpu, commands: vk::CommandBuffer, image: &Image, to: &Buffer) {
    let (from, layout) = (image.as_raw(), vk::ImageLayout::GENERAL);
    // SAFETY: recording; the buffer has at least one word for each texel.
    unsafe { gpu.device.as_raw().cmd_copy_image_to_buffer(commands, from, layout, to.as_raw(), &region(image)) };
}

#[test]
fn surfaces_are_exact_in_every_texel_size() {
    use vk::Format as F;
    let Some(gpu) = Gpu::new() else { return };
    let module = gpu.module(PROBE);
    for (format, texel) in [
        (F::R8_UNORM, 1),
        (F::R16_SFLOAT, 2),
        (F::R8G8B8A8_UNORM, 4),
        (F::B8G8R8A8_UNORM, 4),
        (F::A2B10G10R10_UNORM_PACK32, 4),
        (F::R32_UINT, 4),
        (F::R16G16B16A16_SFLOAT, 8),
        (F::R32G32B32A32_SFLOAT, 16),
    ] {
        for placement in [Placement::DeviceLocal, Placement::Exportable] {
            let info = ImageInfo { format, extent: [WIDTH, HEIGHT, 1], placement, ..ImageInfo::default() };
            let image = image(&gpu, &info);
            let surface = KernelSurface::new(&image, 0).unwrap();
            let (store, load) = (format!("store_{texel}"), format!("load_{texel}"));
            let (store, load) = (module.kernel(&store).unwrap(), module.kernel(&load).unwrap());
            let words = (WIDTH * HEIGHT * texel / 4) as usize;
            let pattern: Vec<u32> = (0..words as u32).map(|i| i.wrapping_mul(0x9e37_79b9) ^ texel).collect();
            let from = gpu.filled(&pattern);
            let [loaded, copied] = [(); 2].map(|()| gpu.buffer(words, Placement::HostVisible));
            gpu.run(gpu.device.queue(), |commands| {
                to_general(&gpu, commands, &image, KERNEL, KERNEL);
                let handle = u64::from(surface.handle()).to_ne_bytes();
                let size = [WIDTH.to_ne_bytes(), HEIGHT.to_ne_bytes()];
                let config = LaunchConfig::new([WIDTH.div_ceil(16), HEIGHT.div_ceil(16), 1], [16, 16, 1]);
                launch(&store, commands, config, &[&handle, &address(&from), &size[0], &size[1]]);
                gpu.barrier(commands, KERNEL, KERNEL);
                launch(&load, commands, config, &[&handle, &address(&loaded), &size[0], &size[1]]);
                gpu.barrier(commands, KERNEL, TRANSFER);
                copy_to(&gpu, commands, &image, &copied);
            });
            assert!(gpu.words(&loaded) == pattern, "{format:?} {placement:?}, read by a kernel");
            assert!(gpu.words(&copied) == pattern, "{format:?} {placement:?}, copied by Vulkan");
        }
    }
}

#[test]
fn layers_cubes_and_depth_are_addressed_correctly() {
    let Some(gpu) = Gpu::new() else { return };
    let module = gpu.module(LAYERS);
    let info = ImageInfo { format: vk::Format::R32_UINT, placement: Placement::DeviceLocal, ..ImageInfo::default() };
    for (kernel, kind, extent, array_layers) in [
        ("layered", ImageKind::D2, [24, 16, 1], 5),
        ("layered", ImageKind::Cube, [16, 16, 1], 6),
        ("layered", ImageKind::Cube, [16, 16, 1], 12),
        ("deep", ImageKind::D3, [24, 16, 7], 1),
    ] {
        let image = image(&gpu, &ImageInfo { kind, extent, array_layers, ..info });
        let surface = KernelSurface::new(&image, 0).unwrap();
        let [width, height, depth] = extent;
        let layers = depth * array_layers;
        let seen = gpu.buffer((width * height * layers) as usize, Placement::HostVisible);
        let kernel = module.kernel(kernel).unwrap();
        gpu.run(gpu.device.queue(), |commands| {
            to_general(&gpu, commands, &image, KERNEL, KERNEL);
            let handle = u64::from(surface.handle()).to_ne_bytes();
            launch(&kernel, commands, LaunchConfig::new([1, 1, layers], [width, height, 1]), &[&handle]);
            gpu.barrier(commands, KERNEL, TRANSFER);
            copy_to(&gpu, commands, &image, &seen);
        });
        let texel = |i: u32| {
            let (x, y, z) = (i % width, i / width % height, i / width / height);
            1000 * z + 100 * y + x
        };
        let expected: Vec<u32> = (0..width * height * layers).map(texel).collect();
        assert!(gpu.words(&seen) == expected, "{kind:?} with {array_layers} layers");
    }
}

#[test]
fn each_level_is_a_surface_of_its_own() {
    let Some(gpu) = Gpu::new() else { return };
    let module = gpu.module(LAYERS);
    let info = ImageInfo {
        format: vk::Format::R32_UINT,
        extent: [32, 16, 1],
        array_layers: 2,
        mip_levels: 3,
        placement: Placement::DeviceLocal,
        ..ImageInfo::default()
    };
    let image = image(&gpu, &info);
    let kernel = module.kernel("layered").unwrap();
    let surfaces = [0, 1, 2].map(|level| KernelSurface::new(&image, level).unwrap());
    let seen = [0, 1, 2].map(|level| gpu.buffer((32 * 16 * 2) >> (2 * level), Placement::HostVisible));
    gpu.run(gpu.device.queue(), |commands| {
        to_general(&gpu, commands, &image, KERNEL, KERNEL);
        for (level, surface) in (0..).zip(&surfaces) {
            let handle = u64::from(surface.handle()).to_ne_bytes();
            let [width, height, _] = image.level_extent(level);
            launch(&kernel, commands, LaunchConfig::new([1, 1, 2], [width, height, 1]), &[&handle]);
        }
        gpu.barrier(commands, KERNEL, TRANSFER);
        for (level, to) in (0..).zip(&seen) {
            let [width, height, depth] = image.level_extent(level);
            let mut region = region(&image);
            region[0].image_subresource.mip_level = level;
            region[0].image_extent = vk::Extent3D { width, height, depth };
            let (from, layout) = (image.as_raw(), vk::ImageLayout::GENERAL);
            // SAFETY: recording; the buffer has a word for each texel of the level.
            unsafe { gpu.device.as_raw().cmd_copy_image_to_buffer(commands, from, layout, to.as_raw(), &region) };
        }
    });
    for (level, seen) in (0..).zip(&seen) {
        let [width, height, _] = image.level_extent(level);
        let texel = |i: u32| 1000 * (i / width / height) + 100 * (i / width % height) + i % width;
        let expected: Vec<u32> = (0..width * height * 2).map(texel).collect();
        assert!(gpu.words(seen) == expected, "level {level}");
    }
}
