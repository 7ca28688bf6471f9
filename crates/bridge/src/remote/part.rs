//! The interface that both directions implement: this process's part in the frames of a worker.
#![allow(unsafe_code)] // Signals in the place of a process that is gone.

use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Direction, Message};

use super::memory::{Given, Memory};
use super::terms::Terms;
use super::wake::Wake;
use crate::error::{Error, Result};
use crate::exchange::{Away, AwayState};
use crate::observe::{log_error, log_warn};

/// The handle of an exchange on behalf of its workers.
pub(super) trait End: Away {
    const DIRECTION: Direction;
    /// Whether frames are in step, and values announced before they are reached.
    const TRUST: bool = false;
    type Part: Part<End = Self>;

    /// The memory for the next worker.
    fn memory(&self, terms: &Terms) -> Result<Memory<'_, Slots<Self>>>;

    /// Prepares for the next worker, which computes with `backend`: none before uses anything any
    /// more. Waits for at most `limit`, and until `go_on` gives an error.
    ///
    /// # Errors
    /// That of `go_on`; else why no worker can be taken now.
    fn prepare(&mut self, _backend: Backend, _limit: Duration, _go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        Ok(())
    }
}

/// What a part has of slots that the worker uses itself.
pub(super) type Slots<E> = <<E as End>::Part as Part>::Slots;

/// This process's part in the frames of a worker: what the worker says goes in, and what becomes of
/// frames and slots comes out.
pub(super) trait Part: Sized + Send + 'static {
    type End: End<Part = Self>;
    /// What it has of slots that the worker uses itself.
    type Slots: Send;

    fn new(end: Self::End, given: Given<Self::Slots>, wake: &Arc<Wake>) -> Self;

    /// Notes what the worker has said of a frame or a slot, as the session allows it. Gives what
    /// has come of it at once.
    fn hear(&mut self, said: &Message) -> Option<Outcome>;

    /// Takes over what the worker has finished. Gives something that has come of it, until there is
    /// nothing more. Does not block.
    ///
    /// # Errors
    /// A message for a worker whose memory or values are not what it announced.
    fn advance(&mut self) -> Result<Option<Outcome>, String>;

    /// Returns `true` while the worker has announced something that has not come.
    fn is_busy(&self) -> bool;

    /// Returns `true` while this process copies a frame that the worker has finished, or is about
    /// to: nothing but the copy is waited for.
    fn copies(&self) -> bool {
        false
    }

    /// Returns `true` while frames that were submitted for the worker are on their way to it, which
    /// nothing but this process's queue delays.
    fn hands_over(&self) -> bool {
        false
    }

    /// After which time [`advance`](Self::advance) is to be called again, since something is waited
    /// for that tells nobody.
    fn retry(&self) -> Option<Duration>;

    /// The worker is given nothing more.
    fn close(&mut self);

    /// What was handed to the worker could not be said to it. It is given nothing more.
    fn untold(&mut self, _handed: &Handed) {
        self.close();
    }

    /// The number of announced signals that have not come.
    fn owed(&self) -> usize;

    /// Returns `true` if only the worker itself can finish what it has announced.
    fn needs_worker(&self) -> bool;

    /// Frees memory that was made for the worker: nothing more comes of it.
    fn release(&mut self);

    /// What the worker has announced and not finished within `limit` from the end of what it had
    /// announced before, though nothing but itself delays it: it is killed for that. For a program
    /// that `leaves`, Vulkan is no excuse where it does not move.
    fn overrun(&mut self, _limit: Duration, _leaves: bool) -> Option<String> {
        None
    }

    /// Returns `true` if something that is enqueued waits for the worker.
    fn is_waited_for(&self) -> bool {
        false
    }

    /// The frames that something waits for, by the exchange's numbers.
    fn waited_for(&self) -> Box<[u64]> {
        Box::default()
    }

    /// Signals what the worker owes and will not signal any more, where something waits for it. Its
    /// connection has ended, and if `dead` its process.
    fn settle(&mut self, _dead: bool) -> Settled {
        Settled::default()
    }

    /// Gives up what is on its way. Whether the worker is `quiet`: it uses none of its slots any
    /// more. Gives the handle, and whether all of its slots are its own.
    fn stop(self, quiet: bool) -> (Self::End, bool);
}

/// What was signaled in a worker's place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// The frames that will not be whole.
    pub(super) torn: Box<[u64]>,
    /// The value of the exchange's timeline, the highest that was owed.
    pub(super) value: Option<u64>,
}

/// Frames that a worker has taken back. A hostile one takes back as many as it likes: the log has
/// the first of them, and their number once the worker is lost.
#[derive(Debug, Default)]
pub(super) struct TakenBack(u64);

