//! Leases, and memory of kernels.

use bridge::{Error, Work};

use crate::crossing::{Crossing, Known};
use crate::direction_ext::DirectionExt;
use crate::hook::inside;
use crate::ring::Ring;
use crate::shape::Part;
use crate::transfer::copy;
use crate::work::{between, part};
use crate::world::Shared;

/// Maximum number of leases; they outlive their exchanges.
const MOST_LEASES: usize = 8;

impl<S: Crossing, D: DirectionExt> Ring<S, D> {
    /// Leases a slot, or the slot of the open turn.
    pub(crate) fn lease(&mut self, slot: usize, of_turn: bool, shared: &mut Shared) {
        let compute = self.compute.as_ref().map(|turn| (turn.slot(), turn.lease()));
        let turn = compute.or_else(|| self.render.front().map(|turn| (turn.slot(), turn.lease())));
        let lease = match (turn, &self.exchange) {
            (Some((slot, lease)), _) if of_turn => {
                assert_eq!(lease.slot(), slot);
                let same = self.exchange.as_ref().map(|exchange| exchange.lease(slot).unwrap());
                assert!(same.is_none_or(|same| same.is_same(&lease)), "the turn of slot {slot} has other resources");
                lease
            }
            (_, Some(exchange)) => match exchange.lease(slot) {
                Ok(lease) => lease,
                Err(Error::InvalidArgument { .. }) if slot >= exchange.slots() => return,
                Err(error) => panic!("slot {slot} of {} is not leased: {error}", exchange.slots()),
            },
            _ => return,
        };
        shared.leases.push_back(lease);
        shared.count("leases");
        if shared.leases.len() > MOST_LEASES {
            drop_lease(shared);
        }
    }

    /// Writes the open turn's buffer by a copy from new memory of kernels. With images, and on the
    /// CPU, the memory is only created.
    pub(crate) fn work_with_memory(&mut self, shared: &mut Shared) {
        let Some(turn) = &mut self.compute else { return };
        let (slot, tag, compute) = (turn.slot(), shared.tag(), shared.side().1);
        let (memory, hit) = inside(|| compute.kernel_memory("fuzzed memory", &vec![tag; self.words]));
        shared.note(hit);
        let memory = match memory {
            Ok(memory) => memory,
            Err(error) => return shared.allow(&error, hit),
        };
        shared.count("memories of kernels");
        match turn.work() {
            Work::Inline(work) => {
                let source = memory.as_raw().unwrap();
                // The commands use the memory until they have run.
                shared.memories.push(memory);
                let Some(Part::Buffer { raw: target, size }) = part::<S>(&work.resources) else { return };
                let source = Part::Buffer { raw: source, size };
                let record = |commands| {
                    between(&self.device, commands, || copy(&self.device, commands, &source, target, 0));
                };
                // SAFETY: barriers from and to the surrounding commands, the turn's own buffer, and
                // memory of the same size, which is kept.
                let (copied, hit) = inside(|| unsafe { work.record(record) });
                shared.note(hit);
                match copied {
                    Ok(()) => self.contents[slot] = Some(Known::flat(tag)),
                    Err(error) => shared.allow(&error, hit),
                }
            }
            Work::Cuda(cuda) => {
                let (worked, hit) = inside(|| S::copy_on_cuda(cuda, memory.address()));
                shared.note(hit);
                let Some(worked) = worked else { return };
                self.contents[slot] = worked.is_ok().then(|| Known::flat(tag));
                shared.worked_on_cuda(worked.map(|()| None), hit);
                // It is freed after the copy.
                let ((), hit) = inside(|| drop(memory));
                shared.note(hit);
            }
            _ => {}
        }
    }
}

/// Drops the oldest lease.
pub(crate) fn drop_lease(shared: &mut Shared) {
    let Some(lease) = shared.leases.pop_front() else { return };
    shared.count("leases dropped");
    let ((), hit) = inside(|| drop(lease));
    shared.note(hit);
}
