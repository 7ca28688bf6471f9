//! Kernels access texels through surface objects: `surf2Dwrite`, `surf2Dread`.

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::cuda_import::{Texel, half::f16};
use bridge::{Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Work};
use bridge_tests::{PROBE, Rig};

use crate::transfer::{Transfer, noise};

const WIDTH: u32 = 37;
const HEIGHT: u32 = 19;

/// Returns a launch with blocks of 8 x 8 threads.
fn grid() -> LaunchConfig {
    LaunchConfig { grid_dim: (WIDTH.div_ceil(8), HEIGHT.div_ceil(8), 1), block_dim: (8, 8, 1), shared_mem_bytes: 0 }
}

fn through_surfaces<T: Texel>(rig: &Rig, compute: &Compute, format: vk::Format) {
    let Some(cuda) = compute.cuda() else { return };
    let texel = size_of::<T>();
    let len = (WIDTH * HEIGHT) as usize * texel;
    let module = cuda.device().context().load_module(PROBE.into()).unwrap();
    let kernel = |name: &str| module.load_function(&format!("{name}_{texel}")).unwrap();
    let (store, load) = (kernel("store"), kernel("load"));
    let mut transfer = Transfer::new(rig.device(), 64 << 10);
    let accesses = ImageAccess::TRANSFER_READ | ImageAccess::TRANSFER_WRITE | ImageAccess::SAMPLED;
    // The second level, so that the use of a wrong level is detected.
    let spec = ImageSpec::<T>::new(format, [2 * WIDTH, 2 * HEIGHT], accesses).with_mip_levels(2);
    let first_level = 4 * len;
    let info = ExchangeInfo { name: "surface", slots: 2, timeout: Rig::LONG, ..Default::default() };

    let mut there = Exchange::new(compute, &info, spec.clone()).unwrap();
    for frame in 0..3 {
        let bytes = noise(frame + 1, len);
        let source = cuda.stream().clone_htod(&bytes).unwrap();
        let mut turn = there.begin().unwrap();
        let Work::Cuda(work) = turn.work() else { panic!("not CUDA") };
        let mut surface = work.resources.surface(1).unwrap();
        let mut launch = work.stream.launch_builder(&store);
        launch.arg(&mut surface).arg(&source).arg(&WIDTH).arg(&HEIGHT);
        // SAFETY: the kernel's four parameters; it stays within the level's extent.
        unsafe { launch.launch(grid()) }.unwrap();
        let got = transfer.read(turn.finish().unwrap(), texel);
        assert!(got[first_level..] == bytes, "{format:?}, frame {frame}: stored");
    }

    let mut back = Exchange::render_first(compute, &info, spec).unwrap();
    for frame in 0..3 {
        let bytes = noise(frame + 9, first_level + len);
        let mut target = cuda.stream().alloc_zeros::<u8>(len).unwrap();
        let mut turn = transfer.write(back.begin().unwrap(), texel, &bytes);
        let Work::Cuda(work) = turn.work() else { panic!("not CUDA") };
        let mut surface = work.resources.surface(1).unwrap();
        let mut launch = work.stream.launch_builder(&load);
        launch.arg(&mut surface).arg(&mut target).arg(&WIDTH).arg(&HEIGHT);
        // SAFETY: the kernel's four parameters; it stays within the level's extent.
        unsafe { launch.launch(grid()) }.unwrap();
        turn.finish().unwrap().wait(Rig::LONG).unwrap();
        assert!(
            cuda.stream().clone_dtoh(&target).unwrap() == bytes[first_level..],
            "{format:?}, frame {frame}: loaded"
        );
    }
}

pub(crate) fn kernels_store_and_load_every_size_of_texel(rig: &Rig, compute: &Compute) {
    through_surfaces::<u8>(rig, compute, vk::Format::R8_UNORM);
    through_surfaces::<u16>(rig, compute, vk::Format::R16_UINT);
    through_surfaces::<[u8; 4]>(rig, compute, vk::Format::R8G8B8A8_SRGB);
    through_surfaces::<f32>(rig, compute, vk::Format::R32_SFLOAT);
    through_surfaces::<[f16; 4]>(rig, compute, vk::Format::R16G16B16A16_SFLOAT);
    through_surfaces::<[f32; 4]>(rig, compute, vk::Format::R32G32B32A32_SFLOAT);
}
