//! Trial of sharing frames: the compute side writes, Vulkan copies, and the host compares every
//! word.
#![allow(unsafe_code)] // Recording and submitting commands.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::cuda_import::CudaDevice;
use bridge::vk_export::DeviceSelector;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, ComputeTurn, Exchange, ExchangeInfo, ExportDevice, OpenInfo,
    RenderTurn, TimelinePoint, Work,
};
use serde::Serialize;
use vk_local::{LocalBuffer, MemoryLocation};

const SLOTS: usize = 2;
/// Number of frames. Every slot is used several times, so that a slot that is reused too early, or
/// is stale, is noticed.
const FRAMES: u32 = 8;
const WORDS: usize = 64 << 10;
const SIZE: u64 = (WORDS * size_of::<u32>()) as u64;
/// Limit of every wait. The slowest frame takes a few milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

type Words = BufferSpec<u32>;
/// The error of a failed step.
pub(super) type Failed = Box<dyn std::error::Error>;

/// The result of sharing on one device.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// `cuda` or `host`; `peer` for CUDA on another GPU than Vulkan.
    pub backend: String,
    /// The CUDA device that computes, if it is a different GPU.
    pub peer: Option<String>,
    /// The Vulkan device's name, or the requested device if none could be opened.
    pub device: String,
    /// The UUID of the Vulkan device, if it could be opened.
    pub uuid: Option<String>,
    /// Number of frames that arrived with correct contents.
    pub frames: u32,
    /// Bytes per frame.
    pub bytes: u64,
    /// The failure, if the trial failed.
    pub failure: Option<Failure>,
    /// Duration of each completed step.
    pub times: Times,
}

/// The step and the reason of a failure.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The failed step.
    pub step: &'static str,
    /// The error message.
    pub error: String,
}

/// Durations of the steps, in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Times {
    /// Opening the Vulkan device.
    pub device_ms: Option<f64>,
    /// Opening the compute side.
    pub compute_ms: Option<f64>,
    /// Allocating, exporting, importing and mapping two slots and two timelines.
    pub share_ms: Option<f64>,
    /// The first frame, from its beginning until the host has read it.
    pub first_frame_ms: Option<f64>,
    /// The median of the later frames. Each frame is waited for, so this is a latency and not a
    /// rate.
    pub frame_ms: Option<f64>,
}

