//! The trace events of an exchange with a worker in another process: one function per event, named
//! as in the trace. They do nothing if the trace is off.
//!
//! `worker` is the ID of the worker's process; `slot`, `frame` and `value` are those of a message.

use bridge_trace::{Event, EventKind, Side, event};

fn of_exchange(kind: EventKind, exchange: &str) -> Event<'_> {
    Event::new(kind, Side::Host, exchange)
}

/// Traces that the exchange is about to be offered to a worker.
pub(crate) fn connect(exchange: &str, worker: u32) {
    event(of_exchange(EventKind::Connect, exchange).peer(worker));
}

/// Traces that the worker has accepted the exchange.
pub(crate) fn offer(exchange: &str, worker: u32) {
    event(of_exchange(EventKind::Offer, exchange).peer(worker));
}

/// Traces that a frame is handed over to the worker.
pub(crate) fn publish(exchange: &str, slot: u32, frame: u64, value: u64) {
    event(of_exchange(EventKind::Publish, exchange).slot(slot.into()).frame(frame).value(value));
}

/// Traces that a frame of the worker has arrived.
pub(crate) fn take(exchange: &str, slot: u32, frame: u64, value: u64) {
    event(of_exchange(EventKind::Take, exchange).slot(slot.into()).frame(frame).value(value));
}

/// Traces that a slot is given to the worker.
pub(crate) fn free(exchange: &str, slot: u32, value: u64) {
    event(of_exchange(EventKind::Free, exchange).slot(slot.into()).value(value));
}

/// Traces that the exchange or the connection has ended.
pub(crate) fn close(exchange: &str, worker: u32) {
    event(of_exchange(EventKind::Close, exchange).peer(worker));
}

/// Traces that the worker's process has ended.
pub(crate) fn lost(exchange: &str, worker: u32) {
    event(of_exchange(EventKind::Lost, exchange).peer(worker));
}

/// Traces that the worker is about to be killed.
pub(crate) fn kill(exchange: &str, worker: u32) {
    event(of_exchange(EventKind::Kill, exchange).peer(worker));
}
