//! The events that a sink of the trace has kept.

use serde_json::Value;
use test_support::Sink;

/// Access to the events of a trace.
pub trait Events {
    /// Returns the events so far.
    ///
    /// # Panics
    /// Panics if a line is not JSON.
    fn lines(&self) -> Vec<Value>;

    /// Returns the number of events of a kind.
    ///
    /// # Panics
    /// Panics as [`lines`](Self::lines) does.
    fn count(&self, event: &str) -> usize {
        self.lines().iter().filter(|line| line["event"] == event).count()
    }
}

impl Events for Sink {
    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
