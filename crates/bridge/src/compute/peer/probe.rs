//! Whether a GPU can compute for another: tried, since neither the Vulkan nor the CUDA
//! specification promises that what is imported here works, and a driver may take it and access
//! something else.
#![allow(unsafe_code)] // Waits, signals and views.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use cuda_import::cudarc::driver::{CudaStream, DriverError};
use cuda_import::{BufferMappingInfo, MappedBuffer, query, record_event, signal_one, wait_one};
use vk_export::ash::vk;
use vk_export::{
    Buffer, BufferAccess, BufferInfo, Counterpart, ExportDevice, Handover, OneTimeCommands, Placement, Queue,
    Semaphore, SemaphoreInfo, SemaphoreKind,
};

use crate::compute::gpus::Gpus;
use crate::compute::host::stream::persistently;
use crate::error::{Error, Result};
use crate::handoff;
use crate::timeline::host_signal::signal;
use crate::timeline::wait;

/// Limit on the duration of a part of the probe.
const LIMIT: Duration = Duration::from_secs(5);

/// Elements that each GPU writes.
const LEN: usize = 1024;

const NAME: &str = "peer probe";

/// Why a GPU cannot.
pub(super) struct Failed {
    /// Its place in the group.
    pub(super) gpu: usize,
    pub(super) reason: String,
}

impl Failed {
    fn new(gpu: usize, what: &str, error: impl Display) -> Self {
        Self { gpu, reason: format!("{what}: {error}") }
    }
}

/// Tries timelines on the GPU that leads, and memory on all.
pub(super) fn run(gpus: &Gpus, vulkan: &ExportDevice) -> Result<(), Failed> {
    timelines(gpus, vulkan)?;
    contents(gpus, vulkan)
}

/// Signals a timeline from both sides and sees it on the other.
fn timelines(gpus: &Gpus, vulkan: &ExportDevice) -> Result<(), Failed> {
    let failed = |error: &dyn Display| Failed::new(0, "its timelines do not work there", error);
    let info = SemaphoreInfo { name: NAME, kind: SemaphoreKind::Timeline, exportable: true };
    let made = Semaphore::new(vulkan, &info).map_err(|error| failed(&error))?;
    let imported = handoff::semaphore(&made, gpus).map_err(|error| failed(&error))?;
    let stream = gpus.stream();
    let pending = Cell::new(false);
    let there_and_back = || -> Result<Option<&'static str>> {
        // SAFETY: the values rise; both outlive the signal, or are forgotten below.
        unsafe { signal_one(stream, &imported, 1) }?;
        pending.set(true);
        if !wait::poll(LIMIT, || Ok(made.value()? >= 1), || Ok(query(stream).map(|_| ())?))? {
            return Ok(Some("a signal of CUDA's was not seen by Vulkan"));
        }
        // SAFETY: the host signals it next; both outlive the wait, or are forgotten below.
        let waits = unsafe { wait_one(stream, &imported, 2) };
        let end = record_event(stream);
        // Whatever has failed: while a stream waits, the driver frees nothing of its context.
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the counter is 1, and no other
        // signal is pending.
        persistently(NAME, &|| unsafe { signal(&made, 2) })?;
        waits?;
        let end = end?;
        if !wait::poll(LIMIT, || Ok(end.is_reached()?), || Ok(()))? {
            return Ok(Some("a signal of Vulkan's was not seen by CUDA"));
        }
        pending.set(false);
        Ok(None)
    };
    let outcome = there_and_back();
    if pending.get() {
        // The stream may still signal it, or wait for it.
        std::mem::forget((imported, made));
    }
    match outcome {
        Ok(None) => Ok(()),
        Ok(Some(unseen)) => Err(failed(&unseen)),
        Err(error) => Err(failed(&error)),
    }
}

/// Has each GPU write its part of a buffer, and Vulkan read all of it.
fn contents(gpus: &Gpus, vulkan: &ExportDevice) -> Result<(), Failed> {
    let failed = |gpu, error: &dyn Display| Failed::new(gpu, "its memory cannot be written there", error);
    let len = LEN * gpus.len();
    let access = BufferAccess::TRANSFER_READ;
    let info = BufferInfo { name: NAME, size: 4 * len as u64, usage: access.usage, placement: Placement::Peers };
    let buffer = Buffer::new(vulkan, &info).map_err(|error| failed(0, &error))?;
    let memory = handoff::memory(&buffer, gpus).map_err(|error| failed(0, &error))?;
    let place = BufferMappingInfo { offset: 0, len };
    let mapped = MappedBuffer::<u32>::map_on(&memory, &place, gpus.streams()).map_err(|error| failed(0, &error))?;
    drop(memory);
    let written = gpus.streams().iter().enumerate().try_for_each(|(gpu, stream)| {
        let failed = |error: &dyn Display| failed(gpu, error);
        // SAFETY: nobody else uses the buffer, and the parts are disjoint.
        let part = unsafe { mapped.part_mut_unchecked(gpu, gpu * LEN..(gpu + 1) * LEN) };
        let mut part = part.ok_or_else(|| failed(&"it has no part of the buffer"))?;
        let words = words(gpu);
        stream.memcpy_htod(&words, &mut part).map_err(|error| failed(&error))?;
        ended(stream, words).map(drop).map_err(|error| failed(&error))
    });
    let copying = Cell::new(false);
    let seen = written.and_then(|()| match vulkan.queues_are_synchronized() {
        true => read(vulkan, &buffer, len, &copying).map_err(|error| failed(0, &error)),
        false => read_with_cuda(gpus.stream(), &mapped).map_err(|error| failed(0, &error)),
    });
    let closed = mapped.close();
    if closed.is_err() || copying.get() {
        // What is still mapped, or copied from, must not become somebody else's memory.
        std::mem::forget(buffer);
    }
    // First the GPU that is at fault: where its copy has not ended, closing fails as well.
    let seen = seen?;
    closed.map_err(|error| failed(0, &error))?;
    let wrong = (0..gpus.len()).find(|&gpu| seen.get(gpu * LEN..(gpu + 1) * LEN) != Some(&words(gpu)[..]));
    match wrong {
        Some(gpu) => Err(failed(gpu, &"what CUDA wrote is not what is in the memory")),
        None => Ok(()),
    }
}

