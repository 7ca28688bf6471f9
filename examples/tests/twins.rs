#![allow(unsafe_code, clippy::unwrap_used, reason = "kernel launches; a test that cannot go on ends")]
//! The kernels in `shaders/*.ptx` and their twins in Rust give the same bits.

use std::sync::Arc;

use bridge::cuda_import::CudaDevice;
use bridge::cuda_import::cudarc::driver::{CudaStream, DeviceRepr, LaunchConfig, PushKernelArg};
use bridge::cuda_import::cudarc::nvrtc::Ptx;
use bridge_examples::particles::particle::{Body, Particle};
use bridge_examples::particles::scene::{Scene, SceneInfo, Step};
use bridge_examples::picture::Picture;
use bridge_examples::postprocess::bloom::Bloom;
use bridge_examples::texture::growth::{self, Growth};
use bytemuck::{Pod, Zeroable};

/// Plain data as a kernel's by-value argument.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Argument<T>(T);

// SAFETY: a kernel's argument is copied byte for byte, and any bytes are a `Pod`.
unsafe impl<T: Pod> DeviceRepr for Argument<T> {}

fn info(picture: Option<Picture>, frames: u32) -> SceneInfo {
    SceneInfo { picture, seed: 11, frames, size: [640, 360], particles: 20_011, point_limit: 64.0 }
}

fn picture() -> Picture {
    let pixels = (0..200 * 100 * 4_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    Picture { width: 200, height: 100, pixels }
}

/// Runs a story on both sides, and compares all bits of each frame.
fn compare(test: &str, scene: &Scene, frames: u64) {
    let Some(stream) = stream() else { return };
    let ptx = Ptx::from_src(include_str!("../../shaders/particles.ptx"));
    let module = stream.context().load_module(ptx).unwrap();

    let mut bodies = scene.bodies();
    let mut particles = vec![Particle::zeroed(); bodies.len()];
    let mut cuda_bodies = stream.clone_htod(bytemuck::cast_slice::<Body, u8>(&bodies)).unwrap();
    let mut cuda_particles = stream.alloc_zeros::<u8>(size_of_val(&particles[..])).unwrap();
    let count = bodies.len() as u32;
    for frame in 0..frames {
        let step = scene.step(frame);
        step.advance_all(&mut bodies, &mut particles);
        let kernel = module.load_function(Step::KERNELS[step.kernel()]).unwrap();
        let mut launch = stream.launch_builder(&kernel);
        launch.arg(&mut cuda_particles).arg(&mut cuda_bodies).arg(&count);
        let config = LaunchConfig::for_num_elems(count);
        let launched = match step {
            // SAFETY: the kernel's four arguments: `count` particles and bodies, and the step's own
            // structure.
            Step::Encounter(step) => unsafe { launch.arg(&Argument(step)).launch(config) },
            // SAFETY: as above.
            Step::Mosaic(step) => unsafe { launch.arg(&Argument(step)).launch(config) },
        };
        launched.unwrap();
        let shown = stream.clone_dtoh(&cuda_particles).unwrap();
        assert!(shown == bytemuck::cast_slice::<Particle, u8>(&particles), "{test}: particles of frame {frame}");
    }
    let moved = stream.clone_dtoh(&cuda_bodies).unwrap();
    assert!(moved == bytemuck::cast_slice::<Body, u8>(&bodies), "{test}: bodies at the end");
}

#[test]
fn galaxies_agree_bit_for_bit() {
    compare("galaxies_agree_bit_for_bit", &Scene::new(info(None, 90)), 170);
}

#[test]
fn pictures_agree_bit_for_bit() {
    compare("pictures_agree_bit_for_bit", &Scene::new(info(Some(picture()), 60)), 130);
}

/// Returns a stream on the first CUDA device, or `None`, after reporting the reason, if there is
/// none.
fn stream() -> Option<Arc<CudaStream>> {
    let devices = bridge_tests::cuda_devices()?;
    Some(CudaDevice::by_uuid(devices[0].uuid).unwrap().new_stream().unwrap())
}

#[test]
fn patterns_agree_bit_for_bit() {
    let Some(stream) = stream() else { return };
    let ptx = Ptx::from_src(include_str!("../../shaders/texture.ptx"));
    let kernel = stream.context().load_module(ptx).unwrap().load_function(growth::Step::KERNELS[0]).unwrap();
    let grid = [250_u32, 130];
    let config = LaunchConfig {
        grid_dim: (grid[0].div_ceil(32), grid[1].div_ceil(8), 1),
        block_dim: (32, 8, 1),
        shared_mem_bytes: 0,
    };
    let mut growth = Growth::new(grid, 11);
    let mut now = stream.clone_htod(growth.planes()).unwrap();
    let mut next = now.clone();
    for frame in 0..20 {
        let step = growth::Step::new(grid, 40 * frame);
        growth.advance(&step, 25);
        for _ in 0..25 {
            let mut launch = stream.launch_builder(&kernel);
            let argument = Argument(step);
            launch.arg(&mut next).arg(&now).arg(&argument);
            // SAFETY: the kernel's three arguments: two states with the number of cells of the
            // grid, and the step.
            unsafe { launch.launch(config) }.unwrap();
            std::mem::swap(&mut now, &mut next);
        }
        let found: Vec<u32> = stream.clone_dtoh(&now).unwrap().into_iter().map(f32::to_bits).collect();
        assert!(found == bytemuck::cast_slice::<f32, u32>(growth.planes()), "cells of frame {frame}");
    }
}

#[test]
fn the_kernels_of_images_use_surfaces_and_textures() {
    let texture = include_str!("../../shaders/texture.ptx");
    let postprocess = include_str!("../../shaders/postprocess.ptx");
    let kernels = growth::Step::KERNELS.map(|name| (texture, name));
    for (ptx, kernel) in kernels.into_iter().chain(Bloom::KERNELS.map(|name| (postprocess, name))) {
        assert!(ptx.contains(&format!(".entry {kernel}(")), "no kernel {kernel}");
        assert!(!ptx.contains("fma."), "a fused multiply-add rounds once, its twin in Rust twice");
    }
    assert!(texture.contains("sust.b.2d.v4.b16") && postprocess.contains("sust.b.2d.v4.b16"));
    assert!(postprocess.contains("tex.2d.v4.f32.f32"));
}

#[test]
fn the_kernels_are_those_that_the_steps_name() {
    let ptx = include_str!("../../shaders/particles.ptx");
    for kernel in Step::KERNELS {
        assert!(ptx.contains(&format!(".entry {kernel}(")), "no kernel {kernel}");
    }
    assert!(!ptx.contains("fma."), "a fused multiply-add rounds once, its twin in Rust twice");
}
