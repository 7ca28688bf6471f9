//! Images: their properties, refused uses, round trips of their contents, and the order of their
//! destruction.
#![allow(unsafe_code, clippy::unwrap_used, reason = "mapping an image is unsafe")]
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::common::assert_clean;
use crate::common::world::{
    IMAGE, NAME, SHAPE, SIZE, TEXELS, Texel as Rgba, device, import_image, import_memory, import_shape, map_image,
};
use cuda_import::cudarc::driver::{CudaContext, CudaStream};
use cuda_import::half::f16;
use cuda_import::{
    BufferMappingInfo, ChannelType, CudaDevice, Error, Filter, ImageKind, ImageMappingInfo, ImageProblem,
    ImportedMemory, MappedBuffer, MappedImage, Texel, TextureInfo,
};
use driver_double::{Double, ImageShape};

/// `CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_WIDTH`
const LAYERED_WIDTH: i32 = 27;

fn map<T: Texel>(
    memory: &Arc<ImportedMemory>,
    info: &ImageMappingInfo,
    home: &Arc<CudaStream>,
) -> Result<MappedImage<T>, Error> {
    // SAFETY: any difference from the exported image would be a finding.
    unsafe { MappedImage::map(memory, info, home) }
}

fn names(double: &Double) -> Vec<String> {
    double.calls().into_iter().map(|call| call.name).collect()
}

/// Returns the exporting side's description of an image that is mapped as `info`.
fn shape<T: Texel>(info: &ImageMappingInfo) -> ImageShape {
    let format = match T::FORMAT.channel {
        ChannelType::U8 => 0x01,
        ChannelType::U16 => 0x02,
        ChannelType::U32 => 0x03,
        ChannelType::I8 => 0x08,
        ChannelType::I16 => 0x09,
        ChannelType::I32 => 0x0a,
        ChannelType::F16 => 0x10,
        ChannelType::F32 => 0x20,
        other => panic!("no format of CUDA's is known for {other:?}"),
    };
    ImageShape {
        offset: info.offset,
        dimensions: match info.kind {
            ImageKind::D1 => 1,
            ImageKind::D2 | ImageKind::Cube => 2,
            ImageKind::D3 => 3,
            other => panic!("no dimensions are known for {other:?}"),
        },
        extent: info.extent,
        layers: info.layers,
        cube: info.kind == ImageKind::Cube,
        layered: info.layered,
        levels: info.levels,
        format,
        channels: T::FORMAT.channels,
        color_attachment: info.color_attachment,
    }
}

#[test]
fn every_kind_is_mapped_as_it_was_exported() {
    let Some(double) = Double::in_child("images::every_kind_is_mapped_as_it_was_exported") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let square = ImageMappingInfo { extent: [8, 8, 1], levels: 4, ..Default::default() };
    let row = ImageMappingInfo { kind: ImageKind::D1, extent: [9, 1, 1], ..square };
    let block = ImageMappingInfo { kind: ImageKind::D3, extent: [8, 4, 3], ..square };
    let cube = ImageMappingInfo { kind: ImageKind::Cube, layers: 6, ..square };
    for info in [
        square,
        ImageMappingInfo { offset: 256, layers: 3, ..square },
        ImageMappingInfo { layered: true, surface: true, levels: 1, ..square },
        ImageMappingInfo { color_attachment: true, levels: 1, ..square },
        row,
        ImageMappingInfo { layers: 5, ..row },
        block,
        cube,
        ImageMappingInfo { layers: 12, extent: [4, 4, 1], levels: 3, ..cube },
        ImageMappingInfo { layered: true, ..cube },
    ] {
        round_trip(&double, &device, &home, info, |i| i as u8);
        round_trip(&double, &device, &home, info, |i| [i as i16, -1]);
        round_trip(&double, &device, &home, info, |i| [f16::from_f32(i as f32); 2]);
        round_trip(&double, &device, &home, ImageMappingInfo { levels: 1, ..info }, |i| i as f32);
    }
    drop((home, device));
    assert_clean(&double);
}

