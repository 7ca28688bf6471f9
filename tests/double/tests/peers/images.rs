//! Images for kernels of another GPU: rows in linear memory, their placement, and unsupported
//! features.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports and addresses are unsafe")]

use std::sync::Arc;

use crate::common::world::{NAME, SHAPE, import_shape, map_image};
use crate::common::{assert_clean, kinds};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::cudarc::driver::result::memcpy_dtoh_async;
use cuda_import::{
    CudaDevice, Error, ImageKind, ImageMappingInfo, ImageProblem, ImportedMemory, MappedImage, MemoryImportInfo,
    PEER_GRANULARITY, TextureInfo, report,
};
use driver_double::Double;

const SIZE: u64 = PEER_GRANULARITY;
const DRAWING: usize = 0;
/// Two levels of three layers, a layout that CUDA arrays do not support.
const LAYERS: ImageMappingInfo = ImageMappingInfo {
    offset: 256,
    kind: ImageKind::D2,
    extent: [5, 3, 1],
    layers: 3,
    layered: true,
    levels: 2,
    surface: false,
    color_attachment: false,
};
/// Byte offsets of the levels from the start of the image.
const LEVELS: [u64; 2] = [0, 192];

fn device(ordinal: usize) -> CudaDevice {
    CudaDevice::by_uuid(report().unwrap().devices[ordinal].uuid).unwrap()
}

/// Imports memory of the drawing device.
fn import(double: &Double, device: &CudaDevice) -> Arc<ImportedMemory> {
    let exported = double.exporter(DRAWING).export_memory(SIZE, true);
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: true };
    // SAFETY: the double exported it with this size.
    unsafe { ImportedMemory::import_peer(device, &[], exported.handle, &info) }.unwrap()
}

/// Returns the words at an address, as the driver copies them.
fn raw(stream: &CudaStream, address: u64, len: usize) -> Vec<u32> {
    let mut words = vec![0; len];
    stream.context().bind_to_thread().unwrap();
    // SAFETY: the caller guarantees that many mapped words; the copy has ended below.
    unsafe { memcpy_dtoh_async(&mut words, address, stream.cu_stream()) }.unwrap();
    stream.synchronize().unwrap();
    words
}

#[test]
fn texels_are_stored_in_rows() {
    let Some(double) = Double::in_child("images::texels_are_stored_in_rows") else { return };
    let peer = device(1);
    let (home, other) = (peer.new_stream().unwrap(), peer.new_stream().unwrap());
    let memory = import(&double, &peer);
    let mut image = MappedImage::<u32>::map_rows(&memory, &LAYERS, &LEVELS, &home).unwrap();
    assert!(image.has_rows() && image.info() == &LAYERS);
    let mut view = image.view_mut();
    view.write_from_host(&home, 0, .., &(100..145).collect::<Vec<_>>()).unwrap();
    view.write_from_host(&home, 1, .., &(200..206).collect::<Vec<_>>()).unwrap();
    // One layer from another stream, which is ordered automatically.
    view.write_from_host(&other, 1, 1..2, &[7, 8]).unwrap();
    let source = other.clone_htod(&[9u32; 15]).unwrap();
    view.copy_from_buffer(&other, 0, 2..3, &source).unwrap();

    let [first, second] = [0, 1].map(|level| view.rows(level).unwrap());
    assert_eq!((first.extent(), first.slices(), first.len()), ([5, 3, 1], 3, 45));
    assert_eq!((first.row_pitch(), first.slice_pitch()), (20, 60));
    assert_eq!((second.extent(), second.slices(), second.len()), ([2, 1, 1], 3, 6));
    assert_eq!(second.as_raw() - first.as_raw(), LEVELS[1]);
    let (first, second) = (first.as_raw(), second.as_raw());

    let mut texels = [0; 15];
    view.read_to_host(&home, 0, 1..2, &mut texels).unwrap();
    assert!(texels.iter().copied().eq(115..130));
    let mut sink = home.alloc_zeros::<u32>(6).unwrap();
    view.copy_to_buffer(&home, 1, .., &mut sink).unwrap();
    assert_eq!(home.clone_dtoh(&sink).unwrap(), [200, 201, 7, 8, 204, 205]);
    image.join_foreign_work().unwrap();
    assert!(raw(&home, first, 30).into_iter().eq(100..130));
    assert_eq!(raw(&home, first + 120, 15), [9; 15]);
    assert_eq!(raw(&home, second, 6), [200, 201, 7, 8, 204, 205]);
    image.close().unwrap();
    drop((source, sink, memory, home, other, peer));
    assert_clean(&double);
}

