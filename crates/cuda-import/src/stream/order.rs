//! Order between the streams that use one buffer or image.
//!
//! Each has a home stream. Work there is in order by itself and costs nothing more. Any other stream is a guest: it
//! first waits for what the home stream and the other guests have been given so far, and leaves an event behind for those
//! that come after it. What never had a guest pays one load for this.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cudarc::driver::{CudaEvent, CudaStream, DriverError, SyncOnDrop};

use crate::buffer::stand_in;
use crate::buffer::stand_in::Role;
use crate::device::CudaDevice;
use crate::error::code::DriverCode;
use crate::error::{Error, Object};
use crate::sys::{CallError, CallResult, Driver};

/// How long dropping a buffer or an image waits for the work that uses it.
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// More guests than this are synchronised on the host, so that a program which makes a stream a frame stays bounded.
const MAX_GUESTS: usize = 8;

#[derive(Debug)]
pub(crate) struct StreamOrder {
    home: Arc<CudaStream>,
    /// The guests as a list that only grows: a guard of [`enter`](Self::enter) borrows an event in it.
    first: OnceLock<Box<Guest>>,
    /// cudarc records events only in a context that has a stream of its own making. The home stream may be borrowed from
    /// elsewhere, so this one makes sure as long as there are guests.
    anchor: OnceLock<Arc<CudaStream>>,
}

#[derive(Debug)]
struct Guest {
    /// The driver's handle as a number. A guard borrows its stream, so a handle is not reused while one is out.
    stream: usize,
    last_use: CudaEvent,
    next: OnceLock<Box<Guest>>,
}

impl StreamOrder {
    /// Of `object`, which lives on `device`.
    pub(crate) fn new(home: &Arc<CudaStream>, device: &CudaDevice, object: &Object<'_>) -> Result<Self, Error> {
        check_stream(home, device, object)?;
        Ok(Self { home: Arc::clone(home), first: OnceLock::new(), anchor: OnceLock::new() })
    }

    pub(crate) fn home(&self) -> &Arc<CudaStream> {
        &self.home
    }

    /// Lets `stream` use the object after everything enqueued so far. What it enqueues before the guard is dropped comes
    /// before everything that enters later.
    ///
    /// Where one stream cannot be told to wait for another, the host waits, and a warning says so. If that fails too, the
    /// error is recorded in the contexts of both streams, as cudarc does.
    ///
    /// While a graph is captured, the captured stream stands in for the home stream.
    pub(crate) fn enter<'a>(&'a self, stream: &'a CudaStream) -> SyncOnDrop<'a> {
        match stand_in::role(stream, &self.home) {
            Role::StandsIn => {
                self.join_guests();
                return SyncOnDrop::Record(None);
            }
            Role::Thrown => return SyncOnDrop::Record(None),
            Role::Plain => {}
        }
        if *stream == *self.home {
            self.join_guests();
            return SyncOnDrop::Record(None);
        }
        // cudarc returns a recorded error from its next call, instead of making that. So nothing is recorded before the end.
        let (home, guest) = (self.home.context().check_err(), stream.context().check_err());
        let waited = self.wait_for_all(stream).or_else(|error| self.wait_on_host(error));
        let guard = match self.guest(stream) {
            Ok(Some(guest)) => SyncOnDrop::Record(Some((&guest.last_use, stream))),
            Ok(None) => SyncOnDrop::Sync(Some(stream)),
            Err(error) => {
                warn(error);
                SyncOnDrop::Sync(Some(stream))
            }
        };
        self.home.context().record_err(home.and(waited));
        stream.context().record_err(guest.and(waited));
        guard
    }

    /// [`try_join_guests`](Self::try_join_guests) for places that cannot return an error.
    pub(crate) fn join_guests(&self) {
        if self.has_guests() {
            let earlier = self.home.context().check_err();
            let joined = self.try_join_guests().or_else(|error| self.wait_on_host(error));
            self.home.context().record_err(earlier.and(joined));
        }
    }

    /// Makes the home stream wait for what the guests enqueued under guards that have been dropped.
    fn try_join_guests(&self) -> Result<(), DriverError> {
        self.guests().try_for_each(|guest| self.home.wait(&guest.last_use))
    }

    /// [`try_join_guests`](Self::try_join_guests) for a hand-over, which must not build on what was never enqueued.
    pub(crate) fn join(&self, device: &CudaDevice, object: &Object<'_>) -> Result<(), Error> {
        if !self.has_guests() {
            return Ok(());
        }
        device.check_recorded()?;
        let joined = self.try_join_guests();
        joined.map_err(|error| CallError::from_cudarc("cuStreamWaitEvent", error).at(object, device.name()))
    }

