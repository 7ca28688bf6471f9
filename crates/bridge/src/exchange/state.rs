//! What an exchange and its turns hold together, and how it ends.
#![allow(unsafe_code)] // What could not be freed safely is leaked through ManuallyDrop.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cuda_import::{mark, signal_one, wait_one};
use vk_export::ash::vk;
use vk_export::{Queue, QueueKind};

use super::ExchangeInfo;
use super::barriers::Barriers;
use super::ledger::{Begun, First, Ledger, Refusal};
use super::pace::Pace;
use crate::compute::{Compute, SideRef};
use crate::error::{Error, Result};
use crate::observe::isolated;
use crate::observe::live;
use crate::observe::live::{Alive, Kind};
use crate::observe::trace;
use crate::observe::trace::Event;
use crate::resources::{CreateContext, Resources};
use crate::timeline::trail::Trail;
use crate::timeline::{Signaller, Timeline};
use crate::timeline::{TimelinePoint, wait};

/// The most frames that [`ExchangeInfo::frames_in_flight`] may name: a value is kept for each.
const MOST_IN_FLIGHT: usize = 1024;

/// What an exchange and its turns hold together.
pub(super) struct Shared<R: Resources> {
    /// Closures on the CPU backend's thread hold the slots too, and only them: the last of the rest goes on a thread that
    /// may wait for that one.
    pub(super) slots: ManuallyDrop<Arc<[R::Slot]>>,
    /// Of each slot.
    pub(super) barriers: Box<[Barriers]>,
    pub(super) computed: ManuallyDrop<Timeline>,
    pub(super) rendered: ManuallyDrop<Timeline>,
    pub(super) ledger: Mutex<Ledger>,
    /// Held from taking a value of `computed` until its signal is enqueued, so that the values rise on the stream.
    computing: Mutex<()>,
    /// The same for `rendered` and the queue.
    submitting: Mutex<()>,
    pub(super) pace: Mutex<Pace>,
    pub(super) first: First,
    pub(super) compute: Compute,
    pub(super) name: String,
    pub(super) timeout: Duration,
    pub(super) stages: vk::PipelineStageFlags2,
    pub(super) queue: QueueKind,
    /// Closing has already waited to no end.
    pub(super) gave_up: AtomicBool,
    /// Its end was moved to a thread of its own.
    moved: bool,
    _alive: Alive,
}

