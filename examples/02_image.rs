//! An image that the compute side writes and Vulkan reads.
//!
//! Run it with `cargo run --example 02_image`. It needs a Vulkan device, which may be a software
//! implementation, and uses CUDA if the device's GPU supports it. It checks the texels that Vulkan
//! reads and exits with an error if one is wrong.

use std::error::Error;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Backend, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, OpenInfo, Work};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 200;

/// The limit of every wait.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the color of a texel: red increases to the right, green downwards, blue with time.
fn color(x: usize, y: usize, frame: u8) -> [u8; 4] {
    [x as u8, y as u8, 40 * frame, 255]
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

    // The texel type is checked against the format. `SAMPLED | TRANSFER_READ`: Vulkan could show
    // the image with a shader, and copies from it below.
    let uses = ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ;
    let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [WIDTH, HEIGHT], uses);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "picture", ..Default::default() }, spec)?;

    for frame in 0..6 {
        let at = |i: usize| color(i % WIDTH as usize, i / WIDTH as usize, frame);
        let expected: Vec<[u8; 4]> = (0..(WIDTH * HEIGHT) as usize).map(at).collect();

        let mut turn = exchange.begin()?;
        match turn.work() {
            // On CUDA the image is an array: the target of copies, a surface that kernels write,
            // and a texture that kernels sample.
            Work::Cuda(mut cuda) => cuda.resources.write_from_host(cuda.stream, 0, .., &expected)?,
            // On the CPU the image is a sequence of rows of texels. There may be padding between
            // two rows.
            Work::Host(host) => host.run(move |mut image| {
                for (y, row) in image.rows_mut().enumerate() {
                    for (x, texel) in row.iter_mut().enumerate() {
                        *texel = color(x, y, frame);
                    }
                }
            })?,
            _ => return Err("unsupported backend".into()),
        }

        // Submits a copy to the host and waits for it. The layout transitions are part of the
        // turn's barriers.
        let texels = turn.finish()?.read_back(LIMIT)?;
        if let Some(wrong) = (0..texels.len()).find(|&i| texels[i] != expected[i]) {
            let [x, y] = [wrong as u32 % WIDTH, wrong as u32 / WIDTH];
            return Err(format!("frame {frame}: texel ({x}, {y}) is {:?}", texels[wrong]).into());
        }
    }
    println!("6 frames of {WIDTH} x {HEIGHT} texels are right");
    Ok(())
}
