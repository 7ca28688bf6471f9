//! The trace events of a worker: one function per event, named as in the trace. They do nothing if
//! the trace is off.

use bridge_trace::{Event, EventKind, Side, event};
pub(crate) use bridge_trace::{init, is_on};

use crate::link::Ended;
use crate::shared::Shared;

/// Creates an event on this side.
fn on_side<'a>(shared: &Shared, kind: EventKind, object: &'a str) -> Event<'a> {
    Event::new(kind, if shared.cuda.is_some() { Side::Cuda } else { Side::Host }, object)
}

/// Traces that the worker has connected.
pub(crate) fn connect(shared: &Shared) {
    event(on_side(shared, EventKind::Connect, &shared.renderer.name).peer(shared.renderer.pid));
}

/// Traces that the worker accepts an exchange.
pub(crate) fn offer(shared: &Shared, exchange: &str) {
    event(on_side(shared, EventKind::Offer, exchange).peer(shared.renderer.pid));
}

/// The events of a slot of an exchange.
pub(crate) struct SlotTrace<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) exchange: &'a str,
    pub(crate) slot: u32,
}

impl SlotTrace<'_> {
    fn event(&self, kind: EventKind) -> Event<'_> {
        on_side(self.shared, kind, self.exchange).slot(self.slot.into())
    }

    /// Traces that a frame is begun.
    pub(crate) fn begin(&self, frame: u64) {
        event(self.event(EventKind::Begin).frame(frame));
    }

    /// Traces that the slot is kept without a frame.
    pub(crate) fn skip(&self, frame: u64) {
        event(self.event(EventKind::Skip).frame(frame));
    }

    /// Traces that a frame is handed over.
    pub(crate) fn publish(&self, frame: u64, value: u64) {
        event(self.event(EventKind::Publish).frame(frame).value(value));
    }

    /// Traces that a frame is taken.
    pub(crate) fn take(&self, frame: u64, value: u64) {
        event(self.event(EventKind::Take).frame(frame).value(value));
    }

    /// Traces that the slot is returned.
    pub(crate) fn free(&self, value: u64) {
        event(self.event(EventKind::Free).value(value));
    }
}

/// Traces the end of an exchange once: `lost` if the renderer's process has ended, else `close`.
#[derive(Debug, Default)]
pub(crate) struct EndTrace(bool);

impl EndTrace {
    /// Traces that either side has ended the exchange.
    pub(crate) fn record_close(&mut self, shared: &Shared, exchange: &str) {
        self.once(shared, EventKind::Close, exchange);
    }

    /// Traces the end that a wait has reported. A timeout is not an end.
    pub(crate) fn record(&mut self, shared: &Shared, ended: &Ended, exchange: &str) {
        match ended {
            Ended::Dead => self.once(shared, EventKind::Lost, exchange),
            Ended::Closed(_) => self.once(shared, EventKind::Close, exchange),
            Ended::Timeout => {}
        }
    }

    fn once(&mut self, shared: &Shared, kind: EventKind, exchange: &str) {
        if !std::mem::replace(&mut self.0, true) {
            event(on_side(shared, kind, exchange).peer(shared.renderer.pid));
        }
    }
}
