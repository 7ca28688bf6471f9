//! Recording and submitting a frame's commands and waiting for them, in one call.
#![allow(unsafe_code)] // Recording and submitting.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vk_export::ash::vk;
use vk_export::{Buffer, OneTimeCommands};

use crate::error::{Error, Result};
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::exchange::direction::RenderFirstRemote;
use crate::exchange::direction::{ComputeFirst, Direction, Protocol as _, RenderFirst};
use crate::exchange::state::State;
use crate::exchange::submit::SubmitInfo;
use crate::exchange::turn::compute::ComputeTurn;
use crate::exchange::turn::render::RenderTurn;
use crate::exchange::unfinished::RunningCommands;
use crate::resources::Resources;

impl<R: Resources> RenderTurn<R, ComputeFirst> {
    /// Records the frame's commands, submits them to the exchange's [`queue`](Self::queue), and
    /// blocks until they have run, for at most `limit`.
    ///
    /// `record` gets a command buffer that is recording between the turn's two barriers, and the
    /// resources. This method is for examples, tests and tools: it creates a command pool for each
    /// frame, and the host cannot run ahead. In a frame loop, record your own command buffers and
    /// call [`submit`](Self::submit).
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::Timeout`]: the commands may then still run, and
    /// their pool is kept until they have ended. After any other error nothing of the frame runs:
    /// if the compute side fails meanwhile, this call blocks until the commands have ended.
    ///
    /// # Safety
    /// The recorded commands satisfy the Valid Usage of `vkQueueSubmit2` on the exchange's queue,
    /// and everything that they use lives until they have run: after [`Error::Timeout`], forever.
    pub unsafe fn run_once(
        self,
        limit: Duration,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<()> {
        // SAFETY: upheld by the caller.
        unsafe { self.submit_once(record) }?.wait(limit)
    }

    /// The first half of [`run_once`](Self::run_once). On an error nothing was submitted.
    ///
    /// # Safety
    /// As [`run_once`](Self::run_once).
    pub(in crate::exchange) unsafe fn submit_once(
        self,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<SubmittedCommands<R>> {
        let shared = Arc::clone(&self.shared);
        // SAFETY: upheld by the caller.
        let commands = unsafe { record_frame(&self, record) }?;
        // SAFETY: recorded between this turn's barriers; alive until `SubmittedCommands::wait` has
        // seen them end, or forever. On an error nothing was submitted.
        let rendered = unsafe { self.submit(&[commands.as_raw()]) }?;
        Ok(SubmittedCommands::new(shared, rendered.value(), commands))
    }
}

impl<R: Resources> RenderTurn<R, RenderFirst> {
    /// Records the frame's commands, submits them to the exchange's [`queue`](Self::queue), and
    /// blocks until they have run, for at most `limit`. Returns the frame's [`ComputeTurn`].
    ///
    /// `record` gets a command buffer that is recording between the turn's two barriers, and the
    /// resources. This method is for examples, tests and tools, as with frames that the compute
    /// side begins.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::Timeout`]; the frame is then lost, as if its
    /// compute turn had been dropped. The commands may then still run, and their pool is kept until
    /// they have ended. After any other error nothing of the frame runs: if the compute side
    /// refuses to wait for the frame, or fails meanwhile, this call blocks until the commands have
    /// ended.
    ///
    /// # Safety
    /// The recorded commands satisfy the Valid Usage of `vkQueueSubmit2` on the exchange's queue,
    /// and everything that they use lives until they have run: after [`Error::Timeout`], forever.
    pub unsafe fn run_once(
        mut self,
        limit: Duration,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<ComputeTurn<R, RenderFirst>> {
        // SAFETY: upheld by the caller.
        let commands = unsafe { record_frame(&self, record) }?;
        let info = SubmitInfo { commands: &[commands.as_raw()], ..SubmitInfo::default() };
        // SAFETY: recorded between this turn's barriers; alive until the wait below has seen them
        // end, or forever. On an error nothing was submitted.
        let rendered = unsafe { self.enqueue(&info) }?;
        let submitted = SubmittedCommands::new(Arc::clone(&self.shared), rendered, commands);
        let start = Instant::now();
        match RenderFirst::on_submitted(self.into_parts(), rendered, limit) {
            Ok(turn) => {
                submitted.wait(limit.saturating_sub(start.elapsed()))?;
                Ok(turn)
            }
            Err(error) => {
                submitted.release(Some(&error), None);
                Err(error)
            }
        }
    }
}

