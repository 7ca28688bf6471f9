//! State shared by an exchange and its turns.
#![allow(unsafe_code)] // Waits and signals.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, OnceLock};
use std::time::Duration;

use vk_export::Queue;
use vk_export::ash::vk;

use super::core::Core;
use super::drop_thread::DropThread;
use super::info::ExchangeInfo;
use super::ledger::refusal::Refusal;
use super::ledger::{FirstSide, Ledger, NewFrame};
use super::mirror::Mirror;
use super::signal_lock::SignalLock;
use super::slots::hand_over;
use super::slots::lender::Lender;
use super::slots::use_ends::UseEnds;
use super::slots::{barriers, check_resources, copy_stages, create_slots, queue_of};
use super::work::Work;
use crate::barriers::{Barriers, count_leaked};
use crate::compute::Compute;
use crate::compute::exchange_registry::ExchangeTimelines;
use crate::error::{Error, Result, first_error};
use crate::observe::live;
use crate::observe::live::Kind;
use crate::observe::log_error;
use crate::resources::Resources;
use crate::signaler::Signaler;
use crate::timeline::Timeline;
use crate::timeline::history::History;

/// State shared by an exchange and its turns: one generation of slots, and the state that outlives
/// it. A turn keeps the generation that it was begun with.
pub(crate) struct State<R: Resources> {
    /// Leaked if it may still be in use.
    pub(super) objects: ManuallyDrop<SharedObjects<R>>,
    /// Barriers of each slot.
    pub(super) barriers: Box<[Barriers]>,
    pub(super) stages: vk::PipelineStageFlags2,
    /// The end of the slots' use; set once the slots have been replaced.
    pub(super) use_ends: OnceLock<UseEnds>,
    pub(super) drop_thread: DropThread,
    pub(super) core: Arc<Core>,
}

impl<R: Resources> Deref for State<R> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

/// State that both sides use.
pub(super) struct SharedObjects<R: Resources> {
    // Field order is drop order: the compute side's mappings of the slots and its view of the
    // timelines are dropped first.
    /// Closures on the CPU backend's thread also keep the mappings alive, but no other field. The
    /// other fields are therefore dropped last on a thread that may wait for the CPU backend's
    /// thread.
    pub(super) lender: Lender<R>,
    /// Each slot with its leases.
    pub(super) slots: Box<[Arc<R::Slot>]>,
    pub(super) computed: Timeline,
    pub(super) rendered: Timeline,
    /// Both timelines, for the release of all exchanges once the other side is lost.
    pub(super) signaled: Arc<ExchangeTimelines>,
    /// The copy of `rendered` that another process in step receives.
    pub(super) mirror: Option<Arc<Mirror>>,
}

impl<R: Resources> State<R> {
    pub(super) fn new(
        compute: &Compute,
        info: &ExchangeInfo<'_>,
        resources: &R,
        first: FirstSide,
    ) -> Result<Arc<Self>> {
        info.validate()?;
        let stages = check_resources(compute, info.name, info.queue, resources)?;
        let history = Arc::new(History::new(info.name));
        let timeline = |signaler| Timeline::new(compute.device(), compute.peer(), signaler, &history);
        let (computed, rendered) = (timeline(Signaler::Compute)?, timeline(Signaler::Queue)?);
        let mirror = Mirror::new(compute, info.name)?.map(Arc::new);
        let link = compute.side().connect(&computed, &rendered)?;
        let core = Arc::new(Core::new(compute, info, first));
        let (slots, mapped) = create_slots(&core, info.slots, resources)?;
        let lender = Lender::new(link, mapped)?;
        let barriers: Box<[_]> = slots.iter().map(|slot| barriers::<R>(slot)).collect();
        let copies = copy_stages(&barriers);
        if hand_over::is_needed(&barriers) {
            if compute.device().queues_are_synchronized() {
                let queue = queue_of(compute, info.queue);
                if let Err(error) = hand_over::submit(compute.device(), queue, info.name, info.timeout, &barriers) {
                    if hand_over::may_still_run(&error) {
                        // Resources that the commands use are never freed.
                        std::mem::forget(slots);
                        count_leaked(&barriers);
                        live::leaked(Kind::CommandPool, 1);
                        log_error!(
                            "exchange \"{}\": its {} slots and a command pool are leaked, since the first hand-over of their images may still run",
                            info.name,
                            info.slots
                        );
                    }
                    return Err(error);
                }
            } else {
                core.ledger.lock().require_initial();
            }
        }
        let signaled = ExchangeTimelines::new([&computed, &rendered], lender.cuda_link(), &core.failed);
        compute.register(&signaled);
        Ok(Arc::new(Self {
            objects: ManuallyDrop::new(SharedObjects { lender, slots, computed, rendered, mirror, signaled }),
            barriers,
            stages: compute.side().wait_stages(stages | copies),
            use_ends: OnceLock::new(),
            drop_thread: DropThread::Current,
            core,
        }))
    }

