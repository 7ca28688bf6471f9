//! Closing of an exchange: once both sides are seen to be done with it, or by leaking what may
//! still be in use.
#![allow(unsafe_code)] // What could not be freed safely is leaked through ManuallyDrop.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vk_export::ash::vk;

use super::barriers::count_leaked;
use super::end::End;
use super::parts::SubmitParts;
use super::resources::Resources;
use super::state::State;
use crate::compute::loss::Loss;
use crate::compute::siblings;
use crate::error::{Error, Result, both};
use crate::observe::live;
use crate::observe::live::Kind;
use crate::observe::log_error;
use crate::observe::trace;
use crate::observe::trace::Event;
use crate::timeline::Timeline;

impl<R: Resources> State<R> {
    /// Returns `true` if others have replaced the resources, and neither side uses these any more.
    /// Does not block.
    pub(super) fn has_ended(&self) -> bool {
        let reached = |timeline: &Timeline, value| timeline.value().is_ok_and(|reached| reached >= value);
        let drained = || self.join_all().and_then(|()| self.held.lender.drain(Duration::ZERO)).unwrap_or(false);
        self.use_ends.get().is_some_and(|ends| {
            let computed = ends.computed.map_or_else(drained, |value| reached(&self.held.computed, value));
            computed && reached(&self.held.rendered, ends.rendered)
        })
    }

    /// Makes the compute stream wait for what other CUDA streams did with any slot.
    pub(super) fn join_all(&self) -> Result<()> {
        (0..self.held.slots.len()).map(|slot| self.held.lender.join(slot)).fold(Ok(()), both)
    }

    /// The same where a GPU may be lost, whose work has ended: each other one's stream waits.
    pub(super) fn join_living(&self) -> Result<()> {
        self.join_all().or_else(|error| if error.is_device_lost() { Ok(()) } else { Err(error) })
    }

    /// Submits a signal behind all that may have been submitted, where it is not known to have one.
    /// An engine does that itself, see [`Exchange::flush_parts`](crate::Exchange::flush_parts):
    /// nothing is submitted behind its back.
    pub(super) fn flush(&self) -> Result<()> {
        // Asked before the queue: a thread that has locked it may end an exchange that needs no
        // signal.
        if !self.compute.device().queues_are_synchronized() || !self.ledger().needs_flush() {
            return Ok(());
        }
        #[cfg(all(test, target_os = "linux", feature = "remote"))]
        crate::observe::steps::note("flush", self.compute.device().as_raw().handle());
        let _order = self.submitting()?;
        let Some(value) = self.ledger().flush() else { return Ok(()) };
        let signal = [self.first_signal(value)];
        let batch = vk::SubmitInfo2::default().signal_semaphore_infos(&signal);
        match &self.held.mirror {
            // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: `rendered` has this queue as its only
            // signaler; its values are taken and submitted under one lock, and none is lent. The
            // timeline lives until the value was reached.
            None => unsafe { self.queue().submit(&[batch], vk::Fence::null()) }?,
            // SAFETY: as above, for the mirror too.
            Some(mirror) => unsafe { self.submit_mirrored(mirror, batch, value, vk::Fence::null()) }?,
        }
        self.ledger().flushed(value);
        self.held.rendered.issue(value);
        Ok(())
    }

    /// Returns the parts that [`flush`](Self::flush) would submit, for an engine.
    pub(crate) fn flush_parts(&self) -> Result<Option<SubmitParts>> {
        let _order = self.submitting()?;
        let Some(value) = self.ledger().flush() else { return Ok(None) };
        Ok(Some(SubmitParts::new(&[], &self.held.rendered, value, self.stages)))
    }

    /// Waits until neither side uses the resources or the timelines any more, for at most the
    /// timeout. Resources that others have replaced are waited for alone.
    pub(super) fn quiesce(&self) -> Result<()> {
        self.quiesce_within(self.timeout)
    }

