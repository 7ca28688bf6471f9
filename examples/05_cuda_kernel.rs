//! A CUDA kernel writes a buffer that Vulkan reads. Without CUDA, the kernel's Rust twin does the
//! same on the CPU.
//!
//! Run it with `cargo run --example 05_cuda_kernel`. It needs a Vulkan device, which may be a
//! software implementation, and prints which backend computes and why. It checks the vertices that
//! Vulkan reads and exits with an error if one is wrong. The kernel's source is `shaders/first.cu`;
//! its PTX is committed, so that no CUDA toolkit is needed. `03_post_process.rs` launches with
//! cudarc.

#![allow(unsafe_code)] // Kernel launches: the program has to know what a kernel accesses.

use std::error::Error;
use std::time::Duration;

use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LaunchConfig, OpenInfo, TwinSlice};

/// The number of vertices.
const LEN: u32 = 100_000;

/// The limit of every wait.
const LIMIT: Duration = Duration::from_secs(10);

/// Computes a vertex on the CPU with the operations of the kernel `parabola`, in the same order, so
/// that the results are bit-identical.
fn vertex(i: u32, height: f32) -> [f32; 4] {
    let x = i as f32 / LEN as f32;
    [x, height * x * (1.0 - x), 0.0, 1.0]
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

    // The driver compiles the PTX for its GPU. The CPU backend runs the kernel's twin instead, once
    // per launch.
    let kernel = compute
        .load("first", include_str!("../shaders/first.ptx"))?
        .with_twin::<(TwinSlice<[f32; 4]>, u32, f32)>("parabola", |_, (vertices, _, height)| {
            (0..).zip(vertices).for_each(|(i, target)| *target = vertex(i, height));
        })?
        .kernel("parabola")?;

    let uses = BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ;
    let spec = BufferSpec::<[f32; 4]>::new(LEN as usize, uses);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "vertices", ..Default::default() }, spec)?;

    for frame in 0..6 {
        let height = 1.0 + frame as f32;
        let mut turn = exchange.begin()?;
        let work = turn.work().kernels()?;
        let config = LaunchConfig::for_elements(LEN.into(), 256);
        // SAFETY: these are the kernel's parameters, and the kernel writes `LEN` elements of 16
        // bytes.
        unsafe { work.launch(&kernel, &config, (work.resources, LEN, height)) }?;

        // `finish` enqueues the signal that Vulkan's submission waits for, on the GPU. Nothing
        // blocks before `read_back`.
        let vertices = turn.finish()?.read_back(LIMIT)?;
        if let Some(i) = (0..LEN).find(|&i| vertices[i as usize] != vertex(i, height)) {
            return Err(format!("frame {frame}: vertex {i} is {:?}", vertices[i as usize]).into());
        }
    }
    println!("6 frames of {LEN} vertices are right");
    Ok(())
}
