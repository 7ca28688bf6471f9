//! The work of the compute side in an open turn.

use bridge::ash::vk;
use bridge::{Backend, Error, ExportDevice, Work};

use crate::crossing::{Crossing, Known};
use crate::direction_ext::DirectionExt;
use crate::hook::inside;
use crate::ring::Ring;
use crate::shape::Part;
use crate::transfer::{barrier, copy, fill_with};
use crate::world::Shared;

impl<S: Crossing, D: DirectionExt> Ring<S, D> {
    pub(crate) fn work(&mut self, shared: &mut Shared) {
        let Some(turn) = &mut self.compute else { return };
        let (slot, tag) = (turn.slot(), shared.tag());
        let expected = self.contents[slot];
        let (worked, hit) = match turn.work() {
            Work::Host(host) => {
                let faults = shared.faults();
                inside(|| {
                    host.run(move |lent| {
                        S::words(lent, &mut |words| {
                            let difference = expected.and_then(|content| content.difference(words));
                            faults.lock().unwrap().extend(difference);
                            words.fill(tag);
                        });
                    })
                })
            }
            Work::Inline(work) => {
                let mut parts = Vec::new();
                S::kernel_parts(&work.resources, &mut parts);
                let record = |commands| {
                    between(&self.device, commands, || {
                        parts.iter().for_each(|part| fill_with(&self.device, commands, part, tag));
                    });
                };
                // SAFETY: barriers from and to the surrounding commands, and the turn's own
                // resources.
                inside(|| unsafe { work.record(record) })
            }
            Work::Cuda(cuda) => {
                // For one tag in four, the previous contents are checked.
                let expected = expected.filter(|_| tag.is_multiple_of(4) && !shared.is_held());
                let (worked, hit) = inside(|| S::write_on_cuda(cuda, expected, tag));
                shared.note(hit);
                self.contents[slot] = worked.is_ok().then(|| Known::flat(tag));
                return shared.worked_on_cuda(worked, hit);
            }
            _ => unreachable!("no other backend is opened"),
        };
        shared.note(hit);
        match worked {
            Ok(()) => {
                self.contents[slot] = Some(Known::flat(tag));
                shared.count("works");
            }
            Err(error) => shared.allow(&error, hit),
        }
    }

    /// Writes the open turn's buffer with work that is split over the GPUs. With `outside`, it
    /// would write more words than there are.
    pub(crate) fn split(&mut self, outside: bool, shared: &mut Shared) {
        let (words, tag) = (self.words + usize::from(outside), shared.tag());
        let Some(turn) = &mut self.compute else { return };
        let slot = turn.slot();
        let (worked, hit) = inside(|| S::split_on_cuda(turn, words, tag));
        shared.note(hit);
        let refused = outside || shared.side().1.backend() != Backend::Cuda;
        match worked {
            None => {}
            Some(Err(Error::InvalidArgument { .. })) if refused => shared.count("split works refused"),
            Some(Err(error)) => shared.allow(&error, hit),
            Some(Ok(worked)) => {
                assert!(!refused, "words that are not there are lent");
                self.contents[slot] = worked.is_ok().then(|| Known::flat(tag));
                shared.count("split works");
                shared.worked_on_cuda(worked.map(|()| None), hit);
            }
        }
    }

    /// Like [`AnyRing::buffer`](crate::ring::AnyRing::buffer).
    pub(crate) fn inline_buffer(&mut self) -> Option<(Part, Option<Known>)> {
        let turn = self.compute.as_mut()?;
        let content = self.contents[turn.slot()];
        match turn.work() {
            Work::Inline(work) => match part::<S>(&work.resources)? {
                part @ Part::Buffer { .. } => Some((part, content)),
                Part::Image { .. } => None,
            },
            _ => None,
        }
    }

    /// Like [`AnyRing::copy_from`](crate::ring::AnyRing::copy_from).
    pub(crate) fn copy_inline(&mut self, source: Part, content: Option<Known>, shared: &mut Shared) {
        let Some(turn) = &mut self.compute else { return };
        let slot = turn.slot();
        let Work::Inline(work) = turn.work() else { return };
        let Some(Part::Buffer { raw: target, size }) = part::<S>(&work.resources) else { return };
        let Part::Buffer { raw: source, size: most } = source else { return };
        let size = size.min(most);
        let part = Part::Buffer { raw: source, size };
        let record = |commands| {
            between(&self.device, commands, || copy(&self.device, commands, &part, target, 0));
        };
        // SAFETY: barriers from and to the surrounding commands, and the buffers of two open turns
        // of one compute side.
        let (copied, hit) = inside(|| unsafe { work.record(record) });
        shared.note(hit);
        match copied {
            Ok(()) => {
                self.contents[slot] = content.map(|known| known.first((size / 4) as usize));
                shared.count("recorded copies between turns");
            }
            Err(error) => shared.allow(&error, hit),
        }
    }
}

/// Returns the only part of a resource, for work recorded in command buffers.
pub(crate) fn part<S: Crossing>(lent: &S::Kernel<'_>) -> Option<Part> {
    let mut parts = Vec::new();
    S::kernel_parts(lent, &mut parts);
    parts.pop()
}

/// Records transfer commands between work at the stage of kernels.
pub(crate) fn between(device: &ExportDevice, commands: vk::CommandBuffer, record: impl FnOnce()) {
    let all = |stages| (stages, vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE);
    let (kernels, transfer) = (vk::PipelineStageFlags2::COMPUTE_SHADER, vk::PipelineStageFlags2::ALL_TRANSFER);
    barrier(device, commands, all(kernels), all(transfer));
    record();
    barrier(device, commands, all(transfer), all(kernels));
}
