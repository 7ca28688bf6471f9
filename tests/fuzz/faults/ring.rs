//! One exchange of a case, its turns, and what its slots are known to hold.

use std::collections::VecDeque;
use std::time::Duration;

use bridge::ash::vk;
use bridge::cudarc::driver::DriverError;
use bridge::vk_export::{Semaphore, SemaphoreInfo, SemaphoreKind};
use bridge::{
    BufferSpec, ComputeTurn, CudaWork, Error, Exchange, ExchangeInfo, ExportDevice, RenderTurn, SubmitInfo, Work,
};
use bridge_tests::Rig;

use crate::hook::inside;
use crate::op::RingOp;
use crate::shape::{Content, Part, Shape};
use crate::transfer::{Transfer, barrier, copy, fill_with};
use crate::way::{Next, Way};
use crate::world::Shared;

pub(crate) type Words = BufferSpec<u32>;

/// The limit of the exchanges' own waits; what is submitted here always ends.
const LIMIT: Duration = Duration::from_secs(20);

/// Time in which a frame ends, as a rule.
const MOMENT: Duration = Duration::from_millis(250);

/// An exchange of either direction.
pub(crate) trait AnyRing {
    fn step(&mut self, op: RingOp, shared: &mut Shared);
    /// The buffer of the open compute turn, where work is recorded, and what it holds.
    fn buffer(&mut self) -> Option<(vk::Buffer, Option<Content>)>;
    /// Records a copy of that buffer, which holds `content`, behind what was recorded.
    fn copy_from(&mut self, source: vk::Buffer, content: Option<Content>, shared: &mut Shared);
    fn end(&mut self, shared: &mut Shared);
    fn is_done(&self) -> bool;
}

struct Flight {
    own: u64,
    transfer: Transfer,
    expected: Option<Content>,
}

pub(crate) struct Ring<D: Way> {
    device: ExportDevice,
    exchange: Option<Exchange<Words, D>>,
    compute: Option<ComputeTurn<Words, D>>,
    render: VecDeque<RenderTurn<Words, D>>,
    flights: VecDeque<Flight>,
    contents: Vec<Option<Content>>,
    /// Signalled behind each submission.
    own: (Semaphore, u64),
}

impl<D: Way> Ring<D> {
    /// `None` where a call failed.
    pub(crate) fn open(shared: &mut Shared, slots: usize) -> Option<Self> {
        let (device, compute) = shared.side();
        let (device, compute) = (&device, &compute);
        let info = ExchangeInfo { name: "fuzzed", slots, timeout: LIMIT, ..Default::default() };
        let (exchange, hit) = inside(|| D::open(compute, &info));
        shared.note(hit);
        let exchange = match exchange {
            Ok(exchange) => exchange,
            Err(error) => {
                shared.allow(&error, hit);
                return None;
            }
        };
        let own = SemaphoreInfo { name: "engine", kind: SemaphoreKind::Timeline, exportable: false };
        Some(Self {
            device: device.clone(),
            exchange: Some(exchange),
            compute: None,
            render: VecDeque::new(),
            flights: VecDeque::new(),
            contents: vec![None; slots],
            own: (Semaphore::new(device, &own).unwrap(), 0),
        })
    }

    fn begin(&mut self, shared: &mut Shared) {
        let Some(exchange) = &mut self.exchange else { return };
        let (begun, hit) = inside(|| exchange.begin());
        shared.note(hit);
        match begun {
            Ok(begun) => self.go_on(D::begun::<Words>(begun)),
            Err(Error::TurnOpen { .. } | Error::SlotBusy { .. } | Error::TurnLost { .. }) => {}
            Err(error) => shared.allow(&error, hit),
        }
    }

    fn go_on(&mut self, next: Next<Words, D>) {
        match next {
            Next::Compute(turn) => self.compute = Some(turn),
            Next::Render(turn) => self.render.push_back(turn),
            Next::Done(_) => {}
        }
    }

