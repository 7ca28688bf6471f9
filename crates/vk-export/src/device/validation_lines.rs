//! Logs the validation layer's messages on a separate thread.
//!
//! The layer calls back from inside a Vulkan call. A logger must not run there: the callback "must
//! not make calls to any Vulkan commands" (`PFN_vkDebugUtilsMessengerCallbackEXT`), which a logger
//! may do, and a panic must not unwind out of the callback.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::logging::{log_to, log_warn};

/// The maximum number of lines that wait for the logger; further lines are counted, not logged.
const MAX_WAITING: usize = 1000;

/// The maximum time that dropping waits for the remaining lines. A slower logger still gets them.
const LIMIT: Duration = Duration::from_secs(1);

/// One line for the log.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) level: log::Level,
    pub(crate) text: String,
}

/// The logging thread. Dropping it waits until every line is logged, for at most one second.
#[derive(Debug)]
pub(crate) struct Lines {
    /// `None` only while this is being dropped.
    sender: Option<SyncSender<Line>>,
    left_out: Arc<AtomicU64>,
    /// Disconnected once the thread has logged everything.
    ended: Mutex<Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let (alive, ended) = sync_channel(0);
        let left_out = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&left_out);
        let thread = std::thread::Builder::new().name("vulkan validation".into()).spawn(move || {
            let _alive = alive;
            log_all(&receiver, &counted);
        })?;
        Ok(Self { sender: Some(sender), left_out, ended: Mutex::new(ended), thread: Some(thread) })
    }

    /// Queues a line for the thread; never blocks.
    pub(crate) fn push(&self, line: Line) {
        if self.sender.as_ref().is_none_or(|sender| sender.try_send(line).is_err()) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.sender = None;
        let Some(thread) = self.thread.take() else { return };
        // On the logging thread itself (a logger may hold the last reference to a device), the wait
        // would deadlock.
        if thread.thread().id() == std::thread::current().id() {
            return;
        }
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Disconnected) {
            // The thread catches every panic, so `join` returns `Ok`.
            let _ = thread.join();
        }
    }
}

fn log_all(lines: &Receiver<Line>, left_out: &AtomicU64) {
    // A logger that panics loses only that line; the panic hook reports the panic.
    for Line { level, text } in lines {
        log_to!("vk_export::device::validation", level, "{text}");
        let count = left_out.swap(0, Ordering::Relaxed);
        if count > 0 {
            log_warn!("validation: {count} messages were dropped because the logger was too slow");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_it_waits_for_a_thread_that_ends() {
        let lines = Lines::new().unwrap();
        let left_out = Arc::clone(&lines.left_out);
        let line = |number| Line { level: log::Level::Debug, text: format!("line {number}") };
        (0..MAX_WAITING).for_each(|number| lines.push(line(number)));
        drop(lines);
        assert_eq!(left_out.load(Ordering::Relaxed), 0);
        // The thread has ended and dropped its reference.
        assert_eq!(Arc::strong_count(&left_out), 1);
    }
}
