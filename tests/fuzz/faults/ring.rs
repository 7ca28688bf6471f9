//! One exchange of a case, its turns, and the known contents of its slots.

use std::collections::VecDeque;
use std::time::Duration;

use bridge::ash::vk;
use bridge::vk_export::{Semaphore, SemaphoreInfo, SemaphoreKind};
use bridge::{ComputeTurn, Error, Exchange, ExchangeInfo, ExportDevice, RenderTurn, SubmitInfo};
use bridge_tests::Rig;

use crate::crossing::{Crossing, Known};
use crate::direction_ext::{DirectionExt, Next};
use crate::graph::Graph;
use crate::hook::inside;
use crate::memory::drop_lease;
use crate::op::RingOp;
use crate::shape::{LEN, Part};
use crate::transfer::Transfer;
use crate::world::Shared;

/// The timeout of the exchanges' own waits. Submissions of the case always end.
const LIMIT: Duration = Duration::from_secs(20);

/// Time in which a frame usually ends.
const MOMENT: Duration = Duration::from_millis(250);

/// An exchange of either direction.
pub(crate) trait AnyRing {
    fn step(&mut self, op: RingOp, shared: &mut Shared);
    /// Returns the buffer of the open compute turn and its contents, if work is recorded.
    fn buffer(&mut self) -> Option<(Part, Option<Known>)>;
    /// Records a copy of that buffer, which holds `content`, after the work recorded so far.
    fn copy_from(&mut self, source: Part, content: Option<Known>, shared: &mut Shared);
    /// Marks the contents of the open compute turn as unknown. Its recorded work may be lost with a
    /// call of another exchange, which its own turn reports.
    fn forget_open(&mut self);
    fn end(&mut self, shared: &mut Shared);
    fn is_done(&self) -> bool;
}

pub(crate) struct Flight {
    pub(crate) own: u64,
    pub(crate) transfer: Transfer,
    pub(crate) expected: Option<Known>,
}

pub(crate) struct Ring<S: Crossing, D: DirectionExt> {
    pub(crate) device: ExportDevice,
    pub(crate) exchange: Option<Exchange<S, D>>,
    pub(crate) compute: Option<ComputeTurn<S, D>>,
    pub(crate) render: VecDeque<RenderTurn<S, D>>,
    pub(crate) graph: Graph<S>,
    pub(crate) flights: VecDeque<Flight>,
    pub(crate) contents: Vec<Option<Known>>,
    /// The length of a buffer.
    pub(crate) words: usize,
    /// The case's own semaphore, signaled after each submission, and its last value.
    pub(crate) own: (Semaphore, u64),
}

