//! Turns that the case submits itself, as an engine does.

use bridge::ash::vk;

use crate::crossing::{Crossing, Known};
use crate::direction_ext::DirectionExt;
use crate::hook::inside;
use crate::op::Fate;
use crate::ring::{Flight, Ring};
use crate::world::Shared;

impl<S: Crossing, D: DirectionExt> Ring<S, D> {
    /// Lends the oldest render turn, and submits its parts or gives them back.
    pub(crate) fn lend(&mut self, fill: bool, fate: Fate, shared: &mut Shared) {
        let Some(turn) = self.render.pop_front() else { return };
        let slot = turn.slot();
        let (lent, hit) = inside(|| turn.lend());
        shared.note(hit);
        let lent = match lent {
            Ok(lent) => lent,
            Err(error) => {
                self.contents[slot] = None;
                return shared.allow(&error, hit);
            }
        };
        shared.count("lent turns");
        if fate == Fate::Retracted {
            // SAFETY: the parts were not used.
            let ((), hit) = inside(|| unsafe { lent.not_submitted() });
            shared.count("lent turns retracted");
            return shared.note(hit);
        }
        let mut transfer = shared.transfer();
        let word = fill.then(|| shared.tag());
        let mut parts = Vec::new();
        S::parts(lent.resources(), &mut parts);
        // SAFETY: recording, of the right family, submitted with this turn.
        let acquire = |commands| unsafe { lent.record_acquire(commands) };
        // SAFETY: as above.
        let commands = transfer.record(&parts, word, acquire, |commands| unsafe { lent.record_release(commands) });
        let (waits, signals) = ([lent.parts().waits()[0]], [lent.parts().signal(), self.next_signal()]);
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&commands).signal_semaphore_infos(&signals);
        let batch = if shared.trial.engine_forgets { batch } else { batch.wait_semaphore_infos(&waits) };
        shared.hold_queue();
        // SAFETY: the turn's own parts, in the order of its contract; the transfer is kept until
        // the frame was waited for.
        unsafe { lent.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        let expected = self.contents[slot];
        self.flights.push_back(Flight { own: self.own.1, transfer, expected });
        self.contents[slot] = word.map(Known::flat).or(expected);
        shared.count("submissions by an engine");
        if fate == Fate::Dropped {
            shared.count("lent turns dropped");
            let ((), hit) = inside(|| drop(lent));
            return shared.note(hit);
        }
        // SAFETY: submitted above.
        let (submitted, hit) = inside(|| unsafe { D::lent_submitted::<S>(lent) });
        shared.note(hit);
        match submitted {
            Ok(next) => self.continue_with(next),
            Err(error) => {
                self.contents[slot] = None;
                shared.allow(&error, hit);
            }
        }
    }
}
