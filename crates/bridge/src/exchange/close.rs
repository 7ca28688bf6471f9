//! Closing of an exchange: frees it once both sides are known to be done with it, or leaks objects
//! that may still be in use.
#![allow(unsafe_code)] // Objects that cannot be freed safely are leaked through ManuallyDrop.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vk_export::ash::vk;

use super::drop_thread::DropThread;
use super::state::State;
use super::submit::parts::SubmitParts;
use crate::barriers::count_leaked;
use crate::compute::exchange_registry;
use crate::compute::loss::Loss;
use crate::error::{Error, Result, first_error};
use crate::observe::live;
use crate::observe::live::Kind;
use crate::observe::log_error;
use crate::observe::trace;
use crate::resources::Resources;
use crate::timeline::Timeline;

impl<R: Resources> State<R> {
    /// Returns `true` if the resources have been replaced and neither side uses them any more. Does
    /// not block.
    pub(super) fn has_ended(&self) -> bool {
        let reached = |timeline: &Timeline, value| timeline.value().is_ok_and(|reached| reached >= value);
        let drained = || self.join_all().and_then(|()| self.objects.lender.drain(Duration::ZERO)).unwrap_or(false);
        self.use_ends.get().is_some_and(|ends| {
            let computed = ends.computed.map_or_else(drained, |value| reached(&self.objects.computed, value));
            computed && reached(&self.objects.rendered, ends.rendered)
        })
    }

    /// Makes the compute stream wait for the work of other CUDA streams on any slot.
    pub(super) fn join_all(&self) -> Result<()> {
        (0..self.objects.slots.len()).map(|slot| self.objects.lender.join(slot)).fold(Ok(()), first_error)
    }

    /// Like [`join_all`](Self::join_all), but ignores a lost GPU, whose work has ended: the stream
    /// waits for all other GPUs.
    pub(super) fn join_unless_lost(&self) -> Result<()> {
        self.join_all().or_else(|error| if error.is_device_lost() { Ok(()) } else { Err(error) })
    }

    /// Submits a signal after all submissions that may have been made, unless a signal that is
    /// certain to come follows them. If the bridge does not synchronize with every submission to
    /// the queue, this submits nothing; the engine uses
    /// [`Exchange::flush_parts`](crate::Exchange::flush_parts).
    pub(super) fn flush(&self) -> Result<()> {
        // Checked before the queue is locked: a thread that has locked it may drop an exchange that
        // needs no signal.
        if !self.compute.device().queues_are_synchronized() || !self.ledger().needs_flush() {
            return Ok(());
        }
        #[cfg(all(test, target_os = "linux", feature = "remote"))]
        crate::observe::steps::note("flush", self.compute.device().as_raw().handle());
        let order = self.lock_submissions()?;
        // SAFETY: the value is taken under the lock that is held.
        let flushed = self.ledger.flush(&order, |value| unsafe { self.submit_signal(value) })?;
        if let Some(value) = flushed {
            self.objects.rendered.issue(value);
        }
        Ok(())
    }

    /// Submits the signal of a value of `rendered`.
    ///
    /// # Safety
    /// The lock of [`lock_submissions`](Self::lock_submissions) is held from before `value` was
    /// taken until it is issued.
    unsafe fn submit_signal(&self, value: u64) -> Result<()> {
        let signal = [self.first_signal(value)];
        let batch = vk::SubmitInfo2::default().signal_semaphore_infos(&signal);
        match &self.objects.mirror {
            // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: `rendered` has this queue as its only
            // signaler; its values are taken and submitted under one lock, and none is lent. The
            // timeline lives until the value was reached.
            None => unsafe { self.queue().submit(&[batch], vk::Fence::null()) }?,
            // SAFETY: as above, for the mirror too.
            Some(mirror) => unsafe { self.submit_mirrored(mirror, batch, value, vk::Fence::null()) }?,
        }
        Ok(())
    }

    /// Returns the parts that [`flush`](Self::flush) would submit, for an engine.
    pub(crate) fn flush_parts(&self) -> Result<Option<SubmitParts>> {
        let _order = self.lock_submissions()?;
        let Some(value) = self.ledger().flush() else { return Ok(None) };
        Ok(Some(SubmitParts::new(&[], &self.objects.rendered, value, self.stages)))
    }

    /// Waits until neither side uses the resources or the timelines any more, for at most the
    /// timeout. For replaced resources, waits only until they are no longer used.
    pub(super) fn quiesce(&self) -> Result<()> {
        self.quiesce_within(self.timeout)
    }

