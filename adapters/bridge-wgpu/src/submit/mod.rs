//! Submissions through wgpu's queue.
//!
//! wgpu stages semaphores and passes them to its next submission, which may be made by any thread.
//! A wait is therefore staged before the commands are submitted: if an earlier submission takes it,
//! that submission waits instead, which is sufficient because a wait covers everything that follows
//! on the queue. A signal is staged after the commands, and an empty submission follows at once: if
//! a submission of another thread takes the signal, it is after the commands too, and a signal
//! covers everything before it.
//!
//! On a device that this crate created, the submission itself carries the semaphores; see
//! [`Splice`](crate::device::splice::Splice).
#![allow(unsafe_code)] // Stages semaphores.

use std::ops::Deref;
use std::time::Duration;

use ash::vk;
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan;

use crate::batch::Frames;
use crate::device::Bridge;
use crate::error::{Error, Result};
use crate::order::Order;
use crate::own_commands::OwnCommands;
use crate::parts::Parts;
use crate::raw;
use crate::scope::Scopes;

/// The object in errors.
const OBJECT: &str = "submission of frames";

impl Bridge {
    /// Submits `commands`, which may be empty, together with one or several frames. The compute
    /// side's results are in the exchange's [`objects`](crate::Exchange::objects) before `commands`
    /// run; for frames that wgpu begins, the compute side gets what the objects contain after
    /// `commands`.
    ///
    /// With a CUDA stream the host does not wait. With the CPU backend it waits until the CPU has
    /// finished the frames.
    ///
    /// # Errors
    /// - [`Error::Refused`] if wgpu rejects `commands`, or [`Error::DeviceLost`]. Nothing was
    ///   submitted. The frames count as skipped, and their slots are free again; see below for the
    ///   contents of the objects.
    /// - [`bridge::Error::OutOfOrder`] for two frames of one exchange, and
    ///   [`Error::InvalidArgument`] for frames of another `Bridge`, or if a callback that wgpu
    ///   calls during a submission of frames submits others. The frames are lost.
    /// - The error of a failed call of the bridge. The frames are lost. If the call fails after the
    ///   submission, for one of several frames that wgpu began, the
    ///   [`ComputeTurn`](crate::ComputeTurn)s of the others are dropped with the error: those
    ///   frames are lost as well, and the next `begin` of each exchange returns an error.
    /// - [`Error::Unconfirmed`] if it is unknown whether anything was submitted. The frames are
    ///   lost, and their slots are recovered once a later signal of the queue is reached. This
    ///   happens on [adopted](Self::adopt) devices only, if wgpu reports an error on this thread
    ///   during the submission, such as that of a callback, or if it rejects `commands` with a
    ///   deferred action such as
    ///   [`on_submitted_work_done`](wgpu::CommandEncoder::on_submitted_work_done). On devices of
    ///   [`request_device`](Self::request_device) the error of a callback is logged, and the frames
    ///   continue. Without a frame, such as `None` of [`newest`](crate::LatestReader::newest), it
    ///   can happen on both.
    ///
    /// # Contents after `Refused`
    /// Textures that the frames would have filled contain zeros until the next frame, and so do
    /// buffers that no frame has filled yet. All other buffers are unchanged, and so are textures
    /// that the frames would have handed to the compute side. Textures that `commands` use may be
    /// in another state than wgpu tracks, because wgpu records the effects of the command buffers
    /// before the rejected one. On [adopted](Self::adopt) devices, textures of frames are undefined
    /// if `commands` before the rejected one use them, or if wgpu rejects a frame's own copy or a
    /// command buffer before it.
    pub fn submit<F: Frames>(
        &self,
        commands: impl IntoIterator<Item = wgpu::CommandBuffer>,
        frames: F,
    ) -> Result<F::Submitted> {
        // The program's iterator may run any code, which must not happen while a lock is held or a
        // semaphore is staged.
        let commands: Vec<_> = commands.into_iter().collect();
        frames.prepare(self)?;
        let mut orders = Vec::new();
        frames.orders(&mut orders);
        Order::sort(&mut orders);
        let _held = Order::lock_all(&orders)?;
        let mut parts = Parts::default();
        let scopes = Scopes::open(self.device());
        let lent = match scopes.recording(|| frames.lend(&mut parts)) {
            Ok(lent) => lent,
            Err(error) => return Err(scopes.close("CommandEncoder::finish", OBJECT).err().unwrap_or(error)),
        };
        let [first, before, behind] = [&mut parts.first, &mut parts.before, &mut parts.behind].map(std::mem::take);
        let commands = first.into_iter().chain(before).chain(commands).chain(behind);
        let submit = || self.queue().submit(commands);
        if let Some(splice) = self.splice() {
            let (_, answer) = splice.during(&parts.waits, &parts.signals, &parts.own, submit);
            let pushed = scopes.close("Queue::submit", OBJECT);
            return Self::conclude_spliced::<F>(lent, &parts, pushed, answer);
        }
        parts.mark();
        let staged = self.stage_waits(OBJECT, &parts.waits).map(|()| submit()).map(drop);
        let pushed = scopes.close("Queue::submit", OBJECT).and(staged);
        self.conclude::<F>(lent, &parts, pushed)
    }

