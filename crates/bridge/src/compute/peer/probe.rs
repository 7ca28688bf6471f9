//! Probe of whether a GPU can compute for another GPU. It tries timelines and memory, since neither
//! the Vulkan nor the CUDA specification guarantees that these imports work, and a driver may
//! accept an import and then access something else.
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
use crate::compute::host::stream::retry_signal;
use crate::compute::import;
use crate::error::{Error, Result};
use crate::timeline::host_signal::signal;
use crate::timeline::wait;

/// Time limit for each part of the probe.
const LIMIT: Duration = Duration::from_secs(5);

/// Number of elements that each GPU writes.
const LEN: usize = 1024;

const NAME: &str = "peer probe";

/// A GPU that failed the probe, and the reason.
pub(super) struct Failed {
    /// Index of the GPU in the group.
    pub(super) gpu: usize,
    pub(super) reason: String,
}

impl Failed {
    fn new(gpu: usize, what: &str, error: impl Display) -> Self {
        Self { gpu, reason: format!("{what}: {error}") }
    }
}

/// Probes timelines on the leading GPU, and memory on all GPUs.
pub(super) fn run(gpus: &Gpus, vulkan: &ExportDevice) -> Result<(), Failed> {
    timelines(gpus, vulkan)?;
    contents(gpus, vulkan)
}

/// Signals a timeline from each side and checks that the other side sees the signal.
fn timelines(gpus: &Gpus, vulkan: &ExportDevice) -> Result<(), Failed> {
    let failed = |error: &dyn Display| Failed::new(0, "its timelines do not work there", error);
    let info = SemaphoreInfo { name: NAME, kind: SemaphoreKind::Timeline, exportable: true };
    let made = Semaphore::new(vulkan, &info).map_err(|error| failed(&error))?;
    let imported = import::semaphore(&made, gpus).map_err(|error| failed(&error))?;
    let stream = gpus.stream();
    let pending = Cell::new(false);
    let there_and_back = || -> Result<Option<&'static str>> {
        // SAFETY: the values increase; the stream and the semaphore outlive the signal, or are
        // forgotten below.
        unsafe { signal_one(stream, &imported, 1) }?;
        pending.set(true);
        if !wait::poll(LIMIT, || Ok(made.value()? >= 1), || Ok(query(stream).map(|_| ())?))? {
            return Ok(Some("Vulkan did not see a signal from CUDA"));
        }
        // SAFETY: the host signals the value next; both objects outlive the wait, or are forgotten
        // below.
        let waits = unsafe { wait_one(stream, &imported, 2) };
        let end = record_event(stream);
        // Signaled even if something has failed: while a stream waits, the driver frees nothing of
        // its context.
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the counter is 1, and no other
        // signal is pending.
        retry_signal(NAME, &|| unsafe { signal(&made, 2) })?;
        waits?;
        let end = end?;
        if !wait::poll(LIMIT, || Ok(end.is_reached()?), || Ok(()))? {
            return Ok(Some("CUDA did not see a signal from Vulkan"));
        }
        pending.set(false);
        Ok(None)
    };
    let outcome = there_and_back();
    if pending.get() {
        // The stream may still signal the semaphore or wait for it.
        std::mem::forget((imported, made));
    }
    match outcome {
        Ok(None) => Ok(()),
        Ok(Some(unseen)) => Err(failed(&unseen)),
        Err(error) => Err(failed(&error)),
    }
}