impl<R: Resources> Shared<R> {
    pub(super) fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R, first: First) -> Result<Arc<Self>> {
        let invalid = |reason: &str| Error::InvalidArgument {
            object: format!("exchange \"{}\"", info.name),
            reason: reason.to_owned(),
        };
        if info.slots == 0 {
            return Err(invalid("it has 0 slots; 3 keep both sides busy, 1 makes them take turns"));
        }
        if info.frames_in_flight == Some(0) {
            return Err(invalid("it may have 0 frames in flight, so none could begin; 1 makes the host wait for each"));
        }
        if let Some(frames) = info.frames_in_flight.filter(|frames| *frames > MOST_IN_FLIGHT) {
            return Err(invalid(&format!(
                "it may have {frames} frames in flight; {MOST_IN_FLIGHT} are the most, and `None` is no bound"
            )));
        }
        let stages = resources.stages();
        if stages.is_empty() {
            return Err(invalid("it shares nothing that Vulkan uses; give it at least one buffer or image"));
        }
        resources.check()?;
        let queue = compute.device().queue_of(info.queue).ok_or_else(|| {
            invalid(&format!("{} has no {} queue; use the main one", compute.device().name(), info.queue))
        })?;
        let foreign = info.queue.stages().map(|allowed| stages & !allowed).filter(|stages| !stages.is_empty());
        if let Some(stages) = foreign {
            return Err(invalid(&format!(
                "a {} queue has no {stages:?}; use the main queue or another consumer",
                info.queue
            )));
        }
        let trail = Arc::new(Trail::new(info.name));
        let computed = Timeline::new(compute, Signaller::Compute, &trail)?;
        let rendered = Timeline::new(compute, Signaller::Queue, &trail)?;
        let slots = (0..info.slots)
            .map(|slot| {
                let (family, pool) = (queue.family(), info.pool);
                resources.create(&CreateContext { compute, exchange: info.name, slot, family, pool })
            })
            .collect::<Result<Arc<[_]>>>()?;
        let barriers: Box<[_]> = slots.iter().map(barriers::<R>).collect();
        give_over(compute, info, queue, &barriers).inspect_err(|_| {
            // The commands may still run: what they use stays for ever.
            count_leaked(&barriers);
            std::mem::forget(Arc::clone(&slots));
        })?;
        Ok(Arc::new(Self {
            slots: ManuallyDrop::new(slots),
            barriers,
            computed: ManuallyDrop::new(computed),
            rendered: ManuallyDrop::new(rendered),
            ledger: Mutex::new(Ledger::new(first, info.slots)),
            computing: Mutex::new(()),
            submitting: Mutex::new(()),
            pace: Mutex::new(Pace::new(info.frames_in_flight)),
            first,
            compute: compute.clone(),
            name: info.name.to_owned(),
            timeout: info.timeout,
            stages: wait_stages(compute, stages),
            queue: info.queue,
            gave_up: AtomicBool::new(false),
            moved: false,
            _alive: Alive::new(Kind::Exchange),
        }))
    }

    /// Takes the next frame's slot for the side that begins, unless something forbids.
    pub(super) fn next_frame(&self) -> Result<Begun> {
        self.check_compute()?;
        self.keep_pace()?;
        self.signal_the_rest();
        let begun = self.ledger().begin(|| self.rendered.value().unwrap_or(0));
        begun.map_err(|refusal| self.refused(refusal))
    }

    /// Blocks while as many frames are unfinished as may be.
    pub(super) fn keep_pace(&self) -> Result<()> {
        let Some(value) = self.pace().due() else { return Ok(()) };
        match self.first {
            First::Compute => self.rendered.wait_value(value, self.timeout),
            First::Render => self.computed.wait_value(value, self.timeout),
        }
    }

    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue that Vulkan's side is submitted to.
    pub(super) fn queue(&self) -> &Queue {
        let device = self.compute.device();
        device.queue_of(self.queue).unwrap_or_else(|| device.queue())
    }

    /// Lets the compute side wait, on the GPU, for a value of `rendered` whose signal was enqueued.
    pub(super) fn compute_waits(&self, value: u64) -> Result<()> {
        match (self.compute.side(), self.rendered.cuda()) {
            (SideRef::Cuda(cuda), Some(rendered)) => {
                // SAFETY: rule "no wait before its signal": the ledger gives the value of a submission that was accepted
                // (or has been reached). The semaphore outlives the wait: it is destroyed after the stream has drained.
                unsafe { wait_one(cuda.stream(), rendered, value) }?;
            }
            (SideRef::Host(host), _) => host.wait(&self.rendered, value, self.timeout)?,
            (SideRef::Cuda(_), None) => {}
        }
        self.rendered.awaited(value);
        Ok(())
    }

    /// Lets the compute side signal the next value, behind all that it was given, other CUDA streams' work included.
    pub(super) fn compute_signals(&self, slot: usize) -> Result<TimelinePoint> {
        if self.compute.cuda().is_some() {
            R::join(&self.slots[slot])?;
        }
        self.signal_computed(|value| {
            match (self.compute.side(), self.computed.cuda()) {
                (SideRef::Cuda(cuda), Some(computed)) => {
                    // SAFETY: the values rise strictly: this timeline's only signaller is this stream, and
                    // `signal_computed` takes and enqueues one value at a time. The semaphore outlives the signal: it is
                    // destroyed after the point was reached.
                    unsafe { signal_one(cuda.stream(), computed, value) }?;
                }
                (SideRef::Host(host), _) => host.signal(&self.computed, value)?,
                (SideRef::Cuda(_), None) => {}
            }
            Ok(())
        })
    }

    /// Takes the next value of `computed` and has `signal` enqueue it.
    pub(super) fn signal_computed(&self, signal: impl FnOnce(u64) -> Result<()>) -> Result<TimelinePoint> {
        let _order = self.computing.lock().unwrap_or_else(PoisonError::into_inner);
        let value = self.ledger().take_computed();
        signal(value)?;
        Ok(self.computed.issue(value))
    }

    /// Held while a value of `rendered` is taken and submitted.
    pub(super) fn submitting(&self) -> MutexGuard<'_, ()> {
        self.submitting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries again to enqueue the signals that turns which have failed have left out. Until one succeeds, its slot is
    /// given to nobody.
    fn signal_the_rest(&self) {
        loop {
            let Some(slot) = self.ledger().unsignalled() else { return };
            match self.compute_signals(slot) {
                Ok(point) => self.ledger().signalled(slot, point.value()),
                Err(error) => {
                    log::error!("exchange \"{}\": slot {slot} stays out of use: {error}", self.name);
                    return;
                }
            }
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refused(&self, refusal: Refusal) -> Error {
        let exchange = self.name.clone();
        match refusal {
            Refusal::TurnOpen { frame, stage } => Error::TurnOpen { exchange, frame, stage },
            Refusal::SlotBusy { slot, frame } => Error::SlotBusy { exchange, slot, frame, slots: self.slots.len() },
            Refusal::TurnLost { frame, stage } => Error::TurnLost { exchange, frame, stage },
            Refusal::OutOfOrder { frame, first } => Error::OutOfOrder { exchange, frame, first },
        }
    }

    /// That the compute side still works. Once it does not, what Vulkan has been told to wait for is signalled in its
    /// place, so that the queue goes on.
    pub(super) fn check_compute(&self) -> Result<()> {
        let checked = self.compute.check();
        if checked.as_ref().is_err_and(Error::is_device_lost) && self.compute.cuda().is_some() {
            // SAFETY: the context is lost for good. (The CPU's thread signals even after a failure.)
            let released = unsafe { self.computed.release() };
            if let Err(error) = released {
                log::error!("{}: Vulkan may wait for ever: {error}", self.computed.name());
            }
        }
        checked
    }

    /// Waits until neither side uses the resources or the timelines any more, for at most the timeout.
    pub(super) fn quiesce(&self) -> Result<()> {
        let start = Instant::now();
        // What a failed compute side leaves behind is not in use: its work ended with it.
        let compute_lost = self.check_compute().is_err_and(|error| error.is_device_lost());
        let left = || self.timeout.saturating_sub(start.elapsed());
        // A submission that may have happened counts as one that did.
        let last = self.ledger().last_rendered();
        let signals = || {
            if last > 0 {
                self.rendered.wait_value(last, left())?;
            }
            self.computed.last_issued().map_or(Ok(()), |point| point.wait(left()))
        };
        match signals() {
            // A lost device uses nothing any more, and what is on it may be destroyed (Vulkan specification, "Lost
            // Device"). The compute side may go on, with the same memory.
            Err(Error::Vulkan(error)) if error.is_device_lost() => {
                isolated(|| log::error!("exchange \"{}\": {error}", self.name));
            }
            signals => signals?,
        }
        if compute_lost && self.compute.cuda().is_some() {
            return Ok(());
        }
        // The compute side may have been given waits or work after its last signal. Others may go on using it: what they
        // enqueue from here on is not waited for.
        let drained = match self.compute.side() {
            SideRef::Cuda(cuda) => {
                let end = mark(cuda.stream())?;
                wait::poll(left(), || Ok(end.is_reached()?), || Ok(()))?
            }
            SideRef::Host(host) => host.drain(left()),
        };
        if drained {
            return Ok(());
        }
        let value = self.computed.last_issued().map_or(0, |point| point.value());
        Err(self.computed.timed_out(value, start.elapsed())?)
    }
}

/// Of all resources of a slot.
fn barriers<R: Resources>(slot: &R::Slot) -> Barriers {
    let mut barriers = Barriers::default();
    R::add_barriers(slot, &mut barriers);
    barriers
}

/// Counts the resources of slots that stay alive on purpose.
fn count_leaked(slots: &[Barriers]) {
    live::leaked(Kind::Buffer, slots.iter().map(Barriers::buffers).sum());
    live::leaked(Kind::Image, slots.iter().map(Barriers::images).sum());
}

/// The stages at which a frame waits for the compute side.
fn wait_stages(compute: &Compute, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
    match compute.side() {
        // What comes from another API is acquired, and an acquire operation is ordered at no narrower stage (Vulkan
        // specification, "Queue Family Ownership Transfer").
        SideRef::Cuda(_) => vk::PipelineStageFlags2::ALL_COMMANDS,
        SideRef::Host(_) => stages,
    }
}

/// Gives new images to the compute side, which holds them in `GENERAL`.
fn give_over(compute: &Compute, info: &ExchangeInfo<'_>, queue: &Queue, slots: &[Barriers]) -> Result<()> {
    if slots.iter().all(|slot| slot.images() == 0) {
        return Ok(());
    }
    let device = compute.device();
    let record = |commands| {
        for slot in slots {
            // SAFETY: `run_once` records on this device; the barriers are of images that nobody has used yet.
            unsafe { slot.record_initial(device, commands) };
        }
    };
    let name = format!("{}: giving new images over", info.name);
    // SAFETY: only these barriers are recorded, of images that the caller keeps for ever where this fails.
    Ok(unsafe { device.run_once(queue, &name, info.timeout, record) }?)
}

impl<R: Resources> Shared<R> {
    /// Whether the caller is a closure on the CPU backend's thread, which cannot wait for what is enqueued behind itself.
    fn is_inside_closure(&self) -> bool {
        matches!(self.compute.side(), SideRef::Host(host) if host.is_current())
    }

    /// Lets a thread of its own wait for the end and free everything.
    ///
    /// # Safety
    /// Called from `drop` only: the slots and the timelines are moved out.
    unsafe fn drop_elsewhere(&mut self) {
        let rest = Self {
            // SAFETY: moved out once, by this function's contract.
            slots: ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.slots) }),
            barriers: std::mem::take(&mut self.barriers),
            // SAFETY: as above.
            computed: ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.computed) }),
            // SAFETY: as above.
            rendered: ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.rendered) }),
            ledger: Mutex::new(std::mem::replace(
                self.ledger.get_mut().unwrap_or_else(PoisonError::into_inner),
                Ledger::new(self.first, 1),
            )),
            computing: Mutex::new(()),
            submitting: Mutex::new(()),
            pace: Mutex::new(Pace::new(None)),
            first: self.first,
            compute: self.compute.clone(),
            name: std::mem::take(&mut self.name),
            timeout: self.timeout,
            stages: self.stages,
            queue: self.queue,
            gave_up: AtomicBool::new(self.gave_up.load(Ordering::Acquire)),
            moved: true,
            _alive: Alive::new(Kind::Exchange),
        };
        let name = rest.name.clone();
        // If no thread starts, the closure is dropped here, and with it the exchange: its wait ends at once, and what may
        // still be in use is leaked.
        if let Err(error) = std::thread::Builder::new().name("bridge-reaper".into()).spawn(move || drop(rest)) {
            isolated(|| log::error!("exchange \"{name}\": no thread to wait for its end: {error}"));
        }
    }
}

