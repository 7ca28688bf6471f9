//! The timeline that shows Vulkan's progress to another process in step.
//!
//! A process that has a semaphore can signal it with any value. What this process concludes from
//! `rendered` (that a slot, a command pool or the exchange itself is no longer in use) must not
//! depend on another process, so `rendered` is never exported. The other process gets this timeline
//! instead, which the same submissions signal with the same values.

use std::sync::atomic::{AtomicU64, Ordering};

use vk_export::ash::vk;
use vk_export::{Semaphore, SemaphoreInfo, SemaphoreKind};

use crate::compute::Compute;
use crate::error::Result;
use crate::observe::live::Kind;
use crate::observe::object::Object;
use crate::observe::trace;
use crate::signaler::Signaler;

/// A copy of the signals of `rendered` for another process. This process does not wait for it, and
/// draws no conclusions from its value.
pub(super) struct Mirror {
    semaphore: Semaphore,
    /// The highest value whose signal was submitted.
    submitted: AtomicU64,
    _object: Object,
}

impl Mirror {
    /// Creates the mirror for an exchange whose compute side is another process that waits for
    /// Vulkan on its GPU. Returns `None` for other exchanges.
    pub(super) fn new(compute: &Compute, exchange: &str) -> Result<Option<Self>> {
        let side = compute.side();
        if !side.is_remote_in_step() {
            return Ok(None);
        }
        let name = format!("{exchange}.worker.rendered");
        // On a device that cannot export it, tests simulate the other process.
        let exportable = side.imports_timeline(Signaler::Compute);
        let info = SemaphoreInfo { name: &name, kind: SemaphoreKind::Timeline, exportable };
        let semaphore = Semaphore::new(compute.device(), &info)?;
        let object = Object::new(Kind::Timeline, &name, trace::Side::Vulkan, None);
        Ok(Some(Self { semaphore, submitted: AtomicU64::new(0), _object: object }))
    }

    /// Returns the Vulkan semaphore.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn semaphore(&self) -> &Semaphore {
        &self.semaphore
    }

    /// Returns the signal of a value, after all commands before it.
    pub(super) fn signal_info(&self, value: u64) -> vk::SemaphoreSubmitInfo<'static> {
        let signal = vk::SemaphoreSubmitInfo::default().semaphore(self.semaphore.as_raw()).value(value);
        signal.stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
    }

    /// Records that a submission that signals `value` was accepted. The values rise.
    pub(super) fn mark_submitted(&self, value: u64) {
        self.submitted.store(value, Ordering::Release);
    }

    /// Returns the highest value whose signal was submitted. An engine's own submissions do not
    /// count.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn last_submitted(&self) -> u64 {
        self.submitted.load(Ordering::Acquire)
    }
}