/// Value that a GPU writes.
fn words(gpu: usize) -> Vec<u32> {
    (0..LEN).map(|i| 0x9e37_79b9_u32.wrapping_mul((gpu * LEN + i + 1) as u32)).collect()
}

/// Waits until a stream has done what it was given, which uses `used`. Past the limit that is kept
/// for good.
fn ended<T>(stream: &CudaStream, used: T) -> Result<T, String> {
    let reached = record_event(stream)
        .map_err(Error::from)
        .and_then(|end| wait::poll(LIMIT, || Ok(end.is_reached()?), || Ok(())));
    let unfinished = match reached {
        Ok(true) => return Ok(used),
        Ok(false) => format!("a copy has not ended within {LIMIT:?}"),
        Err(error) => error.to_string(),
    };
    std::mem::forget(used);
    Err(unfinished)
}

/// Reads the buffer with CUDA, on the GPU that leads.
fn read_with_cuda(stream: &Arc<CudaStream>, mapped: &MappedBuffer<u32>) -> Result<Vec<u32>, String> {
    let told = |error: DriverError| error.to_string();
    // A copy to other memory could block without a limit. Written over below, all of it, before it
    // is read.
    // SAFETY: any bytes are words.
    let mut seen = unsafe { stream.context().alloc_pinned::<u32>(mapped.len()) }.map_err(told)?;
    let copied = stream.memcpy_dtoh(&mapped.view(), &mut seen).map_err(told);
    // Its drop waits for the copy.
    let seen = ended(stream, seen)?;
    copied.and_then(|()| Ok(seen.as_slice().map_err(told)?.to_vec()))
}

/// Reads the buffer with Vulkan. `copying` is set while a copy from it may be running, also behind
/// an error.
fn read(vulkan: &ExportDevice, buffer: &Buffer, len: usize, copying: &Cell<bool>) -> Result<Vec<u32>> {
    let size = 4 * len as u64;
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    let info = BufferInfo { name: NAME, size, usage, placement: Placement::HostVisible };
    let seen = Buffer::new(vulkan, &info)?;
    let queue = vulkan.queue();
    let handover = Handover::new(buffer, Counterpart::External, queue.family(), BufferAccess::TRANSFER_READ);
    let copy = |commands| {
        let acquire = [handover.acquire()];
        let region = [vk::BufferCopy::default().size(size)];
        let to_host = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::HOST)
            .dst_access_mask(vk::AccessFlags2::HOST_READ)];
        let acquire = vk::DependencyInfo::default().buffer_memory_barriers(&acquire);
        let to_host = vk::DependencyInfo::default().memory_barriers(&to_host);
        // SAFETY: recording, outside a render pass; the buffer is CUDA's until here, whose work has
        // ended.
        unsafe { vulkan.cmd_pipeline_barrier2(commands, &acquire) };
        // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: both have `size` bytes; the usages are
        // those of a copy.
        unsafe { vulkan.as_raw().cmd_copy_buffer(commands, buffer.as_raw(), seen.as_raw(), &region) };
        // SAFETY: recording, outside a render pass.
        unsafe { vulkan.cmd_pipeline_barrier2(commands, &to_host) };
    };
    // SAFETY: the queue is the device's own; the commands keep their Valid Usage, see above.
    let commands = unsafe { OneTimeCommands::record(vulkan, queue, NAME, copy) }?;
    match run_commands(vulkan, queue, &commands)? {
        Ok(()) => {}
        Err(error) if error.is_device_lost() => return Err(error.into()),
        Err(error) => {
            copying.set(true);
            std::mem::forget((commands, seen));
            return Err(error.into());
        }
    }
    let Some(start) = seen.host_ptr() else { return Ok(Vec::new()) };
    // SAFETY: the mapping has `size` bytes; the copy has ended, with a barrier to the host behind
    // it.
    let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), 4 * len) };
    Ok(bytemuck::pod_collect_to_vec(bytes))
}

/// Submits the commands and waits for them. The outer error means that nothing was submitted, the
/// inner one that the wait failed and the commands may still be running.
fn run_commands(device: &ExportDevice, queue: &Queue, commands: &OneTimeCommands) -> Result<vk_export::Result<()>> {
    let info = SemaphoreInfo { name: NAME, kind: SemaphoreKind::Timeline, exportable: false };
    let done = Semaphore::new(device, &info)?;
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands.as_raw())];
    let signals = [vk::SemaphoreSubmitInfo::default()
        .semaphore(done.as_raw())
        .value(1)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: recorded for this queue, alive until the wait below has seen it end, or forever.
    unsafe { queue.submit(&[batch], vk::Fence::null()) }?;
    let waited = done.wait(1, LIMIT);
    if waited.is_err() {
        std::mem::forget(done);
    }
    Ok(waited)
}
