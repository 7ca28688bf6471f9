//! A frame of the particle demo: zero-copy, compared with ways without interop, and with each of
//! its two halves alone.
//!
//! All ways show the same frames, the first ones of the story, forward and back, so that the cost
//! of a frame does not depend on the number of frames before it.
#![allow(unsafe_code)] // Records and submits.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::{Exchange, ExportDevice, TimelinePoint};
use bridge_examples::gpu::output::Wanted;
use bridge_examples::particles::compute::{Mover, Shared};
use bridge_examples::particles::particle::Particle;
use bridge_examples::particles::render::{Points, Renderer};
use vk_local::{LocalBuffer, MemoryLocation};

use super::show::{SHOWN, SLOTS, Show};
use super::staging::Staged;
use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::LIMIT;
use crate::harness::frames::{FrameLoop, MAX_BATCH, batch_size, walls};
use crate::options::Profile;
use crate::raw::commands::{Commands, submit};
use crate::raw::shared::Exports;
use crate::raw::timeline::Timeline;
use crate::report::Samples;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let counts: &[u32] = profile.pick(&[100_000, 1_000_000, 10_000_000, 50_000_000], &[20_000]);
    let of = |count: u32| {
        let what = format!("frame of {} particles", spaced(count));
        Case::new(format!("particles/{count}"), what.clone(), move |bench, rows| run(bench, rows, count, &what))
    };
    counts.iter().copied().map(of).collect()
}

/// Formats a number with its digits in groups of three.
pub(super) fn spaced(count: u32) -> String {
    let digits = count.to_string();
    let threes = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    threes.collect::<Vec<_>>().join(" ")
}

fn run(bench: &Bench, rows: &mut Rows, count: u32, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let show = Show::new(gpu, count, bench.profile.pick([1280, 720], [320, 180]));
    rows.parameter("particles", count);
    rows.parameter("size", format!("{}x{}", show.size[0], show.size[1]));
    rows.parameter("slots", SLOTS);
    let mut zero_copy = Frames::new(gpu, &show, SLOTS, false)?;
    let mut waiting = Frames::new(gpu, &show, 1, true)?;
    let mut compute = ComputeAlone::new(gpu, &show)?;
    let mut render = RenderAlone::new(gpu, &show)?;
    let mut staged = gpu.is_cuda().then(|| Staged::new(gpu, &show)).transpose()?;
    let staging = staged.as_ref().map(Staged::name);
    let mut loops: Vec<&mut dyn FrameLoop> = vec![&mut zero_copy, &mut waiting, &mut compute, &mut render];
    if let Some(staged) = &mut staged {
        loops.push(staged);
    }
    // The same number for all: whole runs in one direction, so that all make the same frames.
    let mut frames = SHOWN as usize;
    if count < LARGE {
        let fit = batch_size(8 * bench.profile.slice, MAX_BATCH, &mut loops)?.first().copied().unwrap_or(1);
        frames = fit.next_multiple_of(2 * frames);
    }
    let counts = vec![frames; loops.len()];
    let rounds = bench.profile.pick(5, 3);
    let walls = walls(&bench.profile, rounds, &counts, &mut loops)?;
    let walls: Vec<Vec<f64>> =
        walls.iter().map(|samples| samples.iter().map(|micros| micros * 1e-3).collect()).collect();
    let [ours, waiting, compute, render, rest @ ..] = &walls[..] else { anyhow::bail!("four loops were measured") };
    let both = |join: fn(f64, f64) -> f64| compute.iter().zip(render).map(|(a, b)| join(*a, *b)).collect::<Vec<_>>();
    let (sum, larger) = (both(|a, b| a + b), both(f64::max));
    let mut others = vec![Samples::rival("a host wait each frame", waiting)];
    if let (Some(name), Some(samples)) = (staging, rest.first()) {
        others.push(Samples::rival(name, samples));
    }
    others.extend([
        Samples::comparison("compute alone", compute),
        Samples::comparison("render alone", render),
        Samples::comparison("their sum", &sum),
        Samples::comparison("the larger", &larger),
    ]);
    rows.lower("", what, "ms", ours, &others, None)
}

