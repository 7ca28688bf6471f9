//! The guest streams of a buffer or image, that is, streams other than its home stream. Each use on
//! one of them has an event that marks its end.
//!
//! cudarc records the event when its guard is dropped, and can report a failure only in the context
//! object of the guard's stream. Safe code can reach both through a guard: it can record the event
//! elsewhere, or clear the error. Each guard is therefore made from its own [`Ticket`], an event
//! and a context object that no other guard has, so that misuse of one guard does not affect the
//! order or the errors of other uses. cudarc's copies hold their guard themselves and drop it after
//! they have enqueued the copy. If a program misuses or forgets a guard of its own, only work that
//! it enqueues with unsafe code is unordered.
//!
//! A ticket is reused, for the same stream, after the object has been borrowed exclusively, because
//! no guard is alive then. At most [`MAX_EVENTS`] tickets are created. If there is no exclusive
//! borrow for that many uses, as in a program that only reads through `view`, tickets are reused in
//! turn. Only then can code that has kept parts of an old guard affect a later one.
//!
//! Unsafe because it makes cudarc objects of raw handles.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaEvent, CudaStream, SyncOnDrop};

use crate::device::CudaDevice;
use crate::device::mailbox::OwnMailbox;
use crate::stream::identity::key;
use crate::sys::{CallError, CallResult, EventHandle, Owner};

/// More guests than this are synchronized on the host, so that a program which makes a stream a
/// frame stays bounded.
const MAX_EVENTS: usize = 64;

/// More are refused: that many different handles are no use of streams any more.
const MAX_GUESTS: usize = 1024;

/// Somebody may have a ticket's guard, or what was in one.
const LENT: u8 = 1;

/// A ticket was lent since the home stream was last made to wait for its event.
const PENDING: u8 = 2;

#[derive(Debug)]
pub(crate) struct Guests {
    /// As a list that only grows: a guard borrows an event in it.
    first: OnceLock<Box<Ticket>>,
    /// Which ticket is lent again where none is free.
    turn: AtomicUsize,
    /// cudarc records events only in a context that has a stream of its own making, so this one is
    /// there as long as the list.
    _anchor: Arc<CudaStream>,
    /// Last: the others hold it. In no guard; those of the tickets are copies.
    context: OwnMailbox,
}

/// State of one guard at a time.
#[derive(Debug)]
struct Ticket {
    /// [`LENT`] and [`PENDING`].
    state: AtomicU8,
    /// None for one of too many.
    last_use: Option<CudaEvent>,
    /// The guest under the ticket's own context object. Borrowed: only used while a guard borrows
    /// the real one.
    stream: Arc<CudaStream>,
    next: OnceLock<Box<Ticket>>,
    /// Last: the event and the stream hold it.
    context: OwnMailbox,
}

impl Owner for Guests {}

impl Guests {
    /// The device's context must be current.
    pub(crate) fn new(device: &CudaDevice, home: &CudaStream) -> CallResult<Self> {
        let context = OwnMailbox::new(device)?;
        // SAFETY: the handle is live while `home` is borrowed, and the wrapper goes at the end of
        // this function.
        let home = unsafe { context.object().wrap_borrowed_stream(home.cu_stream()) };
        let anchor = home.fork().map_err(|error| CallError::from_cudarc("cuStreamCreate", error))?;
        // What the destructors in there noted is no guest's.
        device.object().record_err(context.object().check_err());
        Ok(Self { first: OnceLock::new(), turn: AtomicUsize::new(0), _anchor: anchor, context })
    }

    /// What was noted since the last call: a guest's work is not covered by its event.
    pub(crate) fn take_failure(&self) -> Option<CallError> {
        // All are taken: one failure stands for every use.
        let failures = self.tickets().filter_map(|ticket| ticket.context.object().check_err().err());
        failures.last().map(|error| CallError::from_cudarc("cuEventRecord", error))
    }

    /// The events of all guests.
    pub(crate) fn events(&self) -> impl Iterator<Item = EventHandle> {
        self.tickets().filter_map(Ticket::event)
    }

    /// Returns `true` if there is a use that the home stream does not wait for.
    pub(crate) fn are_pending(&self) -> bool {
        self.tickets().any(|ticket| ticket.state.load(Ordering::Acquire) != 0)
    }

