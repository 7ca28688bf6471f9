//! The frame in wgpu: without sharing, with slots, and with a persistent buffer.

use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};
use bridge_wgpu::bridge::Kernel;
use bridge_wgpu::{Bridge, Exchange, Frame, SharedBuffer, SlotBuffer, wgpu};

use super::{IN_FLIGHT, LIMIT, Way, fill, info};

/// Size in bytes of a copy that keeps the queue busy.
const BUSY: u64 = 16 << 20;

pub(crate) struct OnWgpu<'g> {
    gpu: &'g Bridge,
    source: Source,
    target: wgpu::Buffer,
    kernel: Option<Kernel>,
    clock: Clock,
}

/// The source of a frame's copy.
enum Source {
    Alone { buffer: wgpu::Buffer, pending: VecDeque<wgpu::SubmissionIndex> },
    Slots { exchange: Exchange<SlotBuffer<u32>>, frames: VecDeque<Frame<SlotBuffer<u32>>> },
    // The frame itself makes the copy.
    Stays { exchange: Exchange<SharedBuffer<u32>>, frames: VecDeque<Frame<SharedBuffer<u32>>> },
}

impl<'g> OnWgpu<'g> {
    pub(crate) fn alone(gpu: &'g Bridge, len: usize) -> Result<Self> {
        let source = Source::Alone { buffer: buffer(gpu, 4 * len as u64), pending: VecDeque::new() };
        Self::new(gpu, source, buffer(gpu, 4 * len as u64), None)
    }

    pub(crate) fn slots(gpu: &'g Bridge, len: usize, kernel: Option<Kernel>) -> Result<Self> {
        // SAFETY: the lent buffer is only used in the commands that are submitted with its frame.
        let spec = unsafe { SlotBuffer::<u32>::new(len, wgpu::BufferUsages::COPY_SRC) };
        let source = Source::Slots { exchange: Exchange::new(gpu, &info(), spec)?, frames: VecDeque::new() };
        Self::new(gpu, source, buffer(gpu, 4 * len as u64), kernel)
    }

    pub(crate) fn stays(gpu: &'g Bridge, len: usize, kernel: Option<Kernel>) -> Result<Self> {
        let spec = SharedBuffer::<u32>::new(len, wgpu::BufferUsages::COPY_SRC);
        let exchange = Exchange::new(gpu, &info(), spec)?;
        let target = exchange.objects().clone();
        Self::new(gpu, Source::Stays { exchange, frames: VecDeque::new() }, target, kernel)
    }

    fn new(gpu: &'g Bridge, source: Source, target: wgpu::Buffer, kernel: Option<Kernel>) -> Result<Self> {
        Ok(Self { gpu, source, target, kernel, clock: Clock::new(gpu) })
    }

    fn idle(&self) -> Result<()> {
        self.gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
        Ok(())
    }
}

