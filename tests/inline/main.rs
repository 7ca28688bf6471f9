//! Work that is recorded into command buffers of the Vulkan queue: the ordering that replaces
//! semaphores.
//!
//! Kernels need an NVIDIA GPU; the ordering is the same for other commands, which every device
//! supports.
#![allow(unsafe_code)] // Recording and submissions.
#![allow(clippy::unwrap_used)] // Tests.

mod grow;
mod kernels;
mod locked;
mod order;
mod recording;
mod refused;

use std::time::Instant;

use bridge::ash::vk;
use bridge::{
    BufferAccess, BufferSpec, Compute, ComputeTurn, Direction, Exchange, ExchangeInfo, ExportDevice, KernelWork,
    LiveObjects, QueueKind, Work,
};
use bridge_tests::Rig;

const LEN: usize = 4 << 10;
const SIZE: u64 = 4 * LEN as u64;

type Words = BufferSpec<u32>;

/// The inline compute side of the tests' device, which the validation layer checks.
struct Inline {
    // Field order is drop order.
    compute: Compute,
    device: ExportDevice,
    _rig: Rig,
}

impl Inline {
    fn open() -> Self {
        let rig = Rig::open();
        // Objects that the previous test has dropped may be destroyed on another thread; the tests
        // compare the objects alive before and after.
        let start = Instant::now();
        while !LiveObjects::now().is_empty() {
            assert!(start.elapsed() < Rig::LONG, "{}", LiveObjects::now());
            std::thread::yield_now();
        }
        let device = rig.device().clone();
        Self { compute: Compute::inline(&device, QueueKind::Graphics).unwrap(), device, _rig: rig }
    }

    fn exchange(&self, name: &str, slots: usize) -> Exchange<Words> {
        Exchange::new(&self.compute, &info(name, slots), words()).unwrap()
    }

    /// Ends the test: checks that the layer has reported nothing.
    fn finish(self) {}
}

fn info(name: &str, slots: usize) -> ExchangeInfo<'_> {
    ExchangeInfo { name, slots, timeout: Rig::LONG, ..Default::default() }
}

fn words() -> Words {
    BufferSpec::new(LEN, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE)
}

fn work<D: Direction>(turn: &mut ComputeTurn<Words, D>) -> KernelWork<'_, Words> {
    match turn.work() {
        Work::Inline(work) => work,
        _ => panic!("the work is not in command buffers"),
    }
}

/// Records: fill a turn's buffer with one word.
fn fill<D: Direction>(inline: &Inline, turn: &mut ComputeTurn<Words, D>, word: u32) {
    fill_on(&inline.device, turn, word);
}

/// Like [`fill`], on any thread.
fn fill_on<D: Direction>(device: &ExportDevice, turn: &mut ComputeTurn<Words, D>, word: u32) {
    let work = work(turn);
    let buffer = work.resources.as_raw().unwrap();
    let record = |commands| {
        transfer_after(device, commands);
        // SAFETY: recording; the buffer consists of whole words, and may be filled.
        unsafe { device.as_raw().cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, word) };
        transfer_before(device, commands);
    };
    // SAFETY: the fill has barriers from and to the surrounding commands, and uses the turn's own
    // buffer.
    unsafe { work.record(record) }.unwrap();
}

/// Records: copy the buffer of one turn into that of another, as a part of the second turn's work.
fn copy<D: Direction, E: Direction>(inline: &Inline, from: &mut ComputeTurn<Words, D>, to: &mut ComputeTurn<Words, E>) {
    let (from, to) = (work(from), work(to));
    let (source, target) = (from.resources.as_raw().unwrap(), to.resources.as_raw().unwrap());
    let record = |commands| {
        transfer_after(&inline.device, commands);
        let region = [vk::BufferCopy::default().size(SIZE)];
        // SAFETY: recording; both buffers have this size, and may be copied.
        unsafe { inline.device.as_raw().cmd_copy_buffer(commands, source, target, &region) };
        transfer_before(&inline.device, commands);
    };
    // SAFETY: as in `fill`, with the buffers of both turns.
    unsafe { to.record(record) }.unwrap();
}

fn transfer_after(device: &ExportDevice, commands: vk::CommandBuffer) {
    barrier(device, commands, vk::PipelineStageFlags2::COMPUTE_SHADER, vk::PipelineStageFlags2::ALL_TRANSFER);
}

fn transfer_before(device: &ExportDevice, commands: vk::CommandBuffer) {
    barrier(device, commands, vk::PipelineStageFlags2::ALL_TRANSFER, vk::PipelineStageFlags2::COMPUTE_SHADER);
}

fn barrier(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    from: vk::PipelineStageFlags2,
    to: vk::PipelineStageFlags2,
) {
    let all = vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE;
    let barrier = [vk::MemoryBarrier2::default()
        .src_stage_mask(from)
        .src_access_mask(all)
        .dst_stage_mask(to)
        .dst_access_mask(all)];
    let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
    // SAFETY: recording, outside a render pass.
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}