#[cfg(all(target_os = "linux", feature = "remote"))]
impl<R: Resources> RenderTurn<R, RenderFirstRemote> {
    /// Records the frame's commands, submits them to the exchange's [`queue`](Self::queue), and
    /// blocks until they have run, for at most `limit`. The other process gets the frame as soon as
    /// it is submitted.
    ///
    /// `record` gets a command buffer that is recording between the turn's two barriers, and the
    /// resources. This method is for examples, tests and tools, as with frames that the compute
    /// side begins.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::Timeout`]: the commands may then still run, and
    /// their pool is kept until they have ended. After any other error nothing of the frame runs:
    /// if the compute side fails meanwhile, this call blocks until the commands have ended.
    ///
    /// # Safety
    /// The recorded commands satisfy the Valid Usage of `vkQueueSubmit2` on the exchange's queue,
    /// and everything that they use lives until they have run: after [`Error::Timeout`], forever.
    pub unsafe fn run_once(
        self,
        limit: Duration,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        // SAFETY: upheld by the caller.
        let commands = unsafe { record_frame(&self, record) }?;
        // SAFETY: recorded between this turn's barriers; alive until the wait below has seen them
        // end, or forever. On an error nothing was submitted.
        let rendered = unsafe { self.submit(&[commands.as_raw()]) }?;
        SubmittedCommands::new(shared, rendered.value(), commands).wait(limit)
    }
}

/// Records commands between the barriers of `turn`, by calling `record`.
///
/// # Safety
/// The recorded commands satisfy their Valid Usage, and are submitted with this turn or not at all.
unsafe fn record_frame<R: Resources, D: Direction>(
    turn: &RenderTurn<R, D>,
    record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
) -> Result<OneTimeCommands> {
    let device = turn.shared.compute.device();
    let name = format!("{}: frame {}", turn.shared.name, turn.frame());
    let between_barriers = |commands| {
        // SAFETY: recording, for the family of the turn's queue, outside a render pass, and used by
        // this thread only.
        unsafe { turn.record_acquire(commands) };
        record(commands, turn.resources());
        // SAFETY: as above.
        unsafe { turn.record_release(commands) };
    };
    // SAFETY: the exchange's queue is one of its device's; the rest is upheld by the caller.
    Ok(unsafe { OneTimeCommands::record(device, turn.queue(), &name, between_barriers) }?)
}

/// Submitted commands, and the point at which they have run. They are leaked if this is dropped
/// without a wait.
#[must_use]
pub(in crate::exchange) struct SubmittedCommands<R: Resources> {
    shared: Arc<State<R>>,
    /// The value of `rendered` that is signaled after them.
    rendered: u64,
    commands: ManuallyDrop<OneTimeCommands>,
}

impl<R: Resources> SubmittedCommands<R> {
    pub(in crate::exchange) fn new(shared: Arc<State<R>>, rendered: u64, commands: OneTimeCommands) -> Self {
        Self { shared, rendered, commands: ManuallyDrop::new(commands) }
    }

    /// Waits until the commands have run. If they may still run, they are kept until they have
    /// ended.
    ///
    /// # Errors
    /// [`Error::Timeout`] if they may still run; after any other error they do not.
    pub(in crate::exchange) fn wait(self, limit: Duration) -> Result<()> {
        let waited = self.shared.wait_ended(self.rendered, limit);
        self.release(waited.as_ref().err(), None);
        waited
    }

    /// [`wait`](Self::wait) for commands that copy to `target`, which is returned once they have
    /// run.
    pub(in crate::exchange) fn wait_for(self, limit: Duration, target: Buffer) -> Result<Buffer> {
        match self.shared.wait_ended(self.rendered, limit) {
            Ok(()) => {
                self.release(None, None);
                Ok(target)
            }
            Err(error) => {
                self.release(Some(&error), Some(target));
                Err(error)
            }
        }
    }

    /// Frees the commands and the target of their copies. If `error` says that the commands may
    /// still run, the exchange frees both once they have ended.
    fn release(self, error: Option<&Error>, target: Option<Buffer>) {
        let commands = ManuallyDrop::into_inner(self.commands);
        self.shared.free_finished();
        if error.is_some_and(may_still_run) {
            let running = RunningCommands { value: self.rendered, _commands: commands, _target: target };
            self.shared.unfinished.push(running);
        }
        // VUID-vkDestroyCommandPool-commandPool-00041: otherwise the commands are not pending.
    }
}

/// Returns `true` if commands may still be pending after [`SubmittedCommands::wait`], or a
/// submission, has failed with this error.
pub(in crate::exchange) fn may_still_run(error: &Error) -> bool {
    matches!(error, Error::Timeout { .. })
}
