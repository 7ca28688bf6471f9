//! Vulkan draws an image; the compute side filters it into a second image, which Vulkan reads.
//!
//! Run it with `cargo run --example 03_post_process`, on any Vulkan device; it uses CUDA if the
//! device's GPU supports it. It checks the result and exits with an error if it is wrong.

#![allow(unsafe_code)] // Recording commands and launching kernels.

use std::error::Error;
use std::time::Duration;

use bridge::ash::vk;
use bridge::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::cudarc::nvrtc::Ptx;
use bridge::{
    Backend, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, OpenInfo, RenderImage, TextureInfo, Work,
};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 200;
const LIMIT: Duration = Duration::from_secs(10);

/// The filter on the CPU: darkens towards the left edge, as `fade` in `shaders/first.cu` does.
fn fade([r, g, b, a]: [u8; 4], x: u32) -> [u8; 4] {
    let [r, g, b] = [r, g, b].map(|channel| (u32::from(channel) * x / WIDTH) as u8);
    [r, g, b, a]
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let compute = Compute::open(&OpenInfo::default(), Backend::Auto)?;
    println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());
    let vulkan = compute.device().as_raw();
    let kernel = match compute.cuda() {
        Some(cuda) => {
            let ptx = Ptx::from_src(include_str!("../shaders/first.ptx"));
            Some(cuda.stream().context().load_module(ptx)?.load_function("fade")?)
        }
        None => None,
    };

    // In the first exchange Vulkan begins each frame, in the second the compute side does.
    let image = |uses| ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [WIDTH, HEIGHT], uses);
    let info = |name| ExchangeInfo { name, ..Default::default() };
    let mut scene = Exchange::render_first(&compute, &info("scene"), image(ImageAccess::TRANSFER_WRITE))?;
    let shown = image(ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ);
    let mut picture = Exchange::new(&compute, &info("picture"), shown)?;

    for frame in 0..6 {
        // Vulkan's turn: it "draws" by clearing the image, between the two barriers of the turn.
        let color = [200, 40 * frame, 100, 255];
        let clear = vk::ClearColorValue { float32: color.map(|channel| f32::from(channel) / 255.0) };
        let draw = |commands, image: RenderImage<'_>| {
            let (raw, layout, range) = (image.as_raw(), image.layout(), [image.range()]);
            // SAFETY: clearing is one of the image's uses; layout and range are the image's.
            unsafe { vulkan.cmd_clear_color_image(commands, raw, layout, &clear, &range) };
        };
        // SAFETY: `draw` satisfies the Valid Usage of its commands, and uses only the image.
        let mut scene_turn = unsafe { scene.begin()?.run_once(LIMIT, draw) }?;

        // The compute side's turn, with both images.
        let mut picture_turn = picture.begin()?;
        match (scene_turn.work(), picture_turn.work(), &kernel) {
            (Work::Cuda(source), Work::Cuda(target), Some(kernel)) => {
                let texels = TextureInfo { level: Some(0), normalized_coordinates: false, ..Default::default() };
                let texture = source.resources.texture(&texels)?;
                let mut surface = target.resources.surface(0)?;
                let mut launch = source.stream.launch_builder(kernel);
                launch.arg(&texture).arg(&mut surface).arg(&WIDTH).arg(&HEIGHT);
                let grid_dim = (WIDTH.div_ceil(32), HEIGHT.div_ceil(8), 1);
                // SAFETY: the kernel has these parameters and stays within WIDTH x HEIGHT.
                unsafe { launch.launch(LaunchConfig { grid_dim, block_dim: (32, 8, 1), shared_mem_bytes: 0 }) }?;
            }
            (Work::Host(mut source), Work::Host(mut target), _) => {
                source.run_with(&mut target, |source, mut target| {
                    for (from, to) in source.rows().zip(target.rows_mut()) {
                        (0..WIDTH).zip(from).zip(to).for_each(|((x, from), to)| *to = fade(*from, x));
                    }
                })?
            }
            _ => return Err("both exchanges are of one `Compute`, so they compute on the same side".into()),
        }
        scene_turn.finish()?;

        // Vulkan's turn with the second image.
        let texels = picture_turn.finish()?.read_back(LIMIT)?;
        let right = |(i, texel): (usize, &[u8; 4])| *texel == fade(color, i as u32 % WIDTH);
        if !texels.iter().enumerate().all(right) {
            return Err(format!("frame {frame}: the filtered image is wrong").into());
        }
    }
    println!("6 frames of {WIDTH} x {HEIGHT} texels are drawn, filtered and right");
    Ok(())
}
