//! Order between the streams that use one buffer or image.
//!
//! Each object has a home stream. Work there is in order and costs nothing more. Any other stream
//! is a foreign stream: it first waits for the work that is currently enqueued on the home stream
//! and on the other foreign streams, and records an event at its end for later users. An object
//! that never had a foreign stream pays one load for this.
//!
//! This code neither reads nor clears errors that cudarc records in a program's context object: the
//! order depends only on the driver's results.
//!
//! Contains unsafe code because it passes events to the driver.
#![allow(unsafe_code)]

mod end;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::{CudaStream, DriverError, SyncOnDrop};

use crate::capture::{self, Role};
use crate::device::CudaDevice;
use crate::error::{Error, Object, Result};
use crate::identity::{is_per_thread, is_same};
use crate::logging::log_warn;
use crate::stream::Event;
use crate::stream::foreign_streams::{ForeignStreams, MAX_TICKETS};
use crate::stream::poll::warn;
use crate::stream::refusal::{Refusal, check_stream};
use crate::stream::spare_events::SpareEvents;
use crate::sys::{CallError, CallResult, Current, Restoring};

/// Set before the first object of the process is used on a foreign stream.
static ANY_FOREIGN_STREAMS: AtomicBool = AtomicBool::new(false);

/// Returns `true` once any buffer or image in this process has been used on a stream other than its
/// home stream. Until then none of them
/// [has foreign work](crate::MappedBuffer::has_foreign_work): one load instead of one for each.
#[doc(hidden)]
#[inline]
pub fn any_foreign_streams() -> bool {
    ANY_FOREIGN_STREAMS.load(Ordering::Acquire)
}

#[derive(Debug)]
pub(crate) struct StreamOrder {
    foreign_streams: OnceLock<Restoring<ForeignStreams>>,
    /// A foreign stream's work that no event covers; kept until the host has seen it end.
    failure: Mutex<Option<CallError>>,
    /// Set when an owner has declared that all work has ended; cleared by the next use.
    known_idle: AtomicBool,
    /// For the waits between two streams.
    spare_events: SpareEvents,
    /// Description of the object, for errors.
    object: Box<str>,
    home: Restoring<Arc<CudaStream>>,
    device: CudaDevice,
}

impl StreamOrder {
    /// Creates the order of `object`, which belongs to `device`.
    pub(crate) fn new(home: &Arc<CudaStream>, device: &CudaDevice, object: &Object<'_>) -> Result<Self> {
        check_stream(home, device, object)?;
        Ok(Self {
            foreign_streams: OnceLock::new(),
            failure: Mutex::new(None),
            known_idle: AtomicBool::new(false),
            spare_events: SpareEvents::default(),
            object: object.to_string().into(),
            home: Restoring::new(Arc::clone(home)),
            device: device.clone(),
        })
    }

    pub(crate) fn home(&self) -> &Arc<CudaStream> {
        &self.home
    }

    /// Lets `stream` use the object after everything that is enqueued now. Work that it enqueues
    /// before the guard is dropped precedes every use that begins later.
    ///
    /// If one stream cannot be made to wait for another, the host waits, and a warning is logged.
    /// Returns `None` if the use cannot be ordered: the object must then not be used. The reason is
    /// recorded in the contexts of both streams, as cudarc does.
    ///
    /// While a graph is captured, the captured stream replaces the home stream.
    pub(crate) fn begin_use<'a>(&'a self, stream: &'a CudaStream) -> Option<SyncOnDrop<'a>> {
        match self.try_begin_use(stream) {
            Ok(guard) => Some(guard),
            Err(refusal) => {
                log_warn!("{}; the stream gets a null pointer", self.refused(refusal, &self.object));
                self.note(refusal.note(), stream);
                None
            }
        }
    }

