//! The foreign streams of a buffer or image, that is, streams other than its home stream. Each use
//! on one of them has an event that marks its end.
//!
//! cudarc records the event when its guard is dropped, and can report a failure only in the context
//! object of the guard's stream. Safe code can reach both through a guard: it can record the event
//! elsewhere, or clear the error. Each guard is therefore made from its own [`Ticket`], an event
//! and a context object that no other guard has, so that misuse of one guard does not affect the
//! order or the errors of other uses. cudarc's copies hold their guard themselves and drop it after
//! they have enqueued the copy. If a program misuses or forgets a guard of its own, only work that
//! it enqueues with unsafe code is unordered.
//!
//! A ticket is reused, for any stream, after the object has been borrowed exclusively, because no
//! guard is alive then, unless its context object was cloned out of a guard. Without such a borrow,
//! each use needs another ticket, and nothing tells whether an earlier guard is still alive. A
//! ticket that is lent must not be lent again, even without an event: through the context object in
//! a guard, safe code can make the synchronization of another guard fail, and then clear the error.
//! So there is a limit: uses beyond [`MAX_TICKETS`] are refused.
//!
//! Contains unsafe code because it creates cudarc objects from raw handles.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::driver::{CudaEvent, CudaStream, SyncOnDrop};

use crate::device::CudaDevice;
use crate::device::private_context::{PrivateContext, Uncounted};
use crate::identity::key;
use crate::logging::LogHold;
use crate::stream::refusal::Refusal;
use crate::sys::{self, CallError, CallResult, EventHandle, Release};

/// The maximum number of tickets, because every use waits for all events. Further uses are refused.
pub(crate) const MAX_TICKETS: usize = 256;

/// The ticket's guard, or an object from it, may still be alive.
const LENT: u8 = 1;

/// The ticket was lent since the home stream was last made to wait for its event.
const PENDING: u8 = 2;

#[derive(Debug)]
pub(crate) struct ForeignStreams {
    /// A list that only grows, because guards borrow the events in it.
    first: OnceLock<Box<Ticket>>,
    /// cudarc records events only in a context object that has created a stream, so this stream
    /// lives as long as the list.
    _anchor: Arc<CudaStream>,
    /// Dropped last, because the others refer to it. Never given to a guard; the tickets have
    /// copies.
    context: PrivateContext,
}

/// The state of one guard at a time.
#[derive(Debug)]
struct Ticket {
    /// A combination of [`LENT`] and [`PENDING`].
    state: AtomicU8,
    /// `None` only while the ticket is dropped.
    last_use: Option<Uncounted<CudaEvent>>,
    /// The foreign stream of the last guard with the ticket's own context object. Borrowed: only
    /// used while a guard borrows the real stream. Changed only by the thread that has set
    /// [`LENT`], before it returns the guard.
    stream: UnsafeCell<Option<Uncounted<Arc<CudaStream>>>>,
    next: OnceLock<Box<Ticket>>,
    /// Dropped last, because the event and the stream refer to it.
    context: Mutex<PrivateContext>,
}

// SAFETY: the fields other than `stream` are `Sync`, and so is a `CudaStream`. It is changed only
// by the thread that has set `LENT`, before a guard refers to it.
unsafe impl Sync for Ticket {}

impl Release for ForeignStreams {
    fn release(self) {
        // A logger may change the current context.
        let _held = LogHold::new();
        let _current = sys::bind_for_drop(self.context.object());
        drop(self);
    }
}

impl ForeignStreams {
    /// Creates the list. The device's context must be current.
    pub(crate) fn new(device: &CudaDevice, home: &CudaStream) -> CallResult<Self> {
        let context = PrivateContext::new(device)?;
        // SAFETY: the handle is live while `home` is borrowed, and the wrapper is dropped at the
        // end of this function.
        let home = unsafe { context.object().wrap_borrowed_stream(home.cu_stream()) };
        let anchor = home.fork().map_err(|error| CallError::from_cudarc("cuStreamCreate", error))?;
        // Errors that destructors recorded there do not belong to a foreign stream.
        device.object().record_err(context.object().check_err());
        Ok(Self { first: OnceLock::new(), _anchor: anchor, context })
    }

