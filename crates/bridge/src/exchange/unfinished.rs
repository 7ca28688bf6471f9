//! Commands that no caller waits for any more, kept until they have run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vk_export::{Buffer, OneTimeCommands};

use crate::observe::live::Kind;
use crate::observe::{live, log_error};

/// Commands that may still run, and memory that they copy to.
pub(super) struct RunningCommands {
    /// The value of `rendered` that is signaled after them.
    pub(super) value: u64,
    pub(super) _commands: OneTimeCommands,
    pub(super) _target: Option<Buffer>,
}

/// The commands of an exchange that may still run. Those that are left when it is dropped are
/// leaked.
pub(super) struct Unfinished {
    /// The exchange's name.
    name: String,
    /// `true` if the list has entries. It usually has none, and frames then do not lock it.
    has_entries: AtomicBool,
    list: Mutex<Vec<RunningCommands>>,
}

impl Unfinished {
    pub(super) fn new(exchange: &str) -> Self {
        Self { name: exchange.to_owned(), has_entries: AtomicBool::new(false), list: Mutex::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_entries.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, running: RunningCommands) {
        let mut list = self.list();
        list.push(running);
        self.has_entries.store(true, Ordering::Relaxed);
    }

    /// Frees commands that have run once `rendered` has reached this value.
    pub(super) fn free(&self, reached: u64) {
        let mut list = self.list();
        let ended: Vec<_> = list.extract_if(.., |running| running.value <= reached).collect();
        self.has_entries.store(!list.is_empty(), Ordering::Relaxed);
        drop(list);
        // Outside of the lock, since this may call a logger.
        drop(ended);
    }

    fn list(&self) -> MutexGuard<'_, Vec<RunningCommands>> {
        // No code under this lock can panic and leave the list half changed.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let left = std::mem::take(self.list.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !left.is_empty() {
            let pools = left.len();
            std::mem::forget(left);
            live::leaked(Kind::CommandPool, pools);
            log_error!(
                "exchange \"{}\": {pools} command pools and the memory their commands copy to are leaked, since they \
                 may still be in use",
                self.name
            );
        }
    }
}
