//! A frame's commands, recorded, submitted and waited for in one call.
#![allow(unsafe_code)] // Recording and submitting.

use std::mem::ManuallyDrop;
use std::time::Duration;

use vk_export::OneTimeCommands;
use vk_export::ash::vk;

use super::direction::Protocol;
#[cfg(all(target_os = "linux", feature = "remote"))]
use super::direction::RenderAway;
use super::{ComputeFirst, ComputeTurn, Direction, RenderFirst, RenderTurn, SubmitInfo};
use crate::error::{Error, Result};
use crate::exchange::resources::Resources;
use crate::timeline::TimelinePoint;

impl<R: Resources> RenderTurn<R, ComputeFirst> {
    /// Records the frame's commands, submits them to the exchange's [`queue`](Self::queue), and
    /// blocks until they have run, for at most `limit`.
    ///
    /// `record` gets a command buffer that is recording between the turn's two barriers, and the
    /// resources. For examples, tests and tools: it makes a command pool for each frame, and keeps
    /// the host from running ahead. A frame loop records into command buffers of its own and calls
    /// [`submit`](Self::submit).
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::Timeout`] past the limit: the commands may still
    /// run then, and their pool is leaked.
    ///
    /// # Safety
    /// What `record` records keeps the Valid Usage of `vkQueueSubmit2` on the exchange's queue, and
    /// everything that it uses lives until the commands have run: after [`Error::Timeout`] and
    /// other failed waits, forever.
    pub unsafe fn run_once(
        self,
        limit: Duration,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<()> {
        // SAFETY: handed on to the caller.
        unsafe { self.submit_once(record) }?.wait(limit)
    }

    /// The first half of [`run_once`](Self::run_once): on an error nothing was submitted.
    ///
    /// # Safety
    /// As [`run_once`](Self::run_once).
    pub(super) unsafe fn submit_once(
        self,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<Submitted> {
        // SAFETY: handed on to the caller.
        let commands = unsafe { record_frame(&self, record) }?;
        // SAFETY: recorded between this turn's barriers; alive until `Submitted::wait` has seen
        // them end, or forever. On an error nothing was submitted.
        let rendered = unsafe { self.submit(&[commands.as_raw()]) }?;
        Ok(Submitted::new(rendered, commands))
    }
}

impl<R: Resources> RenderTurn<R, RenderFirst> {
    /// Records the frame's commands, submits them to the exchange's [`queue`](Self::queue), and
    /// blocks until they have run, for at most `limit`. Gives the frame's [`ComputeTurn`].
    ///
    /// `record` gets a command buffer that is recording between the turn's two barriers, and the
    /// resources. For examples, tests and tools, as it is with frames that the compute side begins.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::Timeout`] past the limit; the frame is then lost,
    /// as if its compute turn had been dropped. The commands may still run then, and their pool is
    /// leaked.
    ///
    /// # Safety
    /// What `record` records keeps the Valid Usage of `vkQueueSubmit2` on the exchange's queue, and
    /// everything that it uses lives until the commands have run: after [`Error::Timeout`] and
    /// other failed waits, forever.
    pub unsafe fn run_once(
        mut self,
        limit: Duration,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<ComputeTurn<R, RenderFirst>> {
        // SAFETY: handed on to the caller.
        let commands = unsafe { record_frame(&self, record) }?;
        let info = SubmitInfo { commands: &[commands.as_raw()], ..SubmitInfo::default() };
        // SAFETY: recorded between this turn's barriers; alive until the wait below has seen them
        // end, or forever. On an error nothing was submitted.
        let rendered = unsafe { self.enqueue(&info) }?;
        let turn = match RenderFirst::submitted(&self.shared, self.frame, self.slot, rendered) {
            Ok(turn) => turn,
            Err(error) => {
                // The compute side has refused its wait, after the queue has taken the commands.
                std::mem::forget(commands);
                return Err(error);
            }
        };
        Submitted::new(turn.rendered(), commands).wait(limit)?;
        Ok(turn)
    }
}

#[cfg(all(target_os = "linux", feature = "remote"))]
impl<R: Resources> RenderTurn<R, RenderAway> {
    /// Records the frame's commands, submits them to the exchange's [`queue`](Self::queue), and
    /// blocks until they have run, for at most `limit`. The other process is given the frame as
    /// soon as it is submitted.
    ///
    /// `record` gets a command buffer that is recording between the turn's two barriers, and the
    /// resources. For examples, tests and tools, as it is with frames that the compute side begins.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::Timeout`] past the limit: the commands may still
    /// run then, and their pool is leaked.
    ///
    /// # Safety
    /// What `record` records keeps the Valid Usage of `vkQueueSubmit2` on the exchange's queue, and
    /// everything that it uses lives until the commands have run: after [`Error::Timeout`] and
    /// other failed waits, forever.
    pub unsafe fn run_once(
        self,
        limit: Duration,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<()> {
        // SAFETY: handed on to the caller.
        let commands = unsafe { record_frame(&self, record) }?;
        // SAFETY: recorded between this turn's barriers; alive until the wait below has seen them
        // end, or forever. On an error nothing was submitted.
        let rendered = unsafe { self.submit(&[commands.as_raw()]) }?;
        Submitted::new(rendered, commands).wait(limit)
    }
}

/// Records what `record` records between the barriers of `turn`.
///
/// # Safety
/// What is recorded keeps the Valid Usage of its commands, and is submitted with this turn or not
/// at all.
unsafe fn record_frame<R: Resources, D: Direction>(
    turn: &RenderTurn<R, D>,
    record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
) -> Result<OneTimeCommands> {
    let device = turn.shared.compute.device();
    let name = format!("{}: frame {}", turn.shared.name, turn.frame());
    let between_barriers = |commands| {
        // SAFETY: recording, for the family of the turn's queue, outside a render pass, and known
        // to this thread only.
        unsafe { turn.record_acquire(commands) };
        record(commands, turn.resources());
        // SAFETY: as above.
        unsafe { turn.record_release(commands) };
    };
    // SAFETY: the exchange's queue is one of its device's; the rest is the caller's.
    Ok(unsafe { OneTimeCommands::record(device, turn.queue(), &name, between_barriers) }?)
}

/// Commands that the queue has taken, and the point at which they have run. They are leaked if
/// nobody waits.
#[must_use]
pub(super) struct Submitted {
    rendered: TimelinePoint,
    commands: ManuallyDrop<OneTimeCommands>,
}

impl Submitted {
    pub(super) fn new(rendered: TimelinePoint, commands: OneTimeCommands) -> Self {
        Self { rendered, commands: ManuallyDrop::new(commands) }
    }

    /// Waits until they have run. What may still run is not freed.
    pub(super) fn wait(self, limit: Duration) -> Result<()> {
        let waited = self.rendered.wait(limit);
        if !waited.as_ref().is_err_and(may_still_run) {
            // VUID-vkDestroyCommandPool-commandPool-00041: its commands are not pending.
            drop(ManuallyDrop::into_inner(self.commands));
        }
        waited
    }
}

/// Returns `true` if commands may still be pending after a wait that failed so.
pub(super) fn may_still_run(error: &Error) -> bool {
    // Nothing runs on a lost device: freeing is allowed (Vulkan specification, "Lost Device").
    !matches!(error, Error::Vulkan(error) if error.is_device_lost())
}
