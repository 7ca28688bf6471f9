//! In-step exchanges with another process: the handles that the listening thread uses on behalf of
//! that process.
//!
//! A process that signals the timelines itself never receives timelines that another process had:
//! the exchange creates new ones for it, and keeps the slots.
#![allow(unsafe_code)] // Signals on behalf of a process that has ended.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bridge_ipc::{Side as TimelineSide, Timeline as Described};
use vk_export::Semaphore;

use super::core::Core;
use super::drop_thread::DropThread;
use super::info::ExchangeInfo;
use super::ledger::initial::InitialState;
use super::ledger::{FirstSide, Ledger};
use super::mirror::Mirror;
use super::shared_ledger::SharedLedger;
use super::slots::lender::Lender;
use super::slots::{barriers, copy_stages};
use super::state::{SharedObjects, State};
use super::unfinished::Unfinished;
use crate::barriers::Barriers;
use crate::resources::Resources;

use crate::compute::Compute;
use crate::compute::exchange_registry::ExchangeTimelines;
#[cfg(test)]
use crate::compute::remote::RemoteCompute;
use crate::compute::remote::not_local_error;
use crate::error::Result;
use crate::observe::frame_mutex::FrameMutex;
use crate::observe::live::{Alive, Kind};
use crate::observe::log_error;
use crate::resources::runs::Run;
use crate::signaler::Signaler;
use crate::timeline::Timeline;
use crate::timeline::history::History;
pub(crate) use reader::WorkerReader;
pub(crate) use writer::WorkerWriter;

/// An announced signal of `computed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The number of the frame in the exchange.
    pub(crate) frame: u64,
    pub(crate) slot: usize,
    /// The value of `computed` that the other process owes.
    pub(crate) value: u64,
    /// The value of `rendered` that the other process waits for first.
    pub(crate) after: u64,
}

/// The slots and timelines of an exchange, used on behalf of another process.
pub(crate) struct WorkerState<R: Resources> {
    state: Arc<State<R>>,
    on_change: Arc<dyn Fn() + Send + Sync>,
    /// `true` if a process has received the timelines, even if it has ended since.
    exported: AtomicBool,
}