impl<S: Crossing, D: DirectionExt> Ring<S, D> {
    /// Returns `None` if a call failed.
    pub(crate) fn open(shared: &mut Shared, slots: usize, pooled: bool) -> Option<Self> {
        let (device, compute) = shared.side();
        let (device, compute) = (&device, &compute);
        let pool = if pooled { Some(shared.pool()?) } else { None };
        let info = ExchangeInfo { name: "fuzzed", slots, timeout: LIMIT, pool: pool.as_ref(), ..Default::default() };
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
            graph: Graph::default(),
            flights: VecDeque::new(),
            contents: vec![None; slots],
            words: LEN,
            own: (Semaphore::new(device, &own).unwrap(), 0),
        })
    }

    pub(crate) fn begin(&mut self, shared: &mut Shared) {
        shared.hold_streams();
        let Some(exchange) = &mut self.exchange else { return };
        let (begun, hit) = inside(|| exchange.begin());
        shared.note(hit);
        match begun {
            Ok(begun) => self.continue_with(D::begun::<S>(begun)),
            Err(Error::TurnOpen { .. } | Error::SlotBusy { .. } | Error::TurnLost { .. }) => {}
            Err(error) => shared.allow(&error, hit),
        }
    }

    pub(crate) fn continue_with(&mut self, next: Next<S, D>) {
        match next {
            Next::Compute(turn) => self.compute = Some(turn),
            Next::Render(turn) => self.render.push_back(turn),
            Next::Done(_) => {}
        }
    }

    fn finish(&mut self, shared: &mut Shared) {
        let Some(turn) = self.compute.take() else { return };
        let slot = turn.slot();
        let (finished, hit) = inside(|| turn.finish());
        shared.note(hit);
        match finished {
            Ok(finished) => self.continue_with(D::finished::<S>(finished)),
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
        shared.count(if skips { "compute turns skipped" } else { "compute turns dropped" });
        if let Err(error) = ended {
            shared.allow(&error, hit);
        }
    }

    /// Returns the ring's own signal for the next submission.
    pub(crate) fn next_signal(&mut self) -> vk::SemaphoreSubmitInfo<'static> {
        self.own.1 += 1;
        vk::SemaphoreSubmitInfo::default()
            .semaphore(self.own.0.as_raw())
            .value(self.own.1)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
    }

    pub(crate) fn submit(&mut self, fill: bool, shared: &mut Shared) {
        let Some(turn) = self.render.pop_front() else { return };
        let slot = turn.slot();
        let mut transfer = shared.transfer();
        let word = fill.then(|| shared.tag());
        let mut parts = Vec::new();
        S::parts(turn.resources(), &mut parts);
        // SAFETY: recording, of the right family, submitted with this turn.
        let acquire = |commands| unsafe { turn.record_acquire(commands) };
        // SAFETY: as above.
        let commands = transfer.record(&parts, word, acquire, |commands| unsafe { turn.record_release(commands) });
        let signals = [self.next_signal()];
        shared.hold_queue();
        let info = SubmitInfo { commands: &[commands], signals: &signals, ..Default::default() };
        // SAFETY: recorded with the turn's barriers; the transfer is kept until the frame was
        // waited for, and the values of the additional signal increase on the one queue.
        let (submitted, hit) = inside(|| unsafe { turn.submit_with(&info) });
        shared.note(hit);
        match submitted {
            Ok(submitted) => {
                let expected = self.contents[slot];
                self.flights.push_back(Flight { own: self.own.1, transfer, expected });
                self.contents[slot] = word.map(Known::flat).or(expected);
                self.continue_with(D::submitted::<S>(submitted));
                shared.count("submissions");
            }
            Err(error) => {
                // It may have been submitted, with only the notification of the compute side
                // failing.
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
        shared.count(if skips { "render turns skipped" } else { "render turns dropped" });
        if hit.is_some() {
            self.contents[slot] = None;
        }
    }

    fn ask(&self, wait: bool, shared: &mut Shared) {
        let Some(point) = self.render.front().and_then(|turn| D::computed(turn)) else { return };
        shared.count("questions");
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
            drop(std::mem::take(&mut self.graph));
        });
        shared.note(hit);
    }

    fn wait(&mut self, shared: &mut Shared) {
        let Some(Flight { own, transfer, expected }) = self.flights.pop_front() else { return };
        if !shared.trial.engine_forgets {
            shared.release();
        }
        if self.own.0.wait(own, MOMENT).is_err() && shared.side().1.check_alive().is_err() {
            // The queue waits for a signal of a lost context, which only the end of the exchange
            // makes up for.
            self.leave(shared);
            shared.count("lost contexts that the queue waited for");
        }
        self.own.0.wait(own, Rig::LONG).unwrap_or_else(|error| panic!("a submitted frame does not end: {error}"));
        shared.release();
        let difference = expected.and_then(|content| content.difference(&transfer.words()));
        assert!(difference.is_none() || shared.has_failed(), "a frame is not its own: {difference:?}");
        shared.give_back(transfer);
        shared.count("frames seen");
    }
}

impl<S: Crossing, D: DirectionExt> AnyRing for Ring<S, D> {
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
            RingOp::Lent { fill, fate } => self.lend(fill, fate, shared),
            RingOp::Graph { fill } => self.frame_by_graph(fill, shared),
            RingOp::DropGraph => {
                if !self.graph.is_none() {
                    shared.count("graphs dropped");
                }
                let ((), hit) = inside(|| drop(std::mem::take(&mut self.graph)));
                shared.note(hit);
            }
            RingOp::Replace { words } => self.replace(words, shared),
            RingOp::Grow { words } => self.grow(words, shared),
            RingOp::Split { outside } => self.split(outside, shared),
            RingOp::Memory => self.work_with_memory(shared),
            RingOp::Lease { slot, of_turn } => self.lease(slot, of_turn, shared),
            RingOp::DropLease => drop_lease(shared),
            RingOp::Wait => self.wait(shared),
            RingOp::Ask { wait } => self.ask(wait, shared),
            RingOp::Close => {
                let Some(exchange) = self.exchange.take() else { return };
                shared.count("closes");
                let (closed, hit) = inside(|| exchange.close());
                shared.note(hit);
                match closed {
                    Ok(()) | Err(Error::TurnOpen { .. } | Error::SlotBusy { .. }) => {}
                    Err(error) => shared.allow(&error, hit),
                }
            }
            RingOp::Drop => {
                let Some(exchange) = self.exchange.take() else { return };
                shared.count("exchanges dropped");
                let ((), hit) = inside(|| drop(exchange));
                shared.note(hit);
            }
        }
    }

    fn buffer(&mut self) -> Option<(Part, Option<Known>)> {
        self.inline_buffer()
    }

    fn copy_from(&mut self, source: Part, content: Option<Known>, shared: &mut Shared) {
        self.copy_inline(source, content, shared);
    }

    fn forget_open(&mut self) {
        if let Some(turn) = &self.compute {
            self.contents[turn.slot()] = None;
        }
    }

    fn end(&mut self, shared: &mut Shared) {
        while !self.flights.is_empty() {
            self.wait(shared);
        }
        self.leave(shared);
    }

    fn is_done(&self) -> bool {
        self.exchange.is_none() && self.compute.is_none() && self.render.is_empty() && self.graph.is_none()
    }
}
