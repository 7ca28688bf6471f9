//! What a worker leaves that is lost, or that the program wants no more of: frames on their way.

use std::time::{Duration, Instant};

use super::control::has_gone;
use super::listening::{End, Listening, TOGETHER, and_has_ended};
use super::part::Part;
use super::status::Lost;
use super::wake::sleep;
use crate::observe::log_warn;
use crate::observe::trace::{self, Event};

/// How long the program that wants no more of a worker waits for copies of the frames that it had
/// finished: far longer than most take.
const COPY_LIMIT: Duration = Duration::from_millis(500);

impl<P: Part> Listening<P> {
    /// The worker is lost: tells so, and takes over what it had finished. Returns whether it uses
    /// its slots no more.
    pub(super) fn outlive(&mut self, end: End) -> bool {
        let End { mut reason, closed, killed } = end;
        self.part.close();
        // The kernel closes a dead process's sockets before it tells of its end. A driver may hold
        // one that was killed for long: the program is told meanwhile.
        let dead = self.control.await_death(&self.connection, Some(TOGETHER));
        if dead && !killed {
            reason = and_has_ended(reason);
        }
        // Nothing more comes of a worker that has failed in this.
        let mut usable = self.take_over().is_ok();
        // Behind its Close, all that it will ever finish is finished.
        usable &= !(closed && self.part.needs_worker());
        let owed = self.part.owed() as u64;
        let settled = if dead { self.settle() } else { self.part.settle(false) };
        if !dead {
            trace::event(Event::new("close", "host", self.status.exchange()).peer(self.status.worker()));
        }
        // Before the program knows of the loss, and may ask for another worker.
        self.status.owes(self.part.waited_for());
        self.status.lost(Lost { reason, dead, held: self.held, owed, settled });
        if let Some(error) = self.status.error() {
            log_warn!("{error}");
        }
        let settled = self.enforce(killed);
        self.settled(settled);
        let start = Instant::now();
        while usable && self.part.is_busy() {
            self.control.wake().clear();
            if self.control.is_stopped() {
                break;
            }
            let left = self.timeout.saturating_sub(start.elapsed());
            // Asked before what it has finished is looked at: a worker that has ended finishes
            // nothing more.
            let ended = self.part.needs_worker() && self.connection.peer().is_dead();
            // With the memory that it left, nothing new can be broken.
            usable = self.take_over().is_ok() && !left.is_zero() && !ended;
            if usable && self.part.is_busy() {
                let retry = self.part.retry().map_or(left, |retry| left.min(retry));
                // Process and socket are ready for good.
                sleep([&**self.control.wake()], Some(retry));
            }
        }
        if usable {
            self.await_copies();
        }
        self.part.release();
        // Its process may go on, and end later.
        if !dead && self.control.await_death(&self.connection, None) {
            let settled = self.settle();
            self.settled(settled);
            self.status.has_died();
        }
        closed || has_gone(&self.connection)
    }

    /// Gives the worker the frames that were submitted for it, as far as they are drawn and copied
    /// within [`COPY_LIMIT`]. Returns `false` where it has failed, or is not told of them.
    pub(super) fn hand_over(&mut self) -> bool {
        let start = Instant::now();
        loop {
            self.control.wake().clear();
            if self.take_over().is_err() || self.deaf || self.connection.peer().is_dead() {
                return false;
            }
            let left = COPY_LIMIT.saturating_sub(start.elapsed());
            if left.is_zero() || !self.part.hands_over() {
                return true;
            }
            let retry = self.part.retry().map_or(left, |retry| left.min(retry));
            sleep([&**self.control.wake(), self.connection.peer()], Some(retry));
        }
    }

    /// Takes over the frames that this process copies, though the program wants no more of the
    /// worker: they are whole, and nothing but the copies is waited for. Not where it
    /// [discards](Control::discard) them.
    pub(super) fn await_copies(&mut self) {
        let start = Instant::now();
        while !self.control.discards() && self.part.copies() {
            self.control.wake().clear();
            let left = COPY_LIMIT.saturating_sub(start.elapsed());
            if self.take_over().is_err() || left.is_zero() {
                return;
            }
            if self.part.copies() {
                sleep([&**self.control.wake()], Some(left));
            }
        }
    }
}
