//! A stream of kernels in command buffers of a Vulkan queue: the counterpart of a CUDA stream.
#![allow(unsafe_code)] // Recording and submitting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use smallvec::SmallVec;
use vk_export::ash::vk;
use vk_export::{ExportDevice, Queue, QueueKind, Semaphore, SemaphoreInfo, SemaphoreKind};

use crate::compute::inline::pending::{INLINE_CAPACITY, State};
use crate::compute::inline::recorders::Recorders;
use crate::compute::inline::segment::LossMarker;
use crate::error::{Error, Result};
use crate::observe::live::Kind;
use crate::observe::log_hold::LogHold;
use crate::observe::{live, log_error};

/// Limit on how long dropping the stream waits for running work. Exchanges have already waited by
/// then, each with its own limit.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// An ordered stream of recorded work.
///
/// Work runs in the order of the calls, as on a CUDA stream, regardless of the turn that it belongs
/// to. It is submitted with the next submission of any exchange, or when a caller waits for it.
/// Clones share the stream and the exchange's error.
#[derive(Clone)]
pub(crate) struct InlineStream(pub(super) Arc<Inner>, pub(super) LossMarker);

/// Identity of a stream, which does not keep the stream alive.
#[derive(Debug, Clone)]
pub(crate) struct InlineStreamId(Weak<Inner>);

pub(super) struct Inner {
    state: Mutex<State>,
    /// Held during a submission, so that submissions keep their order. It is never locked while
    /// `state` is locked, since submitting calls the engine's queue lock.
    submitting: Mutex<()>,
    /// Counts completed submissions.
    pub(super) progress: Arc<Semaphore>,
    /// The threads that are running a user closure. No lock is held meanwhile.
    pub(super) recorders: Recorders,
    queue: QueueKind,
    pub(super) device: ExportDevice,
}

impl InlineStream {
    pub(super) fn new(device: &ExportDevice, queue: QueueKind) -> Result<Self> {
        let info = SemaphoreInfo { name: "kernels.progress", kind: SemaphoreKind::Timeline, exportable: false };
        let progress = Arc::new(Semaphore::new(device, &info)?);
        let (state, submitting, recorders) = (Mutex::default(), Mutex::default(), Recorders::default());
        let inner = Arc::new(Inner { state, submitting, progress, recorders, queue, device: device.clone() });
        Ok(Self(inner, LossMarker::default()))
    }

    /// Returns the same stream for an exchange, with its own marker for lost work.
    pub(super) fn for_exchange(&self) -> Self {
        Self(Arc::clone(&self.0), LossMarker::default())
    }

    pub(crate) fn id(&self) -> InlineStreamId {
        InlineStreamId(Arc::downgrade(&self.0))
    }

