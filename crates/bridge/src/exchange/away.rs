//! An exchange in step whose compute side is another process: what the thread on its behalf does.
//!
//! A frame is Vulkan's as soon as it is announced: its turn is a [`RenderTurn`] like any other,
//! which waits for a value that the other process owes. Where that signals the timelines itself,
//! each process has new ones, over the same slots.
#![allow(unsafe_code)] // Signals in the place of a process that is gone.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bridge_ipc::{Side as TimelineSide, Timeline as Described};
use vk_export::Semaphore;

use super::Work;
use super::barriers::Barriers;
use super::core::Core;
use super::hand_over::Initial;
use super::info::ExchangeInfo;
use super::latest::Away;
use super::ledger::{First, Ledger};
use super::lender::Lender;
use super::mirror::Mirror;
use super::render_turn::RenderTurn;
use super::resources::Resources;
use super::slots::{barriers, copy_stages};
use super::state::{Held, State};
use super::steps::Steps;

use crate::compute::Compute;
#[cfg(test)]
use crate::compute::remote::RemoteCompute;
use crate::compute::remote::nothing_here;
use crate::compute::siblings::Signalled;
use crate::error::Result;
use crate::observe::live::{Alive, Kind};
use crate::observe::log_error;
use crate::remote::runs::Run;
use crate::timeline::Timeline;
use crate::timeline::history::History;
use crate::timeline::signaller::Signaller;

/// The compute side of an exchange in step, on behalf of another process.
pub(crate) struct StepAway<R: Resources> {
    steps: Arc<Steps<R>>,
    state: Arc<State<R>>,
    told: Arc<dyn Fn() + Send + Sync>,
    /// A process was told of the timelines, whatever has become of it.
    exported: AtomicBool,
}

/// A frame that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The exchange's number.
    pub(crate) frame: u64,
    pub(crate) slot: usize,
    /// The value of `computed` that it owes.
    pub(crate) value: u64,
    /// The value of `rendered` of its slot's last use.
    pub(crate) after: u64,
}