impl Way for OnWgpu<'_> {
    fn compute(&mut self, base: u32) -> Result<()> {
        let kernel = self.kernel.as_ref();
        match &mut self.source {
            Source::Alone { pending, .. } => {
                if pending.len() == IN_FLIGHT {
                    let oldest = pending.pop_front();
                    let wait = wgpu::PollType::Wait { submission_index: oldest, timeout: Some(LIMIT) };
                    self.gpu.device().poll(wait)?;
                }
            }
            Source::Slots { exchange, frames } => {
                let mut turn = exchange.begin()?;
                fill(turn.work(), kernel, base)?;
                frames.push_back(turn.finish()?);
            }
            Source::Stays { exchange, frames } => {
                let mut turn = exchange.begin()?;
                fill(turn.work(), kernel, base)?;
                frames.push_back(turn.finish()?);
            }
        }
        Ok(())
    }

    fn computed(&self) -> Result<()> {
        // The last frame's point comes after those of the earlier frames.
        let point = match &self.source {
            Source::Alone { .. } => None,
            Source::Slots { frames, .. } => frames.back().map(Frame::computed),
            Source::Stays { frames, .. } => frames.back().map(Frame::computed),
        };
        Ok(point.map_or(Ok(()), |point| point.wait(LIMIT))?)
    }

    fn submit(&mut self) -> Result<()> {
        let Self { gpu, target, .. } = self;
        match &mut self.source {
            Source::Alone { buffer, pending } => pending.push_back(gpu.queue().submit([copy(gpu, buffer, target)])),
            Source::Slots { frames, .. } => {
                let frame = frames.pop_front().context("the compute side was first")?;
                let commands = copy(gpu, frame.objects()?, target);
                gpu.submit([commands], frame)?;
            }
            Source::Stays { frames, .. } => {
                gpu.submit([], frames.pop_front().context("the compute side was first")?)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Source::Alone { pending, .. } = &mut self.source {
            pending.clear();
        }
        self.idle()
    }

    fn open(&mut self, copies: u32) -> Result<()> {
        let Clock { queries, from, to, .. } = &self.clock;
        let mut commands = self.gpu.device().create_command_encoder(&Default::default());
        commands.write_timestamp(queries, 0);
        (0..copies).for_each(|_| commands.copy_buffer_to_buffer(from, 0, to, 0, None));
        commands.write_timestamp(queries, 1);
        self.gpu.queue().submit([commands.finish()]);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        // In a separate encoder, because wgpu's barriers for other commands would come before the
        // timestamp.
        let mut commands = self.gpu.device().create_command_encoder(&Default::default());
        commands.write_timestamp(&self.clock.queries, 2);
        self.gpu.queue().submit([commands.finish()]);
        Ok(())
    }

    fn times(&mut self) -> Result<[f64; 2]> {
        self.finish()?;
        let Clock { queries, resolved, mapped, .. } = &self.clock;
        let mut commands = self.gpu.device().create_command_encoder(&Default::default());
        commands.resolve_query_set(queries, 0..3, resolved, 0);
        commands.copy_buffer_to_buffer(resolved, 0, mapped, 0, None);
        self.gpu.queue().submit([commands.finish()]);
        let ticks = read(self.gpu, &self.clock.mapped, |bytes| {
            let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word));
            [(); 3].map(|()| words.next().unwrap_or(0))
        })?;
        let each = f64::from(self.gpu.queue().get_timestamp_period()) / 1e3;
        Ok([0, 1].map(|index| ticks[index + 1].wrapping_sub(ticks[index]) as f64 * each))
    }

    fn target(&mut self) -> Result<Option<Vec<u32>>> {
        if matches!(self.source, Source::Alone { .. }) {
            return Ok(None);
        }
        let mapped = mapped(self.gpu, self.target.size());
        self.gpu.queue().submit([copy(self.gpu, &self.target, &mapped)]);
        let words = read(self.gpu, &mapped, |bytes| {
            bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect::<Vec<_>>()
        })?;
        ensure!(words.len() as u64 * 4 == self.target.size(), "the target was read in part");
        Ok(Some(words))
    }
}

/// Timestamps, and the buffers of the copies that keep the queue busy.
struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    mapped: wgpu::Buffer,
    from: wgpu::Buffer,
    to: wgpu::Buffer,
}

impl Clock {
    fn new(gpu: &Bridge) -> Self {
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 3 };
        let resolved = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 24,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let queries = gpu.device().create_query_set(&descriptor);
        Self { queries, resolved, mapped: mapped(gpu, 24), from: buffer(gpu, BUSY), to: buffer(gpu, BUSY) }
    }
}

fn buffer(gpu: &Bridge, size: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn mapped(gpu: &Bridge, size: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn copy(gpu: &Bridge, from: &wgpu::Buffer, to: &wgpu::Buffer) -> wgpu::CommandBuffer {
    let mut commands = gpu.device().create_command_encoder(&Default::default());
    commands.copy_buffer_to_buffer(from, 0, to, 0, None);
    commands.finish()
}

/// Waits for the queue and reads a mapped buffer.
fn read<R>(gpu: &Bridge, buffer: &wgpu::Buffer, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
    buffer.map_async(wgpu::MapMode::Read, .., |_| {});
    gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
    let result = read(&buffer.get_mapped_range(..).context("the buffer cannot be mapped")?);
    buffer.unmap();
    Ok(result)
}
