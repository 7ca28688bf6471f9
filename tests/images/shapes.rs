//! Contents are transferred bit for bit, in every format and shape.

use bridge::ash::vk;
use bridge::cuda_import::{Texel, half::f16};
use bridge::vk_export::mip_count;
use bridge::{Compute, CudaCompute, Exchange, ExchangeInfo, FORMATS, FormatInfo, ImageAccess, ImageSpec};
use bridge_tests::Rig;

use crate::crossing::Tally;
use crate::transfer::Transfer;

/// The size of the largest image here, with padding.
pub(crate) const ROOM: usize = 256 << 10;

/// Calls `$body` with the texel type of a format.
macro_rules! with_texel {
    ($texel:expr, $body:ident ( $($arg:expr),* )) => {{
        use bridge::cuda_import::ChannelType::*;
        let texel = $texel;
        match (texel.channel, texel.channels) {
            (U8, 1) => $body::<u8>($($arg),*), (U8, 2) => $body::<[u8; 2]>($($arg),*), (U8, _) => $body::<[u8; 4]>($($arg),*),
            (I8, 1) => $body::<i8>($($arg),*), (I8, 2) => $body::<[i8; 2]>($($arg),*), (I8, _) => $body::<[i8; 4]>($($arg),*),
            (U16, 1) => $body::<u16>($($arg),*), (U16, 2) => $body::<[u16; 2]>($($arg),*), (U16, _) => $body::<[u16; 4]>($($arg),*),
            (I16, 1) => $body::<i16>($($arg),*), (I16, 2) => $body::<[i16; 2]>($($arg),*), (I16, _) => $body::<[i16; 4]>($($arg),*),
            (U32, 1) => $body::<u32>($($arg),*), (U32, 2) => $body::<[u32; 2]>($($arg),*), (U32, _) => $body::<[u32; 4]>($($arg),*),
            (I32, 1) => $body::<i32>($($arg),*), (I32, 2) => $body::<[i32; 2]>($($arg),*), (I32, _) => $body::<[i32; 4]>($($arg),*),
            (F16, 1) => $body::<f16>($($arg),*), (F16, 2) => $body::<[f16; 2]>($($arg),*), (F16, _) => $body::<[f16; 4]>($($arg),*),
            (F32, 1) => $body::<f32>($($arg),*), (F32, 2) => $body::<[f32; 2]>($($arg),*), (F32, _) => $body::<[f32; 4]>($($arg),*),
            _ => unreachable!("no other backend is opened here"),
        }
    }};
}

/// Returns the number of texels of all levels and layers.
fn count([width, height, depth]: [usize; 3], levels: u32, layers: usize) -> usize {
    let side = |n: usize, level: u32| (n >> level).max(1);
    let texels = (0..levels).map(|level| side(width, level) * side(height, level) * side(depth, level));
    texels.sum::<usize>() * layers
}

/// Returns the tested images, with the number of texels of each.
fn shapes<T: Texel>(format: vk::Format, accesses: ImageAccess) -> Vec<(&'static str, ImageSpec<T>, usize)> {
    let d1 = || ImageSpec::new_1d(format, 37, accesses);
    let d2 = || ImageSpec::new(format, [37, 19], accesses);
    let d3 = || ImageSpec::new_3d(format, [9, 7, 5], accesses);
    let cube = || ImageSpec::cube(format, 16, accesses);
    vec![
        ("1D", d1(), 37),
        ("1D, mips", d1().with_full_mip_chain(), count([37, 1, 1], 6, 1)),
        ("1D array", d1().with_array_layers(3), 3 * 37),
        ("2D", d2(), 37 * 19),
        ("2D, mips", d2().with_full_mip_chain(), count([37, 19, 1], 6, 1)),
        ("2D array", d2().with_array_layers(3), 3 * 37 * 19),
        ("2D array, mips", d2().with_array_layers(2).with_full_mip_chain(), count([37, 19, 1], 6, 2)),
        ("2D array of one", d2().with_array_layers(1), 37 * 19),
        ("3D", d3(), 9 * 7 * 5),
        ("3D, mips", d3().with_full_mip_chain(), count([9, 7, 5], 4, 1)),
        ("cube", cube(), 6 * 256),
        ("cube, mips", cube().with_full_mip_chain(), count([16, 16, 1], 5, 6)),
        ("cube array", cube().with_array_layers(2), 12 * 256),
    ]
}

const COPIED: ImageAccess = ImageAccess::TRANSFER_READ.union(ImageAccess::TRANSFER_WRITE);

/// Returns `true` if CUDA accesses the images as rows: their layout depends only on the texel size,
/// not on the format.
fn has_rows(compute: &Compute) -> bool {
    compute.cuda().is_some_and(CudaCompute::is_peer)
}

/// Tests every shape. As rows, only a third of them, a different third for each of three format
/// numbers.
fn every_shape<T: Texel>(
    compute: &Compute,
    transfer: &mut Transfer,
    format: vk::Format,
    number: usize,
    tally: &mut Tally,
) {
    let (first, step) = if has_rows(compute) { (number % 3, 3) } else { (0, 1) };
    for (shape, spec, texels) in shapes::<T>(format, COPIED).into_iter().skip(first).step_by(step) {
        tally.add(compute, transfer, format!("{format:?}, {shape}"), &spec, texels);
    }
}

pub(crate) fn every_format_crosses_in_every_shape(rig: &Rig, compute: &Compute) {
    let mut transfer = Transfer::new(rig.device(), ROOM);
    let mut tally = Tally::default();
    for (number, FormatInfo { vulkan: format, texel, .. }) in FORMATS.iter().enumerate() {
        with_texel!(texel, every_shape(compute, &mut transfer, *format, number, &mut tally));
    }
    tally.report(rig, compute, "every format");
    // Every driver supports a plain 2D image of every format here, at least for copies.
    assert!(tally.intact >= FORMATS.len(), "{}", tally.intact);
    // Both backends support every shape.
    assert!(tally.missing.is_empty(), "{:?}", tally.missing);
}

