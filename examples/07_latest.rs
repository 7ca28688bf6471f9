//! A simulation and a renderer at rates of their own: the renderer has the newest finished step,
//! and neither waits for the other.
//!
//! Run it with `cargo run --example 07_latest`. It needs a Vulkan device, which may be a software
//! one, and uses CUDA where the device's GPU has it. It checks that what Vulkan sees is always one
//! step, never an older one than before, and at the end the last; it exits with an error if not.

#![allow(unsafe_code)] // Kernel launches: what a kernel does is for the program to know.

use std::error::Error;
use std::thread;
use std::time::Duration;

use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, Kernel, LatestInfo, LatestWriter, LaunchConfig, OpenInfo,
    TwinSlice,
};

/// The number of vertices.
const LEN: u32 = 20_000;
/// The number of steps.
const STEPS: u64 = 200;
/// The limit of every wait.
const LIMIT: Duration = Duration::from_secs(10);

/// A vertex on the CPU: the operations of the kernel `parabola`, in the same order, so that the
/// results are the same bits.
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

/// The simulation: a step every millisecond, on its own thread.
fn simulate(mut writer: LatestWriter<BufferSpec<[f32; 4]>>, kernel: &Kernel) -> Result<(), bridge::Error> {
    for _ in 0..STEPS {
        // Waits for the simulation's own oldest step if two are unfinished, and never for the
        // renderer.
        let mut turn = writer.begin()?;
        let height = turn.frame() as f32;
        let (work, config) = (turn.work().kernels()?, LaunchConfig::for_elements(LEN.into(), 256));
        // SAFETY: these are the kernel's parameters, and it writes `LEN` elements of 16 bytes.
        unsafe { work.launch(kernel, &config, (work.resources, LEN, height)) }?;
        turn.publish()?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let compute = Compute::open(&OpenInfo::default(), Backend::Auto)?;
    println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());
    let kernel = compute
        .load("first", include_str!("../shaders/first.ptx"))?
        .with_twin::<(TwinSlice<[f32; 4]>, u32, f32)>("parabola", |_, (vertices, _, height)| {
            (0..).zip(vertices).for_each(|(i, target)| *target = vertex(i, height));
        })?
        .kernel("parabola")?;
    let spec = BufferSpec::new(LEN as usize, BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ);
    let info = LatestInfo { name: "vertices", ..Default::default() };
    let (writer, mut reader) = Exchange::latest(&compute, &info, spec)?;
    let simulation = thread::spawn(move || simulate(writer, &kernel));

    // The renderer, at its own rate, which is slower at first.
    let (mut last, mut turns) = (None, 0);
    loop {
        // Once the simulation has ended and its work is done, the newest step is the last one.
        let is_over = reader.is_writer_dropped() && reader.compute().is_idle()?;
        // Never blocks: the newest finished step, or the same one again; `None` before the first.
        if let Some(turn) = reader.newest()? {
            let frame = turn.frame();
            let vertices = turn.read_back(LIMIT)?;
            if Some(frame) < last {
                return Err(format!("step {frame} after {last:?}").into());
            }
            if let Some(i) = (0..LEN).find(|&i| vertices[i as usize] != vertex(i, frame as f32)) {
                return Err(format!("step {frame}: vertex {i} is {:?}", vertices[i as usize]).into());
            }
            (last, turns) = (Some(frame), turns + 1);
        }
        if is_over {
            break;
        }
        thread::sleep(Duration::from_millis(if turns < 10 { 7 } else { 1 }));
    }
    simulation.join().map_err(|_| "the simulation panicked")??;
    if last != Some(STEPS - 1) {
        return Err(format!("the last step is {last:?}").into());
    }
    println!("{turns} pictures of {STEPS} steps of {LEN} vertices");
    println!("every picture is of one step, and the last of the last");
    Ok(())
}
