//! The renderer draws frames, and the worker computes with the newest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Direction, Message, Offer};
use cuda_import::cudarc::driver::CudaStream;

use crate::error::Error;
use crate::frame::Frame;
use crate::link::{Ended, Published};
use crate::shared::Shared;
use crate::side::{self, EndTrace, Imported, SEND_LIMIT, Side};

/// The reader of an exchange. It belongs to one thread at a time.
pub struct LatestReader<F: Frame> {
    /// Before `shared`: the slots go before the connection.
    side: Side<F>,
    offer: Offer,
    /// The frame that turns are of. Its slot is this side's.
    held: Option<Published>,
    /// A newer one, which takes its place as soon as the calls for that succeed.
    next: Option<Published>,
    /// The last value of this side's timeline.
    computed: u64,
    end: EndTrace,
    shared: Arc<Shared>,
}

/// The resources to read.
#[non_exhaustive]
pub enum Read<'a, F: Frame> {
    /// Kernels and copies on a stream.
    Cuda(CudaRead<'a, F>),
    /// Copies on this thread.
    Host(HostRead<'a, F>),
}

/// A CUDA turn that reads.
#[non_exhaustive]
pub struct CudaRead<'a, F: Frame> {
    /// The exchange's own stream. The slot is given back behind the work on it; work with the views
    /// on other streams is joined when the turn ends, where cudarc knows of it.
    pub stream: &'a Arc<CudaStream>,
    /// The frame.
    pub views: F::CudaSources<'a>,
}

/// A turn on the CPU that reads.
#[non_exhaustive]
pub struct HostRead<'a, F: Frame> {
    /// The frame.
    pub views: F::HostSources<'a>,
}

impl<F: Frame> LatestReader<F> {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str) -> Result<Self, Error> {
        let Imported { side, offer, computed } = side::import(shared, name, Direction::RendererWrites, false)?;
        let (end, shared) = (EndTrace::default(), Arc::clone(shared));
        let reader = Self { side, offer, held: None, next: None, computed, end, shared };
        reader.shared.ready(&reader.offer)?;
        Ok(reader)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.offer.name
    }

    /// Slots.
    pub fn slots(&self) -> usize {
        self.offer.slots as usize
    }

    /// The stream of its turns; `None` on the CPU.
    pub fn stream(&self) -> Option<&Arc<CudaStream>> {
        match &self.side {
            Side::Cuda(side) => Some(side.stream()),
            Side::Host(_) => None,
        }
    }

    /// The newest frame, or the one before again if there is no newer one; `None` before the first.
    /// Does not wait. The frame before goes back to the renderer behind the work of its turns.
    ///
    /// # Errors
    /// [`Error::PeerLost`] when the renderer's process has ended, [`Error::Closed`] where it has
    /// closed the exchange or the connection, [`Error::Cuda`] where this side's GPU work has
    /// failed.
    pub fn newest(&mut self) -> Result<Option<ReadTurn<'_, F>>, Error> {
        self.wait_for_newer(Duration::ZERO)?;
        Ok(self.held.map(|frame| ReadTurn { reader: self, frame, done: false }))
    }

    /// Waits, for at most `timeout`, until [`newest`](Self::newest) has a frame that it did not
    /// have before; returns whether it has.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub fn wait_for_newer(&mut self, timeout: Duration) -> Result<bool, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = match deadline {
                // There is one already, which an earlier call could not take.
                _ if self.next.is_some() => Duration::ZERO,
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => timeout,
            };
            let found = self.published(left)?;
            let waits = found.is_some();
            self.choose(found.unwrap_or_default())?;
            if let Some(next) = self.next {
                self.take(next)?;
                return Ok(true);
            }
            if !waits {
                return Ok(false);
            }
        }
    }

    /// Takes what the renderer has published, torn frames too: their slots are to go back. Waits
    /// for at most `timeout`.
    fn published(&mut self, timeout: Duration) -> Result<Option<Vec<Published>>, Error> {
        let exchange = self.offer.exchange;
        let found = self.shared.link.wait_for(timeout, |state| {
            let inbox = state.inboxes.get_mut(&exchange)?;
            if inbox.closed {
                return Some(None);
            }
            let any = !inbox.published.is_empty();
            any.then(|| Some(inbox.published.drain(..).collect()))
        });
        match found {
            Ok(Some(frames)) => Ok(Some(frames)),
            Ok(None) => {
                self.end.tell(&self.shared, "close", &self.offer.name);
                let reason = format!("by {}", self.shared.link.peer());
                Err(Error::Closed { exchange: self.offer.name.clone(), reason })
            }
            Err(Ended::Timeout) => Ok(None),
            Err(ended) => Err(self.ended(ended)),
        }
    }

    /// Chooses the newest of these frames that is whole, and gives the others back.
    fn choose(&mut self, frames: Vec<Published>) -> Result<(), Error> {
        let newest = frames.iter().rposition(|frame| !frame.torn);
        let superseded = newest.and_then(|newest| self.next.replace(frames[newest]));
        let others = frames.iter().enumerate().filter(|(place, _)| Some(*place) != newest).map(|(_, frame)| frame);
        for frame in superseded.iter().chain(others) {
            // Nothing of this side was enqueued for those.
            self.free(frame.slot, 0)?;
        }
        Ok(())
    }

    /// Holds `next`, which is not held before all calls for it have succeeded, and gives back the
    /// slot of the frame before.
    fn take(&mut self, next: Published) -> Result<(), Error> {
        let mut done = 0;
        if let Side::Cuda(side) = &mut self.side {
            if let Some(old) = self.held {
                // Spent even if the call fails.
                self.computed += 1;
                done = self.computed;
                side.signal_read(old.slot, done)?;
            }
            // It is reached, or announced in trust; a value that was read elsewhere orders no
            // memory.
            side.wait(next.value)?;
        }
        self.next = None;
        let old = self.held.replace(next);
        let Published { slot, frame, value, .. } = next;
        let taken = self.shared.event("take", &self.offer.name).slot(slot.into());
        bridge_trace::event(taken.frame(frame).value(value));
        match old {
            Some(old) => self.free(old.slot, done),
            None => Ok(()),
        }
    }

    fn free(&mut self, slot: u32, value: u64) -> Result<(), Error> {
        bridge_trace::event(self.shared.event("free", &self.offer.name).slot(slot.into()).value(value));
        let free = Message::Free { exchange: self.offer.exchange, slot, value };
        let sent = self.shared.link.send(&free, SEND_LIMIT);
        sent.map_err(|ended| self.ended(ended))
    }

    fn ended(&mut self, ended: Ended) -> Error {
        self.end.tell_of(&self.shared, &ended, &self.offer.name);
        let owed = self.side.rescue(&ended);
        let frame = self.held.map_or(0, |held| held.frame);
        side::ended_error(&self.shared, &self.offer.name, frame, owed, ended)
    }
}