    /// [`quiesce`](Self::quiesce) until `go_on` gives an error, which it is asked for now and then.
    ///
    /// # Errors
    /// That of `go_on`, or as [`quiesce`](Self::quiesce).
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn quiesce_while(&self, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        /// The interval of asking.
        const AT_A_TIME: Duration = Duration::from_millis(50);
        let start = Instant::now();
        loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            let (round, limit) = (Instant::now(), left.min(AT_A_TIME));
            match self.quiesce_within(limit) {
                Err(Error::Timeout { .. } | Error::ComputeBusy { .. }) if !left.is_zero() => {
                    go_on()?;
                    #[cfg(all(test, target_os = "linux", feature = "remote"))]
                    crate::observe::steps::note("quiesce", self.compute.device().as_raw().handle());
                    // The compute side may be told to be busy at once.
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

    /// The compute side may be lost at any time: where it was not when the wait began, and is once
    /// that has failed, the wait goes on as one for a compute side that is lost.
    fn quiesce_within(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        let lost = self.is_compute_lost();
        let quiet = self.quiesce_since(start, limit, lost);
        if quiet.is_ok() || lost || !self.is_compute_lost() {
            return quiet;
        }
        self.quiesce_since(start, limit, true)
    }

    /// Asks whether the compute side is another API, and lost.
    fn is_compute_lost(&self) -> bool {
        let lost = self.check_compute().is_err_and(|error| error.is_device_lost());
        lost && self.compute.side().is_foreign()
    }

    /// [`quiesce`](Self::quiesce), since `start` for at most `limit`, beside a compute side that
    /// was seen to be lost, or not.
    fn quiesce_since(&self, start: Instant, limit: Duration, compute_lost: bool) -> Result<()> {
        let left = || limit.saturating_sub(start.elapsed());
        if compute_lost {
            self.outlive(start, limit)?;
        }
        let reach = |timeline: &Timeline, value| match compute_lost {
            true => timeline.wait_out(value, left(), || drop(self.check_compute())),
            false => timeline.wait_value(value, left()),
        };
        let signals = || {
            if let Some(ends) = self.use_ends.get() {
                reach(&self.held.rendered, ends.rendered)?;
                return ends.computed.map_or(Ok(()), |value| reach(&self.held.computed, value));
            }
            self.flush()?;
            // A submission that may have happened counts as one that did.
            let last = self.ledger().last_rendered();
            if last > 0 {
                reach(&self.held.rendered, last)?;
            }
            self.held.computed.last_issued().map_or(Ok(()), |point| reach(&self.held.computed, point.value()))
        };
        let loss = match signals() {
            // A lost device uses nothing any more, and what is on it may be destroyed (Vulkan
            // specification, "Lost Device"). The compute side may go on, with the same memory.
            Err(Error::Vulkan(error)) if error.is_device_lost() => {
                log_error!("exchange \"{}\": {error}", self.name);
                Some(error)
            }
            signals => {
                signals?;
                None
            }
        };
        // The signal at the end of use covers all that the compute side was given, once it has
        // come.
        let covered = loss.is_none() && self.use_ends.get().is_some_and(|ends| ends.computed.is_some());
        if covered || compute_lost {
            return Ok(());
        }
        // The compute side may have been given waits or work after its last signal, other streams
        // of CUDA too: a turn that was dropped joined nothing.
        self.join_all()?;
        self.drain(start, limit, loss)
    }

    /// Waits, since `start` for at most `limit`, until the compute side has done what it was
    /// given. All signals have come by then, so that no timeline is late, or the Vulkan device is
    /// lost, as `loss` says if it is known: CUDA, which may wait for it in this exchange or in
    /// another on its context, is let go on. For that it has a moment, whatever is left of the
    /// limit.
    fn drain(&self, start: Instant, limit: Duration, mut loss: Option<vk_export::Error>) -> Result<()> {
        /// Interval at which the Vulkan device is looked at, and the time to go on.
        const STRETCH: Duration = Duration::from_millis(100);
        let left = || limit.saturating_sub(start.elapsed());
        let waits_on_gpu = self.compute.cuda().is_some();
        loop {
            if waits_on_gpu && let Some(loss) = &loss {
                // CUDA that waits for nothing needs no signal.
                if self.held.lender.drain(Duration::ZERO)? {
                    return Ok(());
                }
                // SAFETY: the device is lost.
                unsafe { siblings::release_waits(self.compute.side(), &self.held.rendered, loss) };
            }
            let stretch = match (waits_on_gpu, &loss) {
                (false, _) => left(),
                (true, None) => left().min(STRETCH),
                (true, Some(_)) => STRETCH,
            };
            if self.held.lender.drain(stretch)? {
                return Ok(());
            }
            let over = left().is_zero();
            if over && (loss.is_some() || !waits_on_gpu) {
                return Err(self.busy(start));
            }
            loss = loss.or_else(|| self.held.rendered.device_loss().filter(|_| waits_on_gpu));
            if over && loss.is_none() {
                return Err(self.busy(start));
            }
        }
    }

    fn busy(&self, start: Instant) -> Error {
        let (exchange, backend) = (self.name.clone(), self.compute.backend());
        Error::ComputeBusy { exchange, backend, waited: start.elapsed() }
    }

    /// What a lost GPU leaves behind is not in use: its work ended with it. Others of its group go
    /// on with the same memory: they are waited for, and only then Vulkan is told to go on where it
    /// waits for the one that is lost.
    fn outlive(&self, start: Instant, limit: Duration) -> Result<()> {
        if self.compute.side().loss() != Loss::All {
            self.join_living()?;
            self.drain(start, limit, None)?;
        }
        // The error is known.
        let _ = self.check_compute();
        Ok(())
    }

    /// Lets a thread of its own wait for the end and free everything.
    ///
    /// # Safety
    /// Called from `drop` only: what is held is moved out.
    unsafe fn drop_elsewhere(&mut self) {
        let mut rest = Self {
            // SAFETY: moved out once, by this function's contract.
            held: ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.held) }),
            barriers: std::mem::take(&mut self.barriers),
            stages: self.stages,
            use_ends: std::mem::take(&mut self.use_ends),
            end: End::Nowhere,
            core: Arc::clone(&self.core),
        };
        let name = rest.name.clone();
        let there = move || {
            rest.end = End::Elsewhere;
            drop(rest);
        };
        // If no thread starts, the closure is dropped here, and with it the exchange: it waits for
        // nothing, since this thread has to do first what it would wait for.
        if let Err(error) = std::thread::Builder::new().name("bridge-reaper".into()).spawn(there) {
            log_error!("exchange \"{name}\": could not start a thread to wait for its end: {error}");
        }
    }
}

