//! Parts for workers that read, which hold the reader of an exchange on behalf of a worker.

mod cuda;
mod host;

use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Direction, Message};

use super::memory::{AcceptedMemory, OfferedMemory, untrusted_memory};
use super::part::{HandedSlot, Outcome, Part, WorkerHandle, index};
use super::terms::Terms;
use super::timelines::Timelines;
use super::wake::Waker;
use crate::error::Result;
use crate::exchange::{LatestReader, RenderFirst};
use crate::resources::Resources;
use cuda::CudaReaderPart;
use host::HostReaderPart;

/// The part for a worker that reads.
pub(super) enum LatestReaderPart<R: Resources> {
    Host(HostReaderPart<R>),
    Cuda(CudaReaderPart<R>),
}

impl<R: Resources> WorkerHandle for LatestReader<R, RenderFirst> {
    const DIRECTION: Direction = Direction::RendererWrites;
    type Part = LatestReaderPart<R>;

    fn memory(&self, terms: &Terms) -> Result<OfferedMemory<'_, Timelines>> {
        untrusted_memory(self, terms)
    }
}

impl<R: Resources> Part for LatestReaderPart<R> {
    type Handle = LatestReader<R, RenderFirst>;
    type Slots = Timelines;

    fn new(reader: Self::Handle, given: AcceptedMemory<Timelines>, waker: &Arc<Waker>) -> Self {
        match given {
            AcceptedMemory::Files(files) => Self::Host(HostReaderPart::new(reader, files, waker)),
            AcceptedMemory::Slots(timelines) => Self::Cuda(CudaReaderPart::new(reader, timelines)),
        }
    }

    fn handle_message(&mut self, message: &Message) -> Option<Outcome> {
        // The session allows no other message of a reader.
        if let &Message::Free { slot, value, .. } = message {
            match self {
                Self::Host(part) => part.add_free(index(slot)),
                Self::Cuda(part) => part.add_freed(index(slot), value),
            }
        }
        None
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        match self {
            Self::Host(part) => part.advance(),
            Self::Cuda(part) => part.advance(),
        }
    }

    fn is_busy(&self) -> bool {
        self.pending_signals() > 0
    }

    fn retry_delay(&self) -> Option<Duration> {
        match self {
            Self::Host(part) => part.retry_delay(),
            Self::Cuda(part) => part.retry_delay(),
        }
    }

    fn close(&mut self) {
        match self {
            Self::Host(part) => part.close(),
            Self::Cuda(part) => part.close(),
        }
    }

    fn return_unsent(&mut self, handed: &HandedSlot) {
        self.close();
        if let Self::Cuda(part) = self {
            part.return_unsent(handed);
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
