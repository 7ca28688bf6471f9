//! Latest exchanges that Vulkan writes and the compute side reads.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{
    Compute, ComputeRead, Error, Exchange, LatestReader, LatestWriter, RenderFirst, RenderWrite, TimelinePoint, Work,
};
use bridge_tests::{Commands, Rig};

use super::frames::{Frames, Looks};
use super::held::Queue;
use super::op::{Case, Read, Write};
use super::{Common, joined, whole};

pub(crate) fn run<S: Frames>(compute: &Compute, case: &Case, common: &Common) {
    let (writer, reader) = Exchange::latest_render_first(compute, &case.info(), S::spec()).unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let reader = read(reader, case, common);
            case.closes.then_some(reader)
        });
        let mut writing = Writing {
            compute,
            writer,
            common,
            in_flight: VecDeque::new(),
            bound: case.writer_in_flight,
            idle: Vec::new(),
            rest: Vec::new(),
            dropped: false,
            lost: false,
            queue: Queue::new(common.held),
        };
        case.writer.iter().for_each(|step| writing.step(*step));
        let (writer, rest) = writing.end();
        if case.closes {
            let reader = joined(reading).unwrap();
            writer.close(reader).unwrap();
        } else {
            drop(writer);
            joined(reading);
        }
        // Lost submissions may run until the exchange is dropped.
        drop(rest);
    });
}

struct Writing<'a, S: Frames> {
    compute: &'a Compute,
    writer: LatestWriter<S, RenderFirst>,
    common: &'a Common,
    in_flight: VecDeque<(TimelinePoint, Commands, u64)>,
    bound: usize,
    idle: Vec<Commands>,
    rest: Vec<Commands>,
    dropped: bool,
    lost: bool,
    queue: Queue,
}

impl<S: Frames> Writing<'_, S> {
    fn step(&mut self, step: Write) {
        match step {
            Write::Pause(micros) => std::thread::sleep(Duration::from_micros(micros.into())),
            Write::Wait => {
                while !self.in_flight.is_empty() {
                    self.wait();
                }
            }
            _ => {
                if self.in_flight.len() >= self.bound {
                    self.wait();
                }
                match self.writer.begin() {
                    Ok(turn) => {
                        assert!(!self.dropped, "a dropped turn is reported");
                        self.write(turn, step);
                    }
                    Err(Error::TurnLost { .. }) if self.dropped => self.dropped = false,
                    Err(Error::TurnLost { .. }) if self.lost => self.common.count("begins without a slot"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn write(&mut self, turn: RenderWrite<S>, step: Write) {
        let frame = turn.frame();
        match step {
            Write::Skip => return turn.skip(),
            Write::Drop => {
                self.dropped = true;
                return drop(turn);
            }
            _ => {}
        }
        let commands = self.idle.pop().unwrap_or_else(|| Commands::new(self.compute.device()));
        let raw = self.record(&turn, &commands);
        self.queue.hold(self.compute.device());
        let point = if let Write::Lend { submits, reports } = step {
            let turn = turn.lend().unwrap();
            if submits {
                let (parts, infos) = (turn.parts(), [vk::CommandBufferSubmitInfo::default().command_buffer(raw)]);
                let signals = [parts.signal()];
                let batch = vk::SubmitInfo2::default()
                    .wait_semaphore_infos(parts.waits())
                    .command_buffer_infos(&infos)
                    .signal_semaphore_infos(&signals);
                // SAFETY: the parts of an open turn; the commands are kept until they have run.
                unsafe { self.compute.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
            }
            match (submits, reports) {
                (true, true) => {
                    self.common.note_published(frame);
                    // SAFETY: the turn was submitted.
                    unsafe { turn.submitted() }
                }
                (false, true) => {
                    // SAFETY: the turn was not submitted.
                    unsafe { turn.not_submitted() };
                    return self.idle.push(commands);
                }
                (_, false) => {
                    self.common.count("lent turns dropped");
                    self.lost = true;
                    drop(turn);
                    return self.rest.push(commands);
                }
            }
        } else {
            self.common.note_published(frame);
            // SAFETY: recorded with the turn's barriers; the commands are kept until the point was
            // waited for.
            unsafe { turn.submit(&[raw]) }.unwrap()
        };
        self.common.count("frames drawn");
        self.in_flight.push_back((point, commands, frame));
    }

    /// Records a fill of the frame with its number.
    fn record(&self, turn: &RenderWrite<S>, commands: &Commands) -> vk::CommandBuffer {
        let raw = commands.begin();
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(raw) };
        let word = u32::try_from(turn.frame()).unwrap();
        S::record_write(self.compute.device(), raw, turn.resources(), word);
        // SAFETY: as above.
        unsafe { turn.record_release(raw) };
        commands.end();
        raw
    }

    fn wait(&mut self) {
        let Some((point, commands, frame)) = self.in_flight.pop_front() else { return };
        self.queue.release();
        point.wait(Rig::LONG).unwrap();
        self.common.note_finished(frame);
        self.idle.push(commands);
    }

    fn end(mut self) -> (LatestWriter<S, RenderFirst>, Vec<Commands>) {
        self.step(Write::Wait);
        (self.writer, self.rest)
    }
}

fn read<S: Frames>(
    mut reader: LatestReader<S, RenderFirst>,
    case: &Case,
    common: &Common,
) -> LatestReader<S, RenderFirst> {
    let (sender, seen) = mpsc::channel();
    let mut copies = Looks::default();
    let (mut in_flight, mut last, mut looks) = (VecDeque::<TimelinePoint>::new(), None, 0);
    for step in &case.reader {
        match *step {
            Read::Pause(micros) => std::thread::sleep(Duration::from_micros(micros.into())),
            Read::Initialize | Read::WaitForAll => {
                in_flight.drain(..).for_each(|point| point.wait(Rig::LONG).unwrap());
            }
            Read::Wait => in_flight.pop_front().into_iter().for_each(|point| point.wait(Rig::LONG).unwrap()),
            Read::Frame | Read::Skip | Read::Drop | Read::Lend { .. } => {
                if in_flight.len() >= case.reader_in_flight {
                    in_flight.pop_front().into_iter().for_each(|point| point.wait(Rig::LONG).unwrap());
                }
                let before = common.finished.load(Ordering::SeqCst);
                let turn = reader.newest().unwrap();
                common.check(before, turn.as_ref().map(ComputeRead::frame), last, false);
                let Some(mut turn) = turn else { continue };
                let frame = turn.frame();
                last = Some(frame);
                if !matches!(step, Read::Skip) {
                    match turn.work() {
                        Work::Host(host) => {
                            let sender = sender.clone();
                            let look = move |lent: S::Host<'_>| {
                                let mut seen = Ok(());
                                S::look(lent, &mut |words| seen = seen.clone().and_then(|()| whole(words, frame)));
                                sender.send(seen).unwrap();
                            };
                            host.run(look).unwrap();
                            looks += 1;
                        }
                        Work::Cuda(cuda) => copies.take(cuda, frame),
                        _ => panic!("another backend"),
                    }
                }
                common.count(if turn.is_new() { "new frames looked at" } else { "frames looked at again" });
                match step {
                    Read::Drop => drop(turn),
                    _ => in_flight.push_back(turn.finish().unwrap()),
                }
            }
        }
    }
    for _ in 0..looks {
        assert_eq!(seen.recv_timeout(Rig::LONG).unwrap(), Ok(()));
    }
    copies.end();
    reader
}
