//! Random schedules against a model: whatever the order of operations, every call returns what the
//! model predicts, and every submitted frame has the contents that were computed for it.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bridge::cuda_import::cudarc::driver::CudaStream;
use bridge::{
    BufferAccess, BufferSpec, Compute, ComputeTurn, Error, Exchange, ExchangeInfo, RenderTurn, TimelinePoint, Work,
};
use bridge_tests::{Filler, Readback, Rig, on_both_backends};
use proptest::prelude::*;

#[path = "property.rs"]
mod property;

on_both_backends!(every_schedule_matches_the_model);

const LEN: usize = 4096;
const SIZE: u64 = 4 * LEN as u64;
type Words = BufferSpec<u32>;

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    /// Fills after this many microseconds, or with a copy on another stream, and finishes.
    Finish {
        delay: u16,
        foreign: bool,
    },
    DropCompute,
    SubmitOldest,
    SubmitNewest,
    SkipOldest,
    DropNewest,
    WaitOldest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Begin),
        6 => (0u16..2000, any::<bool>()).prop_map(|(delay, foreign)| Step::Finish { delay, foreign }),
        1 => Just(Step::DropCompute),
        6 => Just(Step::SubmitOldest),
        1 => Just(Step::SubmitNewest),
        1 => Just(Step::SkipOldest),
        1 => Just(Step::DropNewest),
        2 => Just(Step::WaitOldest),
    ]
}

fn every_schedule_matches_the_model(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let stranger = compute.cuda().map(|cuda| cuda.device().new_stream().unwrap());
    let verified = Cell::new(0);
    let schedules = (1usize..5, prop::collection::vec(step(), 1..80));
    property::run(20, &schedules, |(slots, steps)| {
        let mut world = World::new(rig, compute, &filler, stranger.as_ref(), slots);
        for step in steps {
            world.step(step);
        }
        verified.set(verified.get() + world.finish());
        Ok(())
    });
    // About one step in four completes a frame, about 200 in all, with a spread of a quarter.
    assert!(verified.get() >= 60, "only {} frames were read back and compared", verified.get());
}

struct World<'a> {
    rig: &'a Rig,
    filler: &'a Filler,
    stranger: Option<&'a Arc<CudaStream>>,
    exchange: Exchange<Words>,
    slots: usize,
    open: Option<ComputeTurn<Words>>,
    rendering: BTreeMap<u64, (RenderTurn<Words>, u32)>,
    in_flight: VecDeque<(TimelinePoint, Readback, u32)>,
    idle: Vec<Readback>,
    bases: u32,
    /// Number of frames that were read back and compared.
    verified: usize,
    // The state of the model.
    next: u64,
    lost: bool,
}

impl<'a> World<'a> {
    fn new(
        rig: &'a Rig,
        compute: &Compute,
        filler: &'a Filler,
        stranger: Option<&'a Arc<CudaStream>>,
        slots: usize,
    ) -> Self {
        let info = ExchangeInfo { name: "random", slots, timeout: Rig::LONG, ..Default::default() };
        let exchange = Exchange::new(compute, &info, Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
        Self {
            rig,
            filler,
            stranger,
            exchange,
            slots,
            open: None,
            rendering: BTreeMap::new(),
            in_flight: VecDeque::new(),
            idle: Vec::new(),
            bases: 0,
            verified: 0,
            next: 0,
            lost: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin => self.begin(),
            Step::Finish { delay, foreign } => self.compute(delay, foreign),
            Step::DropCompute => {
                if let Some(turn) = self.open.take() {
                    self.next = turn.frame();
                    self.lost = true;
                }
            }
            Step::SubmitOldest => {
                if let Some((_, (turn, base))) = self.rendering.pop_first() {
                    self.submit(turn, base).unwrap();
                }
            }
            Step::SubmitNewest => {
                if let Some((_, (turn, base))) = self.rendering.pop_last() {
                    self.submit(turn, base).unwrap();
                }
            }
            Step::SkipOldest => {
                if let Some((_, (turn, _))) = self.rendering.pop_first() {
                    turn.skip();
                }
            }
            Step::DropNewest => self.lost |= self.rendering.pop_last().is_some(),
            Step::WaitOldest => self.wait(),
        }
    }

    fn begin(&mut self) {
        let full = self.rendering.len() == self.slots;
        let busy = self.rendering.keys().next().copied().filter(|_| full);
        let open = self.open.as_ref().map(ComputeTurn::frame);
        match self.exchange.begin() {
            Err(Error::TurnLost { .. }) if self.lost => self.lost = false,
            result if self.lost => panic!("a lost turn is told first, not {result:?}"),
            Err(Error::TurnOpen { frame, .. }) => assert_eq!(Some(frame), open),
            result if open.is_some() => panic!("frame {open:?} is open, but {result:?}"),
            Err(Error::SlotBusy { frame, .. }) => assert_eq!(Some(frame), busy),
            Ok(turn) => {
                assert_eq!((turn.frame(), busy), (self.next, None));
                assert!(self.rendering.values().all(|(held, _)| held.slot() != turn.slot()));
                self.next += 1;
                self.open = Some(turn);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn compute(&mut self, delay: u16, foreign: bool) {
        let Some(mut turn) = self.open.take() else { return };
        self.bases += 10_000;
        let base = self.bases;
        self.filler.fill_after(&mut turn, if foreign { 0 } else { base }, Duration::from_micros(delay.into()));
        match turn.work() {
            Work::Cuda(mut cuda) => {
                if let Some(stranger) = self.stranger.filter(|_| foreign) {
                    // Ordered automatically after the fill and before the signal.
                    stranger.memcpy_htod(&Filler::pattern(LEN, base), &mut cuda.resources).unwrap();
                }
            }
            Work::Host(host) if foreign => {
                let words = Filler::pattern(LEN, base);
                host.run(move |slot| slot.copy_from_slice(&words)).unwrap();
            }
            Work::Host(_) => {}
            _ => unreachable!("no other backend is opened here"),
        }
        let turn = turn.finish().unwrap();
        self.rendering.insert(turn.frame(), (turn, base));
    }

    fn submit(&mut self, turn: RenderTurn<Words>, base: u32) -> Result<(), Error> {
        let readback = self.idle.pop().unwrap_or_else(|| Readback::new(self.rig.device(), SIZE));
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; the readback is kept until the point was
        // waited for.
        match unsafe { turn.submit(&[commands]) } {
            Ok(point) => self.in_flight.push_back((point, readback, base)),
            Err(error) => {
                self.idle.push(readback);
                return Err(error);
            }
        }
        Ok(())
    }

    fn wait(&mut self) {
        let Some((point, readback, base)) = self.in_flight.pop_front() else { return };
        point.wait(Rig::LONG).unwrap();
        assert!(readback.words() == Filler::pattern(LEN, base), "the frame of point {} is not its own", point.value());
        self.verified += 1;
        self.idle.push(readback);
    }

    /// Ends the schedule and returns how many frames were read back and compared.
    fn finish(mut self) -> usize {
        while !self.in_flight.is_empty() {
            self.wait();
        }
        drop(self.open.take());
        self.rendering.clear();
        self.exchange.close().unwrap();
        self.verified
    }
}