    fn work(&mut self, shared: &mut Shared) {
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
                let (worked, hit) = on_cuda(cuda, expected, tag);
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

    fn finish(&mut self, shared: &mut Shared) {
        let Some(turn) = self.compute.take() else { return };
        let slot = turn.slot();
        let (finished, hit) = inside(|| turn.finish());
        shared.note(hit);
        match finished {
            Ok(finished) => self.go_on(D::finished::<Words>(finished)),
            Err(error) => {
                self.contents[slot] = None;
                shared.allow(&error, hit);
            }
        }
    }

    fn end_compute(&mut self, skips: bool, shared: &mut Shared) {
        let Some(turn) = self.compute.take() else { return };
        let slot = turn.slot();
        let (ended, hit) = inside(|| {
            if skips {
                return turn.skip();
            }
            drop(turn);
            Ok(())
        });
        shared.note(hit);
        if hit.is_some() || ended.is_err() {
            self.contents[slot] = None;
        }
        if let Err(error) = ended {
            shared.allow(&error, hit);
        }
    }

    fn submit(&mut self, fill: bool, shared: &mut Shared) {
        let Some(turn) = self.render.pop_front() else { return };
        let slot = turn.slot();
        let mut transfer = shared.transfer();
        let word = fill.then(|| shared.tag());
        let mut parts = Vec::new();
        Words::parts(turn.resources(), &mut parts);
        // SAFETY: recording, of the right family, submitted with this turn.
        let acquire = |commands| unsafe { turn.record_acquire(commands) };
        // SAFETY: as above.
        let commands = transfer.record(&parts, word, acquire, |commands| unsafe { turn.record_release(commands) });
        self.own.1 += 1;
        let signals = [vk::SemaphoreSubmitInfo::default()
            .semaphore(self.own.0.as_raw())
            .value(self.own.1)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
        let info = SubmitInfo { commands: &[commands], signals: &signals, ..Default::default() };
        // SAFETY: recorded with the turn's barriers; the transfer is kept until the frame was
        // waited for, and the further signal's values rise on the one queue.
        let (submitted, hit) = inside(|| unsafe { turn.submit_with(&info) });
        shared.note(hit);
        match submitted {
            Ok(submitted) => {
                let expected = self.contents[slot];
                self.flights.push_back(Flight { own: self.own.1, transfer, expected });
                self.contents[slot] = word.map(Content::Flat).or(expected);
                self.go_on(D::submitted::<Words>(submitted));
                shared.count("submissions");
            }
            Err(error) => {
                // It may have been submitted, where only the compute side could not be told.
                shared.keep(transfer);
                self.contents[slot] = None;
                shared.allow(&error, hit);
            }
        }
    }

    fn end_render(&mut self, skips: bool, shared: &mut Shared) {
        let Some(turn) = self.render.pop_front() else { return };
        let slot = turn.slot();
        let ((), hit) = inside(|| if skips { turn.skip() } else { drop(turn) });
        shared.note(hit);
        if hit.is_some() {
            self.contents[slot] = None;
        }
    }

    fn replace(&mut self, shared: &mut Shared) {
        let Some(exchange) = &mut self.exchange else { return };
        let (replaced, hit) = inside(|| exchange.replace(Words::spec()));
        shared.note(hit);
        match replaced {
            Ok(()) => shared.count("replacements"),
            Err(Error::ReplacedWhileOpen { .. } | Error::TurnLost { .. }) => {}
            Err(error) => shared.allow(&error, hit),
        }
    }

    fn ask(&self, wait: bool, shared: &mut Shared) {
        let Some(point) = self.render.front().and_then(|turn| D::computed(turn)) else { return };
        let (asked, hit) = inside(|| if wait { point.wait(Rig::LONG) } else { point.is_reached().map(|_| ()) });
        shared.note(hit);
        if let Err(error) = asked {
            assert!(!matches!(error, Error::Timeout { .. }), "finished work is never done: {error}");
            shared.allow(&error, hit);
        }
    }

    /// Drops the turns and the exchange.
    fn leave(&mut self, shared: &mut Shared) {
        let ((), hit) = inside(|| {
            drop((self.compute.take(), std::mem::take(&mut self.render)));
            drop(self.exchange.take());
        });
        shared.note(hit);
    }

    fn wait(&mut self, shared: &mut Shared) {
        let Some(Flight { own, transfer, expected }) = self.flights.pop_front() else { return };
        if self.own.0.wait(own, MOMENT).is_err() && shared.side().1.check().is_err() {
            // The queue waits for a signal that a lost context does not make, which nobody has
            // asked for: the end of the exchange does.
            self.leave(shared);
            shared.count("lost contexts that the queue waited for");
        }
        self.own.0.wait(own, Rig::LONG).unwrap_or_else(|error| panic!("a submitted frame does not end: {error}"));
        let difference = expected.and_then(|content| content.difference(&transfer.words()));
        assert!(difference.is_none() || shared.has_failed(), "a frame is not its own: {difference:?}");
        shared.give_back(transfer);
        shared.count("frames seen");
    }
}

impl<D: Way> AnyRing for Ring<D> {
    fn step(&mut self, op: RingOp, shared: &mut Shared) {
        match op {
            RingOp::Begin => self.begin(shared),
            RingOp::Work => self.work(shared),
            RingOp::Finish => self.finish(shared),
            RingOp::SkipCompute => self.end_compute(true, shared),
            RingOp::DropCompute => self.end_compute(false, shared),
            RingOp::Submit { fill } => self.submit(fill, shared),
            RingOp::SkipRender => self.end_render(true, shared),
            RingOp::DropRender => self.end_render(false, shared),
            RingOp::Frame { fill } => {
                self.begin(shared);
                if D::VULKAN_FIRST {
                    self.submit(fill, shared);
                }
                self.work(shared);
                self.finish(shared);
                if !D::VULKAN_FIRST {
                    self.submit(fill, shared);
                }
            }
            RingOp::Replace => self.replace(shared),
            RingOp::Wait => self.wait(shared),
            RingOp::Ask { wait } => self.ask(wait, shared),
            RingOp::Close => {
                let Some(exchange) = self.exchange.take() else { return };
                let (closed, hit) = inside(|| exchange.close());
                shared.note(hit);
                match closed {
                    Ok(()) | Err(Error::TurnOpen { .. } | Error::SlotBusy { .. }) => {}
                    Err(error) => shared.allow(&error, hit),
                }
            }
            RingOp::Drop => {
                let ((), hit) = inside(|| drop(self.exchange.take()));
                shared.note(hit);
            }
        }
    }

    fn buffer(&mut self) -> Option<(vk::Buffer, Option<Content>)> {
        let turn = self.compute.as_mut()?;
        let content = self.contents[turn.slot()];
        match turn.work() {
            Work::Inline(work) => Some((work.resources.as_raw()?, content)),
            _ => None,
        }
    }

    fn copy_from(&mut self, source: vk::Buffer, content: Option<Content>, shared: &mut Shared) {
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

    fn end(&mut self, shared: &mut Shared) {
        while !self.flights.is_empty() {
            self.wait(shared);
        }
        self.leave(shared);
    }

    fn is_done(&self) -> bool {
        self.exchange.is_none() && self.compute.is_none() && self.render.is_empty()
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
fn between(device: &ExportDevice, commands: vk::CommandBuffer, record: impl FnOnce()) {
    let all = |stages| (stages, vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE);
    let (kernels, transfer) = (vk::PipelineStageFlags2::COMPUTE_SHADER, vk::PipelineStageFlags2::ALL_TRANSFER);
    barrier(device, commands, all(kernels), all(transfer));
    record();
    barrier(device, commands, all(transfer), all(kernels));
}