impl<R: Resources> WorkerState<R> {
    fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R, first: FirstSide) -> Result<Self> {
        let state = State::new(compute, info, resources, first)?;
        state.objects.computed.set_witness(&state.objects.rendered);
        Ok(Self { state, on_change: Arc::new(|| {}), exported: AtomicBool::new(false) })
    }

    /// Calls `on_change` from now on whenever Vulkan's side submits or returns a slot.
    fn set_on_change(&mut self, on_change: impl Fn() + Send + Sync + 'static) {
        self.on_change = Arc::new(on_change);
        self.watch();
    }

    fn watch(&self) {
        let changed = Arc::clone(&self.on_change);
        let _ = self.state.on_change.set(Box::new(move || changed()));
    }

    /// Takes the next value of `computed`.
    fn take_computed_value(&self) -> u64 {
        self.state.ledger.take_computed()
    }

    /// Lets the compute thread copy the contents of a slot, or fill it, after Vulkan's use with the
    /// value `after`, and then signal `value`. Without `copy`, it only signals.
    ///
    /// # Errors
    /// If nothing can be copied. The value is signaled anyway.
    fn copy(
        &self,
        Announcement { slot, value, after, .. }: Announcement,
        copy: Option<impl FnMut(Run, &mut [u8]) + Send + 'static>,
    ) -> Result<()> {
        let copied = copy.map_or(Ok(()), |copy| {
            if after > 0 {
                self.state.enqueue_compute_wait(after)?;
            }
            // SAFETY: the slot is the compute side's until the signal below, and only the caller
            // computes with it: it is passed on only after the copy has ended. The wait for
            // Vulkan's last use precedes the copy in the same queue.
            unsafe { self.state.work(slot) }.run_for_each_run(copy)
        });
        self.signal(value);
        copied
    }

    /// Signals an announced value of an exchange whose timelines this process signals, after the
    /// work that the compute thread was given.
    pub(crate) fn signal(&self, value: u64) {
        // SAFETY: frames end in the order in which they were announced, so the values rise; the
        // lender lives until the point was reached, which closing waits for.
        let Err(error) = (unsafe { self.state.objects.lender.signal(value) }) else { return };
        log_error!("exchange \"{}\": the compute thread accepts no more work: {error}", self.state.name);
        // The thread still signals the values that it was given before.
        if self.state.compute.side().drain(self.state.timeout).unwrap_or(false)
            && let Err(error) = self.state.objects.computed.signal_from_host(value)
        {
            log_error!("{}: the Vulkan queue may hang: {error}", self.state.objects.computed.name());
        }
    }

    /// Signals all announced values from this thread.
    ///
    /// # Safety
    /// The process that signals the timeline has ended or has closed the exchange. If it, or a
    /// child of it, signals nevertheless, that may set the timeline back, which only affects waits
    /// for this timeline: call this again.
    pub(crate) unsafe fn release(&self) -> Result<()> {
        // SAFETY: upheld by the caller.
        unsafe { self.state.objects.computed.release() }
    }

    /// Returns the value of `computed` that the other process has reached, if it signals it itself.
    pub(crate) fn computed(&self) -> Result<u64> {
        self.state.objects.computed.value()
    }

    /// Returns the value of `rendered` that Vulkan has reached.
    pub(crate) fn rendered(&self) -> Result<u64> {
        self.state.objects.rendered.value()
    }

    /// Returns `true` while submissions that may wait for `computed` have not ended.
    pub(crate) fn has_unfinished_submissions(&self) -> bool {
        let last = self.state.ledger().last_rendered();
        last > 0 && self.rendered().is_ok_and(|reached| reached < last)
    }

    /// Exports the timelines for the process that computes: `computed`, and the mirror of
    /// `rendered`. No conclusion from `rendered` depends on that process.
    pub(crate) fn export_timelines(&self, exchange: u32) -> Result<[(Described, OwnedFd); 2]> {
        self.exported.store(true, Ordering::Relaxed);
        let export = |semaphore: &Semaphore, side| -> Result<_> {
            #[cfg(test)]
            if self.state.compute.side().remote().is_some_and(RemoteCompute::is_simulated) {
                return Ok(simulated_timeline(exchange, side, self.state.compute.device().uuid()));
            }
            let exported = semaphore.export()?;
            let described = Described { exchange, side, device_uuid: exported.descriptor.device_uuid, value: 0 };
            Ok((described, exported.handle))
        };
        let SharedObjects { computed, mirror: Some(mirror), .. } = &*self.state.objects else {
            return Err(not_local_error(format!("exchange \"{}\"", self.state.name)));
        };
        let computed = export(computed.semaphore(), TimelineSide::Computed)?;
        Ok([computed, export(mirror.semaphore(), TimelineSide::Rendered)?])
    }

    /// Returns `true` if no process has received the timelines yet. A process that has received
    /// them may have signaled them without having announced a frame, and may keep them.
    pub(crate) fn is_new(&self) -> bool {
        !self.exported.load(Ordering::Relaxed)
    }

    /// Returns `true` if neither a turn nor a first hand-over is open, so that
    /// [`renew`](Self::renew) may wait for the rest.
    pub(crate) fn is_settled(&self) -> bool {
        let ledger = self.state.ledger();
        ledger.check_idle().is_ok() && ledger.initial() == InitialState::Done
    }

    /// Creates new timelines for the next process, over the same slots, once neither side uses the
    /// slots any more. Waits until then, for at most the exchange's timeout, unless `check_wanted`
    /// returns an error. The previous process has ended, or uses nothing any more.
    ///
    /// # Errors
    /// That of `check_wanted`, [`Error::Timeout`](crate::Error::Timeout) or the error of the failed
    /// driver call; nothing has changed then.
    fn renew(&mut self, check_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        let old = &self.state;
        old.quiesce_while(check_wanted)?;
        self.state = old.with_new_timelines()?;
        *self.exported.get_mut() = false;
        self.watch();
        Ok(())
    }
}

