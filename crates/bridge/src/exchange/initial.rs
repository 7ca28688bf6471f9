//! The first hand-over of new images, which brings them to the layout in which the compute side
//! holds them.
#![allow(unsafe_code)] // Recording and submitting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vk_export::OneTimeCommands;
use vk_export::ash::vk;

use super::barriers::Barriers;
use super::hand_over::{Initial, may_still_run, record, submit};
use super::resources::Resources;
use super::state::State;
use super::submit::rendered_info;
use super::{Direction, Exchange};
use crate::error::{Error, Result};
use crate::observe::log_warn;
use crate::timeline::TimelinePoint;

/// The first hand-over of new images, recorded for an engine that submits it itself, see
/// [`Exchange::record_initial`].
///
/// # Contract
/// [`signal`](Self::signal) is submitted before this value ends, never after: in the submission
/// that holds the commands or in a later one, to the exchange's [`queue`](Exchange::queue).
///
/// End it with [`submitted`](Self::submitted) or [`not_submitted`](Self::not_submitted). If it is
/// dropped, the images are to be handed over anew, or the slots stay out of use.
#[must_use = "until `submitted` is called no frame of the exchange begins"]
pub struct InitialTurn<R: Resources> {
    shared: Arc<State<R>>,
    value: u64,
    told: bool,
    /// What brings slots of a running exchange back, once `rendered` will reach the value. `None`
    /// where the images are new.
    revive: Option<Revive>,
}

/// Told the value of `rendered` behind which slots are the compute side's again.
pub(super) type Revive = Box<dyn FnOnce(u64) + Send + Sync>;

impl<R: Resources, D: Direction> Exchange<R, D> {
    /// Returns `true` if new images wait for their first hand-over: on an adopted device without an
    /// [`AdoptInfo::queue_lock`](vk_export::AdoptInfo), where nothing is submitted behind the
    /// engine's back. Until [`initialise`](Self::initialise) or
    /// [`record_initial`](Self::record_initial), no frame begins.
    pub fn needs_initial(&self) -> bool {
        self.shared.ledger().initial() != Initial::Done
    }

    /// Submits the first hand-over of new images to the exchange's [`queue`](Self::queue), and
    /// waits until it has run, for at most [`ExchangeInfo::timeout`](crate::ExchangeInfo::timeout).
    /// Does nothing where it was submitted already.
    ///
    /// # Errors
    /// The failed call, and [`vk_export::Error::Unfinished`] past the limit; then the commands may
    /// still run, and closing or dropping the exchange leaks what they use, unless a later
    /// hand-over has run.
    pub fn initialise(&mut self) -> Result<()> {
        self.shared.initialise()
    }

    /// Records the first hand-over of new images, for engines that submit it themselves. It waits
    /// for nothing, and every slot's first use waits for its [`signal`](InitialTurn::signal).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where nothing is to be handed over
    /// ([`needs_initial`](Self::needs_initial)), or while an earlier one is open.
    ///
    /// # Safety
    /// `commands` is recording on the exchange's device for the family of its
    /// [`queue`](Self::queue), outside a render pass, and externally synchronized; it is submitted
    /// there, once, before the result ends.
    pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        // SAFETY: handed on to the caller.
        unsafe { self.shared.record_initial(commands) }
    }
}

impl<R: Resources> InitialTurn<R> {
    /// The signal for the engine's submission.
    pub fn signal(&self) -> vk::SemaphoreSubmitInfo<'static> {
        rendered_info(&self.shared.held.rendered, self.value)
    }

    /// Confirms that the commands and the signal were submitted: frames may begin. Returns the
    /// point at which the images are handed over.
    ///
    /// # Safety
    /// They were submitted as the type's contract says, by calls that returned `VK_SUCCESS`.
    pub unsafe fn submitted(mut self) -> TimelinePoint {
        self.told = true;
        let revive = self.revive.take();
        match &revive {
            None => self.shared.ledger().initial_submitted(self.value),
            Some(_) => self.shared.ledger().values().submitted(self.value),
        }
        // What an earlier attempt left on the queue ends before this does, which closing waits for.
        self.shared.gave_up.store(false, Ordering::Release);
        let point = self.shared.held.rendered.issue(self.value);
        // Only now: who has the slots waits for that signal.
        if let Some(revive) = revive {
            revive(self.value);
        }
        point
    }

    /// Confirms that the commands were never submitted.
    ///
    /// # Safety
    /// They were not, and will not be.
    pub unsafe fn not_submitted(mut self) {
        self.told = true;
        match self.revive {
            None => self.shared.ledger().retract_initial(self.value),
            Some(_) => self.shared.ledger().values().retract(self.value),
        }
    }
}

impl<R: Resources> Drop for InitialTurn<R> {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        if self.revive.is_some() {
            self.shared.ledger().values().end_lent(self.value);
            log_warn!("exchange \"{}\": what brings slots back was dropped", self.shared.name);
        } else {
            self.shared.ledger().drop_initial();
            log_warn!("exchange \"{}\": the first hand-over of its images was dropped", self.shared.name);
        }
    }
}

