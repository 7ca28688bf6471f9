//! Random schedules compared with a model: in any order of operations, the reader's frame is the
//! one that the model predicts, and has the contents that were published.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bridge::ash::vk;
use bridge::{
    Compute, ComputeWrite, Error, LatestInfo, LatestReader, LatestWriter, LentLatest, Newest, RenderRead, TimelinePoint,
};
use bridge_tests::{Filler, Readback, Rig};
use proptest::prelude::*;

use crate::{LEN, SIZE, Words, base, frame_of, info, words};

#[path = "../property.rs"]
mod property;

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    /// Fills the frame after this many microseconds, and publishes it.
    Publish(u16),
    SkipWrite,
    DropWrite,
    Newest,
    Submit,
    SkipRead,
    DropRead,
    /// Lends the turn, submits its parts, and reports the submission.
    Lend,
    Retract,
    /// Lends the turn, submits its parts or not, and reports nothing.
    Lose(bool),
    Initialize,
    WaitForReader,
    WaitForWriter,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Begin),
        8 => (0u16..1500).prop_map(Step::Publish),
        1 => Just(Step::SkipWrite),
        1 => Just(Step::DropWrite),
        8 => Just(Step::Newest),
        6 => Just(Step::Submit),
        1 => Just(Step::SkipRead),
        1 => Just(Step::DropRead),
        2 => Just(Step::Lend),
        1 => Just(Step::Retract),
        1 => any::<bool>().prop_map(Step::Lose),
        1 => Just(Step::Initialize),
        3 => Just(Step::WaitForReader),
        3 => Just(Step::WaitForWriter),
    ]
}

pub(crate) fn every_schedule_matches_the_model(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let seen = Cell::new(0);
    let schedules = (1usize..4, 1usize..4, any::<bool>(), prop::collection::vec(step(), 1..150));
    property::run(20, &schedules, |(writer, reader, issued, steps)| {
        let newest = if issued { Newest::Published } else { Newest::Finished };
        let bounds = LatestInfo { writer_in_flight: writer, reader_in_flight: reader, newest, ..info() };
        let mut world = World::new(rig, compute, &filler, &bounds);
        steps.into_iter().for_each(|step| world.step(step));
        seen.set(seen.get() + world.finish());
        Ok(())
    });
    assert!(seen.get() >= 100, "only {} submissions were read back and compared", seen.get());
}

struct World<'a> {
    rig: &'a Rig,
    filler: &'a Filler,
    writer: LatestWriter<Words>,
    reader: LatestReader<Words>,
    newest: Newest,
    reader_in_flight: usize,
    writing: Option<ComputeWrite<Words>>,
    reading: Option<RenderRead<Words>>,
    published: BTreeMap<u64, TimelinePoint>,
    in_flight: VecDeque<(TimelinePoint, Readback, u64)>,
    idle: Vec<Readback>,
    /// Readbacks that were recorded, and perhaps submitted: they are not used again.
    lost: Vec<Readback>,
    // The model.
    next: u64,
    dropped: bool,
    shown: Option<u64>,
    /// `true` if the reader has no frame, because its last one was lost.
    none: bool,
    retired: usize,
    compared: usize,
}

impl<'a> World<'a> {
    fn new(rig: &'a Rig, compute: &Compute, filler: &'a Filler, bounds: &LatestInfo<'_>) -> Self {
        let (writer, reader) = words(compute, bounds);
        Self {
            rig,
            filler,
            writer,
            reader,
            newest: bounds.newest,
            reader_in_flight: bounds.reader_in_flight,
            writing: None,
            reading: None,
            published: BTreeMap::new(),
            in_flight: VecDeque::new(),
            idle: Vec::new(),
            lost: Vec::new(),
            next: 0,
            dropped: false,
            shown: None,
            none: true,
            retired: 0,
            compared: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin => self.begin(),
            Step::Publish(delay) => self.publish(delay),
            Step::SkipWrite => self.writing.take().into_iter().for_each(|turn| turn.skip().unwrap()),
            Step::DropWrite => self.dropped |= self.writing.take().is_some(),
            Step::Newest => self.take_newest(),
            Step::Submit | Step::Lend | Step::Retract | Step::Lose(_) => self.end_read(step),
            Step::SkipRead => self.reading.take().into_iter().for_each(RenderRead::skip),
            Step::DropRead => drop(self.reading.take()),
            Step::Initialize => {
                self.reader.initialize().unwrap();
                self.retired = 0;
            }
            Step::WaitForReader => self.wait(),
            Step::WaitForWriter => {
                if let Some((_, point)) = self.published.last_key_value() {
                    point.wait(Rig::LONG).unwrap();
                }
            }
        }
        assert_eq!(self.reader.retired(), self.retired);
    }

