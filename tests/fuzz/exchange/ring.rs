//! One exchange of a case, with its turns, its model and the contents of its slots.
#![allow(unsafe_code, clippy::unwrap_used)] // A failure here fails the case.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bridge::vk_export::{Semaphore, SemaphoreInfo, SemaphoreKind};
use bridge::{ComputeTurn, Error, Exchange, ExchangeInfo, LentTurn, RenderTurn, SharedPool, TimelinePoint, Work};
use bridge_fuzz::ON_PURPOSE;
use bridge_tests::Rig;

use crate::common::{Common, Kept, Side};
use crate::direction_ext::{DirectionExt, Next};
use crate::model::{Model, Refused, SlotState};
use crate::op::{Open, RingOp};
use crate::planted::Planted;
use crate::shape::{Content, Shape};
use crate::transfer::Transfer;

/// The timeout of exchanges whose submissions may never happen.
const SHORT: Duration = Duration::from_millis(700);

/// An exchange of any type.
pub(crate) trait AnyRing: Send {
    fn step(&mut self, op: RingOp);
    /// Runs a closure that panics. Returns `false` if no turn is open or its work is recorded.
    fn fail(&mut self) -> bool;
    /// Takes the exchange and its turns, to be dropped anywhere; they count as dropped.
    fn take(&mut self) -> Box<dyn Any + Send>;
    /// Enqueues a closure on the open turn. Returns the closure if no turn is open.
    fn run(&mut self, closure: Box<dyn FnOnce() + Send>) -> Option<Box<dyn FnOnce() + Send>>;
    /// Waits for all frames and drops everything.
    fn end(&mut self) -> Kept;
    fn as_any(&mut self) -> &mut dyn Any;
    /// Returns `true` if it is on the compute side with this flag.
    fn is_on(&self, failed: &Arc<AtomicBool>) -> bool;
    /// Returns `true` if it has nothing left to use.
    fn is_done(&self) -> bool;
}

/// A frame that was submitted.
pub(crate) struct Flight {
    /// The value that the case's own semaphore reaches after the frame. Until then, the semaphore
    /// is in use.
    pub(crate) own: u64,
    /// The end of the frame, if the bridge returned a point for it.
    pub(crate) point: Option<TimelinePoint>,
    pub(crate) transfer: Transfer,
    /// The contents of the slot when it was read; `None` if unknown.
    pub(crate) expected: Option<Content>,
}

pub(crate) struct Ring<S: Shape, D: DirectionExt> {
    pub(crate) common: Common,
    pub(crate) side: Side,
    pub(crate) exchange: Option<Exchange<S, D>>,
    pub(crate) compute: Option<ComputeTurn<S, D>>,
    pub(crate) render: BTreeMap<u64, RenderTurn<S, D>>,
    pub(crate) lent: Option<LentTurn<S, D>>,
    pub(crate) flights: VecDeque<Flight>,
    pub(crate) model: Model,
    pub(crate) contents: Vec<Option<Content>>,
    /// The case's own semaphore, signaled after each submission, and its last value.
    pub(crate) own: (Semaphore, u64),
    pub(crate) short: bool,
    pub(crate) pooled: bool,
    /// `true` if replaced resources may still be alive.
    replaced: bool,
    pub(crate) forgotten: usize,
    pub(crate) exchange_forgotten: bool,
}

