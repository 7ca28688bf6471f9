//! A simulation and a renderer at rates of their own: the renderer has the newest finished step,
//! and neither waits for the other.
//!
//! Run it with `cargo run --example 07_latest`. It needs a Vulkan device, which may be a software
//! one, and uses CUDA where the device's GPU has it. It checks that what Vulkan sees is always one
//! step, never an older one than before, and at the end the last; it exits with an error if not.

#![allow(unsafe_code)] // Kernel launches: what a kernel does is for the program to know.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, Kernel, LatestInfo, LatestWriter, LaunchConfig, OpenInfo,
    Work,
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

/// The simulation: a step every millisecond, on a thread of its own.
fn simulate(mut writer: LatestWriter<BufferSpec<[f32; 4]>>, kernel: Option<Kernel>) -> Result<(), bridge::Error> {
    for _ in 0..STEPS {
        // Waits for the simulation's own oldest step, where two are unfinished, and never for the
        // renderer.
        let mut turn = writer.begin()?;
        let height = turn.frame() as f32;
        match (turn.work(), &kernel) {
            (work, Some(kernel)) => {
                let (work, config) = (work.kernels()?, LaunchConfig::for_elements(LEN.into(), 256));
                // SAFETY: these are the kernel's parameters, and it writes `LEN` elements of 16
                // bytes.
                unsafe { work.launch(kernel, &config, (work.resources, LEN, height)) }?;
            }
            (Work::Host(host), None) => {
                host.run(move |vertices| (0..).zip(vertices).for_each(|(i, target)| *target = vertex(i, height)))?;
            }
            _ => unreachable!("a kernel is loaded for every backend but the CPU's"),
        }
        turn.publish()?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let compute = Compute::open(&OpenInfo::default(), Backend::Auto)?;
    println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());
    let kernel = match compute.backend() {
        Backend::Host => None,
        _ => Some(compute.load("first", include_str!("../shaders/first.ptx"))?.kernel("parabola")?),
    };
    let spec = BufferSpec::new(LEN as usize, BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ);
    let info = LatestInfo { name: "vertices", ..Default::default() };
    let (writer, mut reader) = Exchange::latest(&compute, &info, spec)?;
    let simulation = thread::spawn(move || simulate(writer, kernel));

    // The renderer: as often as it likes, and slower at first.
    let (start, mut last, mut turns) = (Instant::now(), None, 0);
    while last < Some(STEPS - 1) {
        // Never blocks: the newest finished step, or the same again. None before the first.
        let Some(turn) = reader.newest()? else { continue };
        let frame = turn.frame();
        let vertices = turn.read_back(LIMIT)?;
        if Some(frame) < last || start.elapsed() > LIMIT {
            return Err(format!("step {frame} after {last:?}, in {:?}", start.elapsed()).into());
        }
        if let Some(i) = (0..LEN).find(|&i| vertices[i as usize] != vertex(i, frame as f32)) {
            return Err(format!("step {frame}: vertex {i} is {:?}", vertices[i as usize]).into());
        }
        (last, turns) = (Some(frame), turns + 1);
        thread::sleep(Duration::from_millis(if turns < 10 { 7 } else { 0 }));
    }
    simulation.join().map_err(|_| "the simulation panicked")??;
    println!("{turns} pictures of {STEPS} steps of {LEN} vertices");
    println!("every picture is of one step, and the last of the last");
    Ok(())
}