    /// Like [`begin_use`](Self::begin_use), but returns the error.
    pub(crate) fn begin_use_for<'a>(&'a self, stream: &'a CudaStream, object: &Object<'_>) -> Result<SyncOnDrop<'a>> {
        check_stream(stream, &self.device, object)?;
        self.try_begin_use(stream).map_err(|refusal| self.refused(refusal, object))
    }

    fn try_begin_use<'a>(&'a self, stream: &'a CudaStream) -> Result<SyncOnDrop<'a>, Refusal> {
        self.known_idle.store(false, Ordering::Release);
        match capture::role(stream, &self.home) {
            Role::Captured => {
                self.join_or_wait()?;
                return Ok(SyncOnDrop::Record(None));
            }
            Role::Unordered => return Ok(SyncOnDrop::Record(None)),
            Role::Ordinary => {}
        }
        if is_per_thread(stream) {
            return Err(Refusal::PerThread);
        }
        if !self.device.owns(stream) {
            return Err(Refusal::Context);
        }
        match self.begin_use_on_gpu(stream) {
            Err(Refusal::Call(error)) => {
                warn(error);
                self.begin_use_on_host(stream)
            }
            begun => begun,
        }
    }

    fn begin_use_on_gpu<'a>(&'a self, stream: &'a CudaStream) -> Result<SyncOnDrop<'a>, Refusal> {
        let (driver, _current) = (self.device.driver(), self.bind()?);
        self.check_capture(stream)?;
        if is_same(stream, &self.home) {
            self.join_bound()?;
            return Ok(SyncOnDrop::Record(None));
        }
        let foreign_streams = self.foreign_streams()?;
        self.check_failure()?;
        // The stream's own event as well: the handle may have belonged to another stream before.
        foreign_streams.pending(|event| {
            // SAFETY: the list keeps the event alive.
            unsafe { driver.wait_event(stream, event) }
        })?;
        // Afterwards: this event covers what the home stream waits for, also if another thread has
        // made it wait since.
        let event = self.record_event(&self.home)?;
        event.make_wait(stream)?;
        self.put_back_event(event);
        foreign_streams.guard(stream)
    }

    /// Records an event after all work of `stream`, whose context, which is the home stream's, must
    /// be current. Once all waits for it are enqueued, [put](Self::put_back_event) it back.
    pub(crate) fn record_event(&self, stream: &CudaStream) -> CallResult<Event> {
        self.spare_events.record(self.device.driver(), self.home.context(), stream)
    }

    /// Lets a later [`record_event`](Self::record_event) record this event, for which no further
    /// waits will be enqueued.
    pub(crate) fn put_back_event(&self, event: Event) {
        self.spare_events.put_back(event);
    }

    /// Orders by waiting on the host, which is slower.
    fn begin_use_on_host<'a>(&'a self, stream: &'a CudaStream) -> Result<SyncOnDrop<'a>, Refusal> {
        let _current = self.bind()?;
        self.check_capture(stream)?;
        if !is_same(stream, &self.home) {
            self.wait_on_host()?;
            let foreign_streams = self.foreign_streams()?;
            // A capture may have begun in the meantime.
            self.check_capture(stream)?;
            return foreign_streams.guard(stream);
        }
        if self.foreign_streams.get().is_some() {
            self.wait_on_host()?;
            self.check_capture(stream)?;
        }
        Ok(SyncOnDrop::Record(None))
    }

    /// Calls [`join`](Self::join) in places that cannot return an error.
    pub(crate) fn join_foreign(&self) {
        self.known_idle.store(false, Ordering::Release);
        if let Err(refusal) = self.join_or_wait() {
            self.note(refusal.note(), &self.home);
        }
    }

    fn join_or_wait(&self) -> Result<(), Refusal> {
        if self.foreign_streams.get().is_none() {
            return Ok(());
        }
        let Err(error) = self.try_join() else { return Ok(()) };
        let _current = self.bind()?;
        if self.check_failure().is_ok() {
            warn(error);
        }
        Ok(self.wait_on_host()?)
    }

    /// Makes the home stream wait for work that the foreign streams enqueued under guards that have
    /// been dropped.
    fn try_join(&self) -> CallResult<()> {
        if self.pending_foreign().is_none() {
            return Ok(());
        }
        let _current = self.bind()?;
        self.join_bound()
    }

    /// Implements [`try_join`](Self::try_join), with the context current.
    fn join_bound(&self) -> CallResult<()> {
        let Some(foreign_streams) = self.pending_foreign() else { return Ok(()) };
        self.check_failure()?;
        foreign_streams.join(|event| {
            // SAFETY: the list keeps the event alive.
            unsafe { self.device.driver().wait_event(&self.home, event) }
        })
    }

    /// Returns the foreign streams if the home stream does not wait for all of them yet. Only these
    /// need a check for failures: a guard that may still fail to record its event belongs to a
    /// ticket that is lent.
    fn pending_foreign(&self) -> Option<&ForeignStreams> {
        self.foreign_streams
            .get()
            .map(|foreign_streams| &**foreign_streams)
            .filter(|foreign_streams| foreign_streams.are_pending())
    }

    /// Returns `true` if there is anything to [`join`](Self::join).
    #[inline]
    pub(crate) fn has_foreign_work(&self) -> bool {
        self.foreign_streams.get().is_some_and(|foreign_streams| foreign_streams.are_pending())
    }

    /// Calls [`try_join`](Self::try_join) for a hand-over, which must not depend on work that was
    /// never enqueued.
    pub(crate) fn join(&self) -> Result<()> {
        let failed = |error: CallError| error.at(&self.object, self.device.name());
        let _current = self.bind().map_err(failed)?;
        self.check_capture(&self.home).map_err(|refusal| self.refused(refusal, &self.object))?;
        self.join_bound().map_err(failed)
    }

    /// Prepares lending the object. A value that is borrowed from a view, such as an address, may
    /// be used without another call here.
    pub(crate) fn lend(&self) -> &Self {
        self.known_idle.store(false, Ordering::Release);
        self
    }

    /// Prepares lending the object exclusively: no view of it is alive, and nothing that was
    /// borrowed from one.
    pub(crate) fn settle(&self) {
        self.lend();
        if let Some(foreign_streams) = self.foreign_streams.get() {
            foreign_streams.reset_tickets();
        }
    }

    /// Checks that every foreign stream's work is covered by its event.
    fn check_failure(&self) -> CallResult<()> {
        let new = self.foreign_streams.get().and_then(|foreign_streams| foreign_streams.take_failure());
        let mut failure = self.failure();
        if failure.is_none() {
            *failure = new;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Rejects streams that are being captured. Such a stream runs nothing now, and captured work
    /// may run at any time: no use of the object may be captured into such a graph, and nothing can
    /// be ordered after such a stream. The context must be current.
    fn check_capture(&self, stream: &CudaStream) -> Result<(), Refusal> {
        let driver = self.device.driver();
        let captured =
            driver.is_capturing(&self.home)? || (!is_same(stream, &self.home) && driver.is_capturing(stream)?);
        if captured { Err(Refusal::Captured) } else { Ok(()) }
    }

    fn refused(&self, refusal: Refusal, object: impl fmt::Display) -> Error {
        let (object, device) = (object.to_string(), self.device.name().to_owned());
        match refusal {
            Refusal::PerThread => Error::PerThreadStream { object },
            Refusal::Context => Error::ContextMismatch { object, device },
            Refusal::Captured => Error::StreamCaptured { object, device },
            Refusal::TooManyUses => Error::TooManyUses { object, device, limit: MAX_TICKETS },
            Refusal::Call(error) => error.at(object, &device),
        }
    }

    /// Records an error in the contexts of both streams, unless they have one already.
    fn note(&self, error: DriverError, stream: &CudaStream) {
        for context in [self.home.context(), stream.context()] {
            let earlier = context.check_err();
            context.record_err(earlier.and(Err::<(), _>(error)));
        }
    }

    fn foreign_streams(&self) -> CallResult<&ForeignStreams> {
        if self.foreign_streams.get().is_none() {
            // Before the list becomes visible.
            ANY_FOREIGN_STREAMS.store(true, Ordering::Release);
            // If another thread was faster, the superfluous list is dropped.
            let _ = self.foreign_streams.set(Restoring::new(ForeignStreams::new(&self.device, &self.home)?));
        }
        let lost = CallError { call: "cuStreamCreate", code: crate::sys::INVALID_VALUE };
        self.foreign_streams.get().map(|foreign_streams| &**foreign_streams).ok_or(lost)
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<CallError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bind(&self) -> CallResult<Current> {
        self.device.bind()
    }
}
