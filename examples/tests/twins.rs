#![allow(unsafe_code, clippy::unwrap_used, reason = "kernel launches; a test that cannot go on ends")]
//! The kernels in `shaders/particles.ptx` and their twins in Rust give the same bits.

use bridge::cuda_import::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use bridge::cuda_import::cudarc::nvrtc::Ptx;
use bridge::cuda_import::{CudaDevice, probe};
use bridge_examples::particles::particle::{Body, Particle};
use bridge_examples::particles::scene::{Scene, SceneInfo, Step};
use bridge_examples::picture::Picture;
use bytemuck::{Pod, Zeroable};

#[repr(transparent)]
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

/// Runs a story through twice, and compares all bits of each frame.
fn compare(test: &str, scene: &Scene, frames: u64) {
    let report = match probe() {
        Ok(report) => report,
        Err(why) => return bridge_tests::skip(bridge_tests::Need::Gpu, test, &why.to_string()),
    };
    let device = CudaDevice::by_uuid(report.devices[0].uuid).unwrap();
    let stream = device.new_stream().unwrap();
    let ptx = Ptx::from_src(include_str!("../../shaders/particles.ptx"));
    let module = device.context().load_module(ptx).unwrap();

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
            // SAFETY: the kernel's four arguments: `count` particles and bodies, and the step's own structure.
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

#[test]
fn the_kernels_are_those_that_the_steps_name() {
    let ptx = include_str!("../../shaders/particles.ptx");
    for kernel in Step::KERNELS {
        assert!(ptx.contains(&format!(".entry {kernel}(")), "no kernel {kernel}");
    }
    assert!(!ptx.contains("fma."), "a fused multiply-add rounds once, its twin in Rust twice");
}
