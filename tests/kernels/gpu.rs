//! A device with CUDA kernels in its queue, and what the tests record.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bridge::ash::vk;
use bridge::vk_export::{
    Buffer, BufferInfo, CUDA_KERNEL_EXTENSIONS, Error, ExportDevice, Kernel, KernelModule, LaunchConfig, Placement,
    Ptx, PtxEntry, Queue, Validation, VulkanDeviceReport, report,
};
use bridge::{OpenInfo, QueueKind};
use bridge_tests::{Need, Rig, skip};

/// A device that all tests of the program share, one at a time, as described at `Rig`.
pub(crate) struct Gpu {
    pub(crate) device: ExportDevice,
    reported: usize,
    _turn: MutexGuard<'static, ()>,
}

/// An access scope: stages with accesses.
pub(crate) type Scope = (vk::PipelineStageFlags2, vk::AccessFlags2);

pub(crate) const TRANSFER: Scope = (
    vk::PipelineStageFlags2::ALL_TRANSFER,
    vk::AccessFlags2::from_raw(vk::AccessFlags2::TRANSFER_READ.as_raw() | vk::AccessFlags2::TRANSFER_WRITE.as_raw()),
);
pub(crate) const KERNEL: Scope = (
    vk::PipelineStageFlags2::COMPUTE_SHADER,
    vk::AccessFlags2::from_raw(
        vk::AccessFlags2::SHADER_STORAGE_READ.as_raw() | vk::AccessFlags2::SHADER_STORAGE_WRITE.as_raw(),
    ),
);

/// Opens a device with kernels. Returns `None` if the machine has no driver that supports them.
pub(crate) fn open() -> Option<ExportDevice> {
    let has = |found: &VulkanDeviceReport| CUDA_KERNEL_EXTENSIONS.iter().all(|name| found.info.has_extension(name));
    let on_device = report().unwrap().devices.iter().any(has);
    let info = OpenInfo { cuda_kernels: true, validation: Validation::IfPresent, ..OpenInfo::default() };
    match ExportDevice::open(&info) {
        Ok(device) => Some(device),
        Err(Error::NoDevice { .. }) if !on_device => None,
        Err(error) => panic!("{error}"),
    }
}

impl Gpu {
    /// Opens the device, or skips the test.
    pub(crate) fn new() -> Option<Self> {
        static DEVICE: OnceLock<Option<ExportDevice>> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(device) = DEVICE.get_or_init(open).clone() else {
            skip(Need::Gpu, "no device has VK_NVX_binary_import");
            return None;
        };
        let reported = device.validation_messages().len();
        Some(Self { device, reported, _turn: turn })
    }

    /// The queues that can launch kernels.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Queue> {
        [QueueKind::Graphics, QueueKind::Compute].into_iter().filter_map(|kind| self.device.queue_of(kind))
    }

    pub(crate) fn module(&self, text: &str) -> KernelModule {
        KernelModule::new(&self.device, "tests", &Ptx::new(text).unwrap()).unwrap()
    }

    /// A buffer of `len` words for kernels and copies.
    pub(crate) fn buffer(&self, len: usize, placement: Placement) -> Buffer {
        use vk::BufferUsageFlags as Usage;
        let usage = Usage::STORAGE_BUFFER | Usage::TRANSFER_SRC | Usage::TRANSFER_DST | Usage::SHADER_DEVICE_ADDRESS;
        let info = BufferInfo { name: "words", size: 4 * len as u64, usage, placement };
        Buffer::new(&self.device, &info).unwrap()
    }

    /// A buffer that the host has filled.
    pub(crate) fn filled(&self, words: &[u32]) -> Buffer {
        let buffer = self.buffer(words.len(), Placement::HostVisible);
        let start = buffer.host_ptr().unwrap().cast::<u32>();
        // SAFETY: that many words are mapped, and the GPU does not use the buffer yet.
        unsafe { start.copy_from_nonoverlapping(std::ptr::NonNull::from(words).cast(), words.len()) };
        buffer
    }

    /// Returns the contents of a mapped buffer; everything that writes it has been waited for.
    pub(crate) fn words(&self, buffer: &Buffer) -> Vec<u32> {
        let (start, len) = (buffer.host_ptr().unwrap().cast::<u32>(), buffer.size() as usize / 4);
        // SAFETY: that many words are mapped, and nothing writes them now.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }.to_vec()
    }

    /// Records, submits and waits; the results of the recorded commands are made visible to the
    /// host.
    pub(crate) fn run(&self, queue: &Queue, record: impl FnOnce(vk::CommandBuffer)) {
        // SAFETY: the tests record valid commands; everything that these use outlives the wait.
        let done = unsafe {
            self.device.run_once(queue, "kernels", Rig::LONG, |commands| {
                record(commands);
                let written = (KERNEL.0 | TRANSFER.0, KERNEL.1 | TRANSFER.1);
                self.barrier(commands, written, (vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ));
            })
        };
        done.unwrap();
    }

    pub(crate) fn barrier(&self, commands: vk::CommandBuffer, before: Scope, after: Scope) {
        let barrier = [vk::MemoryBarrier2::default()
            .src_stage_mask(before.0)
            .src_access_mask(before.1)
            .dst_stage_mask(after.0)
            .dst_access_mask(after.1)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
        // SAFETY: recording.
        unsafe { self.device.cmd_pipeline_barrier2(commands, &dependency) };
    }

    pub(crate) fn fill(&self, commands: vk::CommandBuffer, buffer: &Buffer, word: u32) {
        // SAFETY: recording; the whole of a buffer that can be a transfer destination.
        unsafe { self.device.as_raw().cmd_fill_buffer(commands, buffer.as_raw(), 0, vk::WHOLE_SIZE, word) };
    }

    pub(crate) fn copy(&self, commands: vk::CommandBuffer, from: &Buffer, to: &Buffer) {
        let region = [vk::BufferCopy::default().size(from.size().min(to.size()))];
        // SAFETY: recording; the region is inside both buffers.
        unsafe { self.device.as_raw().cmd_copy_buffer(commands, from.as_raw(), to.as_raw(), &region) };
    }
}

/// Records a launch whose arguments were checked by the test.
pub(crate) fn launch(kernel: &Kernel, commands: vk::CommandBuffer, config: LaunchConfig, args: &[&[u8]]) {
    let args = pack(kernel.entry(), args);
    // SAFETY: recording, outside of a render pass; addresses and handles refer to objects that
    // outlive the wait.
    unsafe { kernel.record(commands, &config, &args) }.unwrap();
}

/// Packs the arguments at the offsets that the kernel expects.
pub(crate) fn pack(entry: &PtxEntry, args: &[&[u8]]) -> Vec<u8> {
    assert_eq!(args.len(), entry.params().len());
    let mut packed = vec![0; entry.args_size()];
    for (param, arg) in entry.params().iter().zip(args) {
        packed[param.offset..param.offset + param.size].copy_from_slice(arg);
    }
    packed
}

/// The address of a buffer as an argument.
pub(crate) fn address(buffer: &Buffer) -> [u8; 8] {
    buffer.device_address().unwrap().to_ne_bytes()
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let messages = self.device.validation_messages().split_off(self.reported);
        if std::thread::panicking() {
            messages.iter().for_each(|message| eprintln!("the validation layer said: {message:#?}"));
        } else {
            assert!(messages.is_empty(), "the validation layer said: {messages:#?}");
        }
    }
}
