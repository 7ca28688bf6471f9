//! A queue and the lock for its external synchronization.
#![allow(unsafe_code)] // vkQueueSubmit2.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use ash::vk;

use crate::device::queue_lock::{QueueAccess, QueueMutex};
use crate::device::synchronization2::Synchronization2;
use crate::error::{Error, Result};
use crate::logging::log_error;

/// The purpose of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueKind {
    /// The device's main queue, which draws, dispatches and copies. That of an adopted device is
    /// the one it was [adopted](crate::AdoptInfo) with, whatever its family supports.
    #[default]
    Graphics,
    /// Dispatches and copies alongside the main queue; its family cannot draw.
    Compute,
    /// Only copies, on a dedicated copy engine. On NVIDIA GPUs it does not share the engine that
    /// CUDA kernels run on, so handing a frame over to it causes no context switch of the GPU.
    Transfer,
    /// The queue of [`AdoptInfo::additional_queues`](crate::AdoptInfo::additional_queues) with this
    /// index, of any family, such as a second queue of the main queue's family for work that must
    /// not wait for an engine's frames.
    Additional(usize),
}

impl QueueKind {
    /// Returns `true` if a family with these capabilities is of this kind.
    pub(crate) fn is_family(self, flags: vk::QueueFlags) -> bool {
        use vk::QueueFlags as Flags;
        match self {
            Self::Graphics => flags.contains(Flags::GRAPHICS | Flags::COMPUTE),
            Self::Compute => flags.contains(Flags::COMPUTE) && !flags.contains(Flags::GRAPHICS),
            Self::Transfer => flags & !(Flags::SPARSE_BINDING | Flags::PROTECTED) == Flags::TRANSFER,
            // Chosen by its index, not by its family.
            Self::Additional(_) => false,
        }
    }

    /// Returns the stages that queues of this kind have, or `None` for all. Those of
    /// [`Additional`](Self::Additional) depend on the queue's family, see [`Queue::stages`]; here
    /// they are `None`.
    pub fn stages(self) -> Option<vk::PipelineStageFlags2> {
        match self {
            Self::Graphics | Self::Additional(_) => None,
            Self::Compute => stages_of(vk::QueueFlags::COMPUTE),
            Self::Transfer => stages_of(vk::QueueFlags::TRANSFER),
        }
    }
}

/// Returns the stages of a family with these capabilities, or `None` for all.
///
/// Source: the table "Supported pipeline stage flags" of the Vulkan specification.
pub(crate) fn stages_of(flags: vk::QueueFlags) -> Option<vk::PipelineStageFlags2> {
    use vk::PipelineStageFlags2 as Stages;
    let transfer = Stages::ALL_TRANSFER | Stages::COPY | Stages::CLEAR | Stages::HOST | Stages::ALL_COMMANDS;
    if flags.contains(vk::QueueFlags::GRAPHICS) {
        None
    } else if flags.contains(vk::QueueFlags::COMPUTE) {
        Some(transfer | Stages::COMPUTE_SHADER | Stages::DRAW_INDIRECT)
    } else {
        Some(transfer)
    }
}

impl std::fmt::Display for QueueKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Graphics => f.write_str("graphics"),
            Self::Compute => f.write_str("compute"),
            Self::Transfer => f.write_str("transfer"),
            Self::Additional(index) => write!(f, "additional ({index})"),
        }
    }
}

/// A Vulkan queue with the lock for its external synchronization.
///
/// Each queue in the process has one lock, even if its device is adopted more than once. The lock
/// only orders calls through objects of this type; an engine provides its own lock as
/// [`AdoptInfo::queue_lock`](crate::AdoptInfo), keeps its own submissions apart in another way, or
/// adds the submit parts of `bridge` to its own submissions. If it sets
/// [`AdoptInfo::only_engine_submits`](crate::AdoptInfo), this type makes no calls on the queue.
pub struct Queue {
    mutex: Arc<QueueMutex>,
    access: QueueAccess,
    family: u32,
    stages: Option<vk::PipelineStageFlags2>,
    calls: Synchronization2,
    device_name: String,
}

impl Queue {
    pub(crate) fn new(
        device: vk::Device,
        (raw, family): (vk::Queue, u32),
        stages: Option<vk::PipelineStageFlags2>,
        access: QueueAccess,
        calls: Synchronization2,
        device_name: &str,
    ) -> Self {
        let mutex = QueueMutex::for_queue(device, raw);
        Self { mutex, access, family, stages, calls, device_name: device_name.to_owned() }
    }

    /// Returns the handle, which stays owned by the device. Use it to compare queues; for calls,
    /// use [`with`](Self::with), since a queue is externally synchronized.
    pub fn as_raw(&self) -> vk::Queue {
        self.mutex.raw()
    }

    /// Returns the index of the queue's family.
    pub fn family(&self) -> u32 {
        self.family
    }

    /// Returns the stages that the queue's family has, or `None` for all.
    pub fn stages(&self) -> Option<vk::PipelineStageFlags2> {
        self.stages
    }