    /// Creates the next generation: the same number of slots with other resources, on the same
    /// timelines. Nothing uses them yet.
    pub(super) fn renew(&self, resources: &R) -> Result<Arc<Self>> {
        let stages = check_resources(&self.compute, &self.name, self.queue, resources)?;
        let (slots, mapped) = create_slots(&self.core, self.objects.slots.len(), resources)?;
        let lender = self.objects.lender.renew(mapped)?;
        let (computed, rendered) = (self.objects.computed.clone(), self.objects.rendered.clone());
        let signaled = self.objects.signaled.clone();
        let mirror = self.objects.mirror.clone();
        let barriers: Box<[_]> = slots.iter().map(|slot| barriers::<R>(slot)).collect();
        Ok(Arc::new(Self {
            stages: self.compute.side().wait_stages(stages | copy_stages(&barriers)),
            barriers,
            objects: ManuallyDrop::new(SharedObjects { lender, slots, computed, rendered, mirror, signaled }),
            use_ends: OnceLock::new(),
            drop_thread: DropThread::Current,
            core: Arc::clone(&self.core),
        }))
    }

    /// Takes the next frame's slot for the side that begins, or returns why no frame can begin.
    pub(super) fn next_frame(&self) -> Result<NewFrame> {
        // If the compute side is another API, a frame's own calls notice its failure, so frames
        // make no extra query.
        if !self.compute.side().is_foreign() || self.failed.load(Ordering::Acquire) {
            self.check_compute()?;
        }
        self.free_finished();
        self.check_failure(self.keep_pace())?;
        let mut ledger = self.ledger();
        if ledger.has_incomplete_slot() {
            drop(ledger);
            self.retry_signals();
            self.retry_joins();
            ledger = self.ledger();
        }
        let begun = ledger.begin(|| self.objects.rendered.value().unwrap_or(0));
        drop(ledger);
        begun.map_err(|refusal| self.refusal_error(refusal))
    }

    pub(super) fn refusal_error(&self, refusal: Refusal) -> Error {
        refusal.into_error(&self.name, self.objects.slots.len())
    }

    /// Blocks while the maximum number of frames is in flight.
    pub(super) fn keep_pace(&self) -> Result<()> {
        self.keep_pace_within(self.timeout)
    }

    /// Like [`keep_pace`](Self::keep_pace), but for at most `limit`.
    pub(super) fn keep_pace_within(&self, limit: Duration) -> Result<()> {
        let Some(pace) = &self.pace else { return Ok(()) };
        // The lock is not held during the wait.
        let due = pace.lock().due();
        let Some(value) = due else { return Ok(()) };
        match self.first {
            FirstSide::Compute => self.objects.rendered.wait_value(value, limit),
            FirstSide::Render | FirstSide::RenderRemote => self.objects.computed.wait_value(value, limit),
        }
    }

    /// Records that a frame ends when its last timeline reaches `value`.
    pub(super) fn record_frame_end(&self, value: u64) {
        if let Some(pace) = &self.pace {
            pace.lock().push(value);
        }
    }

    /// Calls the exchange's callback after Vulkan's side has submitted or lent a frame, or has
    /// returned or lost a slot.
    pub(super) fn notify_change(&self) {
        if let Some(on_change) = self.on_change.get() {
            on_change();
        }
    }

    /// Frees commands that no caller waits for any more, if they have run.
    #[inline]
    pub(super) fn free_finished(&self) {
        if self.unfinished.is_empty() {
            return;
        }
        // If the value cannot be read now, they are freed later.
        if let Ok(reached) = self.objects.rendered.value() {
            self.unfinished.free(reached);
        }
    }

    /// Returns the queue that frames are submitted to.
    pub(super) fn queue(&self) -> &Queue {
        queue_of(&self.compute, self.queue)
    }