    /// Like [`quiesce`](Self::quiesce), but also ends when `check_wanted`, which is called
    /// repeatedly, returns an error.
    ///
    /// # Errors
    /// That of `check_wanted`, or as [`quiesce`](Self::quiesce).
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn quiesce_while(&self, check_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        /// Interval between calls of `check_wanted`.
        const CHECK_INTERVAL: Duration = Duration::from_millis(50);
        let start = Instant::now();
        loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            let (round, limit) = (Instant::now(), left.min(CHECK_INTERVAL));
            match self.quiesce_within(limit) {
                Err(Error::Timeout { .. } | Error::ComputeBusy { .. }) if !left.is_zero() => {
                    check_wanted()?;
                    #[cfg(all(test, target_os = "linux", feature = "remote"))]
                    crate::observe::steps::note("quiesce", self.compute.device().as_raw().handle());
                    // The error that the compute side is busy may be returned at once.
                    std::thread::sleep(limit.saturating_sub(round.elapsed()));
                }
                Err(Error::Timeout { exchange, timeline, value, signaler, last_seen, history, .. }) => {
                    let waited = start.elapsed();
                    return Err(Error::Timeout { exchange, timeline, value, signaler, last_seen, waited, history });
                }
                Err(Error::ComputeBusy { exchange, backend, .. }) => {
                    return Err(Error::ComputeBusy { exchange, backend, waited: start.elapsed() });
                }
                ended => return ended,
            }
        }
    }

    /// Waits for at most `limit`. If the wait fails and the compute side was lost during it, waits
    /// again in the way that applies to a lost compute side.
    fn quiesce_within(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        let lost = self.is_compute_lost();
        let quiet = self.quiesce_since(start, limit, lost);
        if quiet.is_ok() || lost || !self.is_compute_lost() {
            return quiet;
        }
        self.quiesce_since(start, limit, true)
    }

    /// Returns `true` if the compute side is another API and is lost.
    fn is_compute_lost(&self) -> bool {
        let lost = self.check_compute().is_err_and(|error| error.is_device_lost());
        lost && self.compute.side().is_foreign()
    }

    /// [`quiesce`](Self::quiesce) for at most `limit` since `start`. `compute_lost` says whether
    /// the compute side is known to be lost.
    fn quiesce_since(&self, start: Instant, limit: Duration, compute_lost: bool) -> Result<()> {
        let left = || limit.saturating_sub(start.elapsed());
        if compute_lost {
            self.wait_after_gpu_loss(start, limit)?;
        }
        let reach = |timeline: &Timeline, value| match compute_lost {
            true => timeline.wait_after_loss(value, left(), || drop(self.check_compute())),
            false => timeline.wait_value(value, left()),
        };
        let signals = || {
            if let Some(ends) = self.use_ends.get() {
                reach(&self.objects.rendered, ends.rendered)?;
                return ends.computed.map_or(Ok(()), |value| reach(&self.objects.computed, value));
            }
            self.flush()?;
            // A submission that may have been made is treated as one that was made.
            let last = self.ledger().last_rendered();
            if last > 0 {
                reach(&self.objects.rendered, last)?;
            }
            self.objects.computed.last_issued().map_or(Ok(()), |point| reach(&self.objects.computed, point.value()))
        };
        let loss = match signals() {
            // A lost device uses nothing any more, and its objects may be destroyed (Vulkan
            // specification, "Lost Device"). The compute side may continue, with the same memory.
            Err(Error::Vulkan(error)) if error.is_device_lost() => {
                log_error!("exchange \"{}\": {error}", self.name);
                Some(error)
            }
            signals => {
                signals?;
                None
            }
        };
        // Once reached, the signal at the end of use covers all work that the compute side was
        // given.
        let covered = loss.is_none() && self.use_ends.get().is_some_and(|ends| ends.computed.is_some());
        if covered || compute_lost {
            return Ok(());
        }
        // The compute side, including other CUDA streams, may have been given waits or work after
        // its last signal: a dropped turn joins nothing.
        self.join_all()?;
        self.drain(start, limit, loss)
    }

    /// Waits until the compute side has done its work, for at most `limit` since `start`. Either
    /// all signals have arrived, so no timeline is late, or the Vulkan device is lost; `loss` is
    /// that error, if it is known. CUDA may then be waiting for the device, in this exchange or
    /// another one on its context, and is released from its waits. After a release it gets a short
    /// time to finish, even if the limit has passed.
    fn drain(&self, start: Instant, limit: Duration, mut loss: Option<vk_export::Error>) -> Result<()> {
        /// Interval of checks for a lost Vulkan device, and the time to finish after a release.
        const CHECK_INTERVAL: Duration = Duration::from_millis(100);
        let left = || limit.saturating_sub(start.elapsed());
        let waits_on_gpu = self.compute.cuda().is_some();
        loop {
            if waits_on_gpu && let Some(loss) = &loss {
                // If CUDA waits for nothing, no signal is needed.
                if self.objects.lender.drain(Duration::ZERO)? {
                    return Ok(());
                }
                // SAFETY: the device is lost.
                unsafe { exchange_registry::release_waits(self.compute.side(), &self.objects.rendered, loss) };
            }
            let stretch = match (waits_on_gpu, &loss) {
                (false, _) => left(),
                (true, None) => left().min(CHECK_INTERVAL),
                (true, Some(_)) => CHECK_INTERVAL,
            };
            if self.objects.lender.drain(stretch)? {
                return Ok(());
            }
            let over = left().is_zero();
            if over && (loss.is_some() || !waits_on_gpu) {
                return Err(self.busy_error(start));
            }
            loss = loss.or_else(|| self.objects.rendered.device_loss().filter(|_| waits_on_gpu));
            if over && loss.is_none() {
                return Err(self.busy_error(start));
            }
        }
    }

    fn busy_error(&self, start: Instant) -> Error {
        let (exchange, backend) = (self.name.clone(), self.compute.backend());
        Error::ComputeBusy { exchange, backend, waited: start.elapsed() }
    }

    /// Ends the use of the memory after the loss of a GPU. The work of the lost GPU has ended. If
    /// other GPUs of its group continue to use the same memory, waits for them first, and only then
    /// lets Vulkan continue where it waits for the lost GPU.
    fn wait_after_gpu_loss(&self, start: Instant, limit: Duration) -> Result<()> {
        if self.compute.side().loss() != Loss::All {
            self.join_unless_lost()?;
            self.drain(start, limit, None)?;
        }
        // The error is already known.
        let _ = self.check_compute();
        Ok(())
    }

    /// Starts a thread that waits for the end and frees everything.
    ///
    /// # Safety
    /// Called from `drop` only, since it moves `objects` out.
    unsafe fn drop_on_new_thread(&mut self) {
        let mut rest = Self {
            // SAFETY: moved out once, by this function's contract.
            objects: ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.objects) }),
            barriers: std::mem::take(&mut self.barriers),
            stages: self.stages,
            use_ends: std::mem::take(&mut self.use_ends),
            drop_thread: DropThread::NotStarted,
            core: Arc::clone(&self.core),
        };
        let name = rest.name.clone();
        let there = move || {
            rest.drop_thread = DropThread::Spawned;
            drop(rest);
        };
        // If the thread cannot be started, the closure is dropped here, and the exchange with it,
        // without waiting: the work that it would wait for is still to be done by this thread.
        if let Err(error) = std::thread::Builder::new().name("bridge-reaper".into()).spawn(there) {
            log_error!("exchange \"{name}\": could not start a thread to wait for its end: {error}");
        }
    }
}