#[test]
fn blocks_are_stored_slice_by_slice() {
    let Some(double) = Double::in_child("images::blocks_are_stored_slice_by_slice") else { return };
    let peer = device(1);
    let home = peer.new_stream().unwrap();
    let memory = import(&double, &peer);
    let info = ImageMappingInfo { kind: ImageKind::D3, extent: [3, 2, 4], ..Default::default() };
    let mut image = MappedImage::<[u16; 4]>::map_rows(&memory, &info, &[0], &home).unwrap();
    let texels: Vec<_> = (0..24).map(|i| [i, 1, 2, 3]).collect();
    let mut view = image.view_mut();
    view.write_from_host(&home, 0, .., &texels).unwrap();
    let rows = view.rows(0).unwrap();
    assert_eq!((rows.slices(), rows.row_pitch(), rows.slice_pitch(), rows.len()), (4, 24, 48, 24));
    let words = raw(&home, rows.as_raw() + 2 * 48, 2);
    assert_eq!(words, [12 | 1 << 16, 2 | 3 << 16], "the third slice");
    drop(image);
    drop((memory, home, peer));
    assert_clean(&double);
}

/// Errors name the kind of the image and what it supports.
#[test]
fn unsupported_operations_of_an_image_are_reported() {
    let Some(double) = Double::in_child("images::unsupported_operations_of_an_image_are_reported") else { return };
    let (drawing, peer) = (device(DRAWING), device(1));
    let home = peer.new_stream().unwrap();
    let memory = import(&double, &peer);
    let map = |info: &ImageMappingInfo, levels: &[u64]| MappedImage::<u32>::map_rows(&memory, info, levels, &home);
    let problem = |error| match error {
        Error::Image { problem, object, device, .. } => {
            assert!(object.contains(NAME) && device.contains("Double B"), "{object}, {device}");
            problem
        }
        other => panic!("{other}"),
    };
    let rows = map(&LAYERS, &LEVELS).unwrap();
    // SAFETY: no other view is alive.
    let view = unsafe { rows.view_mut_unchecked() };
    assert_eq!(problem(view.texture(&TextureInfo::default()).unwrap_err()), ImageProblem::InRows);
    assert_eq!(problem(view.surface(0).unwrap_err()), ImageProblem::InRows);
    let outside = view.rows(2).unwrap_err();
    assert!(matches!(problem(outside), ImageProblem::NoSuchLevel { level: 2, levels: 2, .. }));
    assert!(matches!(map(&LAYERS, &LEVELS), Err(Error::Overlap { .. })), "it is mapped");
    drop(rows);

    let wrong = |levels: &[u64]| problem(map(&LAYERS, levels).unwrap_err());
    for levels in [&[0][..], &[0, 179], &[0, 182], &[192, 0]] {
        assert!(matches!(wrong(levels), ImageProblem::RowOffsets { levels: 2, texel: 4, .. }), "{levels:?}");
    }
    let between = ImageMappingInfo { offset: 2, ..LAYERS };
    assert!(matches!(problem(map(&between, &LEVELS).unwrap_err()), ImageProblem::RowOffsets { .. }));
    let flat = ImageMappingInfo { extent: [5, 0, 1], ..LAYERS };
    assert!(matches!(problem(map(&flat, &LEVELS).unwrap_err()), ImageProblem::ZeroExtent { side: "height", .. }));
    let late = ImageMappingInfo { offset: SIZE - 64, ..LAYERS };
    assert!(matches!(map(&late, &LEVELS), Err(Error::OutOfRange { .. })));
    let unrelated = drawing.new_stream().unwrap();
    let error = MappedImage::<u32>::map_rows(&memory, &LAYERS, &LEVELS, &unrelated).unwrap_err();
    assert!(matches!(error, Error::ContextMismatch { .. }), "{error}");
    // The refused mappings left the memory unchanged.
    drop(map(&LAYERS, &LEVELS).unwrap());

    let array = map_image(&import_shape(&double, &drawing, &SHAPE), &unrelated);
    assert!(!array.has_rows());
    // SAFETY: no other view is alive.
    let error = unsafe { array.view_mut_unchecked() }.rows(0).unwrap_err();
    assert!(matches!(error, Error::Image { problem: ImageProblem::NoRows, .. }), "{error}");
    drop((array, memory, unrelated, home, drawing, peer));
    assert_clean(&double);
}

/// Like the driver, the double refuses copies by a device without access.
#[test]
fn a_device_without_access_copies_nothing() {
    let Some(double) = Double::in_child("images::a_device_without_access_copies_nothing") else { return };
    let (peer, unrelated) = (device(1), device(0));
    let (home, foreign) = (peer.new_stream().unwrap(), unrelated.new_stream().unwrap());
    let memory = import(&double, &peer);
    let mut image = MappedImage::<u32>::map_rows(&memory, &LAYERS, &LEVELS, &home).unwrap();
    let refused = image.view_mut().write_from_host(&foreign, 1, .., &[0; 6]).unwrap_err();
    assert!(matches!(refused, Error::ContextMismatch { .. }), "{refused}");
    double.set_peer_access(false);
    let second = import(&double, &peer);
    let error = MappedImage::<u32>::map_rows(&second, &LAYERS, &LEVELS, &home).unwrap_err().to_string();
    assert!(error.contains("cuMemSetAccess failed") && error.contains("Double B"), "{error}");
    assert!(kinds(&double.findings()).is_empty());
    drop((image, memory, second, home, foreign, peer, unrelated));
    assert_clean(&double);
}
