//! Ctrl-C, and its likes, as a question that a loop asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// The exit code of a run that was interrupted, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Knows whether the user asked the program to end.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on Ctrl-C (also SIGTERM and SIGHUP) only sets a flag; a second one ends the program
    /// at once. To be called once in a program.
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

    /// Whether the loop should end after the frame in flight.
    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}