impl<F: Frame> std::fmt::Debug for LatestReader<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LatestReader(\"{}\", {} slots)", self.name(), self.slots())
    }
}

impl<F: Frame> Drop for LatestReader<F> {
    fn drop(&mut self) {
        self.end.tell(&self.shared, "close", &self.offer.name);
        self.shared.leave(&mut self.side, self.offer.exchange);
    }
}

/// A frame that is being read. Its slot stays this side's until a newer frame is taken.
pub struct ReadTurn<'a, F: Frame> {
    reader: &'a mut LatestReader<F>,
    frame: Published,
    done: bool,
}

impl<F: Frame> ReadTurn<'_, F> {
    /// The number of the frame; it never falls.
    pub fn frame(&self) -> u64 {
        self.frame.frame
    }

    /// The slot.
    pub fn slot(&self) -> usize {
        self.frame.slot as usize
    }

    /// The resources to read, lent until the turn ends.
    pub fn work(&self) -> Read<'_, F> {
        match &self.reader.side {
            Side::Cuda(side) => {
                let (stream, views) = side.sources(self.frame.slot);
                Read::Cuda(CudaRead { stream, views })
            }
            Side::Host(slots) => Read::Host(HostRead { views: F::host_sources(&slots[self.frame.slot as usize]) }),
        }
    }

    /// Ends the turn. Dropping it does the same, and logs the error.
    ///
    /// # Errors
    /// [`Error::Cuda`] where work on other streams could not be joined.
    pub fn finish(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.done = true;
        match &self.reader.side {
            Side::Cuda(side) => side.join(self.frame.slot),
            Side::Host(_) => Ok(()),
        }
    }
}

impl<F: Frame> Drop for ReadTurn<'_, F> {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = self.end()
        {
            log::error!("exchange \"{}\": {error}", self.reader.offer.name);
        }
    }
}
