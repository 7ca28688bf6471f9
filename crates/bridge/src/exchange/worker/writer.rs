//! In-step exchanges that another process writes: the operations of the thread that acts for it.
//!
//! A frame is Vulkan's as soon as it is announced: its turn is an ordinary [`RenderTurn`], which
//! waits for a value that the other process owes.

use std::cell::OnceCell;
use std::ops::Deref;
use std::sync::Arc;

use super::{Announcement, WorkerState};
use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::info::ExchangeInfo;
use crate::exchange::latest::RemoteHandle;
use crate::exchange::ledger::FirstSide;
use crate::exchange::remote::turns::RemoteTurns;
use crate::exchange::state::{SharedObjects, State};
use crate::exchange::turn::render::RenderTurn;
use crate::exchange::turn_parts::TurnParts;
use crate::resources::Resources;
use crate::resources::runs::Run;

/// The compute side of an exchange in step, on behalf of another process that writes.
pub(crate) struct WorkerWriter<R: Resources> {
    steps: Arc<RemoteTurns<R>>,
    base: WorkerState<R>,
}

impl<R: Resources> WorkerWriter<R> {
    pub(crate) fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R) -> Result<Self> {
        let base = WorkerState::new(compute, info, resources, FirstSide::Compute)?;
        Ok(Self { steps: RemoteTurns::new(&base.state), base })
    }

    pub(crate) fn steps(&self) -> Arc<RemoteTurns<R>> {
        Arc::clone(&self.steps)
    }

    /// Gives the other process a slot for which `may` returns `true`. Returns the slot and a value
    /// to wait for: Vulkan's last commands that use the slot are submitted with the signal of that
    /// value, or are known to have ended.
    pub(crate) fn send_slot(&self, may: impl Fn(usize) -> bool) -> Option<(usize, u64)> {
        let SharedObjects { rendered, mirror, .. } = &*self.state.objects;
        let reached = || rendered.value().unwrap_or(0);
        let Some(mirror) = mirror else {
            return self.state.ledger().send_slot(|slot, _| may(slot), reached);
        };
        // An engine's own submission signals only `rendered`, which the other process cannot wait
        // for. That process gets the slot once `rendered` has reached the value.
        let (covered, ended) = (mirror.last_submitted(), OnceCell::new());
        let has_ended = |after| after <= covered || after <= *ended.get_or_init(reached);
        let sent = self.state.ledger().send_slot(|slot, after| may(slot) && has_ended(after), reached);
        sent.map(|(slot, after)| (slot, after.min(covered)))
    }

    /// Returns `true` if a slot may become free without a notification.
    pub(crate) fn needs_polling(&self) -> bool {
        self.state.ledger().needs_polling()
    }

    /// Returns `true` if a slot will be available once commands that an engine submitted, and that
    /// use the slot, have ended.
    pub(crate) fn waits_for_engine(&self) -> bool {
        let mirror = self.state.objects.mirror.as_ref();
        mirror.is_some_and(|mirror| self.state.ledger().has_free_after(mirror.last_submitted()))
    }

    /// Records that the other process has announced the frame in a slot that it holds, and gives
    /// the program the frame's turn.
    pub(crate) fn announce(&self, slot: usize) -> Option<Announcement> {
        let (frame, after) = self.state.ledger().announce(slot)?;
        let value = self.take_computed_value();
        self.state.objects.computed.issue(value);
        let turn = RenderTurn::from_parts(TurnParts::new(&self.state, frame, slot), value);
        self.steps.push(turn);
        Some(Announcement { frame, slot, value, after })
    }

    /// Lets the compute thread copy an announced frame into its slot, once Vulkan is done with the
    /// slot, and then signal the frame. Without `copy`, it only signals.
    ///
    /// # Errors
    /// If nothing can be copied. The value is signaled anyway.
    pub(crate) fn fill(
        &self,
        announced: Announcement,
        copy: Option<impl FnMut(Run, &mut [u8]) + Send + 'static>,
    ) -> Result<()> {
        self.copy(announced, copy)
    }

    /// Withdraws the turns of torn frames that the program has not taken.
    pub(crate) fn withdraw(&self, torn: impl Fn(u64) -> bool) {
        self.steps.withdraw(torn);
    }

    /// Creates new timelines for the next process, as [`WorkerState::renew`].
    ///
    /// # Errors
    /// As [`WorkerState::renew`].
    pub(crate) fn renew(&mut self, check_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        self.base.renew(check_wanted)?;
        self.steps.set_state(&self.base.state);
        Ok(())
    }
}

impl<R: Resources> Deref for WorkerWriter<R> {
    type Target = WorkerState<R>;

    fn deref(&self) -> &WorkerState<R> {
        &self.base
    }
}

impl<R: Resources> RemoteHandle for WorkerWriter<R> {
    type Resources = R;

    fn state(&self) -> &Arc<State<R>> {
        &self.base.state
    }

    fn reclaim(&self, slot: usize) {
        self.state.ledger().reclaim(slot);
    }

    fn remote_slots(&self) -> Vec<usize> {
        self.state.ledger().remote_slots().collect()
    }

    fn set_on_change(&mut self, changed: impl Fn() + Send + Sync + 'static) {
        self.base.set_on_change(changed);
    }
}