    fn begin(&mut self) {
        match self.writer.begin() {
            Err(Error::TurnLost { frame, .. }) if self.dropped => {
                assert_eq!(frame, self.next);
                self.dropped = false;
            }
            result if self.dropped => panic!("a lost turn is told first, not {result:?}"),
            Err(Error::TurnOpen { frame, .. }) => {
                assert_eq!(Some(frame), self.writing.as_ref().map(|turn| turn.frame()))
            }
            result if self.writing.is_some() => panic!("a turn is open, but {result:?}"),
            Err(Error::SlotsRetired { retired, .. }) if self.retired > 0 => assert_eq!(retired, self.retired),
            Ok(turn) => {
                assert_eq!(turn.frame(), self.next);
                let held = self.reading.as_ref().map(|turn| turn.slot());
                assert_ne!(Some(turn.slot()), held, "it is the reader's");
                self.writing = Some(turn);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn publish(&mut self, delay: u16) {
        let Some(mut turn) = self.writing.take() else { return };
        self.filler.fill_work(turn.work(), base(self.next), Duration::from_micros(delay.into()));
        self.published.insert(self.next, turn.publish().unwrap());
        self.next += 1;
    }

    /// Returns the newest frame that may be read now.
    fn candidate(&self) -> Option<u64> {
        let mut frames = self.published.iter().rev();
        let finished = |point: &TimelinePoint| self.newest == Newest::Published || point.is_reached().unwrap();
        frames.find(|(_, point)| finished(point)).map(|(frame, _)| *frame).filter(|frame| Some(*frame) > self.shown)
    }

    fn take_newest(&mut self) {
        if self.in_flight.len() >= self.reader_in_flight {
            self.wait();
        }
        let before = self.candidate();
        let turn = match self.reader.newest() {
            Err(Error::TurnOpen { frame, .. }) => {
                return assert_eq!(Some(frame), self.reading.as_ref().map(|turn| turn.frame()));
            }
            result if self.reading.is_some() => panic!("a turn is open, but {result:?}"),
            result => result.unwrap(),
        };
        // More frames may finish in the meantime.
        let after = self.candidate();
        let Some(turn) = turn else {
            assert!(before.is_none() && self.none, "there is {before:?}, or the frame before");
            return;
        };
        let frame = Some(turn.frame());
        if turn.is_new() {
            assert!(frame >= before && frame <= after && frame > self.shown, "{before:?} {frame:?} {after:?}");
        } else {
            assert!(before.is_none() && frame == self.shown && !self.none, "{before:?} {frame:?} {:?}", self.shown);
        }
        self.reading = Some(turn);
    }

    fn end_read(&mut self, step: Step) {
        let Some(turn) = self.reading.take() else { return };
        let (frame, new) = (turn.frame(), turn.is_new());
        let readback = self.idle.pop().unwrap_or_else(|| Readback::new(self.rig.device(), SIZE));
        let commands = readback.record_read(&turn, &[(turn.resources().as_raw(), SIZE)]);
        let point = match step {
            // SAFETY: recorded with the turn's barriers; the readback is kept until the point was
            // waited for.
            Step::Submit => unsafe { turn.submit(&[commands]) }.unwrap(),
            Step::Lend => {
                let turn = turn.lend().unwrap();
                self.splice(&turn, commands);
                // SAFETY: it was submitted.
                unsafe { turn.submitted() }
            }
            Step::Lose(happens) => {
                let turn = turn.lend().unwrap();
                if happens {
                    self.splice(&turn, commands);
                }
                drop(turn);
                self.lost.push(readback);
                if new {
                    self.retired += 1 + usize::from(!self.none);
                    self.shown = Some(frame);
                    self.none = true;
                }
                return;
            }
            _ => {
                // SAFETY: nothing was submitted.
                unsafe { turn.lend().unwrap().not_submitted() };
                self.idle.push(readback);
                return;
            }
        };
        (self.shown, self.none) = (Some(frame), false);
        self.in_flight.push_back((point, readback, frame));
    }

    fn splice(&self, turn: &LentLatest<RenderRead<Words>>, commands: vk::CommandBuffer) {
        let (parts, infos) = (turn.parts(), [vk::CommandBufferSubmitInfo::default().command_buffer(commands)]);
        let signals = [parts.signal()];
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(parts.waits())
            .command_buffer_infos(&infos)
            .signal_semaphore_infos(&signals);
        // SAFETY: the parts of an open turn; the readback is kept until its commands have
        // completed.
        unsafe { self.rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    }

    fn wait(&mut self) {
        let Some((point, readback, frame)) = self.in_flight.pop_front() else { return };
        point.wait(Rig::LONG).unwrap();
        assert_eq!(frame_of(&readback.words()[..LEN]), Ok(frame));
        self.compared += 1;
        self.idle.push(readback);
    }

    /// Closes the exchange; returns the number of submissions that were read back and compared.
    fn finish(mut self) -> usize {
        while !self.in_flight.is_empty() {
            self.wait();
        }
        drop((self.writing.take(), self.reading.take()));
        // Commands of lost submissions may run until the exchange is closed.
        self.writer.close(self.reader).unwrap();
        drop(self.lost);
        self.compared
    }
}