impl<R: Resources> Drop for State<R> {
    fn drop(&mut self) {
        let ended = self.has_ended();
        // A closure on the CPU backend's thread cannot wait for what is enqueued behind itself.
        if !ended && self.compute.side().is_inside() && self.end == End::Here {
            // SAFETY: this is `drop`, which returns right after.
            return unsafe { self.drop_elsewhere() };
        }
        let gave_up = self.end == End::Nowhere || self.gave_up.load(Ordering::Acquire);
        let quiet = match (ended, gave_up) {
            (true, _) => Some(Ok(())),
            (false, true) => None,
            (false, false) => Some(self.quiesce()),
        };
        if !matches!(quiet, Some(Ok(()))) {
            let unasked = if self.end == End::Nowhere { "nobody waits for its end" } else { "closing it gave up" };
            let reason = quiet.and_then(Result::err).map_or(unasked.to_owned(), |error| error.to_string());
            count_leaked(&self.barriers);
            if !self.timelines_leaked.swap(true, Ordering::Relaxed) {
                live::leaked(Kind::Timeline, 2 + usize::from(self.held.mirror.is_some()));
            }
            if self.use_ends.get().is_none() {
                // What it has replaced is not waited for as long once more.
                self.gave_up.store(true, Ordering::Release);
            }
            trace::event(Event::new("leak", "host", &self.name));
            log_error!(
                "exchange \"{}\": its {} slots and both timelines are leaked, since they may still be in use: {reason}",
                self.name,
                self.held.slots.len(),
            );
            return;
        }
        // All that was ever submitted has run, or has as far as others say that have replaced this.
        let reached = self.use_ends.get().map_or(u64::MAX, |_| self.held.rendered.value().unwrap_or(0));
        self.unfinished.free(reached);
        // SAFETY: both sides have been seen to be done.
        unsafe { self.held.lender.assume_idle() };
        // SAFETY: dropped here only, once. Rule "all signals and waits complete before a semaphore
        // is destroyed" and "no access to a mapping after its memory is destroyed": both sides have
        // been seen to be done.
        unsafe { ManuallyDrop::drop(&mut self.held) };
    }
}
