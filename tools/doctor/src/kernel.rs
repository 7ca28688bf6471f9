//! Trial of a CUDA kernel in a Vulkan queue: the kernel writes a buffer, Vulkan copies it, and the
//! host compares every word.
#![allow(unsafe_code)] // Recording commands.

use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::vk_export::{
    Buffer, BufferInfo, DeviceSelector, ExportDevice, KernelModule, LaunchConfig, OpenInfo, Placement, Ptx,
};
use serde::Serialize;

use super::trial::{Failed, Failure, milliseconds};

const WORDS: u32 = 64 << 10;
/// Limit of the wait. The kernel takes microseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// PTX of a kernel that writes `seed ^ i` to word `i`.
const TEXT: &str = "
.version 6.0
.target sm_50
.address_size 64

.visible .entry mark(.param .u64 out, .param .u32 seed)
{
    .reg .b32 %r<7>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [seed];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    xor.b32 %r6, %r5, %r1;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r5, 4;
    add.s64 %rd4, %rd2, %rd3;
    st.global.u32 [%rd4], %r6;
    ret;
}
";
const SEED: u32 = 0x5eed_0000;

/// The result of launching a kernel in a Vulkan queue of a device.
#[derive(Debug, Clone, Serialize)]
pub struct KernelTrial {
    /// The Vulkan device's name.
    pub device: String,
    /// The failure, if the trial failed.
    pub failure: Option<Failure>,
    /// Duration of loading the module, in milliseconds: less than 1 if the driver has it in its
    /// cache.
    pub load_ms: Option<f64>,
    /// Duration of recording, submitting and waiting, in milliseconds.
    pub run_ms: Option<f64>,
}

impl KernelTrial {
    /// Opens the device and launches a kernel.
    pub(super) fn run(index: usize, device: &str) -> Self {
        let mut trial = Self { device: device.to_owned(), failure: None, load_ms: None, run_ms: None };
        let mut step = "opening the Vulkan device";
        if let Err(error) = trial.attempt(index, &mut step) {
            trial.failure = Some(Failure { step, error: error.to_string() });
        }
        trial
    }

    fn attempt(&mut self, index: usize, step: &mut &'static str) -> Result<(), Failed> {
        let selector = DeviceSelector::Index(index);
        let info = OpenInfo { application_name: "doctor", device: selector, cuda_kernels: true, ..OpenInfo::default() };
        let device = ExportDevice::open(&info)?;

        *step = "loading a module";
        let start = Instant::now();
        let kernel = KernelModule::new(&device, "doctor", &Ptx::new(TEXT)?)?.kernel("mark")?;
        self.load_ms = Some(milliseconds(start));

        *step = "allocating";
        let size = u64::from(WORDS) * 4;
        use vk::BufferUsageFlags as Usage;
        let usage = Usage::STORAGE_BUFFER | Usage::SHADER_DEVICE_ADDRESS | Usage::TRANSFER_SRC;
        let out = Buffer::new(&device, &BufferInfo { name: "out", size, usage, placement: Placement::DeviceLocal })?;
        let (usage, placement) = (Usage::TRANSFER_DST, Placement::HostVisible);
        let seen = Buffer::new(&device, &BufferInfo { name: "seen", size, usage, placement })?;
        let address = out.device_address().ok_or("the buffer has no address")?;
        let args = [&address.to_ne_bytes()[..], &SEED.to_ne_bytes()].concat();
        let config = LaunchConfig::for_elements(WORDS.into(), 256);

        *step = "running a kernel";
        let start = Instant::now();
        let mut recorded = Ok(());
        let record = |commands| {
            // SAFETY: the command buffer is recording, outside a render pass, for the main queue;
            // the address is that of a buffer with a word for each thread. The buffer and the
            // kernel outlive the wait.
            recorded = unsafe { kernel.record(commands, &config, &args) };
            barrier(&device, commands, KERNEL, COPY);
            let region = [vk::BufferCopy::default().size(size)];
            // SAFETY: VUID-vkCmdCopyBuffer-size-00115 and -00116: both buffers have `size` bytes;
            // the barrier orders the copy.
            unsafe { device.as_raw().cmd_copy_buffer(commands, out.as_raw(), seen.as_raw(), &region) };
            barrier(&device, commands, COPY, HOST);
        };
        // SAFETY: the recorded commands are valid, see above.
        let run = unsafe { device.run_once(device.queue(), "kernel", LIMIT, record) };
        if let Err(error) = run {
            // The GPU may still be using these objects, and may never finish.
            std::mem::forget((out, seen, kernel));
            return Err(error.into());
        }
        recorded?;
        self.run_ms = Some(milliseconds(start));

        *step = "comparing";
        let start = seen.host_ptr().ok_or("the read-back memory is not mapped")?.cast::<u32>();
        // SAFETY: `WORDS` words are mapped; the copy has completed and was made visible to the
        // host.
        let words = unsafe { std::slice::from_raw_parts(start.as_ptr(), WORDS as usize) };
        let mut wrong = (0..).zip(words).filter(|(i, word)| **word != SEED ^ i);
        match wrong.next() {
            None => Ok(()),
            Some((i, word)) => {
                let count = wrong.count() + 1;
                Err(format!("{count} of {WORDS} words are wrong, the first at {i}: {word:#010x}").into())
            }
        }
    }
}

type Scope = (vk::PipelineStageFlags2, vk::AccessFlags2);
const KERNEL: Scope = (vk::PipelineStageFlags2::COMPUTE_SHADER, vk::AccessFlags2::SHADER_STORAGE_WRITE);
const COPY: Scope = (
    vk::PipelineStageFlags2::ALL_TRANSFER,
    vk::AccessFlags2::from_raw(vk::AccessFlags2::TRANSFER_READ.as_raw() | vk::AccessFlags2::TRANSFER_WRITE.as_raw()),
);
const HOST: Scope = (vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ);

fn barrier(device: &ExportDevice, commands: vk::CommandBuffer, before: Scope, after: Scope) {
    let barrier = [vk::MemoryBarrier2::default()
        .src_stage_mask(before.0)
        .src_access_mask(before.1)
        .dst_stage_mask(after.0)
        .dst_access_mask(after.1)];
    let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
    // SAFETY: VUID-vkCmdPipelineBarrier2-commandBuffer-recording: the command buffer is recording.
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_the_kernels() {
        let ptx = Ptx::new(TEXT).unwrap();
        let offsets: Vec<_> = ptx.entry("mark").unwrap().params().iter().map(|param| param.offset).collect();
        assert_eq!((offsets, ptx.entries()[0].args_size()), (vec![0, 8], 12));
        assert!(ptx.entries()[0].refused().is_none() && WORDS.is_multiple_of(256));
    }

    #[test]
    fn a_device_without_kernels_is_reported() {
        let Ok(report) = bridge::vk_export::report() else { return };
        for device in report.devices.iter().filter(|device| !device.missing_for_cuda_kernels.is_empty()) {
            let trial = KernelTrial::run(device.index, &device.info.name);
            let failure = trial.failure.unwrap();
            assert_eq!((failure.step, trial.run_ms), ("opening the Vulkan device", None), "{}", failure.error);
        }
    }
}