    /// Locks the queue and calls `f` with the raw handle, for presenting or for other calls that
    /// this type does not offer.
    ///
    /// If the engine's [`QueueLock`] panics after `f` has returned, the result is still returned
    /// and the panic is logged. A panic in `f` is propagated.
    ///
    /// # Errors
    /// [`Error::OnlyEngineSubmits`] on a device that was adopted with
    /// [`only_engine_submits`](crate::AdoptInfo::only_engine_submits); `f` is not called.
    /// [`Error::QueueHeld`] inside another call on this thread, for this queue or for another one
    /// with the same [`QueueLock`], because it would deadlock.
    /// [`Error::InvalidArgument`] if the engine's lock returned or panicked without calling `f`, or
    /// caught a panic of `f`.
    ///
    /// [`QueueLock`]: crate::QueueLock
    pub fn with<R>(&self, f: impl FnOnce(vk::Queue) -> R) -> Result<R> {
        let engine = match &self.access {
            QueueAccess::Unlocked => None,
            QueueAccess::Locked(lock) => Some(lock),
            QueueAccess::EngineOnly => return Err(self.engine_only()),
        };
        let raw = self.mutex.raw();
        self.check_free()?;
        let Some(guard) = self.mutex.lock() else { return Err(self.held()) };
        let Some(engine) = engine else { return Ok(f(raw)) };
        let (mut f, mut result) = (Some(f), None);
        let mut once = || {
            if let Some(f) = f.take() {
                result = Some(f(raw));
            }
        };
        // Callers record the submission afterwards, which a panic of the engine's lock must not
        // prevent.
        let called = catch_unwind(AssertUnwindSafe(|| engine.with(raw, &mut once)));
        // Unlock before logging: a logger may use the queue.
        drop(guard);
        let how = match called {
            Err(panic) if result.is_none() && f.is_none() => resume_unwind(panic),
            Err(panic) => {
                // Dropping the payload may panic as well.
                std::mem::forget(panic);
                "panicked"
            }
            Ok(()) => "returned",
        };
        let Some(result) = result else {
            let reason = match f {
                Some(_) => format!("the engine's `QueueLock::with` {how} without calling its closure"),
                None => "the closure panicked, which the engine's `QueueLock::with` has caught: what it had \
                         done by then counts"
                    .to_owned(),
            };
            return Err(Error::invalid(self.object(), reason));
        };
        if how == "panicked" {
            log_error!(
                "the engine's `QueueLock::with` panicked after a call on the {} that took effect",
                self.object()
            );
        }
        Ok(result)
    }

    /// Returns `true` if this thread is inside [`with`](Self::with) of this queue, or of another
    /// one with the same [`QueueLock`](crate::QueueLock). Submissions to this queue then return
    /// [`Error::QueueHeld`].
    #[inline]
    pub fn is_held(&self) -> bool {
        self.mutex.is_held_here() || matches!(&self.access, QueueAccess::Locked(lock) if lock.is_held_here())
    }

    /// Checks that this thread does not [hold](Self::is_held) the queue. For callers that take
    /// their own locks before they submit.
    ///
    /// # Errors
    /// [`Error::QueueHeld`].
    #[inline]
    pub fn check_free(&self) -> Result<()> {
        if self.is_held() { Err(self.held()) } else { Ok(()) }
    }

    /// Submits batches in one `vkQueueSubmit2`, under the queue's lock.
    ///
    /// # Errors
    /// [`Error::Vulkan`] with the driver's code, and the errors of [`with`](Self::with). In all
    /// cases nothing was submitted.
    ///
    /// # Safety
    /// All handles in `batches` and `fence` are valid, belong to this device and stay alive until
    /// the submission has completed, and the batches satisfy the Valid Usage of `vkQueueSubmit2`.
    #[doc(alias = "vkQueueSubmit2")]
    pub unsafe fn submit(&self, batches: &[vk::SubmitInfo2<'_>], fence: vk::Fence) -> Result<()> {
        // SAFETY: the caller guarantees that batches and fence are valid; inside `with` the queue
        // is externally synchronized, as the specification requires ("Host access to queue must be
        // externally synchronized").
        let submitted = self.with(|queue| unsafe { self.calls.submit(queue, batches, fence) })?;
        submitted.map_err(|result| self.refused(result))
    }

    #[cold]
    fn refused(&self, result: vk::Result) -> Error {
        Error::Vulkan { call: "vkQueueSubmit2", result, object: self.object(), device: self.device_name.clone() }
    }

    #[cold]
    fn held(&self) -> Error {
        Error::QueueHeld { queue: self.object() }
    }

    #[cold]
    fn engine_only(&self) -> Error {
        Error::OnlyEngineSubmits { queue: self.object(), device: self.device_name.clone() }
    }

    pub(crate) fn has_engine_lock(&self) -> bool {
        matches!(self.access, QueueAccess::Locked(_))
    }

    fn object(&self) -> String {
        format!("queue of family {}", self.family)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("family", &self.family).finish_non_exhaustive()
    }
}
