//! The frame on raw Vulkan, on a device of the bridge: without sharing, and with the bridge. The
//! commands are recorded again in each frame, as with wgpu.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use ash::vk;
use bridge_wgpu::TimelinePoint;
use bridge_wgpu::bridge::vk_export::{Buffer, BufferInfo, Placement};
use bridge_wgpu::bridge::{BufferAccess, BufferSpec, Compute, Exchange, Kernel, RenderTurn};

use super::relay::Relay;
use super::{IN_FLIGHT, LIMIT, Way, fill, info};

/// Size in bytes of a copy that keeps the queue busy.
const BUSY: u64 = 16 << 20;

pub(crate) struct OnAsh<'c> {
    compute: &'c Compute,
    source: Source,
    /// wgpu's semaphores, for shared frames that are submitted as wgpu does.
    relay: Option<Relay>,
    target: Buffer,
    busy: [Buffer; 2],
    kernel: Option<Kernel>,
    pool: vk::CommandPool,
    queries: vk::QueryPool,
    /// The command buffers of the two timestamps.
    clock: [vk::CommandBuffer; 2],
    free: VecDeque<Recording>,
    pending: VecDeque<(Recording, Option<TimelinePoint>)>,
}

/// The source of a frame's copy.
enum Source {
    Alone(Buffer),
    Shared { exchange: Exchange<BufferSpec<u32>>, frames: VecDeque<RenderTurn<BufferSpec<u32>>> },
}

struct Recording {
    commands: vk::CommandBuffer,
    /// The fence of frames without sharing.
    fence: vk::Fence,
}

impl<'c> OnAsh<'c> {
    pub(crate) fn alone(compute: &'c Compute, len: usize) -> Result<Self> {
        let source = Source::Alone(buffer(compute, 4 * len as u64, Placement::DeviceLocal)?);
        Self::new(compute, source, len, None)
    }

    pub(crate) fn shared(compute: &'c Compute, len: usize, kernel: Option<Kernel>) -> Result<Self> {
        let spec = BufferSpec::<u32>::new(len, BufferAccess::TRANSFER_READ);
        let source = Source::Shared { exchange: Exchange::new(compute, &info(), spec)?, frames: VecDeque::new() };
        Self::new(compute, source, len, kernel)
    }

    /// Like [`shared`](Self::shared), with the semaphores of wgpu's submissions.
    pub(crate) fn relayed(compute: &'c Compute, len: usize, kernel: Option<Kernel>) -> Result<Self> {
        let mut this = Self::shared(compute, len, kernel)?;
        this.relay = Some(Relay::new(compute.device().as_raw())?);
        Ok(this)
    }

    fn new(compute: &'c Compute, source: Source, len: usize, kernel: Option<Kernel>) -> Result<Self> {
        let target = buffer(compute, 4 * len as u64, Placement::DeviceLocal)?;
        let busy = [buffer(compute, BUSY, Placement::DeviceLocal)?, buffer(compute, BUSY, Placement::DeviceLocal)?];
        let (device, family) = (compute.device().as_raw(), compute.device().queue().family());
        let create = vk::CommandPoolCreateInfo::default()
            .queue_family_index(family)
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: the family is one of the device's; destroyed in `drop`, after all frames.
        let pool = unsafe { device.create_command_pool(&create, None) }?;
        let mut this = Self {
            compute,
            source,
            relay: None,
            target,
            busy,
            kernel,
            pool,
            queries: vk::QueryPool::null(),
            clock: [vk::CommandBuffer::null(); 2],
            free: VecDeque::new(),
            pending: VecDeque::new(),
        };
        let create = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(3);
        // SAFETY: destroyed in `drop`.
        this.queries = unsafe { device.create_query_pool(&create, None) }?;
        let allocate =
            vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(IN_FLIGHT as u32 + 3);
        // SAFETY: the pool above, which only one thread uses.
        let mut commands = unsafe { device.allocate_command_buffers(&allocate) }?;
        this.clock = [commands.pop(), commands.pop()].map(Option::unwrap_or_default);
        for commands in commands {
            // SAFETY: a plain fence, destroyed in `drop`.
            let fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }?;
            this.free.push_back(Recording { commands, fence });
        }
        Ok(this)
    }

    /// Waits for the oldest frame. A fence is polled continuously, as the bridge polls its points.
    fn wait_for_oldest(&mut self) -> Result<()> {
        let Some((recording, point)) = self.pending.pop_front() else { return Ok(()) };
        let device = self.compute.device().as_raw();
        match point {
            Some(point) => point.wait(LIMIT)?,
            None => {
                // SAFETY: a fence of this device.
                while !unsafe { device.get_fence_status(recording.fence) }? {
                    std::hint::spin_loop();
                }
                // SAFETY: no pending submission uses the fence.
                unsafe { device.reset_fences(&[recording.fence]) }?;
            }
        }
        self.free.push_back(recording);
        Ok(())
    }

    fn record(&self, commands: vk::CommandBuffer, record: impl FnOnce(&ash::Device)) -> Result<()> {
        let device = self.compute.device().as_raw();
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: not pending, because its last use was waited for.
        unsafe { device.begin_command_buffer(commands, &begin) }?;
        record(device);
        // SAFETY: recording.
        Ok(unsafe { device.end_command_buffer(commands) }?)
    }

    fn push(&self, commands: vk::CommandBuffer, fence: vk::Fence) -> Result<()> {
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos);
        // SAFETY: recorded above, for this device and the queue's family; the command buffer and
        // the buffers live until all frames have been waited for.
        Ok(unsafe { self.compute.device().queue().submit(&[batch], fence) }?)
    }

    /// Records a timestamp after the reset of its query, as wgpu does.
    fn timestamp(&self, device: &ash::Device, commands: vk::CommandBuffer, query: u32) {
        // SAFETY: recording, outside of a pass; the pool has three queries.
        unsafe { device.cmd_reset_query_pool(commands, self.queries, query, 1) };
        let stage = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
        // SAFETY: recording; the query was reset.
        unsafe { device.cmd_write_timestamp(commands, stage, self.queries, query) };
    }
}

