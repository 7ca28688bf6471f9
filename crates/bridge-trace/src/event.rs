//! The contents of a line.

use serde::Serialize;

use crate::clock;
use crate::names::{EventKind, Side};

/// An event, written as a line by [`event`](crate::event).
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Event<'a> {
    event: EventKind,
    side: Side,
    object: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedicated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl<'a> Event<'a> {
    /// Creates an event of the object with this name, on the side that causes it.
    pub fn new(event: EventKind, side: Side, object: &'a str) -> Self {
        Self {
            event,
            side,
            object,
            value: None,
            bytes: None,
            dedicated: None,
            slot: None,
            frame: None,
            peer: None,
            count: None,
        }
    }

    /// Sets the value of a timeline.
    #[must_use]
    pub fn value(self, value: u64) -> Self {
        Self { value: Some(value), ..self }
    }

    /// Sets the size of the object in bytes, if it is meaningful.
    #[must_use]
    pub fn bytes(self, bytes: Option<u64>) -> Self {
        Self { bytes, ..self }
    }

    /// Sets whether the object has a dedicated allocation.
    #[must_use]
    pub fn dedicated(self, dedicated: bool) -> Self {
        Self { dedicated: Some(dedicated), ..self }
    }

    /// Sets the slot of an exchange between two processes.
    #[must_use]
    pub fn slot(self, slot: u64) -> Self {
        Self { slot: Some(slot), ..self }
    }

    /// Sets the number of a frame between two processes.
    #[must_use]
    pub fn frame(self, frame: u64) -> Self {
        Self { frame: Some(frame), ..self }
    }

    /// Sets a number of lines.
    #[must_use]
    pub(crate) fn count(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// Sets the process at the other end.
    #[must_use]
    pub fn peer(self, process: u32) -> Self {
        Self { peer: Some(process), ..self }
    }
}

/// A line of the trace. The time comes first, so that `sort` orders lines by it.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    /// Time of the clock that all processes share, in nanoseconds.
    ns: u64,
    /// Microseconds since the trace was turned on.
    us: u64,
    /// The process that writes the line.
    pid: u32,
    #[serde(flatten)]
    event: Event<'a>,
}

impl<'a> Line<'a> {
    /// Creates a line with the current time, in a trace that was turned on at `start`.
    pub(crate) fn now(start: u64, event: Event<'a>) -> Self {
        let ns = clock::now();
        Self { ns, us: ns.saturating_sub(start) / 1000, pid: std::process::id(), event }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_the_first_field_and_unset_fields_are_omitted() {
        let event = Event::new(EventKind::Publish, Side::Host, "a \"name\"").slot(1).frame(7);
        let line = serde_json::to_string(&Line::now(clock::now(), event)).unwrap();
        assert!(line.starts_with("{\"ns\":") && !line.contains("null"), "{line}");
        let end = "\"event\":\"publish\",\"side\":\"host\",\"object\":\"a \\\"name\\\"\",\"slot\":1,\"frame\":7}";
        assert!(line.ends_with(end) && !line.contains("value"), "{line}");
        assert!(line.contains(&format!("\"pid\":{},", std::process::id())), "{line}");
    }
}
