//! An exchange that this side uses: common parts of its writer or reader.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Direction, Message, Offer};
use cuda_import::cudarc::driver::CudaStream;

use crate::error::{Error, Result};
use crate::exchange::read::{CudaRead, HostRead, Read};
use crate::link::{Ended, Published};
use crate::resources::Resources;
use crate::shared::Shared;
use crate::side::{self, ImportedExchange, Side};
use crate::trace::{self, EndTrace, SlotTrace};

/// The slots of an exchange, and their connection. Dropping it leaves the exchange.
pub(crate) struct ExchangeSlots<R: Resources> {
    /// Declared before `shared`, so that the slots are dropped before the connection.
    pub(crate) side: Side<R>,
    pub(crate) offer: Offer,
    /// The last value of this side's timeline.
    pub(crate) computed: u64,
    end: EndTrace,
    pub(crate) shared: Arc<Shared>,
}

impl<R: Resources> ExchangeSlots<R> {
    /// Imports the exchange with this name, and notifies the renderer that it is ready.
    pub(crate) fn new(shared: &Arc<Shared>, name: &str, direction: Direction, trust: bool) -> Result<Self> {
        let ImportedExchange { side, offer, computed } = side::import(shared, name, direction, trust)?;
        let slots = Self { side, offer, computed, end: EndTrace::default(), shared: Arc::clone(shared) };
        slots.shared.ready(&slots.offer)?;
        Ok(slots)
    }

    pub(crate) fn name(&self) -> &str {
        &self.offer.name
    }

    pub(crate) fn slots(&self) -> usize {
        self.offer.slots as usize
    }

    /// Returns `true` in a process that was forked from the one that has the exchange. Its copy
    /// shares the connection and the GPU's objects with its parent, and ends neither.
    pub(crate) fn is_forked(&self) -> bool {
        self.shared.link.is_forked()
    }

    /// Checks that this is not a forked child, before a call uses the driver.
    pub(crate) fn check_owner(&self) -> Result<()> {
        let checked = self.shared.link.check_owner();
        checked.map_err(|ended| side::ended_error(&self.shared, &self.offer.name, 0, None, ended))
    }

    /// Returns the stream of the turns, or `None` on the CPU.
    pub(crate) fn stream(&self) -> Option<&Arc<CudaStream>> {
        match &self.side {
            Side::Cuda(side) => Some(side.stream()),
            Side::Host(_) => None,
        }
    }

    /// Begins a turn that reads a slot.
    pub(crate) fn begin_read(&mut self, slot: u32) {
        if let Side::Cuda(side) = &mut self.side {
            side.begin_read(slot);
        }
    }

    /// Returns the resources of a slot, for reading.
    pub(crate) fn read(&self, slot: u32) -> Read<'_, R> {
        match &self.side {
            Side::Cuda(side) => {
                let (stream, resources) = side.sources(slot);
                Read::Cuda(CudaRead { stream, resources })
            }
            Side::Host(slots) => Read::Host(HostRead { resources: R::host_sources(&slots[slot as usize]) }),
        }
    }

    /// Waits until `take` returns a value from the frames that the renderer has published, for at
    /// most `timeout`. `frame` is the number for errors.
    pub(crate) fn published<T>(
        &mut self,
        timeout: Duration,
        frame: u64,
        mut take: impl FnMut(&mut VecDeque<Published>) -> Option<T>,
    ) -> Result<Option<T>> {
        let exchange = self.offer.exchange;
        // On the CPU, frames were copied, and are complete whatever happens to the renderer.
        let outlive = matches!(self.side, Side::Host(_));
        let found = self.shared.link.wait_for_frame(timeout, outlive, |state| {
            let has_ended = state.connection.has_ended();
            let inbox = state.inboxes.get_mut(&exchange)?;
            // Frames that arrived before the end are returned before the end is reported.
            let taken = take(&mut inbox.published).map(Some);
            taken.or_else(|| (inbox.closed && !has_ended).then_some(None))
        });
        match found {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => Err(self.closed()),
            Err(Ended::Timeout) => Ok(None),
            Err(ended) => Err(self.ended(ended, frame)),
        }
    }

    /// Returns the trace events of a slot.
    pub(crate) fn traced(&self, slot: u32) -> SlotTrace<'_> {
        SlotTrace { shared: &self.shared, exchange: self.name(), slot }
    }

    /// Traces that a frame was taken.
    pub(crate) fn trace_take(&self, Published { slot, frame, value, .. }: Published) {
        self.traced(slot).take(frame, value);
    }

    /// Returns a slot to the renderer, to be reused after `value` of this side's timeline. `frame`
    /// is the number for errors, `left` as for [`send`](Self::send). Does nothing if the renderer
    /// has ended as planned, since frames that arrived before may still be read.
    pub(crate) fn free(&mut self, slot: u32, value: u64, frame: u64, left: Duration) -> Result<()> {
        let (link, exchange) = (&self.shared.link, self.offer.exchange);
        if trace::is_on() && !link.state().is_abandoned(exchange) {
            self.traced(slot).free(value);
        }
        let sent = link.send_unless_abandoned(exchange, &Message::Free { exchange, slot, value }, left);
        sent.map_err(|ended| self.ended(ended, frame))
    }

    /// Sends a message of the exchange. `frame` is the number for errors. If the connection has
    /// ended, waits for the end of the renderer's process for at most `left`.
    pub(crate) fn send(&mut self, message: &Message, frame: u64, left: Duration) -> Result<()> {
        if self.send_if_open(message, frame, left)? { Ok(()) } else { Err(self.closed()) }
    }

    /// Like [`send`](Self::send), but returns `false` and sends nothing if the renderer has closed
    /// the exchange.
    pub(crate) fn send_if_open(&mut self, message: &Message, frame: u64, left: Duration) -> Result<bool> {
        let sent = self.shared.link.send(self.offer.exchange, message, left);
        sent.map_err(|ended| self.ended(ended, frame))
    }

    /// Returns the error of a message that could not be sent, so that the connection has ended.
    /// `frame` is the number for errors.
    pub(crate) fn unsent(&mut self, frame: u64) -> Error {
        match self.shared.link.check(Duration::MAX) {
            Err(ended) => self.ended(ended, frame),
            Ok(()) => self.closed(),
        }
    }

    /// Returns the error of an exchange that the renderer has closed.
    pub(crate) fn closed(&mut self) -> Error {
        self.end.record_close(&self.shared, &self.offer.name);
        Error::Closed { exchange: self.offer.name.clone(), reason: format!("by {}", self.shared.link.peer()) }
    }

    /// Returns the error of a wait that has failed at a frame. Signals the values that a dead
    /// renderer owed.
    pub(crate) fn ended(&mut self, ended: Ended, frame: u64) -> Error {
        self.end.record(&self.shared, &ended, &self.offer.name);
        let owed = self.side.rescue(&ended);
        side::ended_error(&self.shared, &self.offer.name, frame, owed, ended)
    }

    /// Formats the writer or reader for `Debug`.
    pub(crate) fn debug(&self, kind: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{kind}(\"{}\", {} slots)", self.name(), self.slots())
    }
}

impl<R: Resources> Drop for ExchangeSlots<R> {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        self.end.record_close(&self.shared, &self.offer.name);
        self.shared.leave(&mut self.side, self.offer.exchange);
    }
}