    /// Lends the resources in a slot to compute with.
    ///
    /// # Safety
    /// Until the result is gone, nothing else computes with the slot. Work enqueued with it comes
    /// after the wait for Vulkan's last use of the slot, and before the signal that Vulkan's next
    /// use waits for.
    pub(super) unsafe fn work(&self, slot: usize) -> Work<'_, R> {
        // SAFETY: upheld by the caller.
        unsafe { self.objects.lender.work(slot) }
    }

    /// Makes the compute side wait, on the GPU, for a value of `rendered` whose signal was
    /// enqueued.
    pub(super) fn enqueue_compute_wait(&self, value: u64) -> Result<()> {
        // SAFETY: rule "no wait before its signal": the ledger returns the value of a submission
        // that was accepted (or has been reached). The lender is dropped after the compute side has
        // drained.
        self.check_failure(unsafe { self.objects.lender.wait(value, self.timeout) })?;
        self.objects.rendered.record_wait(value);
        Ok(())
    }

    /// Makes the compute side signal the next value after all its work, including the work of other
    /// CUDA streams on the slot. Returns the value.
    pub(super) fn enqueue_compute_signal(&self, slot: usize) -> Result<u64> {
        self.check_failure(self.objects.lender.join(slot))?;
        self.enqueue_joined_signal()
    }

    /// [`enqueue_compute_signal`](Self::enqueue_compute_signal) for several slots. The signal does
    /// not cover the work of other streams on any other slot, so no other slot may be handed over
    /// with it.
    pub(super) fn enqueue_compute_signal_for(&self, slots: impl IntoIterator<Item = usize>) -> Result<u64> {
        let joined = slots.into_iter().map(|slot| self.objects.lender.join(slot)).fold(Ok(()), first_error);
        self.check_failure(joined)?;
        self.enqueue_joined_signal()
    }

    fn enqueue_joined_signal(&self) -> Result<u64> {
        // SAFETY: the values rise strictly: the compute side is this timeline's only signaler, and
        // `signal_computed` takes and enqueues one value at a time. The lender is dropped after the
        // point was reached.
        self.signal_computed(|value| unsafe { self.objects.lender.signal(value) })
    }

    /// Takes the next value of `computed` and calls `signal` to enqueue it. Returns the value, which
    /// is used up even if the signal cannot be enqueued.
    pub(super) fn signal_computed(&self, signal: impl FnOnce(u64) -> Result<()>) -> Result<u64> {
        let signaled = self.ledger.signal_computed(signal, |value| self.objects.computed.issue(value));
        // The lock is released: `check_failure` calls the logger, which may take any lock.
        self.check_failure(signaled)
    }

    /// Locks the order of submissions, while a value of `rendered` is taken and submitted.
    ///
    /// # Errors
    /// [`vk_export::Error::QueueHeld`] on a thread that has locked the queue: the holder of this
    /// lock may wait for the queue.
    pub(super) fn lock_submissions(&self) -> Result<SignalLock<'_>> {
        self.queue().check_free()?;
        Ok(self.ledger.lock_submissions())
    }

    /// Like [`lock_submissions`](Self::lock_submissions), without using the queue. Returns `None`
    /// if another thread holds the lock.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn try_lock_submissions(&self) -> Option<SignalLock<'_>> {
        self.ledger.try_lock_submissions()
    }

    /// Tries again to enqueue the signals that failed turns left out. A slot stays out of use until
    /// its signal is enqueued.
    fn retry_signals(&self) {
        loop {
            let Some(slot) = self.ledger().unsignaled() else { return };
            match self.enqueue_compute_signal(slot) {
                Ok(value) => self.ledger().mark_signaled(slot, value),
                Err(error) => {
                    log_error!("exchange \"{}\": slot {slot} stays out of use: {error}", self.name);
                    return;
                }
            }
        }
    }

    /// Likewise for failed turns that did not order the leading GPU after the others.
    fn retry_joins(&self) {
        loop {
            let Some(slot) = self.ledger().unjoined() else { return };
            match self.check_failure(self.objects.lender.join(slot)) {
                Ok(()) => self.ledger().mark_joined(slot),
                Err(error) => {
                    log_error!("exchange \"{}\": slot {slot} stays out of use: {error}", self.name);
                    return;
                }
            }
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }
}
