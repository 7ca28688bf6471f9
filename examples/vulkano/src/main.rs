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
use std::time::Duration;

use bridge::ash::vk::Handle as _;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, Work, ash::vk};
use vulkano::VulkanObject as _;

use crate::adopt::Engine;
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
    let compute = Compute::for_device(&engine.adopt()?)?;
    println!("vulkano on {}, compute on {} ({})", engine.name(), compute.backend(), compute.reason());

    let target = copy::target(&engine, LEN)?;
    let numbers = BufferSpec::<u32>::new(LEN as usize, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "numbers", ..Default::default() }, numbers)?;
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
        let commands = copy::record(&engine, compute.backend(), &turn, &target)?;
        // SAFETY: the commands use the shared buffer only between the turn's barriers, and live
        // until the point below is reached.
        let copied = unsafe { turn.submit(&[vk::CommandBuffer::from_raw(commands.handle().as_raw())]) }?;
        if let Err(error) = copied.wait(LIMIT) {
            // Vulkan may still use them.
            std::mem::forget((commands, target));
            return Err(error.into());
        }
        if *target.read()? != values {
            return Err(format!("frame {frame}: vulkano's buffer holds other numbers than were computed").into());
        }
    }
    exchange.close()?;
    Ok(())
}
