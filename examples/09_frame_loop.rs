//! A frame loop that records and submits its own commands, with two frames in flight.
//!
//! Run it with `cargo run --example 09_frame_loop`. It needs a Vulkan device, which may be a
//! software one, and uses CUDA if the GPU has it. The commands copy one half of the buffer to the
//! other, and both are checked. `docs/embedding.md`, "Let the turn submit", draws to a swapchain.

#![allow(unsafe_code, clippy::multiple_unsafe_ops_per_block)] // Plain Vulkan.

use std::error::Error;
use std::time::Duration;

use bridge::ash::{Device, vk};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, OpenInfo, RenderTurn, TimelinePoint, Work,
};

/// The resources of a slot: one buffer.
type Numbers = BufferSpec<u32>;
/// The number of elements in one half of the buffer.
const LEN: usize = 1000;
/// The number of frames in flight, each with a command buffer.
const IN_FLIGHT: usize = 2;
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// Records what Vulkan does with the buffer in one frame.
fn record(vulkan: &Device, commands: vk::CommandBuffer, turn: &RenderTurn<Numbers>) -> Result<(), vk::Result> {
    let once = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let (buffer, half) = (turn.resources().as_raw(), LEN as u64 * 4);
    let copy = [vk::BufferCopy::default().dst_offset(half).size(half)];
    // SAFETY: the command buffer is not in use, and the buffer is used only between the barriers.
    unsafe {
        vulkan.begin_command_buffer(commands, &once)?;
        turn.record_acquire(commands);
        vulkan.cmd_copy_buffer(commands, buffer, buffer, &copy);
        turn.record_release(commands);
        vulkan.end_command_buffer(commands)
    }
}

/// Computes and submits 60 frames, and checks the last three.
fn frames(vulkan: &Device, pool: vk::CommandPool, exchange: &mut Exchange<Numbers>) -> Result<(), Box<dyn Error>> {
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(IN_FLIGHT as u32);
    // SAFETY: the pool was just created, and no other thread uses it.
    let commands = unsafe { vulkan.allocate_command_buffers(&info) }?;
    let mut submitted: [Option<TimelinePoint>; IN_FLIGHT] = [None, None];
    for frame in 0..60 {
        let mut turn = exchange.begin()?;
        match turn.work() {
            Work::Cuda(mut cuda) => {
                let mut half = cuda.resources.slice_mut(..LEN).ok_or("the buffer is too short")?;
                cuda.stream.memcpy_htod(&[frame; LEN], &mut half)?;
            }
            Work::Host(host) => host.run(move |numbers| numbers[..LEN].fill(frame))?,
            _ => return Err("unsupported backend".into()),
        }
        let turn = turn.finish()?;
        let index = frame as usize % IN_FLIGHT;
        // The host waits only here, until the command buffer can be recorded again.
        submitted[index].take().map_or(Ok(()), |point| point.wait_blocking(LIMIT))?;
        record(vulkan, commands[index], &turn)?;
        // SAFETY: the commands hold both barriers, and stay as they are until the point is reached.
        submitted[index] = Some(unsafe { turn.submit(&[commands[index]]) }?);
    }
    // Slots keep their contents: each of the three holds one of the last three frames.
    for frame in 57..60 {
        if exchange.begin()?.finish()?.read_back(LIMIT)? != [frame; 2 * LEN] {
            return Err(format!("frame {frame}: Vulkan sees other numbers than were computed").into());
        }
    }
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let compute = Compute::open(&OpenInfo::default(), Backend::Auto)?;
    println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());
    let vulkan = compute.device().as_raw();
    let spec = Numbers::new(2 * LEN, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo { name: "halves", ..Default::default() }, spec)?;

    let flags = vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER;
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(exchange.queue().family()).flags(flags);
    // SAFETY: the family is one of the device's.
    let pool = unsafe { vulkan.create_command_pool(&info, None) }?;
    let result = frames(vulkan, pool, &mut exchange);
    // Waits for every submission, also after an error. If one does not end, the pool stays.
    exchange.close()?;
    // SAFETY: no frame is in flight.
    unsafe { vulkan.destroy_command_pool(pool, None) };
    result?;
    println!("60 frames of {LEN} numbers are right");
    Ok(())
}