impl Way for OnAsh<'_> {
    fn compute(&mut self, base: u32) -> Result<()> {
        if let Source::Shared { exchange, frames } = &mut self.source {
            let mut turn = exchange.begin()?;
            fill(turn.work(), self.kernel.as_ref(), base)?;
            frames.push_back(turn.finish()?);
        }
        if self.pending.len() == IN_FLIGHT {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    fn computed(&self) -> Result<()> {
        // The last frame's point comes after those of the earlier frames.
        match &self.source {
            Source::Shared { frames, .. } => Ok(frames.back().map_or(Ok(()), |turn| turn.computed().wait(LIMIT))?),
            Source::Alone(_) => Ok(()),
        }
    }

    fn submit(&mut self) -> Result<()> {
        let recording = self.free.pop_front().context("a command buffer is free")?;
        let (commands, target, region) =
            (recording.commands, self.target.as_raw(), vk::BufferCopy::default().size(self.target.size()));
        let turn = match &mut self.source {
            Source::Alone(_) => None,
            Source::Shared { frames, .. } => Some(frames.pop_front().context("the compute side was first")?),
        };
        let source = match (&self.source, &turn) {
            (_, Some(turn)) => turn.resources().as_raw(),
            (Source::Alone(buffer), None) => buffer.as_raw(),
            (Source::Shared { .. }, None) => bail!("the compute side was first"),
        };
        self.record(commands, |device| {
            let barrier = vk::MemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .dst_access_mask(vk::AccessFlags::TRANSFER_WRITE);
            // The previous frame has written the target; wgpu records the same barrier.
            pipeline_barrier(device, commands, barrier, vk::PipelineStageFlags::TRANSFER);
            if let Some(turn) = &turn {
                // SAFETY: recording, outside of a pass, on the exchange's device.
                unsafe { turn.record_acquire(commands) };
            }
            // SAFETY: both buffers have that size, and these usages.
            unsafe { device.cmd_copy_buffer(commands, source, target, &[region]) };
            if let Some(turn) = &turn {
                // SAFETY: as for the acquire.
                unsafe { turn.record_release(commands) };
            }
        })?;
        let point = match (turn, &mut self.relay) {
            // SAFETY: recorded with the turn's barriers; recorded again only after the point is
            // reached.
            (Some(turn), None) => Some(unsafe { turn.submit(&[commands]) }?),
            // SAFETY: as above.
            (Some(turn), Some(relay)) => Some(unsafe { relay.submit(self.compute.device().queue(), turn, commands) }?),
            (None, _) => {
                self.push(commands, recording.fence)?;
                None
            }
        };
        self.pending.push_back((recording, point));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    fn open(&mut self, copies: u32) -> Result<()> {
        let [commands, _] = self.clock;
        self.record(commands, |device| {
            self.timestamp(device, commands, 0);
            let [from, to] = self.busy.each_ref().map(Buffer::as_raw);
            let region = [vk::BufferCopy::default().size(BUSY)];
            for _ in 0..copies {
                // SAFETY: recording; both buffers have that size, and these usages.
                unsafe { device.cmd_copy_buffer(commands, from, to, &region) };
            }
            self.timestamp(device, commands, 1);
        })?;
        self.push(commands, vk::Fence::null())
    }

    fn close(&mut self) -> Result<()> {
        let [_, commands] = self.clock;
        self.record(commands, |device| self.timestamp(device, commands, 2))?;
        self.push(commands, vk::Fence::null())
    }

    fn times(&mut self) -> Result<[f64; 2]> {
        self.finish()?;
        let device = self.compute.device();
        // Before their resets have run, queries contain the values of the previous frame. The
        // timestamps' command buffers are also recorded again after this.
        // SAFETY: no other thread uses the device's queues.
        unsafe { device.as_raw().device_wait_idle() }?;
        let mut ticks = [0u64; 3];
        let flags = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
        // SAFETY: all three queries were submitted.
        unsafe { device.as_raw().get_query_pool_results(self.queries, 0, &mut ticks, flags) }?;
        let each = f64::from(device.physical().limits.timestamp_period) / 1e3;
        Ok([0, 1].map(|index| ticks[index + 1].wrapping_sub(ticks[index]).cast_signed() as f64 * each))
    }

    fn target(&mut self) -> Result<Option<Vec<u32>>> {
        if matches!(self.source, Source::Alone(_)) {
            return Ok(None);
        }
        let device = self.compute.device();
        let mapped = buffer(self.compute, self.target.size(), Placement::HostVisible)?;
        let region = [vk::BufferCopy::default().size(self.target.size())];
        let copy = |commands| {
            // SAFETY: recording; both buffers have that size, and these usages.
            unsafe { device.as_raw().cmd_copy_buffer(commands, self.target.as_raw(), mapped.as_raw(), &region) };
            let barrier = vk::MemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .dst_access_mask(vk::AccessFlags::HOST_READ);
            pipeline_barrier(device.as_raw(), commands, barrier, vk::PipelineStageFlags::HOST);
        };
        // SAFETY: the queue is the device's; both buffers live until the copy has been waited for,
        // and if that fails, the process ends.
        unsafe { device.run_once(device.queue(), "copy of the target", LIMIT, copy) }?;
        let bytes = mapped.host_ptr().context("the buffer is mapped")?;
        let len = usize::try_from(mapped.size())? / 4;
        // SAFETY: mapped, of that size, aligned like an allocation, and no longer written.
        Ok(Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<u32>(), len) }.to_vec()))
    }
}

