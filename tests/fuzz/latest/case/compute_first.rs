//! Latest exchanges that the compute side writes and Vulkan reads.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Compute, Error, Exchange, LatestReader, LatestWriter, RenderRead, TimelinePoint, Work};
use bridge_tests::{Readback, Rig};

use super::frames::{Frames, SIZE};
use super::held::{Held, Queue};
use super::op::{Case, Read, Write};
use super::{Common, joined, whole};

pub(crate) fn run<S: Frames>(compute: &Compute, case: &Case, common: &Common) {
    let (writer, reader) = Exchange::latest(compute, &case.info(), S::spec()).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let writer = write(writer, case, common);
            common.writer_is_done.store(true, Ordering::SeqCst);
            case.closes.then_some(writer)
        });
        let mut reading = Reading::new(compute, reader, case, common);
        case.reader.iter().for_each(|read| reading.step(*read));
        let (reader, rest) = reading.end();
        if case.closes {
            let writer = joined(writing).unwrap();
            writer.close(reader).unwrap();
        } else {
            drop(reader);
            joined(writing);
        }
        // Lost submissions may run until the exchange is dropped.
        drop(rest);
    });
}

fn compute<S: Frames>(work: Work<'_, S>, word: u32, delay: Duration) {
    match work {
        Work::Host(host) => host.run(move |lent| S::write(lent, word, delay)).unwrap(),
        Work::Cuda(cuda) => S::write_on_cuda(cuda, word),
        _ => panic!("another backend"),
    }
}

