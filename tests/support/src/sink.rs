//! A sink that keeps what is written to it, such as the lines of a trace.

use std::io::{Result, Write};
use std::sync::{Arc, Mutex};

/// Keeps all bytes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    /// Returns the text so far.
    ///
    /// # Panics
    /// Panics if it is not UTF-8, or if a write has panicked.
    #[allow(clippy::unwrap_used)] // If the text cannot be read, the test fails.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    #[allow(clippy::unwrap_used)] // As above.
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