impl TakenBack {
    /// Counts one. Returns `true` for the first.
    pub(super) fn is_first(&mut self) -> bool {
        self.0 += 1;
        self.0 == 1
    }

    pub(super) fn tell(&self, exchange: &str) {
        if self.0 > 1 {
            log_warn!("exchange \"{exchange}\": {} frames of the worker were torn in all, as it said", self.0);
        }
    }
}

/// The interval at which something is tried again that waits for an event which wakes nobody.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// The interval at which a value that is owed is looked at, at least: the time of a worker that
/// overruns is counted so often.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Waits, for at most `limit`, until no turn with the last worker's timelines is open.
///
/// # Errors
/// That of `go_on`; [`Error::InvalidArgument`] where one still is.
pub(super) fn await_settled(
    exchange: &str,
    limit: Duration,
    go_on: &dyn Fn() -> Result<()>,
    is_settled: impl Fn() -> bool,
) -> Result<()> {
    let start = Instant::now();
    while !is_settled() {
        go_on()?;
        if start.elapsed() >= limit {
            return Err(Error::invalid(
                format!("exchange \"{exchange}\""),
                "a frame of the last worker is not submitted, or its images were not handed over so far; submit, skip or \
                         drop all turns, and let another worker connect then",
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Something that has come of frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The number of a frame of the worker's that the reader may have from now on.
    pub(super) published: Option<u64>,
    /// A slot that is the worker's from now on.
    pub(super) handed: Option<Handed>,
}

/// A slot that is the worker's: to write to, or with a frame to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) slot: usize,
    /// The frame that it holds, where the worker reads.
    pub(super) frame: Option<u64>,
    /// The value of the renderer's timeline, which has reached it; on the CPU a count.
    pub(super) value: u64,
}

/// The sleep of the thread while it waits for a value that wakes nobody: a sixteenth of what it has
/// waited, within limits. A frame that takes 3 ms is seen 0.2 ms after its end at the latest, and a
/// kernel that never ends costs a hundred looks a second, each of less than a microsecond.
pub(super) struct Patience {
    /// When something has happened last.
    since: Instant,
}

impl Patience {
    /// Slots go round once in this time at best: with the shortest frames, it bounds their rate.
    const LEAST: Duration = Duration::from_micros(20);
    const MOST: Duration = Duration::from_millis(10);

    pub(super) fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Has the sleeps of the calling thread end when they should. By default Linux ends them up to
    /// 50 µs late, to wake the processor less often.
    pub(super) fn be_punctual() {
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000)) {
            log_warn!("frames of workers are seen up to 50 µs late: the timer slack cannot be set: {error}");
        }
    }

    /// Something has happened.
    pub(super) fn renew(&mut self) {
        *self = Self::new();
    }

    pub(super) fn sleep(&self) -> Duration {
        (self.since.elapsed() / 16).clamp(Self::LEAST, Self::MOST)
    }
}

/// Turns an error of what a worker was given into the reason for which its connection ends. The
/// loss of the device is not the worker's fault, and the program's handle tells of it.
pub(super) fn blame(what: &str, result: Result<()>, end: &impl Away) -> Result<(), String> {
    match result {
        Err(error) if !error.is_device_lost() => Err(format!("{what}: {error}")),
        // The value that a timeline of a lost device has, and the worker can signal.
        Err(_) if !end.is_lost() => Err(format!("{what}: it has reached 2^64 - 1, which no value may be")),
        _ => Ok(()),
    }
}

/// Signals all that a worker with CUDA owes.
///
/// # Safety
/// Its process has ended.
pub(super) unsafe fn release_gpu<E>(end: &E)
where
    E: Away + Deref<Target = AwayState<E::Resources>>,
{
    // SAFETY: with the process its work on the GPU has ended; what a child that was forked from it
    // keeps going is signaled behind values that nothing waits for any more, on a timeline that
    // nobody uses again.
    if let Err(error) = unsafe { end.release() } {
        log_error!("exchange \"{}\": the Vulkan queue may hang: {error}", end.exchange());
    }
}

/// The worker that held slots uses them no more.
pub(super) fn recover(end: &impl Away) {
    end.away().into_iter().for_each(|slot| end.come_back(slot));
}

/// The number of a slot, as it is said.
pub(super) fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_frames_that_are_taken_back_the_log_has_the_first() {
        let mut taken_back = TakenBack::default();
        assert_eq!([(); 3].map(|()| taken_back.is_first()), [true, false, false]);
        assert_eq!(taken_back.0, 3);
    }
}