    /// Waits until nothing uses `object` any more, on home and guests, up to a limit.
    pub(crate) fn wait_for_end(&self, device: &CudaDevice, object: &Object<'_>) -> Result<(), Error> {
        match self.drained(device.driver(), DROP_LIMIT) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::StillInUse {
                object: object.to_string(),
                device: device.name().to_owned(),
                waited: DROP_LIMIT,
            }),
            Err(error) => Err(error.at(object, device.name())),
        }
    }

    /// Whether all work of home and guests up to now ended within `limit`. Waits on the host by polling.
    fn drained(&self, driver: Driver, limit: Duration) -> CallResult<bool> {
        // cudarc returns a recorded error from its next call, whatever that does. Set it aside: it is not ours to report.
        let earlier = self.home.context().check_err();
        let drained = self.drain(driver, limit);
        self.home.context().record_err(earlier);
        drained
    }

    fn drain(&self, driver: Driver, limit: Duration) -> CallResult<bool> {
        let cudarc = |call| move |error| CallError::from_cudarc(call, error);
        driver.bind(self.home.context())?;
        self.try_join_guests().map_err(cudarc("cuStreamWaitEvent"))?;
        if driver.stream_is_idle(&self.home)? {
            return Ok(true);
        }
        // Work that others enqueue on the home stream from now on is not waited for.
        let end = self.home.record_event(None).map_err(cudarc("cuEventRecord"))?;
        let start = Instant::now();
        while !end.try_is_complete().map_err(cudarc("cuEventQuery"))? {
            if start.elapsed() >= limit {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(true)
    }

    fn wait_for_all(&self, stream: &CudaStream) -> Result<(), DriverError> {
        stream.join(&self.home)?;
        let me = key(stream);
        let mut others = self.guests().filter(|guest| guest.stream != me);
        others.try_for_each(|guest| stream.wait(&guest.last_use))
    }

    /// The slow way to the same order, after `error` on the quick one. If this fails too, the context is lost and nothing
    /// runs any more.
    fn wait_on_host(&self, error: DriverError) -> Result<(), DriverError> {
        warn(error);
        let meanwhile = self.home.context().check_err();
        let guests = self.guests().map(|guest| guest.last_use.synchronize());
        guests.fold(meanwhile.and(self.home.synchronize()), Result::and)
    }

    /// The list entry of `stream`. None where an event cannot stand for its work: a stream of another context, tracking
    /// switched off in cudarc, or too many guests.
    fn guest(&self, stream: &CudaStream) -> Result<Option<&Guest>, DriverError> {
        let context = self.home.context();
        if !Arc::ptr_eq(stream.context(), context) || !context.is_event_tracking() {
            return Ok(None);
        }
        if self.anchor.get().is_none() {
            // Losing a race here drops the stream that was one too many.
            let _ = self.anchor.set(self.home.fork()?);
        }
        let mut place = &self.first;
        for _ in 0..MAX_GUESTS {
            if place.get().is_none() {
                let last_use = context.new_event(None)?;
                // Losing a race here leaves another stream's entry in this place: go on behind it.
                let _ = place.set(Box::new(Guest { stream: key(stream), last_use, next: OnceLock::new() }));
            }
            match place.get() {
                Some(guest) if guest.stream == key(stream) => return Ok(Some(guest)),
                Some(guest) => place = &guest.next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn has_guests(&self) -> bool {
        self.first.get().is_some()
    }

    fn guests(&self) -> impl Iterator<Item = &Guest> {
        let first = self.first.get().map(Box::as_ref);
        std::iter::successors(first, |guest| guest.next.get().map(Box::as_ref))
    }
}

/// Whether `object`, which lives on `device`, can be used on the stream.
pub(crate) fn check_stream(stream: &CudaStream, device: &CudaDevice, object: &Object<'_>) -> Result<(), Error> {
    check_context(stream, device, object)?;
    if is_per_thread(stream) {
        return Err(Error::PerThreadStream { object: object.to_string() });
    }
    Ok(())
}

/// Whether the stream is of the context that `object` lives in.
pub(crate) fn check_context(stream: &CudaStream, device: &CudaDevice, object: &Object<'_>) -> Result<(), Error> {
    if device.owns(stream) {
        return Ok(());
    }
    Err(Error::ContextMismatch { object: object.to_string(), device: device.name().to_owned() })
}

/// `CU_STREAM_PER_THREAD` is one handle for as many streams as there are threads.
fn is_per_thread(stream: &CudaStream) -> bool {
    const CU_STREAM_PER_THREAD: usize = 2;
    key(stream) == CU_STREAM_PER_THREAD
}

fn warn(error: DriverError) {
    let code = DriverCode(error.0 as u32);
    log::warn!("streams that share an object cannot wait for each other ({code}): the host waits");
}

fn key(stream: &CudaStream) -> usize {
    stream.cu_stream() as usize
}