/// Lets each GPU write its part of a buffer, and reads the whole buffer with Vulkan.
fn contents(gpus: &Gpus, vulkan: &ExportDevice) -> Result<(), Failed> {
    let failed = |gpu, error: &dyn Display| Failed::new(gpu, "its memory cannot be written there", error);
    let len = LEN * gpus.len();
    let access = BufferAccess::TRANSFER_READ;
    let info = BufferInfo { name: NAME, size: 4 * len as u64, usage: access.usage, placement: Placement::Peers };
    let buffer = Buffer::new(vulkan, &info).map_err(|error| failed(0, &error))?;
    let memory = import::memory(&buffer, gpus).map_err(|error| failed(0, &error))?;
    let place = BufferMappingInfo { offset: 0, len };
    let mapped = MappedBuffer::<u32>::map_on(&memory, &place, gpus.streams()).map_err(|error| failed(0, &error))?;
    drop(memory);
    let written = gpus.streams().iter().enumerate().try_for_each(|(gpu, stream)| {
        let failed = |error: &dyn Display| failed(gpu, error);
        // SAFETY: nothing else uses the buffer, and the parts are disjoint.
        let part = unsafe { mapped.part_mut_unchecked(gpu, gpu * LEN..(gpu + 1) * LEN) };
        let mut part = part.ok_or_else(|| failed(&"it has no part of the buffer"))?;
        let words = expected_words(gpu);
        stream.memcpy_htod(&words, &mut part).map_err(|error| failed(&error))?;
        wait_for_stream(stream, words).map(drop).map_err(|error| failed(&error))
    });
    let copying = Cell::new(false);
    let seen = written.and_then(|()| match vulkan.queues_are_synchronized() {
        true => read(vulkan, &buffer, len, &copying).map_err(|error| failed(0, &error)),
        false => read_with_cuda(gpus.stream(), &mapped).map_err(|error| failed(0, &error)),
    });
    let closed = mapped.close();
    if closed.is_err() || copying.get() {
        // Memory that is still mapped or copied from must not be reused.
        std::mem::forget(buffer);
    }
    // Report the failed GPU first: if its copy has not ended, closing fails as well.
    let seen = seen?;
    closed.map_err(|error| failed(0, &error))?;
    let wrong = (0..gpus.len()).find(|&gpu| seen.get(gpu * LEN..(gpu + 1) * LEN) != Some(&expected_words(gpu)[..]));
    match wrong {
        Some(gpu) => Err(failed(gpu, &"the memory does not contain what CUDA wrote")),
        None => Ok(()),
    }
}

/// Returns the values that a GPU writes.
fn expected_words(gpu: usize) -> Vec<u32> {
    (0..LEN).map(|i| 0x9e37_79b9_u32.wrapping_mul((gpu * LEN + i + 1) as u32)).collect()
}

/// Waits until the stream has completed its enqueued work, which uses `used`. If that exceeds the
/// limit, `used` is leaked.
fn wait_for_stream<T>(stream: &CudaStream, used: T) -> Result<T, String> {
    let reached = record_event(stream)
        .map_err(Error::from)
        .and_then(|end| wait::poll(LIMIT, || Ok(end.is_reached()?), || Ok(())));
    let unfinished = match reached {
        Ok(true) => return Ok(used),
        Ok(false) => format!("a copy did not finish within {LIMIT:?}"),
        Err(error) => error.to_string(),
    };
    std::mem::forget(used);
    Err(unfinished)
}

/// Reads the buffer with CUDA, on the leading GPU.
fn read_with_cuda(stream: &Arc<CudaStream>, mapped: &MappedBuffer<u32>) -> Result<Vec<u32>, String> {
    let to_text = |error: DriverError| error.to_string();
    // Pinned, since a copy to pageable memory could block without a limit. The copy below
    // overwrites all of it before it is read.
    // SAFETY: all bit patterns are valid for `u32`.
    let mut seen = unsafe { stream.context().alloc_pinned::<u32>(mapped.len()) }.map_err(to_text)?;
    let copied = stream.memcpy_dtoh(&mapped.view(), &mut seen).map_err(to_text);
    // Dropping the pinned memory waits for the copy.
    let seen = wait_for_stream(stream, seen)?;
    copied.and_then(|()| Ok(seen.as_slice().map_err(to_text)?.to_vec()))
}

/// Reads the buffer with Vulkan. Sets `copying` if a copy from it may still be running after an
/// error.
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
        // SAFETY: recording, outside a render pass; CUDA owned the buffer until here, and its work
        // has ended.
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
    // SAFETY: the mapping has `size` bytes; the copy has ended, followed by a barrier to the host.
    let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), 4 * len) };
    Ok(bytemuck::pod_collect_to_vec(bytes))
}

/// Submits the commands and waits for them. The outer error means that nothing was submitted. The
/// inner error means that the wait failed and the commands may still be running.
fn run_commands(device: &ExportDevice, queue: &Queue, commands: &OneTimeCommands) -> Result<vk_export::Result<()>> {
    let info = SemaphoreInfo { name: NAME, kind: SemaphoreKind::Timeline, exportable: false };
    let done = Semaphore::new(device, &info)?;
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands.as_raw())];
    let signals = [vk::SemaphoreSubmitInfo::default()
        .semaphore(done.as_raw())
        .value(1)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: the commands were recorded for this queue, and live until the wait below has seen
    // their end, or are leaked.
    unsafe { queue.submit(&[batch], vk::Fence::null()) }?;
    let waited = done.wait(1, LIMIT);
    if waited.is_err() {
        std::mem::forget(done);
    }
    Ok(waited)
}
