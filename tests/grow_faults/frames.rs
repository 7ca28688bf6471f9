//! Frames that write 7 everywhere.

use bridge::ash::vk;
use bridge::{Compute, ComputeFirst, Direction, Exchange, ExportDevice, KernelWork, RenderFirst, Work};
use bridge_tests::Rig;
use vk_local::{LocalBuffer, MemoryLocation};

use crate::Shared;

/// A frame that writes 7 everywhere. With `len`, it checks that there are that many words, the
/// first 8 of which are 7.
pub(crate) trait Walked: Direction {
    fn frame(compute: &Compute, exchange: &mut Exchange<Shared, Self>, len: Option<usize>)
    where
        Self: Sized;
}

impl Walked for ComputeFirst {
    fn frame(compute: &Compute, exchange: &mut Exchange<Shared>, len: Option<usize>) {
        let mut turn = exchange.begin().unwrap();
        let seen = work(compute, turn.work(), len);
        // SAFETY: nothing is recorded.
        unsafe { turn.finish().unwrap().run_once(Rig::LONG, |_, _| {}) }.unwrap();
        check(seen);
    }
}

impl Walked for RenderFirst {
    fn frame(compute: &Compute, exchange: &mut Exchange<Shared, Self>, len: Option<usize>) {
        let turn = exchange.begin().unwrap();
        // SAFETY: nothing is recorded.
        let mut turn = unsafe { turn.run_once(Rig::LONG, |_, _| {}) }.unwrap();
        let seen = work(compute, turn.work(), len);
        let end = turn.finish().unwrap();
        if seen.is_some() {
            end.wait(Rig::LONG).unwrap();
        }
        check(seen);
    }
}

/// Enqueues the work of a frame. If the contents can only be checked when the frame has ended,
/// returns a copy of the first words.
pub(crate) fn work(compute: &Compute, work: Work<'_, Shared>, len: Option<usize>) -> Option<LocalBuffer> {
    match work {
        Work::Host(host) => host
            .run(move |(words, _)| {
                if let Some(len) = len {
                    assert_eq!((words.len(), &words[..8]), (len, &[7; 8][..]));
                }
                words.fill(7);
            })
            .unwrap(),
        Work::Cuda(mut cuda) => {
            let words = &mut cuda.resources.0;
            if let Some(len) = len {
                assert_eq!(words.len(), len);
                assert_eq!(cuda.stream.clone_dtoh(&words.as_view()).unwrap()[..8], [7; 8]);
            }
            cuda.stream.memcpy_htod(&vec![7u32; words.len()], words).unwrap();
        }
        Work::Inline(work) => return record(compute.device(), &work, len),
        _ => unreachable!("no other backend is opened here"),
    }
    None
}

/// [`work`] in a command buffer.
fn record(device: &ExportDevice, work: &KernelWork<'_, Shared>, len: Option<usize>) -> Option<LocalBuffer> {
    let (buffer, found) = (work.resources.0.as_raw().unwrap(), work.resources.0.len());
    let seen = len.map(|len| {
        assert_eq!(found, len);
        LocalBuffer::new(device, "seen", 32, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuToCpu).unwrap()
    });
    let record = |commands| {
        barrier(device, commands);
        if let Some(seen) = &seen {
            let regions = [vk::BufferCopy::default().size(32)];
            // SAFETY: recording; both buffers have at least 8 words.
            unsafe { device.as_raw().cmd_copy_buffer(commands, buffer, seen.as_raw(), &regions) };
            barrier(device, commands);
        }
        // SAFETY: recording; the buffer consists of whole words.
        unsafe { device.as_raw().cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, 7) };
        barrier(device, commands);
    };
    // SAFETY: the commands have barriers between them, and to and from the surrounding ones; they
    // use the turn's own buffer, and one that is dropped once they have run.
    unsafe { work.record(record) }.unwrap();
    seen
}

/// Records a barrier between all commands before and after it, and before the host's reads.
fn barrier(device: &ExportDevice, commands: vk::CommandBuffer) {
    let memory = vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE;
    let all = [vk::MemoryBarrier2::default()
        .src_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
        .src_access_mask(memory)
        .dst_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS | vk::PipelineStageFlags2::HOST)
        .dst_access_mask(memory | vk::AccessFlags2::HOST_READ)];
    // SAFETY: recording, outside a render pass.
    unsafe { device.cmd_pipeline_barrier2(commands, &vk::DependencyInfo::default().memory_barriers(&all)) };
}

/// Checks what a frame that has ended has copied.
fn check(seen: Option<LocalBuffer>) {
    let Some(seen) = seen else { return };
    // SAFETY: the frame that copied into it has ended.
    let bytes = unsafe { seen.bytes() }.unwrap();
    assert_eq!(bytemuck::cast_slice::<u8, u32>(bytes), [7; 8]);
}