/// From this number of particles on, a frame takes so long that a batch is one run in one
/// direction.
const LARGE: u32 = 5_000_000;

/// Frames through an exchange, as in the demo, optionally with the host waiting for each side in
/// turn.
struct Frames<'s> {
    // Field order is drop order: dropping the exchange waits for the frames, which use the fields
    // after it.
    exchange: Exchange<Shared>,
    renderer: Renderer,
    mover: Mover,
    in_flight: VecDeque<TimelinePoint>,
    host_waits: bool,
    frames: u64,
    show: &'s Show,
}

impl<'s> Frames<'s> {
    fn new(gpu: &Gpu, show: &'s Show, slots: usize, host_waits: bool) -> Result<Self> {
        Ok(Self {
            exchange: show.exchange(gpu, slots, None)?,
            renderer: show.renderer(&gpu.device, slots)?,
            mover: Mover::new(&gpu.compute, &show.bodies)?,
            in_flight: VecDeque::with_capacity(slots),
            host_waits,
            frames: 0,
            show,
        })
    }
}

impl FrameLoop for Frames<'_> {
    fn frame(&mut self) -> Result<()> {
        if self.in_flight.len() == self.exchange.slots() {
            self.in_flight.pop_front().context("no slots")?.wait(LIMIT)?;
        }
        let mut turn = self.exchange.begin()?;
        self.mover.advance(&mut turn, self.show.step(self.frames))?;
        let turn = turn.finish()?;
        if self.host_waits {
            turn.computed().wait(LIMIT)?;
        }
        // SAFETY: the slot's last frame was waited for above.
        let commands = unsafe { self.renderer.record(&turn, self.show.view(self.frames), Wanted::default()) }?;
        // SAFETY: recorded for this turn; its resources are freed after the exchange, which waits
        // for the commands.
        let point = unsafe { turn.submit(&[commands]) }?;
        if self.host_waits {
            point.wait(LIMIT)?;
        } else {
            self.in_flight.push_back(point);
        }
        self.frames += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.in_flight.drain(..).try_for_each(|point| Ok(point.wait(LIMIT)?))
    }
}

/// The compute side alone.
struct ComputeAlone<'s> {
    exchange: Exchange<Shared>,
    mover: Mover,
    last: Option<TimelinePoint>,
    frames: u64,
    show: &'s Show,
}

impl<'s> ComputeAlone<'s> {
    fn new(gpu: &Gpu, show: &'s Show) -> Result<Self> {
        let mover = Mover::new(&gpu.compute, &show.bodies)?;
        Ok(Self { exchange: show.exchange(gpu, 1, None)?, mover, last: None, frames: 0, show })
    }
}

impl FrameLoop for ComputeAlone<'_> {
    fn frame(&mut self) -> Result<()> {
        let mut turn = self.exchange.begin()?;
        self.mover.advance(&mut turn, self.show.step(self.frames))?;
        let turn = turn.finish()?;
        self.last = Some(turn.computed());
        turn.skip();
        self.frames += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.last.take().map_or(Ok(()), |point| Ok(point.wait(LIMIT)?))
    }
}

/// The Vulkan side alone: particles at rest in the positions of the middle of the shown frames.
struct RenderAlone<'s> {
    renderer: Renderer,
    vertices: LocalBuffer,
    rendered: Timeline,
    frames: u64,
    show: &'s Show,
    device: ExportDevice,
}

