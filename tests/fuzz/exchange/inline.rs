//! Recorded work: the values that it reads are copied to memory of the case and checked when all
//! work has run.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording commands.

use std::sync::{Mutex, OnceLock};

use bridge::ash::vk;
use bridge::{ExportDevice, KernelWork};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::common::Common;
use crate::planted::Planted;
use crate::shape::{Content, Part, Shape};
use crate::transfer::{Scope, barrier, copy, fill_with};

/// Bytes for the values read in a case; further reads are not checked once it is full.
const ROOM: u64 = 256 << 10;

/// Initial byte, which recorded work never writes.
const NEVER: u8 = 0xa5;

const KERNELS: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::COMPUTE_SHADER;
const TRANSFER: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::ALL_TRANSFER;

/// The values that the recorded work of a case reads.
pub(crate) struct Checks {
    device: ExportDevice,
    target: OnceLock<LocalBuffer>,
    seen: Mutex<Vec<Seen>>,
}

/// A range of the memory and its expected contents.
struct Seen {
    start: u64,
    end: u64,
    expected: Option<Content>,
}

impl Checks {
    pub(crate) fn new(device: &ExportDevice) -> Self {
        Self { device: device.clone(), target: OnceLock::new(), seen: Mutex::default() }
    }

    /// Records a read of everything and a fill.
    pub(crate) fn record<S: Shape>(&self, work: &KernelWork<'_, S>, before: Option<Content>, after: Option<Content>) {
        let mut parts = Vec::new();
        S::kernel_parts(&work.resources, &mut parts);
        let target = self.room(&parts, before);
        let record = |commands| {
            self.after_kernels(commands);
            if let Some((target, mut offset)) = target {
                for part in &parts {
                    copy(&self.device, commands, part, target, offset);
                    offset += part.size();
                }
                barrier(&self.device, commands, everything(TRANSFER), everything(TRANSFER));
            }
            if let Some(content) = after.filter(|_| !Planted::FillLeftOut.is_now()) {
                parts.iter().for_each(|part| fill_with(&self.device, commands, part, content.word(0)));
            }
            self.before_kernels(commands);
        };
        // SAFETY: barriers from and to the surrounding commands, the turn's own parts, and memory
        // that lives as long as the case.
        unsafe { work.record(record) }.unwrap();
    }

    /// Records a copy from the turn of `from` to the turn of `to`, both on one compute side.
    pub(crate) fn copy<S: Shape>(&self, from: &KernelWork<'_, S>, to: &KernelWork<'_, S>) {
        let (mut sources, mut targets) = (Vec::new(), Vec::new());
        S::kernel_parts(&from.resources, &mut sources);
        S::kernel_parts(&to.resources, &mut targets);
        let record = |commands| {
            self.after_kernels(commands);
            for (source, target) in sources.iter().zip(&targets).filter(|_| !Planted::CopyLeftOut.is_now()) {
                let Part::Buffer { raw, .. } = target else { unreachable!("only buffers are copied to each other") };
                copy(&self.device, commands, source, *raw, 0);
            }
            self.before_kernels(commands);
        };
        // SAFETY: as in `record`, with the parts of two open turns.
        unsafe { to.record(record) }.unwrap();
    }

    /// Compares all values that were read. The caller has dropped everything, so no recorded work
    /// still runs.
    ///
    /// # Panics
    ///
    /// If recorded work read unexpected values.
    pub(crate) fn verify(&self, common: &Common) {
        let Some(target) = self.target.get() else { return };
        // SAFETY: a live queue, under its lock.
        self.device.queue().with(|queue| unsafe { self.device.as_raw().queue_wait_idle(queue) }).unwrap().unwrap();
        // SAFETY: the queue is idle, and every copy is followed by a barrier to the host.
        let bytes = unsafe { target.bytes() }.unwrap();
        for Seen { start, end, expected } in self.seen.lock().unwrap().iter() {
            let bytes = &bytes[usize::try_from(*start).unwrap()..usize::try_from(*end).unwrap()];
            if bytes.iter().all(|byte| *byte == NEVER) {
                // Its compute side ended before the work was requested.
                common.count("recordings that never ran");
                continue;
            }
            let words: Vec<_> =
                bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
            let difference = expected.and_then(|content| content.difference(&words));
            assert!(difference.is_none(), "recorded work saw: {difference:?}");
            common.count("recordings seen");
        }
    }

    /// Reserves room for the words of these parts.
    fn room(&self, parts: &[Part], expected: Option<Content>) -> Option<(vk::Buffer, u64)> {
        let target = self.target.get_or_init(|| {
            let usage = vk::BufferUsageFlags::TRANSFER_DST;
            let target = LocalBuffer::new(&self.device, "seen", ROOM, usage, MemoryLocation::GpuToCpu).unwrap();
            // SAFETY: `ROOM` bytes are mapped, and nothing uses them yet.
            unsafe { target.host_ptr().unwrap().cast::<u8>().write_bytes(NEVER, usize::try_from(ROOM).unwrap()) };
            target
        });
        let mut seen = self.seen.lock().unwrap();
        let start = seen.last().map_or(0, |seen| seen.end);
        let end = start + parts.iter().map(Part::size).sum::<u64>();
        if end > ROOM {
            return None;
        }
        seen.push(Seen { start, end, expected });
        Some((target.as_raw(), start))
    }

    fn after_kernels(&self, commands: vk::CommandBuffer) {
        barrier(&self.device, commands, everything(KERNELS), everything(TRANSFER));
    }

    fn before_kernels(&self, commands: vk::CommandBuffer) {
        let (stages, accesses) = everything(KERNELS);
        let host = (stages | vk::PipelineStageFlags2::HOST, accesses | vk::AccessFlags2::HOST_READ);
        barrier(&self.device, commands, everything(TRANSFER), host);
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Recorded work may still run, so its memory is leaked.
            std::mem::forget(self.target.take());
        }
    }
}

fn everything(stages: vk::PipelineStageFlags2) -> Scope {
    (stages, vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE)
}
