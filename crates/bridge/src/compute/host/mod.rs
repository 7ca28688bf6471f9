//! The CPU compute side.

pub(crate) mod images;
pub(crate) mod memory;
#[cfg(all(test, target_os = "linux"))]
mod schedules;
pub(crate) mod stream;
#[cfg(test)]
mod stream_tests;
mod sync;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vk_export::ash::vk;
use vk_export::{Counterpart, Placement};

use crate::compute::host::stream::HostStream;
use crate::error::Result;
use crate::sharing::Sharing;
use crate::timeline::Timeline;

/// Memory is host-visible, and Vulkan maps it.
pub(super) const SHARING: Sharing = Sharing {
    counterpart: Counterpart::Host,
    placement: Placement::HostVisible,
    buffer_usage: vk::BufferUsageFlags::empty(),
};

/// The compute thread's stream and an exchange's timelines.
pub(crate) struct HostLink {
    stream: HostStream,
    computed: Timeline,
    rendered: Timeline,
    /// The position in the stream after which there is no work of the exchange.
    end: AtomicU64,
}

impl HostLink {
    pub(super) fn new(stream: &HostStream, computed: &Timeline, rendered: &Timeline) -> Self {
        Self { stream: stream.clone(), computed: computed.clone(), rendered: rendered.clone(), end: AtomicU64::new(0) }
    }

    pub(crate) fn stream(&self) -> &HostStream {
        &self.stream
    }

    /// Makes later work wait for a value of `rendered`. If that takes longer than `limit`, the
    /// stream fails.
    pub(crate) fn wait(&self, value: u64, limit: Duration) -> Result<()> {
        let rendered = self.rendered.clone();
        self.note(self.stream.wait(move || rendered.wait_in_order(value, limit)))
    }

    /// Enqueues a signal of a value of `computed` after all earlier work.
    pub(crate) fn signal(&self, value: u64) -> Result<()> {
        let computed = self.computed.clone();
        self.note(self.stream.signal(move || computed.signal_from_host(value)))
    }

    /// Notes that the work enqueued so far may belong to the exchange and has no signal after it.
    pub(crate) fn note_unsignaled(&self) {
        self.end.fetch_max(self.stream.last_position(), Ordering::AcqRel);
    }

    /// Waits until the stream has completed the work of the exchange, for at most `limit`, and
    /// returns whether it has.
    pub(crate) fn drain(&self, limit: Duration) -> bool {
        self.stream.drain_to(self.end.load(Ordering::Acquire), limit)
    }

    fn note(&self, enqueued: Result<u64>) -> Result<()> {
        match enqueued {
            Ok(place) => {
                self.end.fetch_max(place, Ordering::AcqRel);
                Ok(())
            }
            Err(error) => {
                self.note_unsignaled();
                Err(error)
            }
        }
    }
}
