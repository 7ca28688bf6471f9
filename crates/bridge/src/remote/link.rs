//! The thread of a connection, from the offer to the worker's end.

use std::sync::mpsc::{SyncSender, channel};
use std::sync::{Arc, PoisonError};

use bridge_ipc::{Code, Connection};

use super::control::{Awaited, Control, Stage};
use super::half::{Home, take};
use super::listening::{Listening, TOGETHER};
use super::part::{End, Part, Patience};
use super::status::{Lost, Status};
use super::terms::Terms;
use super::thread::Thread;
use super::wake::Wake;
use crate::error::{Error, Result};
use crate::observe::trace::{self, Event};

/// A connection that a thread listens to. Dropping it ends both and restores the workers' half,
/// unless the thread is [detached](Self::end).
///
/// A forked child has a copy, but neither the thread nor the connection: it ends nothing, and waits
/// for nothing.
pub(super) struct Link {
    control: Arc<Control>,
    thread: Option<Thread>,
}

impl Link {
    /// Starts a thread that offers the exchange to the worker, and listens to it once it has
    /// accepted. Waits for neither; the result of the offer is sent to `told`. The thread also
    /// takes over a detached thread `before`, and waits for it.
    pub(super) fn new<E: End>(
        mut connection: Connection,
        terms: &Terms,
        status: &Arc<Status>,
        home: &Home<E>,
        wake: &Arc<Wake>,
        before: &mut Option<Thread>,
        told: Option<SyncSender<Result<()>>>,
    ) -> Result<Self> {
        let control = Arc::new(Control::new(wake));
        let worker = connection.peer().pid();
        let (control_too, status_too, home, terms) =
            (Arc::clone(&control), Arc::clone(status), Arc::clone(home), terms.clone());
        let (give, gives) = channel::<Thread>();
        let listen = move || {
            let (control, status, timeout) = (control_too, Arc::clone(&status_too), terms.timeout);
            let _ended = Ended(Arc::clone(&control));
            let unheard = Unheard(&status_too);
            let tell = |result| told.as_ref().map(|told| told.send(result));
            let bring_back = |half| *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(half);
            Patience::be_punctual();
            // Nothing is owed any more, so that thread is about to restore the half.
            let _ = gives.recv().map(Thread::join);
            // The half was lost with a thread that panicked.
            let Some(mut half) = take(&home) else {
                connection.close(Code::Failure, "the renderer's thread for the workers of this exchange has failed");
                return unheard.tell();
            };
            let given = half.await_quiet(&connection, &control, timeout).and_then(|()| {
                let awaited = Awaited { exchange: status.exchange(), control: &control, worker: &connection };
                half.end.prepare(terms.backend, timeout, &|| awaited.go_on())?;
                let memory = half.end.memory(&terms)?;
                terms.offer(&mut connection, memory, &control)
            });
            let given = match given {
                Ok(given) => given,
                Err(error) => {
                    let error = last_word(&mut connection, error);
                    // If this process has failed, the worker is still waiting.
                    let code = if control.is_stopped() { Code::Done } else { Code::Failure };
                    connection.close(code, &error.to_string());
                    bring_back(half);
                    let dead = control.await_death(&connection, Some(TOGETHER));
                    status.lost(Lost {
                        reason: format!("has not taken the exchange: {error}"),
                        dead,
                        ..Lost::default()
                    });
                    tell(Err(error));
                    if !dead && control.await_death(&connection, None) {
                        status.has_died();
                    }
                    return;
                }
            };
            trace::event(Event::new("offer", "host", status.exchange()).peer(worker));
            tell(Ok(()));
            let part = E::Part::new(half.end, given, control.wake());
            let held = terms.given() as usize;
            bring_back(Listening { connection, part, control, status, timeout, held, deaf: false }.run());
        };
        // Before the thread can receive the first message of the worker.
        status.connected(worker);
        trace::event(Event::new("connect", "host", status.exchange()).peer(worker));
        let builder = std::thread::Builder::new().name("bridge-remote".into());
        #[cfg(test)]
        let builder = match status.starts_no_thread.load(std::sync::atomic::Ordering::Relaxed) {
            true => builder.stack_size(1 << 60),
            false => builder,
        };
        let thread = builder.spawn(listen).map_err(|error| {
            let reason = format!("cannot be served, since no thread could be started: {error}");
            status.lost(Lost { reason: reason.clone(), ..Lost::default() });
            Error::HostFailed { reason: format!("worker process {worker} {reason}") }
        })?;
        // Not moved into the closure: if no thread starts, `before` is waited for by another one.
        if let Some(before) = before.take() {
            let _ = give.send(before);
        }
        Ok(Self { control, thread: Some(Thread::new(thread)) })
    }

    /// Ends the connection. Returns the thread if it continues: the worker owes something, was
    /// killed for that, and its process has not ended yet. The thread owns everything that it needs
    /// to signal in the worker's place afterwards, and then restores the half.
    pub(super) fn end(mut self) -> Option<Thread> {
        self.leave()
    }

    /// Asks the thread to end the connection, without waiting.
    pub(super) fn stop(&self) {
        // A forked child has the event counter of its parent.
        if !self.is_forked() {
            self.control.stop();
        }
    }

    /// Like [`stop`](Self::stop), if frames that are being copied will not be used.
    pub(super) fn discard(&self) {
        if !self.is_forked() {
            self.control.discard();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.control.is_stopped()
    }

    /// Lets the thread end the connection alone. It restores the half.
    pub(super) fn abandon(mut self) -> Option<Thread> {
        self.stop();
        self.take_thread()
    }

    /// Returns `true` in a process that was forked from the one that has the thread.
    pub(super) fn is_forked(&self) -> bool {
        self.thread.as_ref().is_some_and(Thread::is_forked)
    }

    fn leave(&mut self) -> Option<Thread> {
        let thread = self.take_thread()?;
        self.control.stop();
        if self.control.await_leave() == Stage::Detached {
            return Some(thread);
        }
        thread.join();
        None
    }

    fn take_thread(&mut self) -> Option<Thread> {
        if self.is_forked() {
            return None;
        }
        self.thread.take()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.discard();
        drop(self.leave());
    }
}

/// Maximum number of messages that a worker sends after its Hello before it is offered anything.
const WORDS: usize = 4;

/// Returns the reason why a worker was not offered the exchange: the worker's own, if it has ended
/// the connection with one, and `error` otherwise.
fn last_word(connection: &mut Connection, error: Error) -> Error {
    if connection.has_ended() {
        return error;
    }
    for _ in 0..WORDS {
        match connection.try_receive() {
            Ok(Some(_)) => {}
            Err(said @ bridge_ipc::Error::Closed { reason: Some(_), .. }) => return said.into(),
            Ok(None) | Err(_) => break,
        }
    }
    error
}

/// Reports the end of a thread, even if it panics.
struct Ended(Arc<Control>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Reports a thread that panics: no thread listens to the worker from then on.
struct Unheard<'a>(&'a Status);

impl Unheard<'_> {
    fn tell(&self) {
        // An earlier report takes precedence.
        self.0.lost(Lost { reason: "is no longer served".to_owned(), ..Lost::default() });
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
