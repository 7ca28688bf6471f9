//! A program on [vulkano] that lends its device to the bridge.
//!
//! Run it with `cargo run` in this folder, on any Vulkan 1.3 device; it uses CUDA if the GPU
//! supports it. With `-- --validate` it exits with an error if the validation layer reports
//! anything.
//!
//! The compute side fills a shared buffer, a vulkano command buffer copies it into a vulkano
//! buffer, and the program checks the copied values. `adopt.rs` is the part that an engine would
//! copy.
//!
//! [vulkano]: https://docs.rs/vulkano/0.35

mod adopt;
mod copy;
mod validation;

use std::error::Error;
use std::time::{Duration, Instant};

use bridge::ash::vk::Handle as _;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, Work, ash::vk};
use vulkano::VulkanObject as _;

use crate::adopt::Engine;
use crate::copy::SharedBuffer;
use crate::validation::Validation;

const LEN: u32 = 1000;
const FRAMES: u32 = 8;
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let validation = std::env::args().any(|word| word == "--validate").then(Validation::default);
    share(validation.as_ref())?;
    println!("{FRAMES} frames of {LEN} numbers are right");
    // Everything has been destroyed, so the layer has checked that as well.
    validation.map_or(Ok(()), |validation| validation.ensure_silent())
}

fn share(validation: Option<&Validation>) -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(validation)?;
    let device = engine.adopt()?;
    let compute = Compute::for_device(&device)?;
    println!("vulkano on {}, compute on {} ({})", engine.name(), compute.backend(), compute.reason());

    let target = copy::target(&engine, LEN)?;
    let numbers = BufferSpec::<u32>::new(LEN as usize, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "numbers", ..Default::default() }, numbers)?;
    let mut last = None;
    for frame in 1..=FRAMES {
        let mut turn = exchange.begin()?;
        let values: Vec<u32> = (0..LEN).map(|index| index * frame).collect();
        match turn.work() {
            Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&values, &mut cuda.resources)?,
            Work::Host(host) => {
                let values = values.clone();
                host.run(move |numbers| numbers.copy_from_slice(&values))?;
            }
            _ => return Err("this program knows no such backend".into()),
        }
        let turn = turn.finish()?;
        let recorded = copy::record(&engine, compute.backend(), &turn, &target)?;
        let raw = vk::CommandBuffer::from_raw(recorded.commands.handle().as_raw());
        // SAFETY: the commands use the shared buffer only between the turn's barriers, and live
        // until the point below is reached.
        let copied = unsafe { turn.submit(&[raw]) }?;
        if let Err(error) = copied.wait(LIMIT) {
            // Vulkan may still use them.
            std::mem::forget((recorded, target));
            return Err(error.into());
        }
        if *target.read()? != values {
            return Err(format!("frame {frame}: vulkano's buffer holds other numbers than were computed").into());
        }
        last = Some(recorded.source);
    }
    exchange.close()?;
    check_lease(&device, last)
}

/// Checks that a wrapped buffer keeps the shared one after its exchange was closed, and that
/// nothing else is kept.
fn check_lease(device: &ExportDevice, kept: Option<SharedBuffer>) -> Result<(), Box<dyn Error>> {
    wait_for_allocations(device, 1)?;
    drop(kept);
    wait_for_allocations(device, 0)
}

/// Waits until the bridge has this number of allocations: with CUDA, it may free some of them
/// later.
fn wait_for_allocations(device: &ExportDevice, expected: usize) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    loop {
        match device.allocated_bytes().allocations {
            found if found == expected => return Ok(()),
            found if start.elapsed() > LIMIT => {
                return Err(format!("the bridge has {found} allocations in place of {expected}").into());
            }
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
