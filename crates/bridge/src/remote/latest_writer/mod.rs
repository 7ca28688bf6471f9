//! Parts for workers that write, which hold the writer of an exchange on behalf of a worker.

mod cuda;
mod frames;
mod host;

use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Direction, Message};

use super::memory::{AcceptedMemory, OfferedMemory, untrusted_memory};
use super::part::{Outcome, Part, RETRY_INTERVAL, WorkerHandle, index};
use super::terms::Terms;
use super::timelines::Timelines;
use super::wake::Waker;
use crate::error::Result;
use crate::exchange::{ComputeFirst, LatestWriter};
use crate::resources::Resources;
use cuda::CudaWriterPart;
use host::HostWriterPart;

/// A frame that the worker has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FinishedFrame {
    /// The worker's slot.
    pub(super) slot: usize,
    /// The worker's number of the frame.
    pub(super) frame: u64,
    /// With CUDA, the value that the worker's timeline reaches once the frame is complete.
    pub(super) value: u64,
}

/// The part for a worker that writes.
pub(super) enum LatestWriterPart<R: Resources> {
    Host(HostWriterPart<R>),
    Cuda(CudaWriterPart<R>),
}

impl<R: Resources> WorkerHandle for LatestWriter<R, ComputeFirst> {
    const DIRECTION: Direction = Direction::WorkerWrites;
    type Part = LatestWriterPart<R>;

    fn memory(&self, terms: &Terms) -> Result<OfferedMemory<'_, Timelines>> {
        untrusted_memory(self, terms)
    }
}

impl<R: Resources> Part for LatestWriterPart<R> {
    type Handle = LatestWriter<R, ComputeFirst>;
    type Slots = Timelines;

    fn new(writer: Self::Handle, given: AcceptedMemory<Timelines>, waker: &Arc<Waker>) -> Self {
        match given {
            AcceptedMemory::Files(files) => Self::Host(HostWriterPart::new(writer, files, waker)),
            AcceptedMemory::Slots(timelines) => Self::Cuda(CudaWriterPart::new(writer, timelines)),
        }
    }

    /// Handles a published frame, or one that the worker takes back: it is not shown if still
    /// possible.
    fn handle_message(&mut self, message: &Message) -> Option<Outcome> {
        match (self, message) {
            (Self::Host(part), &Message::Publish { slot, frame, value, .. }) => {
                return part.set_finished(FinishedFrame { slot: index(slot), frame, value });
            }
            (Self::Host(part), &Message::Torn { slot, frame, .. }) => return part.mark_torn(index(slot), frame),
            (Self::Cuda(part), &Message::Publish { slot, frame, value, .. }) => {
                part.add_published(FinishedFrame { slot: index(slot), frame, value });
            }
            (Self::Cuda(part), &Message::Torn { slot, frame, .. }) => part.mark_torn(index(slot), frame),
            // The session allows no other message of a writer.
            _ => {}
        }
        None
    }

    fn woken(&mut self) {
        if let Self::Cuda(part) = self {
            part.woken();
        }
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        match self {
            Self::Host(part) => part.advance(),
            Self::Cuda(part) => part.advance(),
        }
    }

    fn is_busy(&self) -> bool {
        match self {
            Self::Host(part) => part.is_busy(),
            Self::Cuda(part) => part.is_busy(),
        }
    }

    fn is_copying(&self) -> bool {
        match self {
            Self::Host(part) => part.is_busy() && !part.is_retrying(),
            Self::Cuda(_) => false,
        }
    }

    fn retry_delay(&self) -> Option<Duration> {
        match self {
            Self::Host(part) => part.is_retrying().then_some(RETRY_INTERVAL),
            Self::Cuda(part) => part.retry_delay(),
        }
    }

    fn close(&mut self) {
        match self {
            // The last finished frame is still copied.
            Self::Host(_) => {}
            Self::Cuda(part) => part.close(),
        }
    }

    fn release(&mut self) {
        if let Self::Host(part) = self {
            part.release();
        }
    }

    fn pending_signals(&self) -> usize {
        match self {
            Self::Host(_) => 0,
            Self::Cuda(part) => part.pending_signals(),
        }
    }

    fn needs_worker(&self) -> bool {
        matches!(self, Self::Cuda(_))
    }

    fn stop(self, quiet: bool) -> (Self::Handle, bool) {
        match self {
            Self::Host(part) => (part.stop(), true),
            Self::Cuda(part) => (part.stop(quiet), quiet),
        }
    }
}