impl<S: Shape, D: DirectionExt> Ring<S, D> {
    pub(crate) fn open(common: &Common, side: &Side, open: &Open, pool: Option<&SharedPool>) -> Result<Self, Error> {
        let info = ExchangeInfo {
            name: "fuzzed",
            slots: open.slots,
            frames_in_flight: open.in_flight,
            timeout: if open.short { SHORT } else { Rig::LONG },
            pool,
            ..Default::default()
        };
        let exchange = D::open(&side.compute, &info)?;
        let own = SemaphoreInfo { name: "engine", kind: SemaphoreKind::Timeline, exportable: false };
        Ok(Self {
            common: common.clone(),
            side: side.clone(),
            exchange: Some(exchange),
            compute: None,
            render: BTreeMap::new(),
            lent: None,
            flights: VecDeque::new(),
            model: Model::new(D::VULKAN_FIRST, open.slots),
            contents: vec![None; open.slots],
            own: (Semaphore::new(&common.device, &own).unwrap(), 0),
            short: open.short,
            // It keeps its pool in order to replace buffers.
            pooled: pool.is_some(),
            replaced: false,
            forgotten: 0,
            exchange_forgotten: false,
        })
    }

    pub(crate) fn begin(&mut self) {
        let Some(mut exchange) = self.exchange.take() else { return };
        if self.model.has_unknown() {
            // The result of `begin` depends on which of them have ended.
            self.wait_for_all();
        }
        if Planted::LossNotReported.is_now() {
            self.model.lost = None;
        }
        let expected = if self.side.has_failed() { Err(Refused::HostFailed) } else { self.model.begin() };
        let begun = exchange.begin();
        self.exchange = Some(exchange);
        match begun {
            Ok(begun) => {
                let next = D::begun::<S>(begun);
                let (frame, slot) = match &next {
                    Next::Compute(turn) => (turn.frame(), turn.slot()),
                    Next::Render(turn) => (turn.frame(), turn.slot()),
                    Next::Done(_) => unreachable!("a frame begins with a turn"),
                };
                let expected = expected.map(|expected| expected + u64::from(Planted::NumberOffByOne.is_now()));
                assert_eq!(Ok(frame), expected, "begin gave a frame: {:?}", self.model);
                assert_eq!(self.model.slots[slot], SlotState::Free, "slot {slot} is given out twice: {:?}", self.model);
                self.continue_with(next, frame, slot);
                self.common.count("begins");
            }
            Err(error) => {
                assert_eq!(expected, Err(Refused::of(&error)), "begin said: {error}; {:?}", self.model);
                self.common.count("refused begins");
            }
        }
    }

    /// Stores the turn that a call returned, and notes the holder of the slot.
    pub(crate) fn continue_with(&mut self, next: Next<S, D>, frame: u64, slot: usize) -> Option<TimelinePoint> {
        match next {
            Next::Compute(turn) => {
                assert_eq!((turn.frame(), turn.slot()), (frame, slot));
                self.model.slots[slot] = SlotState::Compute { frame };
                self.compute = Some(turn);
                None
            }
            Next::Render(turn) => {
                assert_eq!((turn.frame(), turn.slot()), (frame, slot));
                self.model.slots[slot] = SlotState::Render { frame };
                self.render.insert(frame, turn);
                None
            }
            Next::Done(point) => {
                self.model.slots[slot] = SlotState::Free;
                Some(point)
            }
        }
    }

    fn replace(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        let expected = self.model.replace(self.side.has_failed(), S::BUFFERS > 0, S::IMAGES > 0);
        let replaced = exchange.replace(S::spec());
        assert_eq!(replaced.as_ref().map_err(Refused::of), expected.as_ref().map(|_| &()).map_err(|refused| *refused));
        if replaced.is_ok() {
            self.replaced = true;
            if Planted::SlotsSwapped.is_now() {
                self.contents.rotate_left(1);
            }
            if S::IMAGES > 0 {
                // The contents of the images are unknown.
                self.contents.fill(None);
            }
            self.common.count("replacements");
        }
    }

    pub(crate) fn wait_oldest(&mut self) {
        let Some(Flight { own, point, transfer, expected }) = self.flights.pop_front() else { return };
        if let Some(point) = point {
            point.wait(Rig::LONG).unwrap();
        }
        self.own.0.wait(own, Rig::LONG).unwrap();
        if let Some(difference) = expected.and_then(|content| content.difference(&transfer.words())) {
            panic!("a frame is not its own: {difference}");
        }
        self.common.idle.lock().unwrap().push(transfer);
        self.common.count("frames seen");
    }

