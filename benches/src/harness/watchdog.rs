//! The end of a case that hangs in a driver: nothing else can end that but the end of the program.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the time is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Watches one case at a time.
#[derive(Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<Option<(String, Instant)>>>);

impl Watchdog {
    /// Starts watching. `hung` gets the name of a case that did not end in time; it is to end the program.
    pub(crate) fn start(hung: impl Fn(&str) + Send + 'static) -> Self {
        let watchdog = Self::default();
        let watched = watchdog.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(LOOK);
                let late = watched.lock().take_if(|(_, end)| Instant::now() > *end);
                if let Some((name, _)) = late {
                    hung(&name);
                }
            }
        });
        watchdog
    }

    /// A case begins, and has this long.
    pub(crate) fn watch(&self, name: &str, limit: Duration) {
        *self.lock() = Some((name.to_owned(), Instant::now() + limit));
    }

    /// It has ended.
    pub(crate) fn rest(&self) {
        *self.lock() = None;
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
    fn only_a_case_that_hangs_is_told_once() {
        let (sender, receiver) = mpsc::channel();
        let watchdog = Watchdog::start(move |name| sender.send(name.to_owned()).unwrap());
        watchdog.watch("quick", Duration::ZERO);
        watchdog.rest();
        watchdog.watch("slow", Duration::ZERO);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).unwrap(), "slow");
        assert!(receiver.recv_timeout(2 * LOOK).is_err());
    }
}
