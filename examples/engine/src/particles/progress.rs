//! The progress of a simulation, for those that wait for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::particles::Clock;

/// How far a simulation has come.
#[derive(Debug, Default)]
pub struct Progress {
    made: Mutex<Made>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Made {
    states: u64,
    step: u32,
}

impl Progress {
    /// Waits until the simulation has published this many more states, and returns the step of the
    /// last one.
    ///
    /// # Errors
    /// The limit has elapsed.
    pub fn wait_for_more(&self, states: u64, limit: Duration) -> Result<u32> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let before = made.states;
        let waited = self.changed.wait_timeout_while(made, limit, |made| made.states - before < states);
        let (made, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let passed = made.states - before;
        ensure!(passed >= states, "the simulation stood still: {passed} states of {states} in {limit:?}");
        Ok(made.step)
    }

    fn note(&self, step: u32) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.step != step {
            *made = Made { states: made.states + 1, step };
            self.changed.notify_all();
        }
    }
}

/// A clock that notes the progress of its simulation.
pub(super) struct Noted<C> {
    clock: C,
    progress: Arc<Progress>,
}

impl<C: Clock> Noted<C> {
    pub(super) fn new(clock: C, progress: Arc<Progress>) -> Self {
        Self { clock, progress }
    }
}

impl<C: Clock> Clock for Noted<C> {
    fn due(&mut self, made: u32) -> u32 {
        self.progress.note(made);
        self.clock.due(made)
    }

    fn pause(&self) {
        self.clock.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_from_the_call() {
        let progress = Progress::default();
        [0, 1, 1, 5].into_iter().for_each(|step| progress.note(step));
        assert_eq!(progress.wait_for_more(0, Duration::ZERO).unwrap(), 5);
        let error = progress.wait_for_more(1, Duration::ZERO).unwrap_err().to_string();
        assert_eq!(error, "the simulation stood still: 0 states of 1 in 0ns");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| progress.wait_for_more(2, Duration::from_secs(60)));
            let mut step = 5;
            while !waits.is_finished() {
                step += 1;
                progress.note(step);
                std::thread::yield_now();
            }
            assert!(waits.join().unwrap().unwrap() >= 7);
        });
    }
}