impl<'s> RenderAlone<'s> {
    fn new(gpu: &Gpu, show: &'s Show) -> Result<Self> {
        let mut bodies = show.bodies.clone();
        let mut particles = vec![Particle::default(); bodies.len()];
        for frame in 0..SHOWN / 2 {
            show.step(frame).advance_all(&mut bodies, &mut particles);
        }
        let usage = vk::BufferUsageFlags::VERTEX_BUFFER | vk::BufferUsageFlags::TRANSFER_DST;
        let vertices = LocalBuffer::new(&gpu.device, "vertices", show.bytes(), usage, MemoryLocation::GpuOnly)?;
        upload(gpu, &vertices, bytemuck::cast_slice(&particles))?;
        Ok(Self {
            renderer: show.renderer(&gpu.device, SLOTS)?,
            vertices,
            rendered: Timeline::new(gpu, &Exports::new(&gpu.device))?,
            frames: 0,
            show,
            device: gpu.device.clone(),
        })
    }
}

impl FrameLoop for RenderAlone<'_> {
    fn frame(&mut self) -> Result<()> {
        if let Some(before) = (self.frames + 1).checked_sub(SLOTS as u64) {
            self.rendered.wait(before)?;
        }
        let points = Resting {
            slot: (self.frames % SLOTS as u64) as usize,
            buffer: self.vertices.as_raw(),
            count: self.show.count(),
        };
        // SAFETY: the slot's last frame was waited for above.
        let commands = unsafe { self.renderer.record(&points, self.show.view(self.frames), Wanted::default()) }?;
        self.frames += 1;
        let signal = self.rendered.info(self.frames, vk::PipelineStageFlags2::ALL_COMMANDS);
        // SAFETY: recorded for this queue; its resources are freed after a drain; the values
        // increase.
        unsafe { submit(&self.device, self.device.queue(), None, &[commands], Some(signal), vk::Fence::null()) }
    }

    fn drain(&mut self) -> Result<()> {
        self.rendered.wait(self.frames)
    }
}

impl Drop for RenderAlone<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.drain() {
            eprintln!("warning: frames may still be running: {error:#}");
        }
    }
}

/// Particles at rest.
struct Resting {
    slot: usize,
    buffer: vk::Buffer,
    count: u32,
}

impl Points for Resting {
    fn slot(&self) -> usize {
        self.slot
    }

    fn buffer(&self) -> vk::Buffer {
        self.buffer
    }

    fn count(&self) -> u32 {
        self.count
    }

    unsafe fn record_before(&self, _: vk::CommandBuffer) {}

    unsafe fn record_after(&self, _: vk::CommandBuffer) {}
}

/// Fills `buffer` with `bytes` and waits for the copy.
fn upload(gpu: &Gpu, buffer: &LocalBuffer, bytes: &[u8]) -> Result<()> {
    let size = bytes.len() as u64;
    let usage = vk::BufferUsageFlags::TRANSFER_SRC;
    let mut staging = LocalBuffer::new(&gpu.device, "upload", size, usage, MemoryLocation::CpuToGpu)?;
    // SAFETY: the buffer is new, and no GPU work uses it yet.
    unsafe { staging.bytes_mut() }.context("staging memory is not mapped")?.copy_from_slice(bytes);
    let commands = Commands::new(&gpu.device, gpu.device.queue(), 1)?;
    let done = Timeline::new(gpu, &Exports::new(&gpu.device))?;
    let regions = [vk::BufferCopy::default().size(size)];
    // SAFETY: recording; VUID-vkCmdCopyBuffer-size-00115, -00116: both buffers hold `size` bytes.
    let copy = |commands| unsafe {
        gpu.device.as_raw().cmd_copy_buffer(commands, staging.as_raw(), buffer.as_raw(), &regions);
    };
    // SAFETY: not submitted yet.
    let commands = unsafe { commands.record(0, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, copy) }?;
    let signal = done.info(1, vk::PipelineStageFlags2::ALL_COMMANDS);
    // SAFETY: recorded for this queue, and waited for. The wait makes the copy available to later
    // submissions.
    unsafe { submit(&gpu.device, gpu.device.queue(), None, &[commands], Some(signal), vk::Fence::null()) }?;
    done.spin(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_in_threes() {
        assert_eq!([spaced(7), spaced(1234), spaced(50_000_000)], ["7", "1 234", "50 000 000"]);
    }
}