impl<R: Resources> Drop for State<R> {
    fn drop(&mut self) {
        let ended = self.has_ended();
        // A closure on the CPU backend's thread cannot wait for work that is enqueued after itself.
        if !ended && self.compute.side().is_current() && self.drop_thread == DropThread::Current {
            // SAFETY: this is `drop`, which returns right after.
            return unsafe { self.drop_on_new_thread() };
        }
        let skip_wait = self.drop_thread == DropThread::NotStarted || self.close_failed.load(Ordering::Acquire);
        let quiet = match (ended, skip_wait) {
            (true, _) => Some(Ok(())),
            (false, true) => None,
            (false, false) => Some(self.quiesce()),
        };
        if !matches!(quiet, Some(Ok(()))) {
            let unasked = if self.drop_thread == DropThread::NotStarted {
                "no thread waits for its end"
            } else {
                "closing it gave up"
            };
            let reason = quiet.and_then(Result::err).map_or(unasked.to_owned(), |error| error.to_string());
            count_leaked(&self.barriers);
            if !self.timelines_leaked.swap(true, Ordering::Relaxed) {
                live::leaked(Kind::Timeline, 2 + usize::from(self.objects.mirror.is_some()));
            }
            if self.use_ends.get().is_none() {
                // Replaced resources then do not wait for the timeout again.
                self.close_failed.store(true, Ordering::Release);
            }
            trace::leak(&self.name);
            log_error!(
                "exchange \"{}\": its {} slots and both timelines are leaked, since they may still be in use: {reason}",
                self.name,
                self.objects.slots.len(),
            );
            return;
        }
        // All submissions have run; for replaced resources, those up to the value that was reached.
        let reached = self.use_ends.get().map_or(u64::MAX, |_| self.objects.rendered.value().unwrap_or(0));
        self.unfinished.free(reached);
        // SAFETY: both sides are known to be done.
        unsafe { self.objects.lender.assume_idle() };
        // SAFETY: dropped only here, once. Rules "all signals and waits complete before a semaphore
        // is destroyed" and "no access to a mapping after its memory is destroyed": both sides are
        // known to be done.
        unsafe { ManuallyDrop::drop(&mut self.objects) };
    }
}