/// Tests every length of a mip chain, for sizes that are powers of two and sizes that are not, with
/// and without layers. Images that CUDA would lay out differently from Vulkan are refused. As rows,
/// where no second driver decides the layout, fewer sizes and layers are tested.
pub(crate) fn every_mip_chain_crosses_or_is_refused(rig: &Rig, compute: &Compute) {
    fn chains<T: Texel>(compute: &Compute, transfer: &mut Transfer, format: vk::Format, tally: &mut Tally) {
        let sizes = [[37, 19], [16, 128], [511, 3], [1, 1], [64, 32], [100, 100], [5, 300], [128, 128]];
        let layer_counts = [0, 1, 3, 2, 7];
        let arrays = compute.cuda().is_some() && !has_rows(compute);
        let (sizes, layer_counts) =
            if arrays { (&sizes[..], &layer_counts[..]) } else { (&sizes[..4], &layer_counts[..3]) };
        for &[width, height] in sizes {
            let all = mip_count([width, height, 1]);
            for &layers in layer_counts {
                for levels in 1..=all {
                    let mut spec = ImageSpec::<T>::new(format, [width, height], COPIED).with_mip_levels(levels);
                    if layers > 0 {
                        spec = spec.with_array_layers(layers);
                    }
                    let texels = count([width as usize, height as usize, 1], levels, layers.max(1) as usize);
                    let what = format!("{format:?}, {width} x {height}, {levels} levels, {layers} layers");
                    let lies_elsewhere = layers > 0 && levels > 1 && (layers == 1 || levels < all);
                    if lies_elsewhere && arrays {
                        let error = Exchange::new(compute, &ExchangeInfo::default(), spec).unwrap_err().to_string();
                        assert!(error.contains("CUDA and Vulkan place"), "{what}: {error}");
                    } else {
                        tally.add(compute, transfer, what, &spec, texels);
                    }
                }
            }
        }
        for side in [8, 16, 33, 100] {
            for cubes in [1, 2] {
                for levels in [1, mip_count([side, side, 1])] {
                    let spec = ImageSpec::<T>::cube(format, side, COPIED).with_mip_levels(levels);
                    let spec = if cubes > 1 { spec.with_array_layers(cubes) } else { spec };
                    let texels = count([side as usize, side as usize, 1], levels, 6 * cubes as usize);
                    tally.add(
                        compute,
                        transfer,
                        format!("{format:?}, {cubes} cubes of {side}, {levels} levels"),
                        &spec,
                        texels,
                    );
                }
            }
        }
        for levels in 1..=4 {
            let spec = ImageSpec::<T>::new_3d(format, [9, 7, 5], COPIED).with_mip_levels(levels);
            tally.add(
                compute,
                transfer,
                format!("{format:?}, 3D, {levels} levels"),
                &spec,
                count([9, 7, 5], levels, 1),
            );
        }
        for levels in [1, 6] {
            let spec = ImageSpec::<T>::new_1d(format, 37, COPIED).with_mip_levels(levels).with_array_layers(3);
            tally.add(
                compute,
                transfer,
                format!("{format:?}, 1D array, {levels} levels"),
                &spec,
                count([37, 1, 1], levels, 3),
            );
        }
    }
    let mut transfer = Transfer::new(rig.device(), 64 * ROOM);
    let mut tally = Tally::default();
    chains::<u8>(compute, &mut transfer, vk::Format::R8_UNORM, &mut tally);
    chains::<[u8; 4]>(compute, &mut transfer, vk::Format::R8G8B8A8_UNORM, &mut tally);
    chains::<[f32; 4]>(compute, &mut transfer, vk::Format::R32G32B32A32_SFLOAT, &mut tally);
    tally.report(rig, compute, "every mip chain");
    assert!(tally.intact > 0 && tally.missing.is_empty(), "{:?}", tally.missing);
}

/// Additional Vulkan uses of an image change flags and perhaps the memory's layout, but not the
/// transferred contents.
pub(crate) fn every_usage_crosses(rig: &Rig, compute: &Compute) {
    fn usages<T: Texel>(compute: &Compute, transfer: &mut Transfer, format: vk::Format, tally: &mut Tally) {
        for usage in [
            ImageAccess::SAMPLED,
            ImageAccess::STORAGE_READ_WRITE,
            ImageAccess::COLOR_ATTACHMENT,
            ImageAccess::SAMPLED | ImageAccess::STORAGE_READ | ImageAccess::COLOR_ATTACHMENT,
        ] {
            for (shape, spec, texels) in
                shapes::<T>(format, COPIED | usage).into_iter().filter(|s| s.0.starts_with("2D"))
            {
                tally.add(compute, transfer, format!("{format:?}, {shape}, {:?}", usage.usage), &spec, texels);
            }
        }
    }
    let mut transfer = Transfer::new(rig.device(), ROOM);
    let mut tally = Tally::default();
    usages::<[u8; 4]>(compute, &mut transfer, vk::Format::R8G8B8A8_UNORM, &mut tally);
    if !has_rows(compute) {
        usages::<[f16; 4]>(compute, &mut transfer, vk::Format::R16G16B16A16_SFLOAT, &mut tally);
        usages::<f32>(compute, &mut transfer, vk::Format::R32_SFLOAT, &mut tally);
    }
    tally.report(rig, compute, "every usage");
    assert!(tally.intact > 0, "no image crossed");
}