    /// Returns an error that was recorded since the last call, which means that a foreign stream's
    /// work is not covered by its event.
    pub(crate) fn take_failure(&self) -> Option<CallError> {
        // Takes all errors and returns one, which applies to all uses.
        let failures = self.tickets().filter_map(|ticket| ticket.context().object().check_err().err());
        failures.last().map(|error| CallError::from_cudarc("cuEventRecord", error))
    }

    /// Returns the events of all foreign streams.
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

    /// Like [`pending`](Self::pending), for a `wait` that makes the home stream wait. That stream
    /// need not wait for the same use again, unless a guard may still be dropped, which records the
    /// event again.
    pub(crate) fn join(&self, mut wait: impl FnMut(EventHandle) -> CallResult<()>) -> CallResult<()> {
        for ticket in self.tickets() {
            let state = ticket.state.load(Ordering::Acquire);
            if state == 0 {
                continue;
            }
            ticket.event().map_or(Ok(()), &mut wait)?;
            if state == PENDING {
                // Fails if it was lent in the meantime.
                let _ = ticket.state.compare_exchange(PENDING, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Marks each ticket as free, for any stream, except those whose context object the program has
    /// kept: no guard may be alive.
    pub(crate) fn reset_tickets(&self) {
        for ticket in self.tickets() {
            if ticket.state.load(Ordering::Acquire) & LENT != 0 && ticket.context().is_unique() {
                ticket.state.fetch_and(!LENT, Ordering::AcqRel);
            }
        }
    }

    /// Returns a guard that records the end of the work on `stream` when it is dropped.
    pub(crate) fn guard(&self, stream: &CudaStream) -> Result<SyncOnDrop<'_>, Refusal> {
        let mut place = &self.first;
        for _ in 0..MAX_TICKETS {
            if place.get().is_none() {
                // If another thread was faster, this place has its ticket: continue after it.
                let _ = place.set(Box::new(self.ticket()?));
            }
            let Some(ticket) = place.get() else { break };
            if let Some(guard) = ticket.lend(stream) {
                return Ok(guard);
            }
            place = &ticket.next;
        }
        Err(Refusal::TooManyUses)
    }

    fn ticket(&self) -> CallResult<Ticket> {
        let made = |error| CallError::from_cudarc("cuEventCreate", error);
        let context = self.context.copy();
        // SAFETY: the ticket holds both, and drops the event with this object.
        let last_use = unsafe { context.new_event_uncounted() }.map_err(made)?;
        Ok(Ticket {
            state: AtomicU8::new(0),
            last_use: Some(last_use),
            stream: UnsafeCell::new(None),
            next: OnceLock::new(),
            context: Mutex::new(context),
        })
    }

    fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        std::iter::successors(self.first.get().map(Box::as_ref), |ticket| ticket.next.get().map(Box::as_ref))
    }
}

impl Ticket {
    /// Lends the ticket: returns a guard for the stream if the ticket was free. Makes no driver
    /// call.
    fn lend(&self, stream: &CudaStream) -> Option<SyncOnDrop<'_>> {
        if self.state.fetch_or(LENT | PENDING, Ordering::AcqRel) & LENT != 0 {
            return None;
        }
        // SAFETY: the ticket was free, so no guard refers to the wrapper, and only this thread
        // accesses it now.
        let place = unsafe { &mut *self.stream.get() };
        let wrapper = match place.take() {
            Some(wrapper) if key(&wrapper) == key(stream) => wrapper,
            other => {
                let context = self.context();
                context.drop_uncounted(other);
                // SAFETY: the ticket holds both, and drops the wrapper with this object. It is used
                // only under a guard that borrows the real stream.
                unsafe { context.wrap_uncounted(stream) }
            }
        };
        let wrapper: &CudaStream = place.insert(wrapper);
        Some(SyncOnDrop::Record(Some((self.last_use.as_deref()?, wrapper))))
    }

    fn event(&self) -> Option<EventHandle> {
        self.last_use.as_deref().map(EventHandle::of)
    }

    fn context(&self) -> MutexGuard<'_, PrivateContext> {
        self.context.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (event, stream) = (self.last_use.take(), self.stream.get_mut().take());
        let context = self.context();
        context.drop_uncounted(event);
        context.drop_uncounted(stream);
    }
}
