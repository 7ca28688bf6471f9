//! Measures the cost of a frame: one buffer copy by wgpu alone, through an exchange, and by the
//! bridge on raw Vulkan.
//!
//! `cargo run --release --example wgpu_cost -- [FRAMES] [MIB]`. Times are of whole frames, two in
//! flight, and of the calling thread inside the calls that submit.
#![allow(unsafe_code)] // Raw Vulkan, to compare with, and slots.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ash::vk;
use bridge_wgpu::bridge::{self, BufferAccess, BufferSpec, Compute, OpenInfo};
use bridge_wgpu::{Backend, Bridge, Exchange, ExchangeInfo, SharedBuffer, SlotBuffer, TimelinePoint, wgpu};

const LIMIT: Duration = Duration::from_secs(20);
const IN_FLIGHT: usize = 2;

fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let frames = numbers.next().transpose()?.unwrap_or(2000);
    let len = numbers.next().transpose()?.unwrap_or(4) << 18;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    // Validation is not what is measured.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    let adapter = pollster::block_on(wgpu::Instance::new(descriptor).request_adapter(&options))?;
    let gpu = Bridge::request_device(&adapter, &wgpu::DeviceDescriptor::default(), Backend::Auto)?;
    println!("{}, compute on {}, {frames} frames of {} MiB", adapter.get_info().name, gpu.backend(), len >> 18);
    println!("{:32} {:>12} {:>16}", "", "frame (us)", "submitting (us)");
    for round in 0..2 {
        // The first round warms up.
        let show = |name: &str, (frame, submitting): (Duration, Duration)| {
            if round == 1 {
                let each = |time: Duration| time.as_secs_f64() * 1e6 / frames as f64;
                println!("{name:32} {:>12.1} {:>16.1}", each(frame), each(submitting));
            }
        };
        show("wgpu alone", alone(&gpu, frames, len)?);
        show("wgpu, an object that stays", stays(&gpu, frames, len)?);
        show("wgpu, slots without a copy", slots(&gpu, frames, len)?);
        show("the bridge on raw Vulkan", raw(gpu.backend(), frames, len)?);
    }
    Ok(())
}

fn info() -> ExchangeInfo<'static> {
    ExchangeInfo { name: "cost", frames_in_flight: Some(IN_FLIGHT), timeout: LIMIT, ..Default::default() }
}

fn buffer(gpu: &Bridge, len: usize) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * len as u64,
        usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn copy(gpu: &Bridge, from: &wgpu::Buffer, to: &wgpu::Buffer) -> wgpu::CommandBuffer {
    let mut commands = gpu.device().create_command_encoder(&Default::default());
    commands.copy_buffer_to_buffer(from, 0, to, 0, None);
    commands.finish()
}

/// The time of all frames, and of `submit` inside of it.
fn timed(
    frames: usize,
    mut frame: impl FnMut() -> Result<Duration>,
    end: impl FnOnce() -> Result<()>,
) -> Result<(Duration, Duration)> {
    let (start, mut submitting) = (Instant::now(), Duration::ZERO);
    for _ in 0..frames {
        submitting += frame()?;
    }
    end()?;
    Ok((start.elapsed(), submitting))
}

fn idle(gpu: &Bridge) -> Result<()> {
    gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
    Ok(())
}

fn alone(gpu: &Bridge, frames: usize, len: usize) -> Result<(Duration, Duration)> {
    let (from, to) = (buffer(gpu, len), buffer(gpu, len));
    let mut pending = VecDeque::new();
    let frame = || {
        if pending.len() == IN_FLIGHT {
            let oldest = pending.pop_front();
            gpu.device().poll(wgpu::PollType::Wait { submission_index: oldest, timeout: Some(LIMIT) })?;
        }
        let start = Instant::now();
        pending.push_back(gpu.queue().submit([copy(gpu, &from, &to)]));
        Ok(start.elapsed())
    };
    timed(frames, frame, || idle(gpu))
}