impl<R: Resources> StepAway<R> {
    pub(crate) fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R) -> Result<Self> {
        let state = State::new(compute, info, resources, First::Compute)?;
        Ok(Self { steps: Steps::new(&state), state, told: Arc::new(|| {}), exported: AtomicBool::new(false) })
    }

    pub(crate) fn steps(&self) -> Arc<Steps<R>> {
        Arc::clone(&self.steps)
    }

    /// Has `told` called, from then on, whenever Vulkan's side gives a slot back.
    pub(crate) fn on_slot(&mut self, told: impl Fn() + Send + Sync + 'static) {
        self.told = Arc::new(told);
        self.watch();
    }

    fn watch(&self) {
        let told = Arc::clone(&self.told);
        let _ = self.state.changed.set(Box::new(move || told()));
    }

    /// Gives the other process a slot that it `may` have: Vulkan's last commands with it are
    /// submitted, with the signal of the value, or were seen to end.
    pub(crate) fn send_away(&self, may: impl Fn(usize) -> bool) -> Option<(usize, u64)> {
        let Held { rendered, mirror, .. } = &*self.state.held;
        let reached = || rendered.value().unwrap_or(0);
        let Some(mirror) = mirror else {
            return self.state.ledger().send_away(|slot, _| may(slot), reached);
        };
        // An engine that submits itself signals `rendered` alone: the other process cannot wait for
        // that, and has the slot once it is reached.
        let (covered, ended) = (mirror.covers(), OnceCell::new());
        let has_ended = |after| after <= covered || after <= *ended.get_or_init(reached);
        let sent = self.state.ledger().send_away(|slot, after| may(slot) && has_ended(after), reached);
        sent.map(|(slot, after)| (slot, after.min(covered)))
    }

    /// Returns `true` if there may be a slot without a word of anybody's.
    pub(crate) fn waits_unseen(&self) -> bool {
        self.state.ledger().waits_unseen()
    }

    /// Returns `true` if there will be a slot once Vulkan's commands with it, which an engine has
    /// submitted, have ended.
    pub(crate) fn waits_for_engine(&self) -> bool {
        let mirror = self.state.held.mirror.as_ref();
        mirror.is_some_and(|mirror| self.state.ledger().has_free_after(mirror.covers()))
    }

    /// The other process has announced the frame in a slot that it holds: the program has its turn.
    pub(crate) fn announce(&self, slot: usize) -> Option<Announced> {
        let (frame, after, value) = {
            let mut ledger = self.state.ledger();
            let (frame, after) = ledger.announce(slot)?;
            (frame, after, ledger.take_computed())
        };
        let point = self.state.held.computed.issue(value);
        let turn = RenderTurn::new(Arc::clone(&self.state), frame, slot, point);
        self.steps.announced(turn);
        Some(Announced { frame, slot, value, after })
    }

    /// Lets the compute thread copy an announced frame into its slot, once Vulkan is done with
    /// that, and signal it; without `copy`, signal alone.
    ///
    /// # Errors
    /// Why nothing is copied; it is signalled all the same.
    pub(crate) fn fill(
        &self,
        Announced { slot, value, after, .. }: Announced,
        copy: Option<impl FnMut(Run, &mut [u8]) + Send + 'static>,
    ) -> Result<()> {
        let copied = copy.map_or(Ok(()), |copy| {
            if after > 0 {
                self.state.compute_waits(after)?;
            }
            // SAFETY: the slot is the compute side's until the signal below, and this handle is all
            // that computes with it: it is given to nobody before the copy has ended. The wait for
            // Vulkan's last use is before, in the same queue.
            match unsafe { self.state.work(slot) } {
                Work::Host(host) => host.run_on_bytes(copy),
                _ => Ok(()),
            }
        });
        self.signal(value);
        copied
    }

    /// Signals an announced value of an exchange whose timelines this process signals, behind what
    /// its compute thread was given.
    pub(crate) fn signal(&self, value: u64) {
        // SAFETY: frames end in the order in which they were announced, so that the values rise;
        // the lender lives until the point was reached, which closing waits for.
        let Err(error) = (unsafe { self.state.held.lender.signal(value) }) else { return };
        log_error!("exchange \"{}\": the compute thread takes nothing more: {error}", self.state.name);
        // It still signals what it was given before.
        if self.state.compute.side().drain(self.state.timeout).unwrap_or(false)
            && let Err(error) = self.state.held.computed.signal_from_host(value)
        {
            log_error!("{}: Vulkan may wait for ever: {error}", self.state.held.computed.name());
        }
    }

    /// Signals, from this thread, all that was announced.
    ///
    /// # Safety
    /// The process that signals the timeline has ended: none of its signals will come any more, or
    /// none that anything waits for.
    pub(crate) unsafe fn release(&self) -> Result<()> {
        // SAFETY: handed on to the caller.
        unsafe { self.state.held.computed.release() }
    }

    /// How far the other process has come, where it signals itself.
    pub(crate) fn computed(&self) -> Result<u64> {
        self.state.held.computed.value()
    }

    /// How far Vulkan has come.
    pub(crate) fn rendered(&self) -> Result<u64> {
        self.state.held.rendered.value()
    }

    /// Takes the turns of frames that will not be whole away from the program, where it has not
    /// taken them.
    pub(crate) fn withdraw(&self, torn: impl Fn(u64) -> bool) {
        self.steps.withdraw(torn);
    }

    /// The timelines, for the process that computes: `computed`, and the mirror of `rendered`.
    /// Nothing that is concluded from `rendered` depends on that process.
    pub(crate) fn export_timelines(&self, exchange: u32) -> Result<[(Described, OwnedFd); 2]> {
        self.exported.store(true, Ordering::Relaxed);
        let export = |semaphore: &Semaphore, side| -> Result<_> {
            #[cfg(test)]
            if self.state.compute.side().remote().is_some_and(RemoteCompute::is_played) {
                return Ok(played_timeline(exchange, side, self.state.compute.device().uuid()));
            }
            let exported = semaphore.export()?;
            let described = Described { exchange, side, device_uuid: exported.descriptor.device_uuid, value: 0 };
            Ok((described, exported.handle))
        };
        let Held { computed, mirror: Some(mirror), .. } = &*self.state.held else {
            return Err(nothing_here(format!("exchange \"{}\"", self.state.name)));
        };
        let computed = export(computed.semaphore(), TimelineSide::Computed)?;
        Ok([computed, export(mirror.semaphore(), TimelineSide::Rendered)?])
    }

    /// Returns `true` if no process was told of the timelines so far. One that was may have
    /// signalled them without having announced a frame, and may keep them.
    pub(crate) fn is_new(&self) -> bool {
        !self.exported.load(Ordering::Relaxed)
    }

    /// Returns `true` if neither a turn nor a first hand-over is open, so that
    /// [`renew`](Self::renew) may wait for the rest.
    pub(crate) fn is_settled(&self) -> bool {
        let ledger = self.state.ledger();
        ledger.idle().is_ok() && ledger.initial() == Initial::Done
    }

    /// Makes new timelines for the next process, over the same slots: once neither side uses them
    /// any more, which is waited for up to the exchange's limit. The process before has ended, or
    /// uses nothing more.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) or the failed call; all stays as it is.
    pub(crate) fn renew(&mut self) -> Result<()> {
        let old = &self.state;
        old.quiesce()?;
        let state = old.renew_timelines()?;
        self.steps.renewed(&state);
        self.state = state;
        *self.exported.get_mut() = false;
        self.watch();
        Ok(())
    }
}

