//! A side of a latest exchange that is another process, which holds slots between its messages
//! instead of having turns: what the handle on its behalf does, whichever side it is, and the
//! writer's.

use std::sync::Arc;
use std::time::Duration;

use super::reader::LatestReader;
use super::writer::LatestWriter;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::exchange::direction::{ComputeFirst, RenderFirst};
use crate::exchange::hand_over::Initial;
use crate::exchange::resources::{Resources, Share};
use crate::exchange::state::State;
use crate::remote::exported::Exported;

/// The handle of an exchange on behalf of another process.
pub(crate) trait Away: Send + Sized + 'static {
    type Resources: Resources;

    #[doc(hidden)]
    fn state(&self) -> &Arc<State<Self::Resources>>;

    /// The other process does nothing more with a slot that it held. No frame is in it.
    fn come_back(&self, slot: usize);

    /// The slots that the other process holds.
    fn away(&self) -> Vec<usize>;

    /// Calls `changed`, from then on, whenever this process's side publishes a frame or gives a
    /// slot back; its commands with the slot may not have ended.
    fn on_change(&mut self, changed: impl Fn() + Send + Sync + 'static);

    fn exchange(&self) -> &str {
        &self.state().name
    }

    fn count(&self) -> usize {
        self.state().held.slots.len()
    }

    fn side(&self) -> &Compute {
        &self.state().compute
    }

    /// Returns `true` if the device is lost, which a timeline tells that no other process has.
    fn is_lost(&self) -> bool {
        self.state().held.rendered.value().is_err_and(|error| error.is_device_lost())
    }

    /// Handles to the memory of a slot's resources. There is none of a slot that does not exist.
    fn export(&self, slot: usize) -> Result<Vec<Exported>> {
        let mut exported = Vec::new();
        if let Some(slot) = self.state().held.slots.get(slot) {
            Self::Resources::export(slot, &mut exported)?;
        }
        Ok(exported)
    }
}

impl<R: Resources> Away for LatestWriter<R, ComputeFirst> {
    type Resources = R;

    fn state(&self) -> &Arc<State<R>> {
        &self.shared().state
    }

    fn come_back(&self, slot: usize) {
        self.shared().ledger().come_back(slot);
    }

    fn away(&self) -> Vec<usize> {
        self.shared().ledger().away().collect()
    }

    fn on_change(&mut self, changed: impl Fn() + Send + Sync + 'static) {
        self.shared().on_change(Box::new(changed));
    }
}

impl<R: Resources> Away for LatestReader<R, RenderFirst> {
    type Resources = R;

    fn state(&self) -> &Arc<State<R>> {
        &self.shared().state
    }

    fn come_back(&self, slot: usize) {
        self.shared().ledger().come_back(slot);
    }

    fn away(&self) -> Vec<usize> {
        self.shared().ledger().away().collect()
    }

    fn on_change(&mut self, changed: impl Fn() + Send + Sync + 'static) {
        self.shared().on_change(Box::new(changed));
    }
}

impl<R: Resources> LatestWriter<R, ComputeFirst> {
    /// Takes the slots that the other process may write: nobody here uses them any more, nor will.
    /// Returns them, each with whether Vulkan has used it since that process had it last, as it may
    /// have if that process has never had it and it `is_new`; and whether there will be others once
    /// a timeline rises, or the engine has handed its images over, which wakes nobody.
    ///
    /// What Vulkan has done with the slots is ordered before what the caller's host does next.
    pub(crate) fn send_away(&self, mut is_new: impl FnMut(usize) -> bool) -> Result<(Vec<(usize, bool)>, bool)> {
        let state = &self.shared().state;
        state.check_compute()?;
        let rendered = &state.held.rendered;
        // In this order: a slot that is given back from here on is not looked at.
        let (read, written) = (rendered.value()?, state.held.computed.value()?);
        let (initial, handed_over) = {
            let values = state.ledger();
            (values.initial(), values.handed_over())
        };
        if initial != Initial::Done || read < handed_over {
            return Ok((Vec::new(), true));
        }
        let (taken, ending) = {
            let mut ledger = self.shared().ledger();
            let taken = std::iter::from_fn(|| ledger.send_away(read, written));
            let taken: Vec<_> = taken.map(|(slot, was_read)| (slot, is_new(slot) || was_read)).collect();
            (taken, ledger.is_ending(read, written))
        };
        if read > 0 && taken.iter().any(|(_, used)| *used) {
            // Asking for a value orders no memory; a wait does. It is reached: nothing but the loss
            // of the device, where nothing is left to order, is an error, and other calls tell
            // that.
            let _ = rendered.semaphore().try_wait(read, Duration::ZERO);
        }
        Ok((taken, ending))
    }

    /// Publishes what the other process has written to a slot that it held. Gives the number of the
    /// frame.
    ///
    /// What it did is ordered before this call, on the host. The reader may have the frame at once,
    /// and has it signaled then, which puts its commands behind this call. Nothing is signaled
    /// for a frame that it never has, so that the slot of such a frame is free again at once.
    pub(crate) fn publish_away(&self, slot: usize) -> Result<u64> {
        let shared = self.shared();
        shared.ledger().publish_away(slot).ok_or_else(|| {
            let object = format!("exchange \"{}\"", shared.state.name);
            Error::invalid(object, format!("slot {slot} is not the other process's"))
        })
    }
}
