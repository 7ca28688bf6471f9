//! Timelines with one signaller each, and the points on them.
#![allow(unsafe_code)] // Signalling from the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cuda_import::ImportedSemaphore;
use vk_export::ash::vk;
use vk_export::{ExportDevice, Semaphore, SemaphoreInfo, SemaphoreKind};

use crate::compute::Compute;
use crate::{Error, Result, handoff, wait};

/// Who signals a timeline: always the same side, so that its values rise by construction and the side to ask on the
/// host is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signaller {
    /// The compute side: a CUDA stream, or the CPU backend's thread.
    Compute,
    /// A Vulkan queue.
    Queue,
}

impl std::fmt::Display for Signaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Compute => "the compute side",
            Self::Queue => "the Vulkan queue",
        })
    }
}

/// A timeline semaphore that both sides know. Cloning it gives the same one.
#[derive(Clone)]
pub(crate) struct Timeline(Arc<Inner>);

struct Inner {
    // Field order is drop order: CUDA's view of the semaphore goes before the semaphore.
    cuda: Option<ImportedSemaphore>,
    vulkan: Semaphore,
    signaller: Signaller,
    /// The highest value whose signal has been enqueued.
    issued: AtomicU64,
    compute: Compute,
}

impl Timeline {
    pub(crate) fn new(device: &ExportDevice, compute: &Compute, name: &str, signaller: Signaller) -> Result<Self> {
        let cuda = compute.cuda();
        let vulkan =
            Semaphore::new(device, &SemaphoreInfo { name, kind: SemaphoreKind::Timeline, exportable: cuda.is_some() })?;
        let cuda = cuda.map(|cuda| handoff::semaphore(&vulkan, cuda.device())).transpose()?;
        Ok(Self(Arc::new(Inner { cuda, vulkan, signaller, issued: AtomicU64::new(0), compute: compute.clone() })))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.vulkan.name()
    }

    pub(crate) fn vulkan(&self) -> vk::Semaphore {
        self.0.vulkan.as_raw()
    }

    /// CUDA's view, with the CUDA backend.
    pub(crate) fn cuda(&self) -> Option<&ImportedSemaphore> {
        self.0.cuda.as_ref()
    }

    pub(crate) fn value(&self) -> Result<u64> {
        Ok(self.0.vulkan.value()?)
    }

    /// The point whose signal has just been enqueued by the timeline's signaller.
    pub(crate) fn issue(&self, value: u64) -> TimelinePoint {
        self.0.issued.fetch_max(value, Ordering::AcqRel);
        TimelinePoint { timeline: self.clone(), value }
    }

    /// The highest point whose signal was enqueued.
    pub(crate) fn last_issued(&self) -> Option<TimelinePoint> {
        let value = self.0.issued.load(Ordering::Acquire);
        (value > 0).then(|| TimelinePoint { timeline: self.clone(), value })
    }

    /// Blocks until `value` is reached, asking the side that signals; for at most `limit`.
    pub(crate) fn wait_value(&self, value: u64, limit: Duration) -> Result<()> {
        let start = Instant::now();
        let inner = &*self.0;
        let by_cuda = inner.cuda.is_some() && inner.signaller == Signaller::Compute;
        let reached = if by_cuda {
            wait::poll(limit, || Ok(inner.vulkan.value()? >= value), || inner.compute.check())?
        } else {
            wait::spin_then_block(
                limit,
                || Ok(inner.vulkan.value()? >= value),
                |left| match inner.vulkan.wait(value, left) {
                    Ok(()) => Ok(true),
                    Err(vk_export::Error::Timeout { .. }) => Ok(false),
                    Err(error) => Err(error.into()),
                },
            )?
        };
        if reached {
            return Ok(());
        }
        Err(Error::Timeout {
            timeline: self.name().to_owned(),
            value,
            signaller: inner.signaller,
            last_seen: self.value()?,
            waited: start.elapsed(),
        })
    }

    /// Signals from the thread of the CPU backend, the only signaller of such a timeline.
    pub(crate) fn signal_from_host(&self, value: u64) -> Result<()> {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259: this timeline's signaller is the CPU backend, whose one thread
        // makes this call; frames are finished in order, so no other signal is pending and the values rise.
        Ok(unsafe { self.0.vulkan.signal(value) }?)
    }
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Timeline(\"{}\")", self.name())
    }
}

/// A point on a timeline whose signal has been enqueued.
///
/// There is no other way to come by one, so whoever waits for a point waits for something that will happen
/// (CUDA programming guide 6.2.16: "It is illegal to issue a wait before the corresponding signal has been issued").
#[derive(Debug, Clone)]
pub struct TimelinePoint {
    timeline: Timeline,
    value: u64,
}

impl TimelinePoint {
    /// The value of the point.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The name of its timeline.
    pub fn timeline_name(&self) -> &str {
        self.timeline.name()
    }

    /// Who signals it.
    pub fn signaller(&self) -> Signaller {
        self.timeline.0.signaller
    }

    /// Whether the point has been reached; does not block.
    ///
    /// # Errors
    /// The failed call.
    pub fn is_reached(&self) -> Result<bool> {
        Ok(self.timeline.value()? >= self.value)
    }

    /// Blocks the calling thread until the point is reached, for at most `limit`.
    ///
    /// The side that signals is asked, in the way that answers soonest: a CUDA signal is polled, since
    /// `vkWaitSemaphores` notices it only after milliseconds; what a queue or the CPU signals is blocked on.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last value seen, or the failed call.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        self.timeline.wait_value(self.value, limit)
    }

    /// The wait for this point in a `VkSubmitInfo2`, at `stages`.
    pub fn wait_info(&self, stages: vk::PipelineStageFlags2) -> vk::SemaphoreSubmitInfo<'static> {
        vk::SemaphoreSubmitInfo::default().semaphore(self.timeline.vulkan()).value(self.value).stage_mask(stages)
    }
}