/// Writes a different value to every texel of every level and layer, and reads it back.
fn round_trip<T: Texel + std::fmt::Debug + PartialEq>(
    double: &Double,
    device: &CudaDevice,
    home: &Arc<CudaStream>,
    info: ImageMappingInfo,
    texel: impl Fn(u32) -> T,
) {
    let memory = import_shape(double, device, &shape::<T>(&info));
    let mut image = map::<T>(&memory, &info, home).unwrap();
    assert_eq!(
        (image.kind(), image.extent(), image.levels(), image.layers()),
        (info.kind, info.extent, info.levels, info.layers)
    );
    let mut next = 0..;
    let mut written = Vec::new();
    for level in 0..info.levels {
        let texels = image.level_extent(level).into_iter().product::<u32>() * info.layers;
        let texels: Vec<_> = next.by_ref().take(texels as usize).map(&texel).collect();
        image.view_mut().write_from_host(home, level, .., &texels).unwrap();
        written.push(texels);
    }
    for (level, texels) in (0..).zip(&written) {
        let layer = texels.len() / info.layers as usize;
        let mut read = vec![texel(0); texels.len()];
        image.view().read_to_host(home, level, .., &mut read).unwrap();
        assert_eq!(&read, texels, "{info:?}, level {level}");
        let last = info.layers - 1;
        image.view().read_to_host(home, level, last.., &mut read[..layer]).unwrap();
        assert_eq!(read[..layer], texels[texels.len() - layer..], "{info:?}, level {level}");
    }
    image.close().unwrap();
    assert_eq!(double.findings(), Vec::new(), "{info:?}");
}