    /// Calls `wait` with the events of all uses that the home stream does not wait for, until it
    /// fails.
    pub(crate) fn pending(&self, wait: impl FnMut(EventHandle) -> CallResult<()>) -> CallResult<()> {
        self.tickets()
            .filter(|ticket| ticket.state.load(Ordering::Acquire) != 0)
            .filter_map(Ticket::event)
            .try_for_each(wait)
    }

    /// As [`pending`](Self::pending), where `wait` makes the home stream wait: it need not do so
    /// again, unless a guard may still be dropped, which records the event once more.
    pub(crate) fn join(&self, mut wait: impl FnMut(EventHandle) -> CallResult<()>) -> CallResult<()> {
        for ticket in self.tickets() {
            let state = ticket.state.load(Ordering::Acquire);
            if state == 0 {
                continue;
            }
            ticket.event().map_or(Ok(()), &mut wait)?;
            if state == PENDING {
                // Fails if it was lent meanwhile.
                let _ = ticket.state.compare_exchange(PENDING, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Nobody has a guard, nor what was in one: each ticket may be lent again.
    pub(crate) fn settle(&self) {
        for ticket in self.tickets() {
            ticket.state.fetch_and(!LENT, Ordering::AcqRel);
        }
    }

    /// Returns a guard that has the end of the work on `stream` recorded once it is dropped.
    pub(crate) fn guard(&self, stream: &CudaStream) -> CallResult<SyncOnDrop<'_>> {
        let mut place = &self.first;
        for nth in 0..MAX_GUESTS {
            if place.get().is_none() {
                if nth >= MAX_EVENTS
                    && let Some(ticket) = self.next_in_turn(stream)
                {
                    return Ok(ticket.guard());
                }
                // Losing a race here leaves another guard's ticket in this place: go on behind it.
                let _ = place.set(Box::new(self.ticket(stream, nth < MAX_EVENTS)?));
            }
            let Some(ticket) = place.get() else { break };
            if ticket.is_of(stream) && ticket.lend() {
                return Ok(ticket.guard());
            }
            place = &ticket.next;
        }
        self.next_in_turn(stream)
            .map(Ticket::guard)
            .ok_or(CallError { call: "cuEventCreate", code: crate::sys::INVALID_VALUE })
    }

    fn ticket(&self, stream: &CudaStream, with_event: bool) -> CallResult<Ticket> {
        let made = |error| CallError::from_cudarc("cuEventCreate", error);
        let context = self.context.copy();
        let last_use = with_event.then(|| context.object().new_event(None).map_err(made)).transpose()?;
        // SAFETY: the wrapper destroys nothing, and is used only under a guard that borrows the
        // real stream.
        let stream = unsafe { context.object().wrap_borrowed_stream(stream.cu_stream()) };
        Ok(Ticket { state: AtomicU8::new(0), last_use, stream, next: OnceLock::new(), context })
    }

    /// One of the stream's tickets, lent or not.
    fn next_in_turn(&self, stream: &CudaStream) -> Option<&Ticket> {
        let own = || self.tickets().filter(|ticket| ticket.is_of(stream));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(own().count())?;
        let ticket = own().nth(turn)?;
        ticket.lend();
        Some(ticket)
    }

    fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        std::iter::successors(self.first.get().map(Box::as_ref), |ticket| ticket.next.get().map(Box::as_ref))
    }
}

impl Ticket {
    fn is_of(&self, stream: &CudaStream) -> bool {
        key(&self.stream) == key(stream)
    }

    /// Returns `true` if it was nobody's.
    fn lend(&self) -> bool {
        self.state.fetch_or(LENT | PENDING, Ordering::AcqRel) & LENT == 0
    }

    fn event(&self) -> Option<EventHandle> {
        self.last_use.as_ref().map(EventHandle::of)
    }

    fn guard(&self) -> SyncOnDrop<'_> {
        match &self.last_use {
            Some(event) => SyncOnDrop::Record(Some((event, &self.stream))),
            None => SyncOnDrop::Sync(Some(&self.stream)),
        }
    }
}
