//! Progress of a long run: a bar on a terminal, an occasional line otherwise.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::print_error;

/// The interval of progress lines without a terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reports progress on the error stream, so that standard output stays clean.
pub struct Progress {
    bar: ProgressBar,
    total: Option<u64>,
    last: Instant,
    noun: &'static str,
}

impl Progress {
    /// Starts a run of `total` items that `noun` names, or of an unknown number.
    pub fn new(total: Option<u64>, noun: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        let template = match total {
            Some(_) => "{bar:32.cyan/blue} {pos}/{len} {msg}  {per_sec}  {eta} left",
            None => "{spinner} {pos} {msg}  {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(noun);
        Self { bar, total, last: Instant::now(), noun }
    }

    /// Reports that `done` items are done.
    pub fn at(&mut self, done: u64) {
        if !self.bar.is_hidden() {
            return self.bar.set_position(done);
        }
        if self.last.elapsed() >= INTERVAL {
            self.last = Instant::now();
            match self.total {
                Some(total) => print_error(format_args!("{done}/{total} {}", self.noun)),
                None => print_error(format_args!("{done} {}", self.noun)),
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
