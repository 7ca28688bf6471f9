//! In-step exchanges that another process reads: the operations of the thread that acts for it.
//!
//! A frame is passed to that process as soon as it is submitted, and its GPU waits for the frame. A
//! slot is Vulkan's again as soon as it is returned with a value that the other process owes.
#![allow(unsafe_code)] // Signals the mirror for an engine's submission.

use std::ops::Deref;
use std::sync::Arc;

use super::{Announcement, WorkerState};
use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::info::ExchangeInfo;
use crate::exchange::latest::RemoteHandle;
use crate::exchange::ledger::FirstSide;
use crate::exchange::ledger::unsent::SubmittedFrame;
use crate::exchange::remote::draws::RemoteDraws;
use crate::exchange::remote::program_half::ProgramHalf as _;
use crate::exchange::state::State;
use crate::resources::Resources;
use crate::resources::runs::Run;
use crate::timeline::host_signal;

/// The compute side of an exchange in step, on behalf of another process that reads.
pub(crate) struct WorkerReader<R: Resources> {
    draws: Arc<RemoteDraws<R>>,
    base: WorkerState<R>,
}

impl<R: Resources> WorkerReader<R> {
    pub(crate) fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R) -> Result<Self> {
        let base = WorkerState::new(compute, info, resources, FirstSide::RenderRemote)?;
        Ok(Self { draws: RemoteDraws::new(&base.state), base })
    }

    pub(crate) fn draws(&self) -> Arc<RemoteDraws<R>> {
        Arc::clone(&self.draws)
    }

    /// Gives the other process the oldest submitted frame that it does not have yet. Returns `None`
    /// if there is none, or if the other GPU has no way to wait for that frame yet.
    ///
    /// # Errors
    /// If the timeline of the other process cannot be signaled.
    pub(crate) fn send_frame(&self) -> Result<Option<SubmittedFrame>> {
        let Some(drawn) = self.state.ledger().next_unsent() else { return Ok(None) };
        let Some(visible_at) = self.visible_value(drawn.value)? else { return Ok(None) };
        self.state.ledger().mark_sent(drawn.slot);
        Ok(Some(SubmittedFrame { visible_at, ..drawn }))
    }

    /// Returns [`SubmittedFrame::visible_at`] of a frame, or `None` if the other process has no way
    /// to see it yet.
    ///
    /// A submission of the bridge signals the timeline of the other process itself. An engine's
    /// submission signals `rendered` only: it is seen with the bridge's next submission, or is
    /// signaled here once it is reached.
    fn visible_value(&self, value: u64) -> Result<Option<u64>> {
        let Some(mirror) = &self.state.objects.mirror else { return Ok(Some(value)) };
        let covered = || Some(mirror.last_submitted()).filter(|covered| *covered >= value);
        if let Some(covered) = covered() {
            return Ok(Some(covered));
        }
        if self.rendered().unwrap_or(0) < value {
            return Ok(None);
        }
        // The lock is only tried: its holder may wait for the queue, and the thread that has locked
        // the queue may be joining this thread.
        let Some(_order) = self.state.try_lock_submissions() else { return Ok(None) };
        if let Some(covered) = covered() {
            return Ok(Some(covered));
        }
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the lock under which signals of
        // the mirror are submitted is held, and no signal of this value or a greater one was
        // submitted; signals of lower values precede this value of `rendered` on the same queue,
        // and it is reached. If another process has raised the mirror against the rules, only that
        // process is affected.
        unsafe { host_signal::signal(mirror.semaphore(), value) }?;
        mirror.mark_submitted(value);
        Ok(Some(value))
    }

    /// Returns `true` if the other process will see the next frame only once commands that an
    /// engine has submitted have ended.
    pub(crate) fn waits_for_engine(&self) -> bool {
        let drawn = self.state.ledger().next_unsent();
        let mirror = self.state.objects.mirror.as_ref();
        mirror.zip(drawn).is_some_and(|(mirror, drawn)| mirror.last_submitted() < drawn.value)
    }

    /// Lets the compute thread copy a frame that was taken with [`send_frame`](Self::send_frame),
    /// once Vulkan has drawn it. The slot's next use waits for the copy.
    ///
    /// # Errors
    /// If nothing can be copied. The slot's next use is ordered after the frame anyway.
    pub(crate) fn copy_out(
        &self,
        SubmittedFrame { frame, slot, value: after, .. }: SubmittedFrame,
        copy: impl FnMut(Run, &mut [u8]) + Send + 'static,
    ) -> Result<()> {
        let value = self.take_computed_value();
        self.state.ledger().use_after(slot, value);
        self.state.objects.computed.issue(value);
        self.copy(Announcement { frame, slot, value, after }, Some(copy))
    }

    /// Takes back a slot from the other process. With `value`, the slot's next use waits for that
    /// value, which the other process signals; without it, the slot is free at once. Returns
    /// `false` if `value` is not the next value.
    pub(crate) fn reclaim_after(&self, slot: usize, value: Option<u64>) -> bool {
        if let Some(value) = value {
            if self.take_computed_value() != value {
                return false;
            }
            self.state.ledger().use_after(slot, value);
            // Issued before the slot can be used, since its next user waits for the value.
            self.state.objects.computed.issue(value);
        }
        self.reclaim(slot);
        true
    }

    /// Creates new timelines for the next process, as [`WorkerState::renew`].
    ///
    /// # Errors
    /// As [`WorkerState::renew`].
    pub(crate) fn renew(&mut self, check_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        self.base.renew(check_wanted)?;
        self.draws.set_state(&self.base.state);
        Ok(())
    }
}

impl<R: Resources> Deref for WorkerReader<R> {
    type Target = WorkerState<R>;

    fn deref(&self) -> &WorkerState<R> {
        &self.base
    }
}

impl<R: Resources> RemoteHandle for WorkerReader<R> {
    type Resources = R;

    fn state(&self) -> &Arc<State<R>> {
        &self.base.state
    }

    fn reclaim(&self, slot: usize) {
        self.state.ledger().reclaim(slot);
        self.draws.wake();
    }

    fn remote_slots(&self) -> Vec<usize> {
        self.state.ledger().remote_slots().collect()
    }

    fn set_on_change(&mut self, changed: impl Fn() + Send + Sync + 'static) {
        self.base.set_on_change(changed);
    }
}
