//! The compute side of an exchange in a case.

use std::sync::Arc;

use bridge::{Error, Work};

use crate::closing::visit;
use crate::direction_ext::DirectionExt;
use crate::model::{Refused, SlotState};
use crate::planted::Planted;
use crate::ring::Ring;
use crate::shape::{Content, Shape};

impl<S: Shape, D: DirectionExt> Ring<S, D> {
    pub(crate) fn work(&mut self, write: bool, slow: bool) {
        let Some(turn) = &mut self.compute else { return };
        let (frame, slot) = (turn.frame(), turn.slot());
        let (before, tag) = (self.contents[slot], self.common.tag());
        let after = write.then_some(Content::Pattern(tag));
        let faults = Arc::clone(&self.common.faults);
        let host = match turn.work() {
            Work::Host(host) => host,
            Work::Inline(work) => {
                let after = write.then_some(Content::Flat(tag));
                self.common.checks.record(&work, before, after);
                self.contents[slot] = after.or(before);
                self.common.count("recordings");
                return;
            }
            _ => unreachable!("no other backend is opened"),
        };
        let left_out = Planted::ClosureLeftOut.is_now();
        let ran = host.run(move |lent| {
            if left_out {
                return;
            }
            let difference = visit::<S>(lent, before, after, slow);
            if let Some(difference) = difference {
                faults.lock().unwrap().push(format!("frame {frame}, slot {slot}: {difference}"));
            }
        });
        match ran {
            Ok(()) => {
                assert!(!self.side.has_failed(), "a failed compute side takes work");
                self.contents[slot] = after.or(before);
                self.common.count("closures");
            }
            Err(error) => assert!(self.side.has_failed(), "{error}"),
        }
    }

    pub(crate) fn finish(&mut self) {
        let Some(turn) = self.compute.take() else { return };
        let (frame, slot) = (turn.frame(), turn.slot());
        match turn.finish() {
            Ok(finished) => {
                assert!(!self.side.has_failed(), "a failed compute side finishes");
                let _ = self.continue_with(D::finished::<S>(finished), frame, slot);
            }
            Err(error) => self.compute_fails(&error, frame, slot),
        }
    }

    pub(crate) fn compute_fails(&mut self, error: &Error, frame: u64, slot: usize) {
        assert_eq!(Refused::of(error), Refused::HostFailed, "{error}");
        assert!(self.side.has_failed(), "{error}");
        self.model.drop_compute(frame, slot, true);
    }

    pub(crate) fn skip_compute(&mut self) {
        let Some(turn) = self.compute.take() else { return };
        let (frame, slot) = (turn.frame(), turn.slot());
        match turn.skip() {
            Ok(()) => {
                assert!(!self.side.has_failed() || !D::VULKAN_FIRST, "a failed compute side signals");
                self.model.slots[slot] = SlotState::Free;
                self.common.count("compute turns skipped");
            }
            Err(error) => self.compute_fails(&error, frame, slot),
        }
    }

    pub(crate) fn drop_compute(&mut self) {
        let Some(turn) = self.compute.take() else { return };
        let (frame, slot) = (turn.frame(), turn.slot());
        drop(turn);
        self.common.count("compute turns dropped");
        self.model.drop_compute(frame, slot, self.side.has_failed());
    }
}
