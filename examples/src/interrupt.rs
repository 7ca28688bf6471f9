//! Ctrl-C and similar signals as a flag that a loop polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// The exit code of a run that was interrupted, by the convention of shells.
pub const EXIT_CODE: u8 = 130;

/// A flag that is set when the user asks the program to end.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the handler: Ctrl-C (also SIGTERM and SIGHUP) sets the flag, and a second one ends
    /// the program immediately. Must be called at most once per program.
    pub fn install() -> Result<Self> {
        let interrupt = Self { asked: Arc::new(AtomicBool::new(false)) };
        let asked = interrupt.asked.clone();
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(EXIT_CODE));
            }
        })
        .context("cannot watch for Ctrl-C")?;
        Ok(interrupt)
    }

    /// Returns `true` if the loop should end after the frame in flight.
    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}
