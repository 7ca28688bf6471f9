//! The compute side's work in an open turn.

use bridge::ash::vk;
use bridge::cudarc::driver::DriverError;
use bridge::{CudaWork, ExportDevice, Work};

use crate::hook::inside;
use crate::ring::{Ring, Words};
use crate::shape::{Content, Part, Shape};
use crate::transfer::{barrier, copy, fill_with};
use crate::way::Way;
use crate::world::Shared;

impl<D: Way> Ring<D> {
    pub(crate) fn work(&mut self, shared: &mut Shared) {
        let Some(turn) = &mut self.compute else { return };
        let (slot, tag) = (turn.slot(), shared.tag());
        let content = Content::Flat(tag);
        let expected = self.contents[slot];
        let (worked, hit) = match turn.work() {
            Work::Host(host) => {
                let faults = shared.faults();
                inside(|| {
                    host.run(move |words| {
                        let difference = expected.and_then(|content| content.difference(words));
                        faults.lock().unwrap().extend(difference);
                        words.fill(tag);
                    })
                })
            }
            Work::Inline(work) => {
                let mut parts = Vec::new();
                Words::kernel_parts(&work.resources, &mut parts);
                let record = |commands| {
                    between(&self.device, commands, || {
                        parts.iter().for_each(|part| fill_with(&self.device, commands, part, tag));
                    });
                };
                // SAFETY: barriers from and to what is around it, and the turn's own buffer.
                inside(|| unsafe { work.record(record) })
            }
            Work::Cuda(cuda) => {
                let (worked, hit) = on_cuda(cuda, expected.filter(|_| !shared.is_held()), tag);
                shared.note(hit);
                self.contents[slot] = worked.is_ok().then_some(content);
                return shared.worked_on_cuda(worked, hit);
            }
            _ => unreachable!("no other backend is opened"),
        };
        shared.note(hit);
        match worked {
            Ok(()) => {
                self.contents[slot] = Some(content);
                shared.count("works");
            }
            Err(error) => shared.allow(&error, hit),
        }
    }

    /// As [`AnyRing::buffer`](crate::ring::AnyRing::buffer).
    pub(crate) fn inline_buffer(&mut self) -> Option<(vk::Buffer, Option<Content>)> {
        let turn = self.compute.as_mut()?;
        let content = self.contents[turn.slot()];
        match turn.work() {
            Work::Inline(work) => Some((work.resources.as_raw()?, content)),
            _ => None,
        }
    }

    /// As [`AnyRing::copy_from`](crate::ring::AnyRing::copy_from).
    pub(crate) fn copy_inline(&mut self, source: vk::Buffer, content: Option<Content>, shared: &mut Shared) {
        let Some(turn) = &mut self.compute else { return };
        let slot = turn.slot();
        let Work::Inline(work) = turn.work() else { return };
        let Some(target) = work.resources.as_raw() else { return };
        let part = Part::Buffer { raw: source, size: 4 * work.resources.len() as u64 };
        let record = |commands| {
            between(&self.device, commands, || copy(&self.device, commands, &part, target, 0));
        };
        // SAFETY: barriers from and to what is around it, and the buffers of two open turns of one
        // compute side.
        let (copied, hit) = inside(|| unsafe { work.record(record) });
        shared.note(hit);
        match copied {
            Ok(()) => {
                self.contents[slot] = content;
                shared.count("recorded copies between turns");
            }
            Err(error) => shared.allow(&error, hit),
        }
    }
}

/// Enqueues: all words are `tag`. Of one tag in four, what was there before is looked at first,
/// once the stream has come so far, which it always does: the word that differs.
fn on_cuda(
    cuda: CudaWork<'_, Words>,
    expected: Option<Content>,
    tag: u32,
) -> (Result<Option<String>, DriverError>, Option<&'static str>) {
    let (stream, mut words) = (cuda.stream, cuda.resources);
    let expected = expected.filter(|_| tag.is_multiple_of(4));
    inside(|| {
        let seen = expected.map(|_| stream.clone_dtoh(&words.as_view())).transpose()?;
        stream.memcpy_htod(&vec![tag; words.len()], &mut words)?;
        Ok(expected.zip(seen).and_then(|(expected, seen)| expected.difference(&seen)))
    })
}

/// Puts transfer commands between work at the stage of kernels.
pub(crate) fn between(device: &ExportDevice, commands: vk::CommandBuffer, record: impl FnOnce()) {
    let all = |stages| (stages, vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE);
    let (kernels, transfer) = (vk::PipelineStageFlags2::COMPUTE_SHADER, vk::PipelineStageFlags2::ALL_TRANSFER);
    barrier(device, commands, all(kernels), all(transfer));
    record();
    barrier(device, commands, all(transfer), all(kernels));
}