    /// Returns the outcome of a submission to which waits and signals were added: `pushed` is
    /// wgpu's result, and `answer` the driver's.
    fn conclude_spliced<F: Frames>(
        lent: F::Lent,
        parts: &Parts,
        pushed: Result<()>,
        answer: Option<vk::Result>,
    ) -> Result<F::Submitted> {
        let lost = || Error::DeviceLost { object: OBJECT.to_owned() };
        match answer {
            // If the device is lost, wgpu reports no error, but submits nothing.
            None => {
                if pushed.is_err() {
                    F::repair(&lent);
                }
                // SAFETY: the driver was given none of their command buffers, or no submission at
                // all if they have none.
                unsafe { F::refused(lent) };
                Err(pushed.err().unwrap_or_else(lost))
            }
            Some(vk::Result::SUCCESS) => {
                match pushed {
                    // The error is that of a callback that wgpu called after the submission: the
                    // frames were submitted with the command buffer that identifies the submission.
                    Err(error) if !parts.own.is_empty() => error.log_as_foreign(),
                    // There are no frames. The error may be wgpu's refusal, after which it
                    // submitted the deferred work of the refused commands.
                    Err(error) => return Err(error.unconfirmed()),
                    Ok(()) => {}
                }
                // SAFETY: one submission contained the waits, the commands and the signals.
                unsafe { F::submitted(lent) }
            }
            // If the device is lost, it is unknown what the queue has executed.
            Some(_) => Err(pushed.err().unwrap_or_else(lost)),
        }
    }

    /// Submits the signals after commands for which the waits were staged, or returns the other
    /// outcome of the submission: `pushed` is wgpu's result.
    fn conclude<F: Frames>(&self, lent: F::Lent, parts: &Parts, pushed: Result<()>) -> Result<F::Submitted> {
        let lost = || Error::DeviceLost { object: OBJECT.to_owned() };
        match self.unstage_waits(&parts.waits) {
            // The error may be that of a callback that wgpu called after submitting, or another
            // thread's submission may have taken the waits of a refused one. The outcome is
            // unknown: the lent frames are dropped, and their slots recovered by a later signal,
            // which the exchange's next call submits if necessary. Nothing is repaired: if a
            // refused frame counts as copied, the next frame begins from a wrong layout.
            Unstaged::None => pushed.map_err(Error::unconfirmed)?,
            // If the device is lost, wgpu reports no error, but submits nothing.
            Unstaged::All => {
                if pushed.is_err() {
                    F::repair(&lent);
                }
                // SAFETY: nothing was submitted, because a submission takes everything that is
                // staged, and all waits were staged before this one.
                unsafe { F::refused(lent) };
                return Err(pushed.err().unwrap_or_else(lost));
            }
            // The submission was refused, and a submission of another thread, made while the waits
            // were staged, took some of them: the lent frames are dropped, because their timelines
            // are in use until then.
            Unstaged::Some => {
                if pushed.is_err() {
                    F::repair(&lent);
                }
                return Err(pushed.err().unwrap_or_else(lost));
            }
        }
        match parts.signals.is_empty() {
            // Nothing was staged that would show whether wgpu submitted.
            true => self.ensure_alive(OBJECT)?,
            false => self.signal(OBJECT, &parts.signals)?,
        }
        // SAFETY: the waits were staged before the commands were submitted, and the signals after
        // them; submissions of wgpu took both, and its queue is the exchange's.
        unsafe { F::submitted(lent) }
    }

