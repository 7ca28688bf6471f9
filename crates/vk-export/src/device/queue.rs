//! A queue and the lock that Vulkan wants around it.
#![allow(unsafe_code)] // vkQueueSubmit2.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ash::vk;
use ash::vk::Handle as _;

use crate::device::synchronization2::Synchronization2;
use crate::error::{Error, Result};

/// What a queue is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueKind {
    /// Draws, computes and copies: the device's main queue.
    #[default]
    Graphics,
    /// Computes and copies beside the main queue; its family cannot draw.
    Compute,
    /// Only copies, on a copy engine of its own. On NVIDIA it does not share the engine that CUDA kernels run on, so a
    /// frame handed over to it costs no context switch of the GPU.
    Transfer,
}

impl QueueKind {
    /// Whether a family with these capabilities is of this kind.
    pub(crate) fn is_family(self, flags: vk::QueueFlags) -> bool {
        use vk::QueueFlags as Flags;
        match self {
            Self::Graphics => flags.contains(Flags::GRAPHICS | Flags::COMPUTE),
            Self::Compute => flags.contains(Flags::COMPUTE) && !flags.contains(Flags::GRAPHICS),
            Self::Transfer => flags & !(Flags::SPARSE_BINDING | Flags::PROTECTED) == Flags::TRANSFER,
        }
    }

    /// The stages that queues of this kind have, or `None` for all.
    ///
    /// Source: the table "Supported pipeline stage flags" of the Vulkan specification.
    pub fn stages(self) -> Option<vk::PipelineStageFlags2> {
        use vk::PipelineStageFlags2 as Stages;
        let transfer = Stages::ALL_TRANSFER | Stages::COPY | Stages::CLEAR | Stages::HOST | Stages::ALL_COMMANDS;
        match self {
            Self::Graphics => None,
            Self::Compute => Some(transfer | Stages::COMPUTE_SHADER | Stages::DRAW_INDIRECT),
            Self::Transfer => Some(transfer),
        }
    }
}

impl std::fmt::Display for QueueKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Graphics => "graphics",
            Self::Compute => "compute",
            Self::Transfer => "transfer",
        })
    }
}

/// A Vulkan queue with the lock that its external synchronization needs.
///
/// There is one lock for each queue in the process, however often its device is adopted. It only orders what goes through
/// objects of this type; the engine keeps its own submissions out of the way, or splices the submit parts of `bridge` into
/// them.
pub struct Queue {
    raw: Arc<Mutex<vk::Queue>>,
    family: u32,
    calls: Synchronization2,
    device_name: String,
}

impl Queue {
    pub(crate) fn new(
        device: vk::Device,
        raw: vk::Queue,
        family: u32,
        calls: Synchronization2,
        device_name: &str,
    ) -> Self {
        Self { raw: lock_of(device, raw), family, calls, device_name: device_name.to_owned() }
    }

    /// The queue's family.
    pub fn family(&self) -> u32 {
        self.family
    }

    /// The queue itself, locked until the guard is dropped: for presenting, or for a call that this type lacks.
    pub fn lock(&self) -> MutexGuard<'_, vk::Queue> {
        self.raw.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits batches in one `vkQueueSubmit2`, under the queue's lock.
    ///
    /// # Errors
    /// [`Error::Vulkan`] with the driver's code; then nothing was submitted.
    ///
    /// # Safety
    /// All handles in `batches` and `fence` are valid, belong to this device and stay alive until the submission has
    /// completed, and the batches keep the Valid Usage of `vkQueueSubmit2`.
    #[doc(alias = "vkQueueSubmit2")]
    pub unsafe fn submit(&self, batches: &[vk::SubmitInfo2<'_>], fence: vk::Fence) -> Result<()> {
        let queue = self.lock();
        // SAFETY: the caller vouches for batches and fence; the guard is the external synchronization of the queue
        // that the specification asks for ("Host access to queue must be externally synchronized").
        unsafe { self.calls.submit(*queue, batches, fence) }.map_err(|result| Error::Vulkan {
            call: "vkQueueSubmit2",
            result,
            object: format!("queue of family {}", self.family),
            device: self.device_name.clone(),
        })
    }
}

/// The one lock of a queue in this process: a device that is adopted twice, or a queue that is named twice in one adoption,
/// gets the same.
fn lock_of(device: vk::Device, queue: vk::Queue) -> Arc<Mutex<vk::Queue>> {
    type Locks = HashMap<(u64, u64), Weak<Mutex<vk::Queue>>>;
    static LOCKS: Mutex<Option<Locks>> = Mutex::new(None);
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let locks = locks.get_or_insert_default();
    let key = (device.as_raw(), queue.as_raw());
    if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
        return lock;
    }
    // Handles are used again for later devices: those that nobody holds go.
    locks.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(Mutex::new(queue));
    locks.insert(key, Arc::downgrade(&lock));
    lock
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("family", &self.family).finish_non_exhaustive()
    }
}