/// The frame's own copy is the copy.
fn stays(gpu: &Bridge, frames: usize, len: usize) -> Result<(Duration, Duration)> {
    let spec = SharedBuffer::<u32>::new(len, wgpu::BufferUsages::COPY_SRC);
    let mut exchange = Exchange::new(gpu, &info(), spec)?;
    let frame = || {
        let turn = exchange.begin()?.finish()?;
        let start = Instant::now();
        gpu.submit([], turn)?;
        Ok(start.elapsed())
    };
    timed(frames, frame, || idle(gpu))
}

fn slots(gpu: &Bridge, frames: usize, len: usize) -> Result<(Duration, Duration)> {
    // SAFETY: what a frame lends is used in the commands that are submitted with it.
    let spec = unsafe { SlotBuffer::<u32>::new(len, wgpu::BufferUsages::COPY_SRC) };
    let mut exchange = Exchange::new(gpu, &info(), spec)?;
    let to = buffer(gpu, len);
    let frame = || {
        let turn = exchange.begin()?.finish()?;
        let start = Instant::now();
        let commands = copy(gpu, turn.objects()?, &to);
        gpu.submit([commands], turn)?;
        Ok(start.elapsed())
    };
    timed(frames, frame, || idle(gpu))
}

/// The same on a device of the bridge's own, recorded anew in each frame, as wgpu does.
fn raw(backend: Backend, frames: usize, len: usize) -> Result<(Duration, Duration)> {
    let compute = Compute::open(&OpenInfo::default(), backend)?;
    let (device, vulkan) = (compute.device(), compute.device().as_raw());
    let accesses = BufferAccess::TRANSFER_READ;
    let mut exchange = bridge::Exchange::new(&compute, &info(), BufferSpec::<u32>::new(len, accesses))?;
    let target = bridge::SharedBuffer::<u32>::new(&compute, "target", len, BufferAccess::TRANSFER_WRITE)?;
    let create = vk::CommandPoolCreateInfo::default()
        .queue_family_index(device.queue().family())
        .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
    // SAFETY: the family is one of the device's; destroyed below, behind all frames.
    let pool = unsafe { vulkan.create_command_pool(&create, None) }?;
    let allocate =
        vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(IN_FLIGHT as u32 + 1);
    // SAFETY: of the pool above, which one thread uses.
    let mut free: VecDeque<_> = unsafe { vulkan.allocate_command_buffers(&allocate) }?.into();
    let mut pending = VecDeque::<(TimelinePoint, vk::CommandBuffer)>::new();
    let result = timed(
        frames,
        || {
            let turn = exchange.begin()?.finish()?;
            if pending.len() == IN_FLIGHT {
                let (point, commands) = pending.pop_front().context("a frame is pending")?;
                point.wait(LIMIT)?;
                free.push_back(commands);
            }
            let start = Instant::now();
            let commands = free.pop_front().context("a command buffer is free")?;
            let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
            // SAFETY: not pending: its frame was waited for.
            unsafe { vulkan.begin_command_buffer(commands, &begin) }?;
            // SAFETY: recording, outside of a pass, on the exchange's device.
            unsafe { turn.record_acquire(commands) };
            let region = vk::BufferCopy::default().size(4 * len as u64);
            // SAFETY: both buffers have that size, and these usages.
            unsafe { vulkan.cmd_copy_buffer(commands, turn.resources().as_raw(), target.vulkan().as_raw(), &[region]) };
            // SAFETY: as above.
            unsafe { turn.record_release(commands) };
            // SAFETY: recording.
            unsafe { vulkan.end_command_buffer(commands) }?;
            // SAFETY: recorded with the turn's barriers; recorded again once the point was reached.
            pending.push_back((unsafe { turn.submit(&[commands]) }?, commands));
            Ok(start.elapsed())
        },
        || Ok(()),
    );
    while let Some((point, _)) = pending.pop_front() {
        point.wait(LIMIT)?;
    }
    exchange.close()?;
    // SAFETY: all frames were waited for.
    unsafe { vulkan.destroy_command_pool(pool, None) };
    result
}