    /// Returns `true` if the stream has this identity.
    pub(crate) fn has_id(&self, id: &InlineStreamId) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.0), id.0.as_ptr())
    }

    pub(crate) fn queue_kind(&self) -> QueueKind {
        self.0.queue
    }

    pub(crate) fn device(&self) -> &ExportDevice {
        &self.0.device
    }

    /// Returns `true` if the caller is inside a closure that [`record_with`](Self::record_with)
    /// calls.
    pub(crate) fn is_current(&self) -> bool {
        self.0.is_current()
    }

    /// Returns the marker that is set if work of this handle is lost.
    pub(super) fn loss_marker(&self) -> &LossMarker {
        &self.1
    }

    /// Ends the work recorded so far. The submission that contains it signals `value` of `timeline`
    /// after it.
    ///
    /// # Errors
    /// The error of the failed driver call, in this call or in an earlier end that lost work of
    /// this exchange.
    ///
    /// # Safety
    /// `timeline` belongs to this device, is signaled only by this stream with increasing values,
    /// and lives until the value is reached or the device is lost, or is never freed.
    pub(super) unsafe fn end(&self, timeline: vk::Semaphore, value: u64) -> Result<()> {
        self.0.check_outside()?;
        let mut state = self.0.state();
        let (ended, lost) = (state.end_open(), self.1.take());
        if ended.is_err() || lost.is_some() {
            drop(state);
            return lost.map_or_else(|| ended.map_err(|failed| failed.error), |error| Err(error.into()));
        }
        // A submission signals each timeline once: the higher value replaces the lower one.
        match state.batch.signals.iter_mut().find(|(known, _)| *known == timeline) {
            Some((_, last)) => *last = value,
            None => state.batch.signals.push((timeline, value)),
        }
        Ok(())
    }

    /// Submits work that was ended but not submitted yet.
    ///
    /// # Errors
    /// The error of the failed driver call, or [`vk_export::Error::QueueHeld`]. The ended work is
    /// then submitted later.
    pub(crate) fn flush(&self) -> Result<()> {
        self.0.check_outside()?;
        // Work that another thread is submitting counts too: the caller may enqueue a wait for it
        // on the same queue next, and the other submission may fail, which leaves the work to be
        // submitted here.
        if self.0.state().is_on_queue() {
            return Ok(());
        }
        // SAFETY: no batch and no fence.
        unsafe { self.submit(None, vk::Fence::null()) }
    }

    /// Submits the ended work, followed by `batch`, in one call.
    ///
    /// # Errors
    /// The errors of [`flush`](Self::flush). Nothing was submitted in that case.
    ///
    /// # Safety
    /// The contract of [`Queue::submit`].
    pub(crate) unsafe fn submit(&self, batch: Option<vk::SubmitInfo2<'_>>, fence: vk::Fence) -> Result<()> {
        let inner = &*self.0;
        inner.check_outside()?;
        let queue = inner.queue()?;
        queue.check_free()?;
        // Dropped after the lock: an engine's queue lock that panics is logged.
        let _log = LogHold::new();
        let order = inner.submitting.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, value) = {
            let mut state = inner.state();
            state.is_submitting = !state.batch.is_empty();
            (std::mem::take(&mut state.batch), state.submitted + 1)
        };
        // Another thread has submitted the work in the meantime.
        if ended.is_empty() && batch.is_none() {
            return Ok(());
        }
        let infos: SmallVec<[_; INLINE_CAPACITY]> = ended
            .commands
            .iter()
            .map(|commands| vk::CommandBufferSubmitInfo::default().command_buffer(commands.as_raw()))
            .collect();
        let signal = |semaphore, value| {
            let info = vk::SemaphoreSubmitInfo::default().semaphore(semaphore).value(value);
            info.stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
        };
        let mut signals: SmallVec<[_; INLINE_CAPACITY]> =
            ended.signals.iter().map(|(timeline, value)| signal(*timeline, *value)).collect();
        signals.push(signal(inner.progress.as_raw(), value));
        let own = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
        let own = (!ended.is_empty()).then_some(own);
        let batches: SmallVec<[_; 2]> = own.into_iter().chain(batch).collect();
        // SAFETY: VUID-vkQueueSubmit2-commandBuffer-03874: each command buffer was ended and not
        // submitted since. Its pool lives in `running` until the value of `progress` is reached.
        // VUID-VkSubmitInfo2-semaphore-03882: the values increase, those of `progress` due to the
        // lock held here and the others by the contract of `end`. The caller upholds the rest.
        let submitted = unsafe { queue.submit(&batches, fence) };
        let mut state = inner.state();
        state.is_submitting = false;
        if let Err(error) = submitted {
            // On a lost device nothing runs, and nothing has to be waited for.
            if !error.is_device_lost() {
                state.put_back(ended);
                return Err(error.into());
            }
            drop(state);
            // Dropping the objects that the work used may call user code, so the locks are released
            // first.
            drop(order);
            drop(ended);
            return Err(error.into());
        }
        if !ended.is_empty() {
            state.submitted = value;
            state.running.extend(ended.commands.into_iter().map(|commands| (value, commands)));
        }
        Ok(())
    }

    /// Drops the objects that completed work used, without waiting for any work.
    pub(super) fn reap(&self) {
        if self.0.is_current() {
            return;
        }
        // If the value cannot be queried, the objects are dropped later.
        if let Ok(reached) = self.0.progress.value() {
            self.0.reap(reached);
        }
    }

    /// Submits all recorded work, waits until it has run, for at most `limit`, and returns whether
    /// it has.
    pub(super) fn drain(&self, limit: Duration) -> Result<bool> {
        self.0.check_outside()?;
        let ended = self.0.state().end_open();
        ended.map_err(|failed| failed.error)?;
        let flushed = self.flush();
        let waited = flushed.and_then(|()| {
            let submitted = self.0.state().submitted;
            self.0.progress.wait(submitted, limit)?;
            self.0.reap(submitted);
            Ok(())
        });
        match waited {
            Ok(()) => Ok(true),
            Err(Error::Vulkan(vk_export::Error::Timeout { .. })) => Ok(false),
            // Nothing runs on a lost device (Vulkan specification, "Lost Device"), and the ended
            // work has been dropped.
            Err(Error::Vulkan(error)) if error.is_device_lost() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    fn is_current(&self) -> bool {
        self.recorders.contains_current()
    }

    /// Checks that the caller is not inside a closure that records. Work that is recorded, ended or
    /// waited for inside the closure would precede the closure's commands, while the caller may
    /// expect it to follow them.
    pub(super) fn check_outside(&self) -> Result<()> {
        if !self.is_current() {
            return Ok(());
        }
        Err(Error::invalid(
            "the inline backend",
            "called inside a closure of `KernelWork::record`; call it after the closure has returned",
        ))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No operation under this lock panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self) -> Result<&Queue> {
        self.device.queue_of(self.queue).ok_or_else(|| {
            Error::invalid(
                "the inline backend",
                format!("\"{}\" no longer has a {} queue", self.device.name(), self.queue),
            )
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match self.progress.wait(state.submitted, DROP_LIMIT) {
            Ok(()) => {}
            Err(error) if error.is_device_lost() => {}
            Err(error) => {
                let running = std::mem::take(&mut state.running);
                let pools = running.len();
                std::mem::forget((Arc::clone(&self.progress), running));
                live::leaked(Kind::CommandPool, pools);
                log_error!(
                    "{pools} command pools of kernels and the resources they use are leaked, since they may still be \
                     in use: {error}"
                );
            }
        }
    }
}
