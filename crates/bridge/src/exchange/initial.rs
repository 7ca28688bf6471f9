//! The first hand-over of new images, which brings them to the layout in which the compute side
//! holds them.
#![allow(unsafe_code)] // Recording and submitting.

use std::sync::Arc;

use vk_export::OneTimeCommands;
use vk_export::ash::vk;

use crate::barriers::Barriers;
use crate::error::{Error, Result};
use crate::exchange::ledger::initial::InitialState;
use crate::exchange::ledger::refusal::Refusal;
use crate::exchange::signal_lock::SignalLock;
use crate::exchange::slots::hand_over::{record, record_again};
use crate::exchange::state::State;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::submit::rendered_info;
use crate::exchange::turn::once::may_still_run;
use crate::exchange::unfinished::RunningCommands;
use crate::exchange::{Direction, Exchange};
use crate::observe::log_warn;
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

/// The first hand-over of new images, for an engine that submits the commands itself. Created by
/// [`Exchange::record_initial`].
///
/// # Contract
/// The waits of its [`parts`](Self::parts) are submitted with the commands or before them, and the
/// signal with the commands or in a later submission: both before this value ends, never after, and
/// to the exchange's [`queue`](Exchange::queue).
///
/// End it with [`submitted`](Self::submitted) or [`not_submitted`](Self::not_submitted). If it is
/// dropped instead, the hand-over must be recorded again; until then the slots stay out of use.
#[must_use = "until `submitted` is called no frame of the exchange begins"]
pub struct InitialTurn<R: Resources> {
    shared: Arc<State<R>>,
    value: u64,
    ended: bool,
    /// The point that the commands wait for, if slots of a running exchange are handed over.
    after: Option<TimelinePoint>,
    /// Callback that returns slots to a running exchange, once the signal of the value was
    /// submitted. `None` if the images are new.
    revive: Option<OnRevived>,
}

/// The stages at which a hand-over waits for the compute side: its first barrier includes all
/// commands.
const STAGES: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::ALL_COMMANDS;

/// Callback that gets the value of `rendered` after which slots are the compute side's again.
pub(super) type OnRevived = Box<dyn FnOnce(u64) + Send + Sync>;

impl<R: Resources, D: Direction> Exchange<R, D> {
    /// Returns `true` if new images wait for their first hand-over, which the bridge does not
    /// submit by itself on an adopted device without an
    /// [`AdoptInfo::queue_lock`](vk_export::AdoptInfo). No frame can begin before
    /// [`initialize`](Self::initialize) or [`record_initial`](Self::record_initial).
    pub fn needs_initial(&self) -> bool {
        self.shared.ledger().initial() != InitialState::Done
    }

    /// Submits the first hand-over of new images to the exchange's [`queue`](Self::queue), and
    /// waits until it has run, for at most [`ExchangeInfo::timeout`](crate::ExchangeInfo::timeout).
    /// Does nothing if it was submitted already.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] while an [`InitialTurn`] is open,
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`](vk_export::Queue::with),
    /// [`vk_export::Error::OnlyEngineSubmits`] on the device of an engine that makes all
    /// submissions itself, which can use [`record_initial`](Self::record_initial), the error of the
    /// failed driver call, or [`Error::Timeout`]. After a timeout, the commands may still run, and
    /// the images still need a hand-over, which is ordered after this one. Objects that the
    /// commands use are kept until they have run, even if other resources
    /// [replace](Self::replace) them; closing and dropping the exchange wait for the commands.
    pub fn initialize(&mut self) -> Result<()> {
        self.shared.initialize()
    }

    /// Records the first hand-over of new images, for engines that make their own submissions. It
    /// needs no wait, and every slot's first use waits for the signal of its
    /// [`parts`](InitialTurn::parts).
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock):
    /// it waits for submissions of other threads.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if no image needs a hand-over
    /// ([`needs_initial`](Self::needs_initial)), or while an earlier one is open;
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`](vk_export::Queue::with).
    ///
    /// # Safety
    /// `commands` is recording on the exchange's device for the family of its
    /// [`queue`](Self::queue), outside a render pass, and externally synchronized; it is submitted
    /// there, once, before the result ends.
    pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        // SAFETY: upheld by the caller.
        unsafe { self.shared.record_initial(commands) }
    }
}