    /// Checks that wgpu's device accepts submissions: without frames, there is no other sign of a
    /// rejected submission.
    fn ensure_alive(&self, object: &str) -> Result<()> {
        // If the device was lost or destroyed, wgpu returns an invalid encoder.
        raw::record(self, object, drop).map(drop)
    }

    /// Submits commands. The error may be that of a callback of the program.
    fn push(&self, object: &str, commands: impl IntoIterator<Item = wgpu::CommandBuffer>) -> Result<()> {
        self.capture("Queue::submit", object, || self.queue().submit(commands)).map(drop)
    }

    /// Submits commands that this crate has recorded. They have no deferred actions, so wgpu calls
    /// no callbacks of the program unless it has submitted them.
    ///
    /// # Errors
    /// Those of [`signal`](Self::signal); on a device whose submissions do not pass through this
    /// crate, also the error of a callback.
    pub(crate) fn push_own(&self, object: &str, commands: impl IntoIterator<Item = wgpu::CommandBuffer>) -> Result<()> {
        let Some(splice) = self.splice() else { return self.push(object, commands) };
        // Identified as the thread's first submission.
        let (pushed, answer) = splice.during(&[], &[], &[], || self.push(object, commands));
        made(object, answer == Some(vk::Result::SUCCESS), pushed)
    }

