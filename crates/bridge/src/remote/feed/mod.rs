//! The writer of an exchange on behalf of a worker: what the worker says goes in, and what becomes
//! of its frames comes out.

mod copy;
mod cuda;
mod frames;
mod host;

use std::sync::Arc;
use std::time::Duration;

use super::timelines::Timelines;
use super::wake::Wake;
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeFirst, LatestWriter};
use cuda::CudaFeed;
use host::HostFeed;

pub(super) use cuda::recover;
pub(super) use host::Files;

/// A frame as the worker has published it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    /// The worker's slot.
    pub(super) slot: usize,
    /// The worker's number.
    pub(super) frame: u64,
    /// The value that the worker's timeline reaches once it is whole, with CUDA.
    pub(super) value: u64,
}

/// Something that has come of frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The number of a frame that was published.
    pub(super) published: Option<u64>,
    /// A slot that is the worker's.
    pub(super) freed: Option<Freed>,
}

/// A slot that is the worker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) slot: usize,
    /// The value of the renderer's timeline, which has reached it.
    pub(super) value: u64,
}

/// The interval at which a frame is tried again that waits for an event which wakes nobody.
const RETRY: Duration = Duration::from_millis(10);

/// The memory that the worker writes to.
pub(super) enum Given {
    Files(Files),
    /// The slots themselves.
    Slots(Timelines),
}

/// The frames of a worker on their way to the reader.
pub(super) enum Feed<R: Resources> {
    Host(HostFeed<R>),
    Cuda(CudaFeed<R>),
}

impl<R: Resources> Feed<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>, given: Given, wake: &Arc<Wake>) -> Self {
        match given {
            Given::Files(files) => Self::Host(HostFeed::new(writer, files, wake)),
            Given::Slots(timelines) => Self::Cuda(CudaFeed::new(writer, timelines)),
        }
    }

    /// Notes a frame of the worker's. Gives the slot of one that it supersedes.
    pub(super) fn finished(&mut self, frame: Finished) -> Option<Taken> {
        match self {
            Self::Host(feed) => feed.finished(frame),
            Self::Cuda(feed) => {
                feed.published(frame);
                None
            }
        }
    }

    /// The worker takes a frame back, which it has published: it is shown to nobody if that is
    /// still possible.
    pub(super) fn torn(&mut self, slot: usize, frame: u64) -> Option<Taken> {
        match self {
            Self::Host(feed) => feed.torn(slot, frame),
            Self::Cuda(feed) => {
                feed.torn(slot, frame);
                None
            }
        }
    }

    /// Whether any frame is on its way.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::Host(feed) => feed.is_busy(),
            Self::Cuda(feed) => feed.is_busy(),
        }
    }

    /// After which time [`advance`](Self::advance) is to be called again, since something is waited
    /// for that tells nobody.
    pub(super) fn retry(&self) -> Option<Duration> {
        match self {
            Self::Host(feed) => feed.is_refused().then_some(RETRY),
            Self::Cuda(feed) => feed.retry(),
        }
    }

    /// Takes over what the worker has finished. Gives something that has come of it, until there is
    /// nothing more. Does not block.
    ///
    /// # Errors
    /// What the worker gave is not what it said.
    pub(super) fn advance(&mut self) -> Result<Option<Taken>, String> {
        match self {
            Self::Host(feed) => feed.advance(),
            Self::Cuda(feed) => feed.advance(),
        }
    }

    /// The worker is given nothing more.
    pub(super) fn close(&mut self) {
        match self {
            // What it finished last is copied all the same.
            Self::Host(_) => {}
            Self::Cuda(feed) => feed.close(),
        }
    }

    /// Frames that the worker has published and whose signals have not come.
    pub(super) fn owed(&self) -> usize {
        match self {
            Self::Host(_) => 0,
            Self::Cuda(feed) => feed.owed(),
        }
    }

    /// Whether only the worker itself finishes what is on its way.
    pub(super) fn needs_worker(&self) -> bool {
        matches!(self, Self::Cuda(_))
    }

    /// Gives up what is on its way. Whether the worker is `quiet`: it writes to none of its slots
    /// any more. Gives the writer, and whether all of its slots are its own.
    pub(super) fn stop(self, quiet: bool) -> (LatestWriter<R, ComputeFirst>, bool) {
        match self {
            Self::Host(feed) => (feed.stop(), true),
            Self::Cuda(feed) => (feed.stop(quiet), quiet),
        }
    }
}
