//! A watchdog for a case that hangs in a driver, which only the end of the program can stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The interval at which the time is checked.
const INTERVAL: Duration = Duration::from_millis(250);

/// A watchdog that watches one case at a time.
#[derive(Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<Option<(String, Instant)>>>);

impl Watchdog {
    /// Starts watching. `hung` is called with the name of a case that did not end in time, and must
    /// end the program.
    pub(crate) fn start(hung: impl Fn(&str) + Send + 'static) -> Self {
        let watchdog = Self::default();
        let watched = watchdog.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(INTERVAL);
                if let Some(name) = watched.late(Instant::now()) {
                    hung(&name);
                }
            }
        });
        watchdog
    }

    /// Starts the time limit of a case.
    pub(crate) fn watch(&self, name: &str, limit: Duration) {
        *self.lock() = Some((name.to_owned(), Instant::now() + limit));
    }

    /// Ends the time limit of the case.
    pub(crate) fn rest(&self) {
        *self.lock() = None;
    }

    /// Returns the case that should have ended by `now`, only once.
    fn late(&self, now: Instant) -> Option<String> {
        self.lock().take_if(|(_, end)| now > *end).map(|(name, _)| name)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_a_hanging_case_is_reported_and_once() {
        let watchdog = Watchdog::default();
        let minute = Duration::from_secs(60);
        watchdog.watch("quick", minute);
        watchdog.rest();
        assert_eq!(watchdog.late(Instant::now() + 2 * minute), None);
        watchdog.watch("slow", minute);
        assert_eq!(watchdog.late(Instant::now()), None);
        assert_eq!(watchdog.late(Instant::now() + 2 * minute).as_deref(), Some("slow"));
        assert_eq!(watchdog.late(Instant::now() + 2 * minute), None);
    }

    #[test]
    fn the_time_is_looked_at() {
        let (sender, receiver) = mpsc::channel();
        let watchdog = Watchdog::start(move |name| sender.send(name.to_owned()).unwrap());
        watchdog.watch("slow", Duration::ZERO);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), "slow");
    }
}