impl<R: Resources> InitialTurn<R> {
    /// Returns the waits, at most one, and the signal for the engine's submission. New images need
    /// no wait. Slots that are returned to a latest exchange may hold a frame that the compute side
    /// has not finished: the commands wait for it.
    pub fn parts(&self) -> SubmitParts {
        let after = self.after.as_ref().map(TimelinePoint::borrowed);
        SubmitParts::new(after.as_slice(), &self.shared.objects.rendered, self.value, STAGES)
    }

    /// Confirms that the commands, the waits and the signal were submitted: frames may begin.
    /// Returns the point at which the images are handed over.
    ///
    /// # Safety
    /// They were submitted as described in the type's contract, by calls that returned
    /// `VK_SUCCESS`.
    pub unsafe fn submitted(mut self) -> TimelinePoint {
        self.ended = true;
        let rendered = &self.shared.objects.rendered;
        let Some(revive) = self.revive.take() else {
            self.shared.ledger().mark_initial_submitted(self.value);
            rendered.issue(self.value);
            return rendered.point(self.value);
        };
        if let Some(point) = &self.after {
            self.shared.objects.computed.record_wait(point.value());
        }
        rendered.issue(self.value);
        // After the signal was issued, because the new owners of the slots wait for it.
        revive(self.value);
        // The hand-over is closed only now: a thread that sees no lent hand-over also sees the
        // slots that this one has recovered.
        self.shared.ledger().values().mark_submitted(self.value);
        rendered.point(self.value)
    }

    /// Confirms that the commands were never submitted.
    ///
    /// # Safety
    /// They were not submitted, and will not be.
    pub unsafe fn not_submitted(mut self) {
        self.ended = true;
        match self.revive {
            None => self.shared.ledger().retract_initial(self.value),
            Some(_) => self.shared.ledger().values().retract(self.value),
        }
    }
}

impl<R: Resources> Drop for InitialTurn<R> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.revive.is_some() {
            self.shared.ledger().values().end_lent(self.value);
            log_warn!("exchange \"{}\": the `InitialTurn` that recovers slots was dropped", self.shared.name);
        } else {
            self.shared.ledger().drop_initial();
            log_warn!("exchange \"{}\": the `InitialTurn` of its first hand-over was dropped", self.shared.name);
        }
    }
}

impl<R: Resources> std::fmt::Debug for InitialTurn<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InitialTurn(\"{}\", value {})", self.shared.name, self.value)
    }
}

impl<R: Resources> State<R> {
    /// As [`Exchange::initialize`].
    pub(crate) fn initialize(&self) -> Result<()> {
        if !self.needs_hand_over()? {
            return Ok(());
        }
        let commands = self.record_again(&self.barriers)?;
        let value = {
            let order = self.lock_submissions()?;
            // Another thread may have ended an `InitialTurn`.
            if !self.needs_hand_over()? {
                return Ok(());
            }
            self.submit_hand_over(&order, &commands, None)?
        };
        self.wait_for_hand_over(value, commands)?;
        self.ledger().mark_initialized();
        Ok(())
    }

    /// Returns `true` if images wait for their first hand-over and it is not lent.
    fn needs_hand_over(&self) -> Result<bool> {
        match self.ledger().initial() {
            InitialState::Done => Ok(false),
            InitialState::Needed => Ok(true),
            InitialState::Lent(_) => Err(self.initial_lent_error()),
        }
    }

