//! In-step exchanges with another process: the half that the listening thread uses on behalf of
//! that process.
//!
//! A process that signals the timelines itself is never given timelines that another one had: the
//! exchange makes new ones for it, and keeps the slots.
#![allow(unsafe_code)] // Signals in the place of a process that is gone.

mod draw;
mod step;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bridge_ipc::{Side as TimelineSide, Timeline as Described};
use vk_export::Semaphore;

use super::Work;
use super::barriers::Barriers;
use super::core::Core;
use super::end::End;
use super::hand_over::Initial;
use super::info::ExchangeInfo;
use super::ledger::{First, Ledger};
use super::lender::Lender;
use super::mirror::Mirror;
use super::resources::Resources;
use super::slots::{barriers, copy_stages};
use super::state::{Held, State};
use super::unfinished::Unfinished;

use crate::compute::Compute;
#[cfg(test)]
use crate::compute::remote::RemoteCompute;
use crate::compute::remote::nothing_here;
use crate::compute::siblings::Signaled;
use crate::error::Result;
use crate::observe::live::{Alive, Kind};
use crate::observe::log_error;
use crate::remote::runs::Run;
use crate::timeline::Timeline;
use crate::timeline::history::History;
use crate::timeline::signaler::Signaler;
pub(crate) use draw::{DrawAway, Drawn};
pub(crate) use step::StepAway;

/// A signal of `computed` that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The exchange's number of the frame.
    pub(crate) frame: u64,
    pub(crate) slot: usize,
    /// The value of `computed` that it owes.
    pub(crate) value: u64,
    /// The value of `rendered` that the other process waits for before.
    pub(crate) after: u64,
}

/// The slots and timelines, on behalf of another process.
pub(crate) struct AwayState<R: Resources> {
    state: Arc<State<R>>,
    changed: Arc<dyn Fn() + Send + Sync>,
    /// A process was told of the timelines, whatever has become of it.
    exported: AtomicBool,
}

impl<R: Resources> AwayState<R> {
    fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R, first: First) -> Result<Self> {
        let state = State::new(compute, info, resources, first)?;
        Ok(Self { state, changed: Arc::new(|| {}), exported: AtomicBool::new(false) })
    }

    /// Calls `changed`, from then on, whenever Vulkan's side submits, or gives a slot back.
    fn on_change(&mut self, changed: impl Fn() + Send + Sync + 'static) {
        self.changed = Arc::new(changed);
        self.watch();
    }

    fn watch(&self) {
        let changed = Arc::clone(&self.changed);
        let _ = self.state.changed.set(Box::new(move || changed()));
    }

    /// Lets the compute thread copy what is in a slot, or fill it, behind Vulkan's use of it with
    /// the value `after`, and signal `value`; without `copy`, signal alone.
    ///
    /// # Errors
    /// If nothing can be copied. The value is signaled all the same.
    fn copy(
        &self,
        Announced { slot, value, after, .. }: Announced,
        copy: Option<impl FnMut(Run, &mut [u8]) + Send + 'static>,
    ) -> Result<()> {
        let copied = copy.map_or(Ok(()), |copy| {
            if after > 0 {
                self.state.compute_waits(after)?;
            }
            // SAFETY: the slot is the compute side's until the signal below, and the caller is all
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
            log_error!("{}: the Vulkan queue may hang: {error}", self.state.held.computed.name());
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
    /// signaled them without having announced a frame, and may keep them.
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
    /// any more, which is waited for up to the exchange's limit, and until `go_on` gives an error.
    /// The process before has ended, or uses nothing more.
    ///
    /// # Errors
    /// That of `go_on`, [`Error::Timeout`](crate::Error::Timeout) or the error of the failed driver
    /// call; all stays as it is.
    fn renew(&mut self, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        let old = &self.state;
        old.quiesce_while(go_on)?;
        self.state = old.renew_timelines()?;
        *self.exported.get_mut() = false;
        self.watch();
        Ok(())
    }
}

impl<R: Resources> State<R> {
    /// Waits for the end of all work, up to the limit, where no turn is open.
    pub(super) fn close_away(&self) -> Result<()> {
        self.ledger().idle().map_err(|refusal| self.refused(refusal))?;
        // Dropping would wait for as long once more.
        self.quiesce().inspect_err(|_| self.gave_up.store(true, Ordering::Release))
    }

    /// The same slots with timelines that nobody has used, of the same frames. Neither side uses
    /// the slots.
    fn renew_timelines(&self) -> Result<Arc<Self>> {
        let history = Arc::new(History::new(&self.name));
        let timeline = |signaler| Timeline::new(self.compute.device(), self.compute.peer(), signaler, &history);
        let (computed, rendered) = (timeline(Signaler::Compute)?, timeline(Signaler::Queue)?);
        let mirror = Mirror::new(&self.compute, &self.name)?.map(Arc::new);
        let lender = Lender::of_remote(self.compute.side().connect(&computed, &rendered)?)?;
        let mut ledger = Ledger::new(self.first, self.held.slots.len());
        ledger.go_on_with(&mut self.ledger());
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
            timelines_leaked: AtomicBool::new(false),
            changed: OnceLock::new(),
            unfinished: Unfinished::new(&self.name),
            _alive: Alive::new(Kind::Exchange),
        });
        let slots = self.held.slots.clone();
        let signaled = Signaled::new([&computed, &rendered], lender.cuda_link(), &core.failed);
        let barriers: Box<[Barriers]> = slots.iter().map(|slot| barriers::<R>(slot)).collect();
        Ok(Arc::new(Self {
            stages: self.stages | copy_stages(&barriers),
            barriers,
            held: std::mem::ManuallyDrop::new(Held { lender, slots, computed, rendered, mirror, signaled }),
            use_ends: OnceLock::new(),
            end: End::Here,
            core,
        }))
    }
}

/// For tests that play another process.
#[cfg(test)]
impl<R: Resources> State<R> {
    pub(crate) fn computed_semaphore(&self) -> &Semaphore {
        self.held.computed.semaphore()
    }

    /// The timeline on which that process sees how far Vulkan is.
    pub(crate) fn mirror_semaphore(&self) -> Option<&Semaphore> {
        self.held.mirror.as_ref().map(|mirror| mirror.semaphore())
    }

    /// Makes Vulkan's timeline, and if `both` the other process's, look as on a device that is
    /// lost.
    pub(crate) fn pretend_loss(&self, both: bool) {
        for timeline in [Some(&self.held.rendered), both.then_some(&self.held.computed)].into_iter().flatten() {
            // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258: it rises. What is signaled behind it
            // is wrong on purpose, and no more than a number here.
            unsafe { timeline.semaphore().signal(u64::MAX) }.unwrap();
        }
    }
}

/// A timeline that a worker whose GPU is played by a test is told of.
#[cfg(test)]
fn played_timeline(exchange: u32, side: TimelineSide, device_uuid: vk_export::Uuid) -> (Described, OwnedFd) {
    let nothing = rustix::fs::memfd_create("timeline", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    (Described { exchange, side, device_uuid, value: 0 }, nothing)
}
