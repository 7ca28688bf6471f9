//! Tests of images without another API: they are mapped from memory that CUDA itself exported. If
//! the driver does not exist or does not map images from such memory, each test is skipped with a
//! message.
//!
//! Contains unsafe code because of the mappings and the launch.
#![allow(unsafe_code, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;

use common::{device, import};
use cuda_import::cudarc::driver::{CudaStream, LaunchConfig, PushKernelArg};
use cuda_import::cudarc::nvrtc::Ptx;
use cuda_import::{
    CudaDevice, DriverCode, Error, ImageKind, ImageMappingInfo, ImageProblem, MappedImage, Texel, TextureInfo,
};
use test_support::{Need, skip, skip_case};

/// `surface[y][x] = texture[y][x] + 1`
const ADD_ONE: &str = "
.version 6.0
.target sm_50
.address_size 64
.visible .entry add_one(.param .u64 texture, .param .u64 surface) {
    .reg .b32 %r<8>;
    .reg .b64 %a<3>;
    ld.param.u64 %a1, [texture];
    ld.param.u64 %a2, [surface];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %tid.y;
    tex.2d.v4.u32.s32 {%r3, %r4, %r5, %r6}, [%a1, {%r1, %r2}];
    add.u32 %r3, %r3, 1;
    shl.b32 %r1, %r1, 2;
    sust.b.2d.b32.trap [%a2, {%r1, %r2}], {%r3};
    ret;
}
";
const SQUARE: ImageMappingInfo = ImageMappingInfo {
    offset: 0,
    kind: ImageKind::D2,
    extent: [16, 16, 1],
    layers: 1,
    layered: false,
    levels: 3,
    surface: true,
    color_attachment: false,
};

/// The reason why a test without any image is skipped.
const NONE: &str = "the driver maps no image onto memory of CUDA's own";

/// Returns `None` if the driver does not map images from memory of CUDA's own.
fn map<T: Texel>(device: &CudaDevice, info: &ImageMappingInfo, home: &Arc<CudaStream>) -> Option<MappedImage<T>> {
    // SAFETY: the memory contains no image of another API, and is not used elsewhere.
    match unsafe { MappedImage::map(&import(device), info, home) } {
        Ok(image) => Some(image),
        Err(error) => {
            assert_eq!(error.driver_code(), Some(DriverCode(1)), "{error}");
            skip_case(Need::Other, &format!("{info:?}"), &error.to_string());
            None
        }
    }
}

#[test]
fn image_contents_are_read_back() {
    let Some((device, _alone)) = device() else { return };
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let cube = ImageMappingInfo { kind: ImageKind::Cube, layers: 6, ..SQUARE };
    let mut mapped = 0;
    for info in [
        SQUARE,
        ImageMappingInfo { layers: 3, ..SQUARE },
        ImageMappingInfo { kind: ImageKind::D1, extent: [16, 1, 1], ..SQUARE },
        ImageMappingInfo { kind: ImageKind::D1, extent: [16, 1, 1], layers: 3, ..SQUARE },
        ImageMappingInfo { kind: ImageKind::D3, extent: [16, 8, 4], ..SQUARE },
        cube,
        ImageMappingInfo { layers: 12, ..cube },
    ] {
        let Some(mut image) = map::<[u16; 4]>(&device, &info, &home) else { continue };
        mapped += 1;
        let texels = |level| {
            let len = image.level_extent(level).into_iter().product::<u32>() * info.layers;
            (0..len).map(|i| [i as u16, level as u16, !i as u16, 7]).collect::<Vec<_>>()
        };
        let levels: Vec<_> = (0..info.levels).map(texels).collect();
        for (level, texels) in (0..).zip(&levels) {
            image.view_mut().write_from_host(&home, level, .., texels).unwrap();
        }
        for (level, texels) in (0..).zip(&levels) {
            let mut read = vec![[0; 4]; texels.len()];
            image.view().read_to_host(&foreign_stream, level, .., &mut read).unwrap();
            assert!(&read == texels, "{info:?}, level {level}");
            let mut buffer = home.alloc_zeros::<u16>(4 * texels.len()).unwrap();
            // SAFETY: a texel is four 16-bit numbers, with the alignment of one.
            let mut as_texels = unsafe { buffer.transmute_mut::<[u16; 4]>(texels.len()) }.unwrap();
            image.view().copy_to_buffer(&home, level, .., &mut as_texels).unwrap();
            assert!(home.clone_dtoh(&buffer).unwrap() == texels.as_flattened(), "{info:?}, level {level}");
        }
        image.close().unwrap();
    }
    if mapped == 0 {
        skip(Need::Other, NONE);
    }
}

#[test]
fn kernels_sample_and_store() {
    let Some((device, _alone)) = device() else { return };
    let home = device.new_stream().unwrap();
    let Some(mut image) = map::<u32>(&device, &SQUARE, &home) else { return skip(Need::Other, NONE) };
    let module = device.context().load_module(Ptx::from_src(ADD_ONE)).unwrap();
    let kernel = module.load_function("add_one").unwrap();
    let written: Vec<u32> = (0..64).collect();
    image.view_mut().write_from_host(&home, 1, .., &written).unwrap();
    let view = image.view_mut();
    let counted = TextureInfo { level: Some(1), normalized_coordinates: false, ..Default::default() };
    let (texture, mut surface) = (view.texture(&counted).unwrap(), view.surface(1).unwrap());
    let mut launch = home.launch_builder(&kernel);
    launch.arg(&texture).arg(&mut surface);
    // SAFETY: the kernel takes a texture and a surface object of 8 x 8 texels of four bytes.
    unsafe { launch.launch(LaunchConfig { grid_dim: (1, 1, 1), block_dim: (8, 8, 1), shared_mem_bytes: 0 }) }.unwrap();
    let mut read = vec![0; 64];
    image.view().read_to_host(&home, 1, .., &mut read).unwrap();
    assert_eq!(read, (1..=64).collect::<Vec<u32>>());
    image.close().unwrap();
}

#[test]
fn bad_images_are_refused() {
    let Some((device, _alone)) = device() else { return };
    let home = device.new_stream().unwrap();
    let memory = import(&device);
    let map = |info: &ImageMappingInfo| {
        // SAFETY: rejected before a driver call.
        unsafe { MappedImage::<u8>::map(&memory, info, &home) }.map(drop)
    };
    let wide = map(&ImageMappingInfo { extent: [1 << 20, 1, 1], levels: 1, ..SQUARE });
    assert!(
        matches!(wide, Err(Error::Image { problem: ImageProblem::TooLarge { side: "width", .. }, .. })),
        "{wide:?}"
    );
    let large = map(&ImageMappingInfo { extent: [1 << 14, 1 << 14, 1], ..SQUARE });
    assert!(matches!(large, Err(Error::OutOfRange { .. })), "{large:?}");
}
