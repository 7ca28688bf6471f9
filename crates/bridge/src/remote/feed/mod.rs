//! Parts for workers that write, which hold the writer of an exchange on behalf of a worker.

mod cuda;
mod frames;
mod host;

use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Direction, Message};

use super::memory::{Given, Memory, untrusted_memory};
use super::part::{End, Outcome, Part, RETRY, index};
use super::terms::Terms;
use super::timelines::Timelines;
use super::wake::Wake;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeFirst, LatestWriter};
use cuda::CudaFeed;
use host::HostFeed;

/// A frame that the worker has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    /// The worker's slot.
    pub(super) slot: usize,
    /// The worker's number of the frame.
    pub(super) frame: u64,
    /// With CUDA, the value that the worker's timeline reaches once the frame is complete.
    pub(super) value: u64,
}

/// The part for a worker that writes.
pub(super) enum Feed<R: Resources> {
    Host(HostFeed<R>),
    Cuda(CudaFeed<R>),
}

impl<R: Resources> End for LatestWriter<R, ComputeFirst> {
    const DIRECTION: Direction = Direction::WorkerWrites;
    type Part = Feed<R>;

    fn memory(&self, terms: &Terms) -> Result<Memory<'_, Timelines>> {
        untrusted_memory(self, terms)
    }
}

impl<R: Resources> Part for Feed<R> {
    type End = LatestWriter<R, ComputeFirst>;
    type Slots = Timelines;

    fn new(writer: Self::End, given: Given<Timelines>, wake: &Arc<Wake>) -> Self {
        match given {
            Given::Files(files) => Self::Host(HostFeed::new(writer, files, wake)),
            Given::Slots(timelines) => Self::Cuda(CudaFeed::new(writer, timelines)),
        }
    }

    /// Handles a published frame, or one that the worker takes back: it is not shown if still
    /// possible.
    fn hear(&mut self, said: &Message) -> Option<Outcome> {
        match (self, said) {
            (Self::Host(feed), &Message::Publish { slot, frame, value, .. }) => {
                return feed.finished(Finished { slot: index(slot), frame, value });
            }
            (Self::Host(feed), &Message::Torn { slot, frame, .. }) => return feed.torn(index(slot), frame),
            (Self::Cuda(feed), &Message::Publish { slot, frame, value, .. }) => {
                feed.published(Finished { slot: index(slot), frame, value });
            }
            (Self::Cuda(feed), &Message::Torn { slot, frame, .. }) => feed.torn(index(slot), frame),
            // The session allows no other message of a writer.
            _ => {}
        }
        None
    }

    fn woken(&mut self) {
        if let Self::Cuda(feed) = self {
            feed.woken();
        }
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        match self {
            Self::Host(feed) => feed.advance(),
            Self::Cuda(feed) => feed.advance(),
        }
    }

    fn is_busy(&self) -> bool {
        match self {
            Self::Host(feed) => feed.is_busy(),
            Self::Cuda(feed) => feed.is_busy(),
        }
    }

    fn copies(&self) -> bool {
        match self {
            Self::Host(feed) => feed.is_busy() && !feed.is_refused(),
            Self::Cuda(_) => false,
        }
    }

    fn retry(&self) -> Option<Duration> {
        match self {
            Self::Host(feed) => feed.is_refused().then_some(RETRY),
            Self::Cuda(feed) => feed.retry(),
        }
    }

    fn close(&mut self) {
        match self {
            // The last finished frame is still copied.
            Self::Host(_) => {}
            Self::Cuda(feed) => feed.close(),
        }
    }

    fn release(&mut self) {
        if let Self::Host(feed) = self {
            feed.release();
        }
    }

    fn owed(&self) -> usize {
        match self {
            Self::Host(_) => 0,
            Self::Cuda(feed) => feed.owed(),
        }
    }

    fn needs_worker(&self) -> bool {
        matches!(self, Self::Cuda(_))
    }

    fn stop(self, quiet: bool) -> (Self::End, bool) {
        match self {
            Self::Host(feed) => (feed.stop(), true),
            Self::Cuda(feed) => (feed.stop(quiet), quiet),
        }
    }
}
