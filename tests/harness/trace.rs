//! A sink for the trace that keeps all lines.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Keeps the lines of a trace. Clones share the lines.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    /// Returns the events so far.
    ///
    /// # Panics
    /// Panics if a line is not JSON.
    pub fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the number of events of a kind.
    ///
    /// # Panics
    /// Panics as [`lines`](Self::lines) does.
    pub fn count(&self, event: &str) -> usize {
        self.lines().iter().filter(|line| line["event"] == event).count()
    }
}