impl<R: Resources> std::fmt::Debug for InitialTurn<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InitialTurn(\"{}\", value {})", self.shared.name, self.value)
    }
}

impl<R: Resources> State<R> {
    /// As [`Exchange::initialise`].
    pub(crate) fn initialise(&self) -> Result<()> {
        let _order = self.submitting()?;
        match self.ledger().initial() {
            Initial::Done => return Ok(()),
            Initial::Needed => {}
            Initial::Lent(_) => return Err(self.lent_initial()),
        }
        self.submit_initial(&self.barriers)?;
        self.ledger().initialised();
        Ok(())
    }

    /// Submits a hand-over of images that nobody uses, and waits for it; notes whether it may still
    /// run after that. `submitting` is held.
    pub(super) fn submit_initial<'a>(&self, slots: impl IntoIterator<Item = &'a Barriers>) -> Result<()> {
        let submitted = submit(self.compute.device(), self.queue(), &self.name, self.timeout, slots);
        match &submitted {
            // An earlier one was submitted to the same queue, so that it has ended too.
            Ok(()) => self.gave_up.store(false, Ordering::Release),
            Err(error) if may_still_run(error) => self.gave_up.store(true, Ordering::Release),
            Err(_) => {}
        }
        submitted
    }

    /// As [`Exchange::record_initial`].
    ///
    /// # Safety
    /// As [`Exchange::record_initial`].
    pub(crate) unsafe fn record_initial(self: &Arc<Self>, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        let value = {
            let _order = self.submitting()?;
            let mut ledger = self.ledger();
            match ledger.initial() {
                Initial::Needed => ledger.lend_initial(),
                Initial::Lent(_) => return Err(self.lent_initial()),
                Initial::Done => {
                    return Err(Error::invalid(
                        format!("exchange \"{}\"", self.name),
                        "its images, if it has any, are handed over already",
                    ));
                }
            }
        };
        // SAFETY: the caller vouches for the command buffer. The images are new, or their contents
        // are discarded: every barrier comes from `UNDEFINED`, behind whatever an earlier attempt
        // submitted to the same queue.
        unsafe { record(self.compute.device(), &self.barriers, commands) };
        Ok(InitialTurn { shared: Arc::clone(self), value, told: false, revive: None })
    }

    /// Records a hand-over of slots that are out of use, whatever earlier submissions did with
    /// them. `frame` is named by the refusal of a submission while it is lent.
    ///
    /// # Safety
    /// As [`Exchange::record_initial`].
    pub(super) unsafe fn record_revival(
        self: &Arc<Self>,
        commands: vk::CommandBuffer,
        frame: u64,
        slots: &[usize],
        revive: Revive,
    ) -> Result<InitialTurn<R>> {
        let value = {
            let _order = self.submitting()?;
            let lent = self.ledger().values().lend(frame);
            lent.map_err(|refusal| self.refused(refusal))?
        };
        let device = self.compute.device();
        let access = vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE;
        let all = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
            .src_access_mask(access)
            .dst_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
            .dst_access_mask(access)];
        // The commands that may have been submitted may use the slots.
        // SAFETY: recording outside a render pass, by this function's contract; a global barrier
        // names no resources.
        unsafe { device.cmd_pipeline_barrier2(commands, &vk::DependencyInfo::default().memory_barriers(&all)) };
        // SAFETY: the caller vouches for the command buffer. What the images hold is discarded:
        // every barrier comes from `UNDEFINED`, behind the one above.
        unsafe { record(device, slots.iter().map(|slot| &self.barriers[*slot]), commands) };
        Ok(InitialTurn { shared: Arc::clone(self), value, told: false, revive: Some(revive) })
    }

    pub(super) fn lent_initial(&self) -> Error {
        Error::invalid(
            format!("exchange \"{}\"", self.name),
            "the first hand-over of its images is lent; end that `InitialTurn` first",
        )
    }
}

impl<R: Resources> State<R> {
    /// Submits the first hand-over of the images of `next` and waits for nothing: gives the value
    /// of `rendered` that it signals, and the commands, which are pending until then. No turn is
    /// open.
    pub(super) fn hand_over(&self, next: &Self) -> Result<(u64, OneTimeCommands)> {
        let (device, queue) = (self.compute.device(), self.queue());
        let name = format!("{}: first hand-over of images", self.name);
        // SAFETY: recorded on this device, for the barriers' family, outside a render pass.
        let recorded = |commands| unsafe { record(device, &next.barriers, commands) };
        // SAFETY: the queue is one of the device's; only these barriers are recorded, of images
        // that nobody has used.
        let commands = unsafe { OneTimeCommands::record(device, queue, &name, recorded) }?;
        let _order = self.submitting()?;
        let value = self.ledger().last_rendered() + 1;
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands.as_raw())];
        let signals = [rendered_info(&self.held.rendered, value)];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
        // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: `rendered` has this queue as its only
        // signaller; its values are taken and submitted under one lock, and none is lent. The
        // commands live until the value is reached, by this function's contract with its one
        // caller.
        unsafe { queue.submit(&[batch], vk::Fence::null()) }?;
        self.ledger().take_rendered();
        self.held.rendered.issue(value);
        Ok((value, commands))
    }
}