impl Drop for OnAsh<'_> {
    fn drop(&mut self) {
        let device = self.compute.device().as_raw();
        // SAFETY: no other thread uses the device's queues. If the call fails, no work is running
        // any more.
        let _ = unsafe { device.device_wait_idle() };
        // SAFETY: created from this device; no pending submission uses it.
        unsafe { device.destroy_query_pool(self.queries, None) };
        // SAFETY: created from this device; no pending submission uses it.
        unsafe { device.destroy_command_pool(self.pool, None) };
        for recording in self.free.iter().chain(self.pending.iter().map(|(recording, _)| recording)) {
            // SAFETY: created from this device; no pending submission uses it.
            unsafe { device.destroy_fence(recording.fence, None) };
        }
    }
}

/// Records a barrier from copies to a stage.
fn pipeline_barrier(
    device: &ash::Device,
    commands: vk::CommandBuffer,
    barrier: vk::MemoryBarrier<'_>,
    to: vk::PipelineStageFlags,
) {
    let (from, none) = (vk::PipelineStageFlags::TRANSFER, vk::DependencyFlags::empty());
    // SAFETY: recording, outside of a pass, on a queue that supports copies.
    unsafe { device.cmd_pipeline_barrier(commands, from, to, none, &[barrier], &[], &[]) };
}

fn buffer(compute: &Compute, size: u64, placement: Placement) -> Result<Buffer> {
    let usage = vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
    Ok(Buffer::new(compute.device(), &BufferInfo { name: "cost", size, usage, placement })?)
}
