//! Kernels of the tests that store and load texels have twins in the double.
#![allow(unsafe_code, clippy::unwrap_used, reason = "launches are unsafe")]
#![cfg(target_os = "linux")]

use crate::common::assert_clean;
use crate::common::world::{IMAGE, LEN, SHAPE, Texel as Rgba, device, import_memory, import_shape, map};
use cuda_import::cudarc::driver::{LaunchConfig, PushKernelArg};
use cuda_import::cudarc::nvrtc::Ptx;
use cuda_import::{ImageMappingInfo, MappedImage};
use driver_double::{Double, ImageShape};

const PTX: &str = ".version 8.0
.target sm_52
.address_size 64
.visible .entry store_4(.param .u64 to, .param .u64 from, .param .u32 width, .param .u32 height) { ret; }
.visible .entry load_4(.param .u64 from, .param .u64 to, .param .u32 width, .param .u32 height) { ret; }
";

fn blocks(width: u32, height: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (width.div_ceil(8), height.div_ceil(8), 1), block_dim: (8, 8, 1), shared_mem_bytes: 0 }
}

/// Into the second level and back; what reaches beyond it is an illegal access.
#[test]
fn texels_are_stored_and_loaded() {
    let Some(double) = Double::in_child("surfaces::texels_are_stored_and_loaded") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let module = device.context().load_module(Ptx::from_src(PTX)).unwrap();
    let [store, load] = ["store_4", "load_4"].map(|name| module.load_function(name).unwrap());
    let memory = import_shape(&double, &device, &ImageShape { layers: 1, ..SHAPE });
    // SAFETY: as it was exported.
    let mut image =
        unsafe { MappedImage::<Rgba>::map(&memory, &ImageMappingInfo { layers: 1, ..IMAGE }, &home) }.unwrap();
    let mut buffer = map(&import_memory(&double, &device), &home);
    let (width, height) = (4u32, 2u32);
    let words: Vec<u32> = (100..).take(LEN).collect();
    home.memcpy_htod(&words, &mut buffer.view_mut()).unwrap();
    image.view_mut().write_from_host(&home, 0, .., &[[7; 4]; 32]).unwrap();

    let view = image.view_mut();
    let mut surface = view.surface(1).unwrap();
    let mut launch = home.launch_builder(&store);
    let from = buffer.view();
    launch.arg(&mut surface).arg(&from).arg(&width).arg(&height);
    // SAFETY: its four parameters; it stays inside of the level and the buffer.
    unsafe { launch.launch(blocks(width, height)) }.unwrap();
    let mut stored = [[0; 4]; 8];
    view.read_to_host(&home, 1, .., &mut stored).unwrap();
    let texels: Vec<Rgba> = words[..8].iter().map(|word| word.to_ne_bytes()).collect();
    assert_eq!(stored, *texels);
    let mut beside = [[0; 4]; 32];
    view.read_to_host(&home, 0, .., &mut beside).unwrap();
    assert_eq!(beside, [[7; 4]; 32], "another level");

    home.memset_zeros(&mut buffer.view_mut()).unwrap();
    for (wide, ends) in [(width, true), (width + 1, false)] {
        let mut to = buffer.view_mut();
        let mut launch = home.launch_builder(&load);
        launch.arg(&mut surface).arg(&mut to).arg(&wide).arg(&height);
        // SAFETY: as above; the double sees what is outside.
        unsafe { launch.launch(blocks(wide, height)) }.unwrap();
        let loaded = home.clone_dtoh(&buffer.view());
        assert_eq!(loaded.is_ok(), ends, "{wide} texels a row");
        if let Ok(loaded) = loaded {
            assert_eq!((&loaded[..8], &loaded[8..]), (&words[..8], &[0; LEN - 8][..]));
        }
    }
    std::mem::forget((image, buffer, module, home, device));
    double.forget();
    assert_clean(&double);
}
