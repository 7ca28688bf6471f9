//! Latest exchanges with a side in another process, which holds slots between its messages and has
//! no turns: the operations of the handle that acts for it, on either side, and those of the
//! writer.

use std::sync::Arc;
use std::time::Duration;

use super::reader::LatestReader;
use super::writer::LatestWriter;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::exchange::direction::{ComputeFirst, RenderFirst};
use crate::exchange::ledger::initial::InitialState;
use crate::exchange::state::State;
use crate::resources::exported::Exported;
use crate::resources::{Resources, Share};

/// The handle of an exchange that acts for another process.
pub(crate) trait RemoteHandle: Send + Sized + 'static {
    type Resources: Resources;

    #[doc(hidden)]
    fn state(&self) -> &Arc<State<Self::Resources>>;

    /// Takes back a slot that the other process held and no longer uses. It contains no frame.
    fn reclaim(&self, slot: usize);

    /// Returns the slots that the other process holds.
    fn remote_slots(&self) -> Vec<usize>;

    /// Calls `changed` from now on whenever this process's side publishes a frame or returns
    /// a slot; its commands that use the slot may not have ended.
    fn set_on_change(&mut self, changed: impl Fn() + Send + Sync + 'static);

    fn exchange(&self) -> &str {
        &self.state().name
    }

    fn count(&self) -> usize {
        self.state().objects.slots.len()
    }

    fn side(&self) -> &Compute {
        &self.state().compute
    }

    /// Returns `true` if the device is lost, according to a timeline that no other process has.
    fn is_lost(&self) -> bool {
        self.state().objects.rendered.value().is_err_and(|error| error.is_device_lost())
    }

    /// Exports handles to the memory of a slot's resources. There are none if the slot does not
    /// exist.
    fn export(&self, slot: usize) -> Result<Vec<Exported>> {
        let mut exported = Vec::new();
        if let Some(slot) = self.state().objects.slots.get(slot) {
            Self::Resources::export(slot, &mut exported)?;
        }
        Ok(exported)
    }
}

impl<R: Resources> RemoteHandle for LatestWriter<R, ComputeFirst> {
    type Resources = R;

    fn state(&self) -> &Arc<State<R>> {
        &self.shared().state
    }

    fn reclaim(&self, slot: usize) {
        self.shared().ledger().reclaim(slot);
    }

    fn remote_slots(&self) -> Vec<usize> {
        self.shared().ledger().remote_slots().collect()
    }

    fn set_on_change(&mut self, changed: impl Fn() + Send + Sync + 'static) {
        self.shared().set_on_change(Box::new(changed));
    }
}

impl<R: Resources> RemoteHandle for LatestReader<R, RenderFirst> {
    type Resources = R;

    fn state(&self) -> &Arc<State<R>> {
        &self.shared().state
    }

    fn reclaim(&self, slot: usize) {
        self.shared().ledger().reclaim(slot);
    }

    fn remote_slots(&self) -> Vec<usize> {
        self.shared().ledger().remote_slots().collect()
    }

    fn set_on_change(&mut self, changed: impl Fn() + Send + Sync + 'static) {
        self.shared().set_on_change(Box::new(changed));
    }
}

impl<R: Resources> LatestWriter<R, ComputeFirst> {
    /// Takes the slots that the other process may write: nothing in this process uses them any
    /// more. Returns each slot with whether Vulkan has used it since that process last had it,
    /// which is assumed if the slot `is_new` to that process. Also returns whether more slots will
    /// be available, without a notification, once a timeline rises or the engine has handed its
    /// images over.
    ///
    /// Vulkan's accesses to the slots are ordered before later accesses of the caller on the host.
    pub(crate) fn send_slots(&self, mut is_new: impl FnMut(usize) -> bool) -> Result<(Vec<(usize, bool)>, bool)> {
        let state = &self.shared().state;
        state.check_compute()?;
        let rendered = &state.objects.rendered;
        // In this order: a slot that is returned from here on is not considered.
        let (read, written) = (rendered.value()?, state.objects.computed.value()?);
        let (initial, handed_over) = {
            let values = state.ledger();
            (values.initial(), values.initial_value())
        };
        if initial != InitialState::Done || read < handed_over {
            return Ok((Vec::new(), true));
        }
        let (taken, ending) = {
            let mut ledger = self.shared().ledger();
            let taken = std::iter::from_fn(|| ledger.send_slot(read, written));
            let taken: Vec<_> = taken.map(|(slot, was_read)| (slot, is_new(slot) || was_read)).collect();
            (taken, ledger.awaits_timeline(read, written))
        };
        if read > 0 && taken.iter().any(|(_, used)| *used) {
            // Reading a value orders no memory accesses; a wait does. The value is reached, so the
            // only possible error is the loss of the device, which leaves nothing to order and is
            // reported by other calls.
            let _ = rendered.semaphore().try_wait(read, Duration::ZERO);
        }
        Ok((taken, ending))
    }

    /// Publishes the frame that the other process has written to a slot that it held. Returns the
    /// frame's number.
    ///
    /// The writes are ordered before this call, on the host. The reader may get the frame at once;
    /// the frame is then signaled, which orders the reader's commands after this call. A frame that
    /// the reader never gets is not signaled, so its slot is free again at once.
    pub(crate) fn publish_remote(&self, slot: usize) -> Result<u64> {
        let shared = self.shared();
        shared.ledger().publish_remote(slot).ok_or_else(|| {
            let object = format!("exchange \"{}\"", shared.state.name);
            Error::invalid(object, format!("slot {slot} is not held by the other process"))
        })
    }
}
