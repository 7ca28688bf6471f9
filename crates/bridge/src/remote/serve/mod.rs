//! Parts for workers that read, which hold the reader of an exchange on behalf of a worker.

mod cuda;
mod host;

use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Direction, Message};

use super::memory::{Given, Memory, untrusted_memory};
use super::part::{End, Handed, Outcome, Part, index};
use super::terms::Terms;
use super::timelines::Timelines;
use super::wake::Wake;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{LatestReader, RenderFirst};
use cuda::CudaServe;
use host::HostServe;

/// The part for a worker that reads.
pub(super) enum Serve<R: Resources> {
    Host(HostServe<R>),
    Cuda(CudaServe<R>),
}

impl<R: Resources> End for LatestReader<R, RenderFirst> {
    const DIRECTION: Direction = Direction::RendererWrites;
    type Part = Serve<R>;

    fn memory(&self, terms: &Terms) -> Result<Memory<'_, Timelines>> {
        untrusted_memory(self, terms)
    }
}

impl<R: Resources> Part for Serve<R> {
    type End = LatestReader<R, RenderFirst>;
    type Slots = Timelines;

    fn new(reader: Self::End, given: Given<Timelines>, wake: &Arc<Wake>) -> Self {
        match given {
            Given::Files(files) => Self::Host(HostServe::new(reader, files, wake)),
            Given::Slots(timelines) => Self::Cuda(CudaServe::new(reader, timelines)),
        }
    }

    fn hear(&mut self, said: &Message) -> Option<Outcome> {
        // The session allows no other message of a reader.
        if let &Message::Free { slot, value, .. } = said {
            match self {
                Self::Host(serve) => serve.freed(index(slot)),
                Self::Cuda(serve) => serve.freed(index(slot), value),
            }
        }
        None
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        match self {
            Self::Host(serve) => serve.advance(),
            Self::Cuda(serve) => serve.advance(),
        }
    }

    fn is_busy(&self) -> bool {
        self.owed() > 0
    }

    fn retry(&self) -> Option<Duration> {
        match self {
            Self::Host(serve) => serve.retry(),
            Self::Cuda(serve) => serve.retry(),
        }
    }

    fn close(&mut self) {
        match self {
            Self::Host(serve) => serve.close(),
            Self::Cuda(serve) => serve.close(),
        }
    }

    fn untold(&mut self, handed: &Handed) {
        self.close();
        if let Self::Cuda(serve) = self {
            serve.untold(handed);
        }
    }

    fn release(&mut self) {
        if let Self::Host(serve) = self {
            serve.release();
        }
    }

    fn owed(&self) -> usize {
        match self {
            Self::Host(_) => 0,
            Self::Cuda(serve) => serve.owed(),
        }
    }

    fn needs_worker(&self) -> bool {
        matches!(self, Self::Cuda(_))
    }

    fn stop(self, quiet: bool) -> (Self::End, bool) {
        match self {
            Self::Host(serve) => (serve.stop(), true),
            Self::Cuda(serve) => (serve.stop(quiet), quiet),
        }
    }
}