    pub(crate) fn wait_for_all(&mut self) {
        while !self.flights.is_empty() {
            self.wait_oldest();
        }
    }
}

impl<S: Shape, D: DirectionExt> Drop for Ring<S, D> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Some(lent) = self.lent.take() {
            // Its end would be waited for until the timeout.
            // SAFETY: the parts were not used.
            unsafe { lent.not_submitted() };
        }
        // The semaphore is in use until then.
        let last = self.flights.back().map_or(0, |flight| flight.own);
        let _ = self.own.0.wait(last, Rig::MOMENT);
    }
}

impl<S: Shape, D: DirectionExt> AnyRing for Ring<S, D> {
    fn step(&mut self, op: RingOp) {
        match op {
            RingOp::Begin => self.begin(),
            RingOp::Compute { write, slow } => self.work(write, slow),
            RingOp::Finish => self.finish(),
            RingOp::SkipCompute => self.skip_compute(),
            RingOp::DropCompute => self.drop_compute(),
            RingOp::ForgetCompute => {
                let turn = self.compute.take();
                self.forget(turn);
            }
            RingOp::Wait => self.wait_oldest(),
            RingOp::QueryComputed { which, wait } => self.query_computed(which, wait),
            RingOp::QueryRendered => self.query_rendered(),
            RingOp::Close => self.close(),
            RingOp::Drop => self.drop_exchange(),
            RingOp::Replace => self.replace(),
            // Replaced resources are dropped at an undetermined time, so the exchange is not
            // forgotten.
            RingOp::Forget if self.replaced => self.drop_exchange(),
            RingOp::Forget => {
                let Some(exchange) = self.exchange.take() else { return };
                self.exchange_forgotten = true;
                self.common.count("exchanges forgotten");
                std::mem::forget(exchange);
            }
            RingOp::Stream(frames) => self.stream(frames),
            RingOp::Frame { write, fill } => {
                self.begin();
                let submit = RingOp::Submit { which: 0, fill };
                if D::VULKAN_FIRST {
                    self.render_step(submit);
                }
                self.work(write, true);
                self.finish();
                if !D::VULKAN_FIRST {
                    self.render_step(submit);
                }
            }
            render => self.render_step(render),
        }
    }

    fn fail(&mut self) -> bool {
        let Some(turn) = &mut self.compute else { return false };
        let slot = turn.slot();
        let Work::Host(host) = turn.work() else { return false };
        if host.run(|_| panic!("{ON_PURPOSE}")).is_ok() {
            self.contents[slot] = None;
        }
        true
    }

    fn take(&mut self) -> Box<dyn Any + Send> {
        if !self.short {
            // If it were dropped, the wait for it would last until the timeout.
            self.render_step(RingOp::RetractLent);
        }
        let parts = (self.compute.take(), std::mem::take(&mut self.render), self.lent.take(), self.exchange.take());
        Box::new(parts)
    }

    fn run(&mut self, closure: Box<dyn FnOnce() + Send>) -> Option<Box<dyn FnOnce() + Send>> {
        let Some(turn) = self.compute.as_mut().filter(|_| !self.side.has_failed()) else { return Some(closure) };
        let Work::Host(host) = turn.work() else { return Some(closure) };
        host.run(|_| closure()).unwrap();
        None
    }

    fn end(&mut self) -> Kept {
        self.wait_for_all();
        drop(self.take());
        self.kept()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn is_on(&self, failed: &Arc<AtomicBool>) -> bool {
        Arc::ptr_eq(&self.side.failed, failed)
    }

    fn is_done(&self) -> bool {
        self.exchange.is_none() && self.compute.is_none() && self.render.is_empty() && self.lent.is_none()
    }
}