impl<R: Resources> State<R> {
    /// Waits, for at most the timeout, until all work has ended. No turn may be open.
    pub(super) fn close_timelines(&self) -> Result<()> {
        self.ledger().check_idle().map_err(|refusal| self.refusal_error(refusal))?;
        // Otherwise the drop would wait for the timeout again.
        self.quiesce().inspect_err(|_| self.close_failed.store(true, Ordering::Release))
    }

    /// Creates a state with the same slots and unused timelines, which continues the frame numbers.
    /// Neither side uses the slots.
    fn with_new_timelines(&self) -> Result<Arc<Self>> {
        let history = Arc::new(History::new(&self.name));
        let timeline = |signaler| Timeline::new(self.compute.device(), self.compute.peer(), signaler, &history);
        let (computed, rendered) = (timeline(Signaler::Compute)?, timeline(Signaler::Queue)?);
        computed.set_witness(&rendered);
        let mirror = Mirror::new(&self.compute, &self.name)?.map(Arc::new);
        let lender = Lender::new_remote(self.compute.side().connect(&computed, &rendered)?)?;
        let mut ledger = Ledger::new(self.first, self.objects.slots.len());
        ledger.continue_from(&mut self.ledger());
        let core = Arc::new(Core {
            ledger: SharedLedger::new(ledger),
            pace: self.pace.as_ref().map(|pace| FrameMutex::new(pace.lock().to_empty())),
            first: self.first,
            compute: self.compute.clone(),
            name: self.name.clone(),
            timeout: self.timeout,
            queue: self.queue,
            pool: None,
            failed: Arc::default(),
            close_failed: AtomicBool::new(false),
            timelines_leaked: AtomicBool::new(false),
            on_change: OnceLock::new(),
            unfinished: Unfinished::new(&self.name),
            _alive: Alive::new(Kind::Exchange),
        });
        let slots = self.objects.slots.clone();
        let signaled = ExchangeTimelines::new([&computed, &rendered], lender.cuda_link(), &core.failed);
        let barriers: Box<[Barriers]> = slots.iter().map(|slot| barriers::<R>(slot)).collect();
        Ok(Arc::new(Self {
            stages: self.stages | copy_stages(&barriers),
            barriers,
            objects: std::mem::ManuallyDrop::new(SharedObjects { lender, slots, computed, rendered, mirror, signaled }),
            use_ends: OnceLock::new(),
            drop_thread: DropThread::Current,
            core,
        }))
    }
}

/// For tests that simulate another process.
#[cfg(test)]
impl<R: Resources> State<R> {
    pub(crate) fn computed_semaphore(&self) -> &Semaphore {
        self.objects.computed.semaphore()
    }

    /// Returns the timeline that shows Vulkan's progress to that process.
    pub(crate) fn mirror_semaphore(&self) -> Option<&Semaphore> {
        self.objects.mirror.as_ref().map(|mirror| mirror.semaphore())
    }

    /// Makes Vulkan's timeline and, if `first_error`, the other process's timeline look as on a
    /// lost device.
    pub(crate) fn simulate_loss(&self, first_error: bool) {
        for timeline in
            [Some(&self.objects.rendered), first_error.then_some(&self.objects.computed)].into_iter().flatten()
        {
            // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258: the value rises. Later signals of
            // lower values are deliberately wrong, and affect only this counter.
            unsafe { timeline.semaphore().signal(u64::MAX) }.unwrap();
        }
    }
}

/// Creates the description of a timeline for a worker whose GPU is simulated by a test.
#[cfg(test)]
fn simulated_timeline(exchange: u32, side: TimelineSide, device_uuid: vk_export::Uuid) -> (Described, OwnedFd) {
    let nothing = rustix::fs::memfd_create("timeline", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    (Described { exchange, side, device_uuid, value: 0 }, nothing)
}