impl<R: Resources> State<R> {
    /// The same slots with timelines that nobody has used, of the same frames. Neither side uses
    /// the slots.
    fn renew_timelines(&self) -> Result<Arc<Self>> {
        let history = Arc::new(History::new(&self.name));
        let timeline = |signaller| Timeline::new(self.compute.device(), self.compute.peer(), signaller, &history);
        let (computed, rendered) = (timeline(Signaller::Compute)?, timeline(Signaller::Queue)?);
        let mirror = Mirror::new(&self.compute, &self.name)?.map(Arc::new);
        let lender = Lender::of_remote(self.compute.side().connect(&computed, &rendered)?)?;
        let mut ledger = Ledger::new(self.first, self.held.slots.len());
        ledger.go_on_with(self.ledger().next());
        let core = Arc::new(Core {
            ledger: Mutex::new(ledger),
            computing: Mutex::new(()),
            submitting: Mutex::new(()),
            pace: self.pace.as_ref().map(|pace| Mutex::new(pace.lock().unwrap_or_else(PoisonError::into_inner).anew())),
            first: self.first,
            compute: self.compute.clone(),
            name: self.name.clone(),
            timeout: self.timeout,
            queue: self.queue,
            pool: None,
            failed: Arc::default(),
            gave_up: AtomicBool::new(false),
            changed: OnceLock::new(),
            _alive: Alive::new(Kind::Exchange),
        });
        let slots = self.held.slots.clone();
        let signalled = Signalled::new(&computed, &core.failed);
        let barriers: Box<[Barriers]> = slots.iter().map(|slot| barriers::<R>(slot)).collect();
        Ok(Arc::new(Self {
            stages: self.stages | copy_stages(&barriers),
            barriers,
            held: std::mem::ManuallyDrop::new(Held { lender, slots, computed, rendered, mirror, signalled }),
            retired: OnceLock::new(),
            moved: false,
            core,
        }))
    }
}

impl<R: Resources> Away for StepAway<R> {
    type Resources = R;

    fn state(&self) -> &Arc<State<R>> {
        &self.state
    }

    fn come_back(&self, slot: usize) {
        self.state.ledger().come_back(slot);
    }

    fn away(&self) -> Vec<usize> {
        self.state.ledger().away().collect()
    }

    fn on_change(&mut self, told: impl Fn() + Send + Sync + 'static) {
        self.on_slot(told);
    }
}

/// A timeline that a worker whose GPU is played by a test is told of.
#[cfg(test)]
fn played_timeline(exchange: u32, side: TimelineSide, device_uuid: vk_export::Uuid) -> (Described, OwnedFd) {
    let nothing = rustix::fs::memfd_create("timeline", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    (Described { exchange, side, device_uuid, value: 0 }, nothing)
}