    /// Records a hand-over of slots that earlier submissions may have used.
    pub(super) fn record_again<'a>(&self, slots: impl IntoIterator<Item = &'a Barriers>) -> Result<OneTimeCommands> {
        // SAFETY: recorded on this device, for the barriers' family, outside a render pass.
        self.record_hand_over(|commands| unsafe { record_again(self.compute.device(), slots, commands) })
    }

    /// Creates the commands of a hand-over. `record` records barriers of this exchange's slots.
    fn record_hand_over(&self, record: impl FnOnce(vk::CommandBuffer)) -> Result<OneTimeCommands> {
        let name = format!("{}: first hand-over of images", self.name);
        // SAFETY: the queue is one of the device's; only barriers are recorded.
        Ok(unsafe { OneTimeCommands::record(self.compute.device(), self.queue(), &name, record) }?)
    }

    /// Submits a hand-over, after a point of the compute side if there is one, without waiting for
    /// it. Returns the value of `rendered` that it signals, so a wait for all submissions includes
    /// it. No submission is lent.
    ///
    /// On an error nothing was submitted; otherwise the commands are pending until the value is
    /// reached.
    pub(super) fn submit_hand_over(
        &self,
        _order: &SignalLock<'_>,
        commands: &OneTimeCommands,
        after: Option<&TimelinePoint>,
    ) -> Result<u64> {
        let value = self.ledger().last_rendered() + 1;
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands.as_raw())];
        let signals = [rendered_info(&self.objects.rendered, value)];
        let waits = after.map(|point| point.borrowed().submitted_wait(STAGES));
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(waits.as_slice())
            .command_buffer_infos(&infos)
            .signal_semaphore_infos(&signals);
        // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: `rendered` has this queue as its only
        // signaler; its values are taken and submitted under one lock, and none is lent. The
        // callers keep the commands until the value is reached; the images are freed only after
        // that.
        unsafe { self.queue().submit(&[batch], vk::Fence::null()) }?;
        self.ledger().take_rendered_value();
        if let Some(point) = after {
            self.objects.computed.record_wait(point.value());
        }
        self.objects.rendered.issue(value);
        Ok(value)
    }

    /// Waits until the hand-over that was submitted with this value has run. If the commands may
    /// still run, they are kept until they have ended.
    ///
    /// # Errors
    /// As [`wait_completed`](Self::wait_completed).
    pub(super) fn wait_for_hand_over(&self, value: u64, commands: OneTimeCommands) -> Result<()> {
        let ran = self.wait_completed(value, self.timeout);
        // Commands of earlier calls.
        self.free_finished();
        if ran.as_ref().is_err_and(may_still_run) {
            self.unfinished.push(RunningCommands { value, _commands: commands, _target: None });
        }
        // VUID-vkDestroyCommandPool-commandPool-00041: otherwise the commands are not pending.
        ran
    }

    /// As [`Exchange::record_initial`].
    ///
    /// # Safety
    /// As [`Exchange::record_initial`].
    pub(crate) unsafe fn record_initial(self: &Arc<Self>, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        let value = {
            let _order = self.lock_submissions()?;
            let mut ledger = self.ledger();
            match ledger.initial() {
                InitialState::Needed => ledger.lend_initial(),
                InitialState::Lent(_) => return Err(self.initial_lent_error()),
                InitialState::Done => {
                    return Err(Error::invalid(
                        format!("exchange \"{}\"", self.name),
                        "its images, if any, have already been handed over",
                    ));
                }
            }
        };
        // SAFETY: the caller guarantees the state of the command buffer.
        unsafe { record_again(self.compute.device(), &self.barriers, commands) };
        Ok(InitialTurn { shared: Arc::clone(self), value, ended: false, after: None, revive: None })
    }

    /// Lends the hand-over of slots that are out of use. Until it ends, refused submissions name
    /// `frame`.
    pub(super) fn lend_revival(&self, frame: u64) -> Result<u64> {
        let _order = self.lock_submissions()?;
        let lent = self.ledger().values().lend_hand_over(frame);
        lent.map_err(|refusal| self.refusal_error(refusal))
    }

    /// Records the hand-over that was [lent](Self::lend_revival) with `value`, of slots that
    /// earlier submissions may have used.
    ///
    /// # Safety
    /// As [`Exchange::record_initial`].
    pub(super) unsafe fn record_revival(
        self: &Arc<Self>,
        commands: vk::CommandBuffer,
        value: u64,
        slots: &[usize],
        after: Option<TimelinePoint>,
        revive: OnRevived,
    ) -> InitialTurn<R> {
        // SAFETY: the caller guarantees the state of the command buffer.
        unsafe { record_again(self.compute.device(), slots.iter().map(|slot| &self.barriers[*slot]), commands) };
        InitialTurn { shared: Arc::clone(self), value, ended: false, after, revive: Some(revive) }
    }

    pub(super) fn initial_lent_error(&self) -> Error {
        self.refusal_error(Refusal::InitialLent)
    }
}

impl<R: Resources> State<R> {
    /// Submits the first hand-over of the images of `next` without waiting. Returns the value of
    /// `rendered` that it signals. The commands are kept until then. No turn is open.
    pub(super) fn hand_over(&self, next: &Self) -> Result<u64> {
        // SAFETY: recorded on this device, for the barriers' family, outside a render pass; the
        // images have not been used.
        let recorded = |commands| unsafe { record(self.compute.device(), &next.barriers, commands) };
        let commands = self.record_hand_over(recorded)?;
        let value = self.submit_hand_over(&self.lock_submissions()?, &commands, None)?;
        self.unfinished.push(RunningCommands { value, _commands: commands, _target: None });
        Ok(value)
    }
}
