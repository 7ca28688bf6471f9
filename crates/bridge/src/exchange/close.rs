//! How an exchange ends: once both sides are seen to be done with it, or by leaking what may still be in use.
#![allow(unsafe_code)] // What could not be freed safely is leaked through ManuallyDrop.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use vk_export::ash::vk;

use super::barriers::count_leaked;
use super::ledger::Ledger;
use super::pace::Pace;
use super::resources::Resources;
use super::state::State;
use super::submit::rendered_info;
use crate::error::{Error, Result};
use crate::observe::live;
use crate::observe::live::{Alive, Kind};
use crate::observe::log_error;
use crate::observe::trace;
use crate::observe::trace::Event;

impl<R: Resources> State<R> {
    /// Submits a signal behind all that may have been submitted, where it is not known to have one. An engine does that
    /// itself, see [`Exchange::flush_parts`](crate::Exchange::flush_parts): nothing is submitted behind its back.
    fn flush(&self) -> Result<()> {
        if !self.compute.device().queues_are_synchronized() {
            return Ok(());
        }
        let _order = self.submitting()?;
        let Some(value) = self.ledger().flush() else { return Ok(()) };
        let signals = [rendered_info(&self.held.rendered, value)];
        let batch = vk::SubmitInfo2::default().signal_semaphore_infos(&signals);
        // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: `rendered` has this queue as its only signaller; its values are taken
        // and submitted under one lock, and none is lent. The timeline lives until the value was reached.
        unsafe { self.queue().submit(&[batch], vk::Fence::null()) }?;
        self.ledger().flushed(value);
        self.held.rendered.issue(value);
        Ok(())
    }

    /// Waits until neither side uses the resources or the timelines any more, for at most the timeout.
    pub(super) fn quiesce(&self) -> Result<()> {
        let start = Instant::now();
        // What a failed compute side leaves behind is not in use: its work ended with it.
        let compute_lost = self.check_compute().is_err_and(|error| error.is_device_lost());
        let left = || self.timeout.saturating_sub(start.elapsed());
        let signals = || {
            self.flush()?;
            // A submission that may have happened counts as one that did.
            let last = self.ledger().last_rendered();
            if last > 0 {
                self.held.rendered.wait_value(last, left())?;
            }
            self.held.computed.last_issued().map_or(Ok(()), |point| point.wait(left()))
        };
        match signals() {
            // A lost device uses nothing any more, and what is on it may be destroyed (Vulkan specification, "Lost
            // Device"). The compute side may go on, with the same memory.
            Err(Error::Vulkan(error)) if error.is_device_lost() => {
                log_error!("exchange \"{}\": {error}", self.name);
            }
            signals => signals?,
        }
        if compute_lost && self.compute.side().is_foreign() {
            return Ok(());
        }
        // The compute side may have been given waits or work after its last signal, other streams of CUDA too: a turn that was
        // dropped joined nothing.
        (0..self.held.slots.len()).try_for_each(|slot| self.held.lender.join(slot))?;
        let drained = self.compute.side().drain(left())?;
        if drained {
            return Ok(());
        }
        let value = self.held.computed.last_issued().map_or(0, |point| point.value());
        Err(self.held.computed.timed_out(value, start.elapsed())?)
    }

    /// Lets a thread of its own wait for the end and free everything.
    ///
    /// # Safety
    /// Called from `drop` only: what is held is moved out.
    unsafe fn drop_elsewhere(&mut self) {
        let rest = Self {
            // SAFETY: moved out once, by this function's contract.
            held: ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.held) }),
            barriers: std::mem::take(&mut self.barriers),
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
            failed: AtomicBool::new(self.failed.load(Ordering::Relaxed)),
            gave_up: AtomicBool::new(self.gave_up.load(Ordering::Acquire)),
            moved: true,
            _alive: Alive::new(Kind::Exchange),
        };
        let name = rest.name.clone();
        // If no thread starts, the closure is dropped here, and with it the exchange: its wait ends at once, and what may
        // still be in use is leaked.
        if let Err(error) = std::thread::Builder::new().name("bridge-reaper".into()).spawn(move || drop(rest)) {
            log_error!("exchange \"{name}\": no thread to wait for its end: {error}");
        }
    }
}

impl<R: Resources> Drop for State<R> {
    fn drop(&mut self) {
        // A closure on the CPU backend's thread cannot wait for what is enqueued behind itself.
        if self.compute.side().is_inside() && !self.moved {
            // SAFETY: this is `drop`, which returns right after.
            return unsafe { self.drop_elsewhere() };
        }
        let quiet = if self.gave_up.load(Ordering::Acquire) { None } else { Some(self.quiesce()) };
        if !matches!(quiet, Some(Ok(()))) {
            let reason = quiet.and_then(Result::err).map_or("closing it gave up".to_owned(), |error| error.to_string());
            count_leaked(&self.barriers);
            live::leaked(Kind::Timeline, 2);
            trace::event(Event::new("leak", "host", &self.name));
            log_error!(
                "exchange \"{}\": its {} slots and both timelines are leaked, since they may still be in use: {reason}",
                self.name,
                self.held.slots.len(),
            );
            return;
        }
        // SAFETY: both sides have been seen to be done.
        unsafe { self.held.lender.assume_idle() };
        // SAFETY: dropped here only, once. Rule "all signals and waits complete before a semaphore is destroyed" and
        // "no access to a mapping after its memory is destroyed": both sides have been seen to be done.
        unsafe { ManuallyDrop::drop(&mut self.held) };
    }
}