#[test]
fn invalid_images_are_refused_before_a_driver_call() {
    let test = "images::invalid_images_are_refused_before_a_driver_call";
    let Some(double) = Double::in_child(test) else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_image(&double, &device);
    double.forget_calls();
    for (info, text) in [
        (ImageMappingInfo { extent: [0, 4, 1], ..IMAGE }, "width is zero"),
        (ImageMappingInfo { extent: [8, 4, 2], ..IMAGE }, "has no depth, but 2"),
        (ImageMappingInfo { layers: 0, ..IMAGE }, "zero layers"),
        (ImageMappingInfo { levels: 5, ..IMAGE }, "at most 4"),
        (ImageMappingInfo { kind: ImageKind::D3, ..IMAGE }, "set layers to 1"),
        (ImageMappingInfo { kind: ImageKind::Cube, layers: 7, ..IMAGE }, "7 layers do not form cubes"),
        (ImageMappingInfo { kind: ImageKind::Cube, layers: 6, ..IMAGE }, "square, not 8 x 4"),
    ] {
        let said = map::<Rgba>(&memory, &info, &home).unwrap_err().to_string();
        assert!(said.contains(text) && said.contains(r#"image "walked""#) && said.contains(device.name()), "{said}");
    }
    let per_thread = device.context().per_thread_stream();
    assert!(matches!(map::<Rgba>(&memory, &IMAGE, &per_thread), Err(Error::PerThreadStream { .. })));
    assert_eq!(double.calls(), Vec::new());

    let small = ImageMappingInfo { offset: SIZE - 515, ..IMAGE };
    assert!(matches!(map::<Rgba>(&memory, &small, &home), Err(Error::OutOfRange { size: 516, .. })));
    let huge = ImageMappingInfo { extent: [16384, 16384, 1], layers: 16384, ..IMAGE };
    assert!(matches!(map::<[f32; 4]>(&memory, &huge, &home), Err(Error::OutOfRange { .. })));
    double.set_attribute(LAYERED_WIDTH, 7);
    let said = map::<Rgba>(&memory, &IMAGE, &home).unwrap_err().to_string();
    assert!(
        said.contains("width is 8") && said.contains("at most 7 (CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_WIDTH)"),
        "{said}"
    );
    assert!(names(&double).iter().all(|name| name == "cuDeviceGetAttribute"), "{:?}", double.calls());
    drop((memory, per_thread, home, device));
    assert_clean(&double);
}

#[test]
fn copies_that_do_not_fit_are_refused_before_a_driver_call() {
    let test = "images::copies_that_do_not_fit_are_refused_before_a_driver_call";
    let Some(double) = Double::in_child(test) else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let unrelated = CudaContext::new(1).unwrap();
    let strange = unrelated.new_stream().unwrap();
    let plain = ImageMappingInfo { surface: false, ..IMAGE };
    let mut image = map::<Rgba>(&import_image(&double, &device), &plain, &home).unwrap();
    let memory = import_memory(&double, &device);
    let mut short = MappedBuffer::<Rgba>::map(&memory, &BufferMappingInfo { offset: 0, len: 7 }, &home).unwrap();
    double.forget_calls();
    let problem = |result: Result<(), Error>| match result {
        Err(Error::Image { problem, object, .. }) => {
            assert!(object.contains(NAME));
            problem
        }
        other => panic!("{other:?}"),
    };
    let mut view = image.view_mut();
    let mut texels = [[0; 4]; TEXELS];
    let found = problem(view.read_to_host(&home, 0, .., &mut texels[..5]));
    assert!(matches!(found, ImageProblem::Length { len: 5, expected: TEXELS, .. }), "{found}");
    let found = problem(view.write_from_host(&home, 0, .., &texels[..5]));
    assert!(matches!(found, ImageProblem::Length { len: 5, expected: TEXELS, .. }), "{found}");
    let found = problem(view.copy_to_buffer(&home, 1, 0..1, &mut short.view_mut()));
    assert!(matches!(found, ImageProblem::Length { len: 7, expected: 8, .. }), "{found}");
    let found = problem(view.copy_from_buffer(&home, 1, 0..1, &short.view()));
    assert!(matches!(found, ImageProblem::Length { len: 7, expected: 8, .. }), "{found}");
    let found = problem(view.read_to_host(&home, 4, .., &mut texels));
    assert!(matches!(found, ImageProblem::NoSuchLevel { level: 4, levels: 4, .. }), "{found}");
    let found = problem(view.surface(4).map(drop));
    assert!(matches!(found, ImageProblem::NoSuchLevel { level: 4, levels: 4, .. }), "{found}");
    let found = problem(view.write_from_host(&home, 0, 1..4, &texels));
    assert!(matches!(found, ImageProblem::NoSuchLayers { start: 1, end: 4, layers: 3, .. }), "{found}");
    assert_eq!(problem(view.surface(0).map(drop)), ImageProblem::NoSurfaces);
    let linear = TextureInfo { filter: Filter::Linear, ..Default::default() };
    assert!(matches!(problem(view.texture(&linear).map(drop)), ImageProblem::LinearInteger { .. }));
    assert!(matches!(view.read_to_host(&strange, 0, .., &mut texels), Err(Error::ContextMismatch { .. })));
    let per_thread = device.context().per_thread_stream();
    assert!(matches!(view.read_to_host(&per_thread, 0, .., &mut texels), Err(Error::PerThreadStream { .. })));
    assert_eq!(double.calls(), Vec::new());

    let place = BufferMappingInfo { offset: 0, len: 8 };
    let mut foreign = {
        let memory = import_memory(&double, &CudaDevice::adopt(Arc::clone(&unrelated)).unwrap());
        MappedBuffer::<Rgba>::map(&memory, &place, &strange).unwrap()
    };
    double.forget_calls();
    let to_foreign = view.copy_to_buffer(&home, 1, 0..1, &mut foreign.view_mut());
    assert!(matches!(to_foreign, Err(Error::ContextMismatch { .. })), "{to_foreign:?}");
    let from_foreign = view.copy_from_buffer(&home, 1, 0..1, &foreign.view());
    assert!(matches!(from_foreign, Err(Error::ContextMismatch { .. })), "{from_foreign:?}");
    assert_eq!(double.calls(), Vec::new());
    drop((foreign, image, short, memory, per_thread, home, device, strange, unrelated));
    assert_clean(&double);
}

#[test]
fn two_mappings_of_the_same_bytes_are_refused() {
    let Some(double) = Double::in_child("images::two_mappings_of_the_same_bytes_are_refused") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_image(&double, &device);
    let image = map_image(&memory, &home);
    assert!(matches!(map::<Rgba>(&memory, &IMAGE, &home), Err(Error::Overlap { .. })));
    let buffer = |offset| MappedBuffer::<u32>::map(&memory, &BufferMappingInfo { offset, len: 16 }, &home);
    assert!(matches!(buffer(512), Err(Error::Overlap { .. })));
    // Memory next to it cannot be mapped either: only the drivers know the extent of an image.
    assert!(matches!(buffer(0), Err(Error::Overlap { .. })));
    image.close().unwrap();
    drop(buffer(0).unwrap());
    drop(map_image(&memory, &home));
    drop((memory, home, device));
    assert_clean(&double);
}

#[test]
fn objects_are_created_once_and_destroyed_first() {
    let Some(double) = Double::in_child("images::objects_are_created_once_and_destroyed_first") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let image = map_image(&import_image(&double, &device), &home);
    // SAFETY: the only view.
    let view = unsafe { image.view_mut_unchecked() };
    let second = TextureInfo { level: Some(1), ..Default::default() };
    let ask = || {
        let textures = [&TextureInfo::default(), &second].map(|info| view.texture(info).unwrap().as_raw());
        (textures, [0, 1].map(|level| view.surface(level).unwrap().as_raw()))
    };
    let made = ask();
    double.forget_calls();
    assert_eq!(ask(), made);
    std::thread::scope(|scope| scope.spawn(|| assert_eq!(ask(), made)).join().unwrap());
    assert_eq!(double.calls(), Vec::new());
    let kinds: Vec<_> = double.live().iter().map(|live| live.kind().to_owned()).collect();
    assert_eq!(kinds[..5], ["texture", "texture", "surface", "surface", "array"]);

    // Drops the image while no context is current.
    double.set_current(0);
    drop((home, device));
    double.forget_calls();
    drop(image);
    let calls = names(&double);
    let place = |name: &str| calls.iter().position(|call| call == name).unwrap();
    let last = |name: &str| calls.iter().rposition(|call| call == name).unwrap();
    assert!(last("cuTexObjectDestroy").max(last("cuSurfObjectDestroy")) < place("cuMipmappedArrayDestroy"));
    assert!(place("cuMipmappedArrayDestroy") < place("cuDestroyExternalMemory"));
    assert_clean(&double);
}

#[test]
fn an_image_without_its_levels_leaves_nothing() {
    let Some(double) = Double::in_child("images::an_image_without_its_levels_leaves_nothing") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_image(&double, &device);
    let mut failed = 0;
    for nth in 1.. {
        double.fail_nth(nth, 2, false);
        let mapped = map::<Rgba>(&memory, &IMAGE, &home);
        let Some(hit) = double.disarm() else { break };
        match mapped {
            Err(error) => assert_eq!(error.driver_code().unwrap().0, 2),
            // A failure to restore the caller's context is only a warning.
            Ok(image) => {
                assert!(hit.name.starts_with("cuCtx"), "{hit:?}");
                drop(image);
            }
        }
        failed += u32::from(hit.name == "cuMipmappedArrayGetLevel");
        assert!(double.live().iter().all(|live| live.kind() != "array"), "{hit:?}");
    }
    assert_eq!(failed, IMAGE.levels);
    drop((memory, home, device));
    assert_clean(&double);
}

#[test]
fn a_thousand_images_leave_nothing() {
    let Some(double) = Double::in_child("images::a_thousand_images_leave_nothing") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let before = double.live();
    for round in 0..1000 {
        let mut image = map_image(&import_image(&double, &device), &home);
        let view = image.view_mut();
        view.texture(&TextureInfo::default()).unwrap();
        view.surface(round % 2).unwrap();
    }
    assert_eq!(double.live(), before);
    drop((home, device));
    assert_clean(&double);
}

#[test]
fn both_descriptions_of_the_image_agree() {
    assert_eq!(shape::<Rgba>(&IMAGE), SHAPE);
}
