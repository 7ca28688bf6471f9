//! The Vulkan side of an exchange in a case.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::sync::mpsc;

use bridge::ash::vk;
use bridge::{ComputeFirst, RenderTurn, Work};
use bridge_tests::Rig;

use crate::closing::visit;
use crate::direction_ext::DirectionExt;
use crate::hook::hold_queue;
use crate::model::{Refused, SlotState};
use crate::op::RingOp;
use crate::planted::Planted;
use crate::ring::{Flight, Ring};
use crate::shape::{Content, Shape};
use crate::transfer::Transfer;

/// Records a frame: a read of everything, then a fill.
fn record<S: Shape, D: DirectionExt>(
    transfer: &mut Transfer,
    turn: &RenderTurn<S, D>,
    fill: Option<u32>,
) -> vk::CommandBuffer {
    let mut parts = Vec::new();
    S::parts(turn.resources(), &mut parts);
    // SAFETY: recording, of the right family, submitted with this turn.
    let acquire = |commands| unsafe { turn.record_acquire(commands) };
    // SAFETY: as above.
    transfer.record(&parts, fill, acquire, |commands| unsafe { turn.record_release(commands) })
}

impl<S: Shape, D: DirectionExt> Ring<S, D> {
    pub(crate) fn render_step(&mut self, op: RingOp) {
        match op {
            RingOp::Submit { which, fill } => self.submit(which, fill),
            RingOp::SkipRender(which) => {
                if let Some(turn) = self.pick(which) {
                    self.model.slots[turn.slot()] = SlotState::Free;
                    turn.skip();
                    self.common.count("render turns skipped");
                }
            }
            RingOp::DropRender(which) => {
                if let Some(turn) = self.pick(which) {
                    self.model.drop_render(turn.frame(), turn.slot());
                    self.common.count("render turns dropped");
                }
            }
            RingOp::ForgetRender(which) => {
                let turn = self.pick(which);
                self.forget(turn);
            }
            RingOp::Lend(which) => self.lend(which),
            RingOp::SubmitLent { fill, split, reports } => self.submit_lent(fill, split, reports),
            RingOp::RetractLent => {
                if let Some(lent) = self.lent.take() {
                    self.model.slots[lent.slot()] = SlotState::Free;
                    self.model.taken -= 1;
                    // SAFETY: the parts were not used.
                    unsafe { lent.not_submitted() };
                    self.common.count("lent turns retracted");
                }
            }
            RingOp::DropLent if self.short => {
                if let Some(lent) = self.lent.take() {
                    self.model.slots[lent.slot()] = SlotState::Unknown { frame: lent.frame(), value: self.model.taken };
                    self.common.count("lent turns dropped");
                }
            }
            RingOp::ForgetLent => {
                let lent = self.lent.take();
                self.forget(lent);
            }
            _ => {}
        }
    }

    fn pick(&mut self, which: u8) -> Option<RenderTurn<S, D>> {
        let count = self.render.len().max(1);
        let frame = *self.render.keys().nth(usize::from(which) % count)?;
        self.render.remove(&frame)
    }

    /// Returns the contents before the fill, and the word of the fill, and notes the new contents
    /// of the slot.
    fn fill(&mut self, slot: usize, fill: bool) -> (Option<Content>, Option<u32>) {
        let word = fill.then(|| self.common.tag());
        let before = self.contents[slot];
        self.contents[slot] = word.map(Content::Flat).or(before);
        (before, word.map(|word| word + u32::from(Planted::FrameOffByOne.is_now())))
    }

    fn submit(&mut self, which: u8, fill: bool) {
        let Some(turn) = self.pick(which) else { return };
        let (frame, slot) = (turn.frame(), turn.slot());
        let expected = self.model.take_value(frame, slot);
        let (before, word) = if expected.is_ok() { self.fill(slot, fill) } else { (None, None) };
        let mut transfer = self.common.transfer();
        let commands = record(&mut transfer, &turn, word);
        // Signals the end of the frame, in case the turn's point is not returned.
        self.own.1 += 1;
        let signals = [self.own_signal()];
        hold_queue(&self.common.device);
        let info = bridge::SubmitInfo { commands: &[commands], signals: &signals, ..Default::default() };
        // SAFETY: recorded with the turn's barriers; the transfer is kept until the frame was
        // waited for, and the values of the additional signal increase on the one queue.
        let submitted = unsafe { turn.submit_with(&info) };
        let mut flight = Flight { own: self.own.1, point: None, transfer, expected: before };
        match (submitted, expected) {
            (Ok(submitted), Ok(value)) => {
                assert!(!(D::VULKAN_FIRST && self.side.has_failed()), "a failed compute side goes on");
                self.model.note_submitted(value);
                match self.continue_with(D::submitted::<S>(submitted), frame, slot) {
                    Some(point) => {
                        let ended = point.value() + u64::from(Planted::ValueOffByOne.is_now());
                        assert_eq!(ended, value, "the frame ends at another value");
                        flight.point = Some(point);
                    }
                    None => {
                        let rendered = self.compute.as_ref().map(|turn| turn.frame());
                        assert_eq!(rendered, Some(frame));
                    }
                }
                self.flights.push_back(flight);
                self.common.count("submissions");
            }
            (Err(error), Ok(value)) => {
                // Submitted, but the compute side does not accept it.
                self.model.note_submitted(value);
                self.flights.push_back(flight);
                self.compute_fails(&error, frame, slot);
            }
            (Err(error), Err(refused)) => {
                assert_eq!(Refused::of(&error), refused, "{error}");
                self.own.1 -= 1;
                self.common.idle.lock().unwrap().push(flight.transfer);
            }
            (Ok(_), Err(refused)) => panic!("frame {frame} is submitted where {refused:?} should be said"),
        }
    }