    /// Makes the next submission of any thread wait.
    pub(crate) fn stage_waits(&self, object: &str, waits: &[vk::SemaphoreSubmitInfo<'_>]) -> Result<()> {
        let queue = self.hal_queue(object)?;
        for wait in waits {
            // The whole queue waits, so that an earlier submission may also take the wait.
            queue.add_wait_semaphore(wait.semaphore, Some(wait.value), vk::PipelineStageFlags::ALL_COMMANDS);
        }
        Ok(())
    }

    /// Removes the waits that no submission has taken.
    fn unstage_waits(&self, waits: &[vk::SemaphoreSubmitInfo<'_>]) -> Unstaged {
        let Ok(queue) = self.hal_queue("") else { return Unstaged::None };
        // wgpu removes all staged waits of a semaphore at once.
        let mut semaphores: Vec<_> = waits.iter().map(|wait| wait.semaphore).collect();
        semaphores.sort();
        semaphores.dedup();
        match semaphores.iter().filter(|semaphore| queue.remove_wait_semaphore(**semaphore)).count() {
            0 => Unstaged::None,
            count if count == semaphores.len() => Unstaged::All,
            _ => Unstaged::Some,
        }
    }

    /// Submits signals after everything that was submitted so far.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if wgpu no longer submits, or the error that wgpu reports.
    pub(crate) fn signal(&self, object: &str, signals: &[vk::SemaphoreSubmitInfo<'static>]) -> Result<()> {
        if signals.is_empty() {
            return Ok(());
        }
        if self.splice().is_some() {
            return self.push_signaling(object, None, &[], signals);
        }
        let queue = self.hal_queue(object)?;
        for signal in signals {
            queue.add_signal_semaphore(signal.semaphore, Some(signal.value));
        }
        let pushed = self.push(object, []);
        // Whatever wgpu reports, either a submission has taken the signals, or they are still
        // staged.
        let left = signals.iter().filter(|signal| queue.remove_signal_semaphore(signal.semaphore)).count();
        made(object, left == 0, pushed)
    }

    /// Submits commands that this crate has recorded, after waits and followed by signals.
    ///
    /// # Errors
    /// Those of [`signal`](Self::signal).
    pub(crate) fn push_signaling(
        &self,
        object: &str,
        commands: Option<(wgpu::CommandBuffer, OwnCommands)>,
        waits: &[vk::SemaphoreSubmitInfo<'static>],
        signals: &[vk::SemaphoreSubmitInfo<'static>],
    ) -> Result<()> {
        let (commands, own) = commands.unzip();
        let Some(splice) = self.splice() else {
            // The additional waits are already satisfied, and show whether a submission took them.
            let marks: Vec<_> = waits.iter().copied().chain(signals.iter().map(|signal| signal.value(0))).collect();
            let pushed = self.stage_waits(object, &marks).and_then(|()| self.push(object, commands));
            // wgpu has no reason to refuse commands that were recorded through `wgpu::hal`: only a
            // device that is lost or out of memory does not submit them, and their marks then stay.
            made(object, self.unstage_waits(&marks) == Unstaged::None, pushed)?;
            return self.signal(object, signals);
        };
        let (pushed, answer) = splice.during(waits, signals, own.as_slice(), || self.push(object, commands));
        made(object, answer == Some(vk::Result::SUCCESS), pushed)
    }

    /// Waits on the host for a submitted signal.
    pub(crate) fn wait(&self, object: &str, signal: &vk::SemaphoreSubmitInfo<'_>, limit: Duration) -> Result<()> {
        let (semaphores, values) = ([signal.semaphore], [signal.value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let device = self.compute().device();
        let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: VUID-vkWaitSemaphores-device-parameter: the semaphore is a timeline of an
        // exchange that the caller holds, of this device, which has `timelineSemaphore` enabled.
        let waited = unsafe { device.as_raw().wait_semaphores(&info, nanoseconds) };
        // SAFETY: VUID-vkGetSemaphoreCounterValue-semaphore-03255: the semaphore is the timeline
        // described above.
        let counter = || unsafe { device.as_raw().get_semaphore_counter_value(signal.semaphore) };
        let waited = waited.and_then(|()| check_reached(signal.value, counter()?));
        waited.map_err(|result| Error::HostWait { object: object.to_owned(), result, limit })
    }

    fn hal_queue(&self, object: &str) -> Result<impl Deref<Target = vulkan::Queue>> {
        // SAFETY: only safe functions of the guard are used.
        unsafe { self.queue().as_hal::<Vulkan>() }.ok_or_else(|| Error::DeviceLost { object: object.to_owned() })
    }
}

/// Checks that a successful wait for `value` has reached it: on a lost device, a wait may succeed
/// without that, and some drivers then report the largest value.
fn check_reached(value: u64, counter: u64) -> Result<(), vk::Result> {
    if counter == u64::MAX || counter < value { Err(vk::Result::ERROR_DEVICE_LOST) } else { Ok(()) }
}

/// The result of a submission that was made or not: `pushed` is wgpu's answer. Of a lost device
/// wgpu reports no error; it just submits nothing.
fn made(object: &str, is_made: bool, pushed: Result<()>) -> Result<()> {
    match (is_made, pushed) {
        (true, Ok(())) => Ok(()),
        (true, Err(error)) => {
            error.log_as_foreign();
            Ok(())
        }
        (false, pushed) => Err(pushed.err().unwrap_or_else(|| Error::DeviceLost { object: object.to_owned() })),
    }
}

/// Which of the staged waits could be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unstaged {
    All,
    Some,
    None,
}

#[cfg(test)]
pub(crate) mod tests;