impl Trial {
    /// Returns `true` if all frames arrived with correct contents.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// Opens the device and shares frames on it.
pub(super) fn run(selector: DeviceSelector, backend: Backend) -> Trial {
    with(selector, backend.to_string(), None, |device| Ok(Compute::new(device, backend)?))
}

/// Opens the device and shares frames that the CUDA device `peer`, a different GPU, computes in its
/// memory.
pub(super) fn run_peer(selector: DeviceSelector, peer: &super::CudaDevice) -> Trial {
    let name = format!("{} [{}]", peer.name, peer.ordinal);
    with(selector, "peer".to_owned(), Some(name), |device| {
        Ok(Compute::on_peer(device, &CudaDevice::by_uuid(peer.uuid.parse()?)?)?)
    })
}

fn with(
    selector: DeviceSelector,
    backend: String,
    peer: Option<String>,
    open: impl FnOnce(&ExportDevice) -> Result<Compute, Failed>,
) -> Trial {
    let mut trial = Trial {
        backend,
        peer,
        device: selector.to_string(),
        uuid: None,
        frames: 0,
        bytes: SIZE,
        failure: None,
        times: Times::default(),
    };
    let mut step = "opening the Vulkan device";
    if let Err(error) = attempt(selector, open, &mut trial, &mut step) {
        trial.failure = Some(Failure { step, error: error.to_string() });
    }
    trial
}

fn attempt(
    selector: DeviceSelector,
    open: impl FnOnce(&ExportDevice) -> Result<Compute, Failed>,
    trial: &mut Trial,
    step: &mut &'static str,
) -> Result<(), Failed> {
    let start = Instant::now();
    let device = ExportDevice::open(&OpenInfo { application_name: "doctor", device: selector, ..OpenInfo::default() })?;
    trial.times.device_ms = Some(milliseconds(start));
    trial.device = device.name().to_owned();
    trial.uuid = Some(device.uuid().to_string());

    *step = "opening the compute side";
    let start = Instant::now();
    let compute = open(&device)?;
    trial.times.compute_ms = Some(milliseconds(start));

    *step = "sharing buffers and timelines";
    let start = Instant::now();
    let info = ExchangeInfo { name: "doctor", slots: SLOTS, timeout: LIMIT, ..Default::default() };
    let mut exchange = Exchange::new(&compute, &info, Words::new(WORDS, BufferAccess::TRANSFER_READ))?;
    trial.times.share_ms = Some(milliseconds(start));

    let mut readback = Readback::new(&device)?;
    let mut later = Vec::new();
    for frame in 0..FRAMES {
        let expected: Vec<u32> = (0..WORDS).map(|i| word(frame, i)).collect();
        let start = Instant::now();
        *step = "computing a frame";
        let mut turn = exchange.begin()?;
        write(&mut turn, frame, &expected)?;
        let turn = turn.finish()?;
        *step = "reading a frame in Vulkan";
        let found = readback.frame(turn)?;
        let took = milliseconds(start);
        *step = "comparing a frame";
        compare(frame, &expected, &found)?;
        trial.frames += 1;
        match trial.times.first_frame_ms {
            None => trial.times.first_frame_ms = Some(took),
            Some(_) => later.push(took),
        }
    }
    later.sort_by(f64::total_cmp);
    trial.times.frame_ms = later.get(later.len() / 2).copied();
    *step = "closing";
    exchange.close()?;
    Ok(())
}

/// Returns the elapsed time, rounded to microseconds.
pub(super) fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

/// Returns a word of a frame. Frames differ in every word, so a stale word is detected as wrong.
fn word(frame: u32, index: usize) -> u32 {
    // The multiplier is odd, so distinct numbers stay distinct; the buffer has far fewer words than
    // 2^28.
    (frame << 28 | u32::try_from(index).unwrap_or(0)).wrapping_mul(0x9e37_79b1)
}

fn write(turn: &mut ComputeTurn<Words>, frame: u32, expected: &[u32]) -> Result<(), Failed> {
    match turn.work() {
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(expected, &mut cuda.resources)?,
        Work::Host(host) => {
            host.run(move |words| words.iter_mut().enumerate().for_each(|(i, place)| *place = word(frame, i)))?;
        }
        _ => return Err("the doctor has no trial of this backend".into()),
    }
    Ok(())
}

fn compare(frame: u32, expected: &[u32], found: &[u32]) -> Result<(), Failed> {
    let mut wrong = expected.iter().zip(found).enumerate().filter(|(_, (expected, found))| expected != found);
    let Some((index, (expected, found))) = wrong.next() else {
        return Ok(());
    };
    let count = wrong.count() + 1;
    Err(format!(
        "{count} of {WORDS} words of frame {frame} are wrong, the first at {index}: {found:#010x} instead of \
         {expected:#010x}; memory or order between the two sides is broken"
    )
    .into())
}

/// A command buffer, and the host-visible buffer that it copies to.
struct Readback {
    device: ExportDevice,
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
    /// Freed by `drop`, only after the GPU has finished with it.
    target: ManuallyDrop<LocalBuffer>,
    last: Option<TimelinePoint>,
}

impl Readback {
    fn new(device: &ExportDevice) -> Result<Self, Failed> {
        let raw = device.as_raw();
        let target =
            LocalBuffer::new(device, "readback", SIZE, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuToCpu)?;
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(device.queue().family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family is that of the
        // device's own queue.
        let pool = unsafe { raw.create_command_pool(&info, None) }?;
        // Created here so that a later failure drops the pool.
        let mut readback = Self {
            device: device.clone(),
            pool,
            commands: vk::CommandBuffer::null(),
            target: ManuallyDrop::new(target),
            last: None,
        };
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo::commandBufferCount-arraylength: the
        // count is 1.
        let commands = unsafe { raw.allocate_command_buffers(&info) }?;
        readback.commands = commands.first().copied().unwrap_or_default();
        Ok(readback)
    }

    /// Acquires the frame, copies it, releases it, and waits for completion.
    fn frame(&mut self, turn: RenderTurn<Words>) -> Result<Vec<u32>, Failed> {
        self.record(&turn)?;
        // SAFETY: the commands contain this turn's barriers; the commands and the target live until
        // the point is reached, see `drop`.
        let point = unsafe { turn.submit(&[self.commands]) }?;
        self.last = Some(point.clone());
        point.wait(LIMIT)?;
        // SAFETY: the frame was waited for above, and its copy was made visible to the host; the
        // next frame is recorded later.
        let bytes = unsafe { self.target.bytes() }.ok_or("the read-back memory is not mapped")?;
        Ok(bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect())
    }

    fn record(&self, turn: &RenderTurn<Words>) -> Result<(), Failed> {
        let raw = self.device.as_raw();
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: the command buffer is not pending,
        // since `frame` waits for each submission.
        unsafe { raw.begin_command_buffer(self.commands, &begin) }?;
        // SAFETY: the command buffer is recording, outside a render pass, for the family of the
        // device's queue, and is submitted with this turn.
        unsafe { turn.record_acquire(self.commands) };
        let region = [vk::BufferCopy::default().size(SIZE)];
        let source = turn.resources().as_raw();
        // SAFETY: VUID-vkCmdCopyBuffer-size-00115 and -00116: both buffers have SIZE bytes; the
        // acquire made the source readable.
        unsafe { raw.cmd_copy_buffer(self.commands, source, self.target.as_raw(), &region) };
        // SAFETY: as for the acquire.
        unsafe { turn.record_release(self.commands) };
        let to_host = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::HOST)
            .dst_access_mask(vk::AccessFlags2::HOST_READ)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&to_host);
        // SAFETY: VUID-vkCmdPipelineBarrier2-commandBuffer-recording: recording was begun above.
        unsafe { self.device.cmd_pipeline_barrier2(self.commands, &dependency) };
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording was begun above.
        unsafe { raw.end_command_buffer(self.commands) }?;
        Ok(())
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        // After a wait that timed out, the GPU may still be busy, and waiting without a limit could
        // hang.
        if self.last.as_ref().is_some_and(|point| !point.is_reached().unwrap_or(false)) {
            log::error!("the read-back buffer is leaked: its last frame has not ended");
            return;
        }
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: the last submission was seen to have
        // ended.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
        // SAFETY: it is dropped only here, once, and the GPU has finished with it.
        unsafe { ManuallyDrop::drop(&mut self.target) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_differ_in_every_word() {
        for index in [0, 1, WORDS - 1] {
            let mut words: Vec<_> = (0..FRAMES).map(|frame| word(frame, index)).collect();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), FRAMES as usize);
        }
        assert_ne!(word(0, 1), 0, "fresh memory would pass");
    }

    #[test]
    fn a_stale_word_is_reported() {
        let expected: Vec<_> = (0..WORDS).map(|i| word(3, i)).collect();
        compare(3, &expected, &expected).unwrap();
        let mut found = expected.clone();
        found[17] = word(1, 17);
        found[99] = 0;
        let text = compare(3, &expected, &found).unwrap_err().to_string();
        assert!(text.starts_with("2 of 65536 words of frame 3 are wrong, the first at 17"), "{text}");
    }
}