    fn own_signal(&self) -> vk::SemaphoreSubmitInfo<'static> {
        vk::SemaphoreSubmitInfo::default()
            .semaphore(self.own.0.as_raw())
            .value(self.own.1)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
    }

    fn lend(&mut self, which: u8) {
        let Some(turn) = self.pick(which) else { return };
        let (frame, slot) = (turn.frame(), turn.slot());
        let expected = self.model.take_value(frame, slot);
        match turn.lend() {
            Ok(lent) => {
                let value = expected.unwrap_or_else(|refused| panic!("lent where {refused:?} should be said"));
                assert_eq!((lent.frame(), lent.slot(), lent.parts().signal().value), (frame, slot, value));
                self.model.slots[slot] = SlotState::Lent { frame, value };
                self.lent = Some(lent);
                self.common.count("lent turns");
            }
            Err(error) => assert_eq!(Err(Refused::of(&error)), expected, "{error}"),
        }
    }

    fn submit_lent(&mut self, fill: bool, split: bool, reports: bool) {
        let Some(lent) = self.lent.take() else { return };
        let (frame, slot, value) = (lent.frame(), lent.slot(), self.model.taken);
        let (before, word) = self.fill(slot, fill);
        let mut transfer = self.common.transfer();
        let mut parts = Vec::new();
        S::parts(lent.resources(), &mut parts);
        // SAFETY: recording, of the right family, submitted with this turn.
        let acquire = |commands| unsafe { lent.record_acquire(commands) };
        // SAFETY: as above.
        let commands = transfer.record(&parts, word, acquire, |commands| unsafe { lent.record_release(commands) });
        self.own.1 += 1;
        let (waits, signals) = ([lent.parts().waits()[0]], [lent.parts().signal(), self.own_signal()]);
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let submit = vk::SubmitInfo2::default;
        let batches = if split {
            vec![
                submit().wait_semaphore_infos(&waits),
                submit().command_buffer_infos(&commands),
                submit().signal_semaphore_infos(&signals),
            ]
        } else {
            vec![submit().wait_semaphore_infos(&waits).command_buffer_infos(&commands).signal_semaphore_infos(&signals)]
        };
        for batch in batches {
            // SAFETY: the turn's own parts, in the order of its contract; the transfer is kept
            // until it was waited for.
            unsafe { lent.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        }
        self.flights.push_back(Flight { own: self.own.1, point: None, transfer, expected: before });
        self.model.submitted = value;
        self.common.count("submissions by an engine");
        if !reports {
            drop(lent);
            self.model.slots[slot] = SlotState::Unknown { frame, value };
            self.common.count("submissions by an engine that are not reported");
            return;
        }
        self.model.note_submitted(value);
        // SAFETY: submitted above.
        match unsafe { D::lent_submitted(lent) } {
            Ok(next) => {
                assert!(!(D::VULKAN_FIRST && self.side.has_failed()), "a failed compute side goes on");
                let point = self.continue_with(next, frame, slot);
                assert!(point.is_none_or(|point| point.value() == value));
            }
            Err(error) => self.compute_fails(&error, frame, slot),
        }
    }

    /// Computes frames here while another thread renders them.
    pub(crate) fn stream(&mut self, frames: u8) {
        let busy = self.model.slots.iter().any(|hold| *hold != SlotState::Free);
        if busy || D::VULKAN_FIRST || self.side.has_failed() || self.model.lost.is_some() {
            return;
        }
        let Some(exchange) = self.exchange.as_mut() else { return };
        let Some(exchange) = (exchange as &mut dyn std::any::Any).downcast_mut::<bridge::Exchange<S, ComputeFirst>>()
        else {
            return;
        };
        let common = &self.common;
        let (sender, receiver) = mpsc::sync_channel::<(RenderTurn<S, ComputeFirst>, Content)>(8);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (turn, content) in receiver {
                    let mut transfer = common.transfer();
                    let commands = record(&mut transfer, &turn, None);
                    // SAFETY: recorded with the turn's barriers, waited for below.
                    let point = unsafe { turn.submit(&[commands]) }.unwrap();
                    point.wait(Rig::LONG).unwrap();
                    let difference = content.difference(&transfer.words());
                    assert!(difference.is_none(), "streamed: {difference:?}");
                    common.idle.lock().unwrap().push(transfer);
                    common.count("frames seen");
                    common.count("frames streamed");
                }
            });
            for _ in 0..frames {
                let mut turn = loop {
                    match exchange.begin() {
                        Ok(turn) => break turn,
                        Err(bridge::Error::SlotBusy { .. }) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                };
                assert_eq!(turn.frame(), self.model.next);
                self.model.next += 1;
                let (slot, tag) = (turn.slot(), common.tag());
                let content = match turn.work() {
                    Work::Host(host) => {
                        let content = Content::Pattern(tag);
                        let work = move |lent: S::Host<'_>| {
                            visit::<S>(lent, None, Some(content), true);
                        };
                        host.run(work).unwrap();
                        content
                    }
                    Work::Inline(work) => {
                        common.checks.record(&work, None, Some(Content::Flat(tag)));
                        Content::Flat(tag)
                    }
                    _ => unreachable!("no other backend is opened"),
                };
                self.contents[slot] = Some(content);
                sender.send((turn.finish().unwrap(), content)).unwrap();
                self.model.taken += 1;
                self.model.note_submitted(self.model.taken);
            }
            drop(sender);
        });
    }
}
