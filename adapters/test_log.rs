//! A logger that keeps the warnings and errors of a test program, including the messages of the
//! validation layer, and prints them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each program uses a part of it")]

use std::sync::Mutex;

struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}: {}", record.level(), record.target(), record.args());
            eprintln!("{line}");
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

/// Makes this the program's logger. Called once.
pub fn install() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
}

/// Returns the lines logged so far for which `is_wanted` returns `true`.
pub fn logged_lines(is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    LINES.0.lock().unwrap().iter().filter(|line| is_wanted(line)).cloned().collect()
}

/// Returns `true` if a line logged so far contains `text`.
pub fn logged(text: &str) -> bool {
    LINES.0.lock().unwrap().iter().any(|line| line.contains(text))
}

/// Forgets the lines logged so far.
pub fn forget() {
    LINES.0.lock().unwrap().clear();
}
