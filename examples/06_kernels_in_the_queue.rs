//! A CUDA kernel in the Vulkan queue: it is recorded into a command buffer before the commands that
//! use its output, without a stream, a semaphore or a switch of the GPU's context.
//!
//! Run it with `cargo run --example 06_kernels_in_the_queue`. It needs a Vulkan device, which may
//! be a software implementation. If the driver has no `VK_NVX_binary_import`, the program prints
//! so, and the same frames run on a CUDA stream or on the CPU. It checks the vertices that Vulkan
//! reads and exits with an error if one is wrong.

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

/// Opens a Vulkan device and its compute side: the Vulkan queue itself, or the choice of
/// `Backend::Auto` if the device does not support that.
fn open() -> Result<Compute, bridge::Error> {
    // Enables `VK_NVX_binary_import` and `VK_NVX_image_view_handle`. If the device lacks one of
    // them, the error names it.
    let info = OpenInfo { cuda_kernels: true, ..Default::default() };
    Compute::open(&info, Backend::Inline).or_else(|error| {
        println!("no CUDA kernels in the Vulkan queue here: {error}");
        Compute::open(&OpenInfo::default(), Backend::Auto)
    })
}

fn run() -> Result<(), Box<dyn Error>> {
    let compute = open()?;
    println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());

    // The same PTX for a command buffer or a stream, and the kernel's twin for the CPU.
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
        // The launch is enqueued on a stream, recorded for the Vulkan queue, or queued for the CPU
        // backend's thread.
        let work = turn.work().kernels()?;
        let config = LaunchConfig::for_elements(LEN.into(), 256);
        // SAFETY: these are the kernel's parameters, and the kernel writes `LEN` elements of 16
        // bytes.
        unsafe { work.launch(&kernel, &config, (work.resources, LEN, height)) }?;

        // The recorded launch is part of this submission and runs before its other commands.
        let vertices = turn.finish()?.read_back(LIMIT)?;
        if let Some(i) = (0..LEN).find(|&i| vertices[i as usize] != vertex(i, height)) {
            return Err(format!("frame {frame}: vertex {i} is {:?}", vertices[i as usize]).into());
        }
    }
    println!("6 frames of {LEN} vertices are right");
    Ok(())
}