fn write<S: Frames>(mut writer: LatestWriter<S>, case: &Case, common: &Common) -> LatestWriter<S> {
    let mut last: Option<(u64, TimelinePoint)> = None;
    let mut dropped = false;
    for step in &case.writer {
        match *step {
            Write::Pause(micros) => std::thread::sleep(Duration::from_micros(micros.into())),
            Write::Wait => {
                if let Some((frame, point)) = &last {
                    point.wait(Rig::LONG).unwrap();
                    common.note_finished(*frame);
                }
            }
            Write::Frame(_) | Write::Skip | Write::Drop | Write::Lend { .. } => {
                let mut turn = match writer.begin() {
                    Ok(turn) => turn,
                    Err(Error::TurnLost { .. }) if std::mem::take(&mut dropped) => continue,
                    // The reader may lose more slots than the writer can spare.
                    Err(Error::SlotsRetired { .. }) => {
                        common.count("begins without a slot");
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                assert!(!dropped, "a dropped turn is reported");
                let frame = turn.frame();
                let (word, delay) =
                    (u32::try_from(frame).unwrap(), if let Write::Frame(delay) = step { *delay } else { 0 });
                compute(turn.work(), word, Duration::from_micros(delay.into()));
                match step {
                    Write::Skip => turn.skip().unwrap(),
                    Write::Drop => {
                        drop(turn);
                        dropped = true;
                    }
                    _ => {
                        common.note_published(frame);
                        last = Some((frame, turn.publish().unwrap()));
                        common.count("frames published");
                    }
                }
            }
        }
    }
    writer
}

struct Reading<'a, S: Frames> {
    compute: &'a Compute,
    reader: LatestReader<S>,
    common: &'a Common,
    in_flight: VecDeque<(TimelinePoint, Readback, u64)>,
    bound: usize,
    idle: Vec<Readback>,
    /// Readbacks that may have been submitted, which are not reused.
    rest: Vec<Readback>,
    last: Option<u64>,
    lost: bool,
    queue: Queue,
    slots: usize,
    /// `true` if frames are read before they are finished.
    issued: bool,
}

impl<'a, S: Frames> Reading<'a, S> {
    fn new(compute: &'a Compute, reader: LatestReader<S>, case: &Case, common: &'a Common) -> Self {
        let (in_flight, idle, rest) = (VecDeque::new(), Vec::new(), Vec::new());
        let (queue, slots) = (Queue::new(common.held), reader.slots());
        // With the number of submissions that the exchange was created for, no slot is ever written
        // before its wait has ended. More submissions show that the wait exists.
        let bound = if common.held == Held::Queue { slots } else { case.reader_in_flight };
        let (last, lost, issued) = (None, false, case.issued);
        Self { compute, reader, common, in_flight, bound, idle, rest, last, lost, queue, slots, issued }
    }

    fn step(&mut self, step: Read) {
        match step {
            Read::Pause(micros) => std::thread::sleep(Duration::from_micros(micros.into())),
            Read::Wait => self.wait(),
            Read::WaitForAll => {
                while !self.in_flight.is_empty() {
                    self.wait();
                }
            }
            Read::Initialize if self.issued && !S::BROUGHT_BACK_UNFINISHED => {}
            Read::Initialize => {
                if self.reader.retired() > 0 {
                    self.common.count("times that slots were brought back");
                }
                self.reader.initialize().unwrap();
                assert_eq!(self.reader.retired(), 0);
            }
            Read::Frame | Read::Skip | Read::Drop | Read::Lend { .. } => {
                if self.in_flight.len() >= self.bound {
                    self.wait();
                }
                let before = self.common.finished.load(Ordering::SeqCst);
                let turn = self.reader.newest().unwrap();
                self.common.check(before, turn.as_ref().map(RenderRead::frame), self.last, self.lost);
                if let Some(turn) = turn {
                    self.read(turn, step);
                }
            }
        }
    }

    fn read(&mut self, turn: RenderRead<S>, step: Read) {
        let (frame, new) = (turn.frame(), turn.is_new());
        match step {
            Read::Skip => return turn.skip(),
            Read::Drop => return drop(turn),
            _ => {}
        }
        let readback = self.idle.pop().unwrap_or_else(|| Readback::new(self.compute.device(), SIZE));
        let commands = S::record_read(&readback, &turn);
        self.queue.hold(self.compute.device());
        let point = if let Read::Lend { submits, reports } = step {
            let turn = turn.lend().unwrap();
            if submits {
                let (parts, infos) = (turn.parts(), [vk::CommandBufferSubmitInfo::default().command_buffer(commands)]);
                let signals = [parts.signal()];
                let batch = vk::SubmitInfo2::default()
                    .wait_semaphore_infos(parts.waits())
                    .command_buffer_infos(&infos)
                    .signal_semaphore_infos(&signals);
                // SAFETY: the parts of an open turn; the readback is kept until its commands have
                // run.
                unsafe { self.compute.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
            }
            match (submits, reports) {
                // SAFETY: the turn was submitted.
                (true, true) => unsafe { turn.submitted() },
                (false, true) => {
                    // SAFETY: the turn was not submitted.
                    unsafe { turn.not_submitted() };
                    return self.idle.push(readback);
                }
                (_, false) => {
                    self.common.count("lent turns dropped");
                    drop(turn);
                    if new {
                        (self.last, self.lost) = (Some(frame), true);
                    }
                    return self.rest.push(readback);
                }
            }
        } else {
            // SAFETY: recorded with the turn's barriers; the readback is kept until the point was
            // waited for.
            unsafe { turn.submit(&[commands]) }.unwrap()
        };
        self.common.count(if new { "new frames read" } else { "frames read again" });
        (self.last, self.lost) = (Some(frame), false);
        self.in_flight.push_back((point, readback, frame));
        if self.queue.is_held() {
            self.common.let_writer_overrun(self.slots);
        }
    }

    fn wait(&mut self) {
        let Some((point, readback, frame)) = self.in_flight.pop_front() else { return };
        self.queue.release();
        point.wait(Rig::LONG).unwrap();
        assert_eq!(whole(&readback.words()[..S::LEN], frame), Ok(()));
        self.idle.push(readback);
    }

    fn end(mut self) -> (LatestReader<S>, Vec<Readback>) {
        self.step(Read::WaitForAll);
        (self.reader, self.rest)
    }
}
