//! A buffer that the compute side fills and Vulkan reads in every frame, without a copy between the
//! two.
//!
//! Run it with `cargo run --example 01_buffer`. It needs a Vulkan device, which may be a software
//! implementation, and uses CUDA if the device's GPU supports it. It checks the values that Vulkan
//! reads and exits with an error if they are wrong.

use std::error::Error;
use std::time::Duration;

use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, OpenInfo, Work};

/// The number of elements in the buffer.
const LEN: usize = 1 << 16;

/// The limit of every wait.
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    // A new Vulkan device, on a GPU that CUDA sees if there is one, and its compute side: CUDA on
    // that GPU, or the CPU. `04_adopt_a_device.rs` shows how to use the device of an engine.
    let compute = Compute::open(&OpenInfo::default(), Backend::Auto)?;
    println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());

    // Three slots, each of which is a buffer of `LEN` integers that Vulkan copies from. A real
    // program would draw from it, with `BufferAccess::VERTEX_INPUT` for example.
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "numbers", ..Default::default() }, spec)?;

    for frame in 0..6 {
        let expected: Vec<u32> = (0..LEN as u32).map(|i| i + frame).collect();

        // The compute side's turn: it has exclusive access to a slot until `finish`.
        let mut turn = exchange.begin()?;
        match turn.work() {
            // The buffer is a kernel argument and the target of cudarc's copies.
            // `05_cuda_kernel.rs` launches a kernel.
            Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&expected, &mut cuda.resources)?,
            // On the CPU the buffer is a slice. The closure runs on the compute side's own thread.
            Work::Host(host) => host.run(move |numbers| {
                for (number, i) in numbers.iter_mut().zip(0..) {
                    *number = i + frame;
                }
            })?,
            _ => return Err("unsupported backend".into()),
        }

        // Vulkan's turn. `read_back` submits a copy that waits for the compute side on the GPU, and
        // blocks until the copy has completed. A program that draws records its own commands and
        // calls `submit`, which does not block.
        let numbers = turn.finish()?.read_back(LIMIT)?;
        if numbers != expected {
            return Err(format!("frame {frame}: Vulkan sees other numbers than were computed").into());
        }
    }
    println!("6 frames of {LEN} numbers are right");
    Ok(())
}
