//! Work of a given duration that ends by writing a word that the host polls.
#![allow(unsafe_code)] // Vulkan calls and kernel launches.

use std::ffi::c_void;
use std::time::Duration;

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::sys::{CUdeviceptr, CUstream};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::gpu::Gpu;
use crate::raw::commands::{Commands, submit};
use crate::raw::cuda::Kernel;
use crate::raw::fence::Fence;

/// The kernel that runs for a given duration.
pub(super) struct Spin {
    pub(super) kernel: Kernel,
    /// Device address of the word that the kernel writes at its end.
    pub(super) word: CUdeviceptr,
    pub(super) work: Duration,
}

impl Spin {
    /// # Safety
    /// The word lives until the stream's work is done.
    pub(super) unsafe fn launch(&self, stream: CUstream, mut value: u32) -> Result<()> {
        let mut word = self.word;
        let mut nanoseconds = self.work.as_nanos() as u64;
        let arguments: [*mut c_void; 3] =
            [(&raw mut word).cast(), (&raw mut value).cast(), (&raw mut nanoseconds).cast()];
        // SAFETY: the kernel's three parameters, of these types; it writes one word.
        unsafe { self.kernel.launch(stream, 1, 1, arguments) }
    }
}

/// Queue work of a given duration that ends by writing a word.
pub(super) struct Fills {
    commands: Commands,
    scratch: LocalBuffer,
    word: LocalBuffer,
    repeats: u32,
    device: ExportDevice,
}

impl Fills {
    pub(super) fn new(gpu: &Gpu, work: Duration) -> Result<Self> {
        /// Large enough that the launch is not most of the time, small enough for a software
        /// device.
        const SCRATCH: u64 = 4 << 20;
        const TRIAL: u32 = 32;
        let device = &gpu.device;
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let mut fills = Self {
            commands: Commands::new(device, device.queue(), 1)?,
            scratch: LocalBuffer::new(device, "scratch", SCRATCH, usage, MemoryLocation::GpuOnly)?,
            word: LocalBuffer::new(device, "word", 4, usage, MemoryLocation::GpuToCpu)?,
            repeats: TRIAL,
            device: device.clone(),
        };
        // SAFETY: the buffer is new, and no GPU work uses it yet.
        unsafe { fills.word.bytes_mut() }.context("the word is not mapped")?.fill(0);
        let fence = Fence::new(device)?;
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            // Sets the word back to 0, before it is watched.
            let commands = fills.record(0, |_| (), |_| ())?;
            let start = std::time::Instant::now();
            // SAFETY: recorded for this queue, and waited for.
            unsafe { submit(device, device.queue(), None, &[commands], None, fence.as_raw()) }?;
            fence.spin()?;
            took = start.elapsed();
        }
        let one = took.as_secs_f64() / f64::from(TRIAL);
        fills.repeats = (work.as_secs_f64() / one).round().clamp(1.0, 65536.0) as u32;
        Ok(fills)
    }

    /// Returns the address of the word, which is 0.
    pub(super) fn word(&self) -> Result<*mut u8> {
        Ok(self.word.host_ptr().context("the word is not mapped")?.as_ptr())
    }

    /// Records the work, with more commands before and after it. The GPU must be done with the
    /// previous recording.
    pub(super) fn record(
        &self,
        value: u32,
        before: impl FnOnce(vk::CommandBuffer),
        after: impl FnOnce(vk::CommandBuffer),
    ) -> Result<vk::CommandBuffer> {
        let raw = self.device.as_raw();
        let barrier = |commands, stage, access| {
            let barriers = [vk::MemoryBarrier2::default()
                .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
                .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
                .dst_stage_mask(stage)
                .dst_access_mask(access)];
            let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
            // SAFETY: recording.
            unsafe { raw.cmd_pipeline_barrier2(commands, &dependency) };
        };
        let transfer = (vk::PipelineStageFlags2::ALL_TRANSFER, vk::AccessFlags2::TRANSFER_WRITE);
        let record = |commands| {
            before(commands);
            for _ in 0..self.repeats {
                // SAFETY: VUID-vkCmdFillBuffer-dstOffset-00024: inside the buffer, in multiples of
                // four.
                unsafe { raw.cmd_fill_buffer(commands, self.scratch.as_raw(), 0, vk::WHOLE_SIZE, value) };
                barrier(commands, transfer.0, transfer.1);
            }
            // SAFETY: VUID-vkCmdFillBuffer-dstOffset-00024: as for the scratch buffer.
            unsafe { raw.cmd_fill_buffer(commands, self.word.as_raw(), 0, 4, value) };
            barrier(commands, vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ);
            after(commands);
        };
        // SAFETY: every sample waits for its submission before the next is recorded.
        unsafe { self.commands.record(0, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, record) }
    }
}