impl<R: Resources> Drop for Shared<R> {
    fn drop(&mut self) {
        if self.is_inside_closure() && !self.moved {
            // SAFETY: this is `drop`, which returns right after.
            return unsafe { self.drop_elsewhere() };
        }
        let quiet = if self.gave_up.load(Ordering::Acquire) { None } else { Some(self.quiesce()) };
        if !matches!(quiet, Some(Ok(()))) {
            let reason = quiet.and_then(Result::err).map_or("closing it gave up".to_owned(), |error| error.to_string());
            log::error!(
                "exchange \"{}\": its {} slots and both timelines are leaked, since they may still be in use: {reason}",
                self.name,
                self.slots.len(),
            );
            count_leaked(&self.barriers);
            live::leaked(Kind::Timeline, 2);
            trace::event(Event { event: "leak", side: "host", object: &self.name, ..Event::default() });
            return;
        }
        // SAFETY: both sides have been seen to be done.
        self.slots.iter().for_each(|slot| unsafe { R::assume_idle(slot) });
        // SAFETY: dropped here only, once. Rule "all signals and waits complete before a semaphore is destroyed" and
        // "no access to a mapping after its memory is destroyed": both sides have been seen to be done.
        unsafe { ManuallyDrop::drop(&mut self.slots) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.computed) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.rendered) };
    }
}
