//! The end of an object's use, determined by the host with a time limit.
//!
//! Contains unsafe code because it passes events to the driver, and trusts `assume_idle`.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Error, Object, Result};
use crate::logging::log_warn;
use crate::reaper;
use crate::reaper::NotFreed;
use crate::stream::Event;
use crate::stream::order::StreamOrder;
use crate::stream::poll::{poll, poll_within};
use crate::sys::CallResult;
use crate::sys::DriverCode;

/// The maximum time that dropping a buffer or an image waits for the work that uses it.
const DROP_LIMIT: Duration = Duration::from_secs(2);

impl StreamOrder {
    /// Declares that the next [`wait_for_end`](Self::wait_for_end) need not query the driver.
    ///
    /// # Safety
    /// All work that uses the object has ended.
    pub(crate) unsafe fn assume_idle(&self) {
        self.known_idle.store(true, Ordering::Release);
    }

    /// Waits until all use of `object` has ended, on the home stream and on foreign streams, up to
    /// a limit.
    pub(crate) fn wait_for_end(&self, object: &Object<'_>) -> Result<()> {
        if self.known_idle.load(Ordering::Acquire) {
            return Ok(());
        }
        let _current = self.bind().map_err(|error| error.at(object, self.device.name()))?;
        // Querying a stream that is being captured, or the legacy default stream during such a
        // capture, would end that capture.
        self.check_capture(&self.home).map_err(|refusal| self.refused(refusal, object))?;
        match self.drain(DROP_LIMIT) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::StillInUse {
                object: object.to_string(),
                device: self.device.name().to_owned(),
                waited: DROP_LIMIT,
            }),
            Err(error) => Err(error.at(object, self.device.name())),
        }
    }

    /// Returns `true` if all current work of home stream and foreign streams ended within `limit`.
    /// Waits on the host by polling.
    fn drain(&self, limit: Duration) -> CallResult<bool> {
        let (driver, _current) = (self.device.driver(), self.bind()?);
        if self.check_failure().is_err() {
            // No event covers that work. Wait for the whole context, as freeing the mapping does
            // anyway.
            self.wait_on_host()?;
        }
        self.join_bound()?;
        if driver.stream_is_idle(&self.home)? {
            return Ok(true);
        }
        // Work that is enqueued on the home stream from now on is not waited for.
        let end = Event::new(driver, &self.home)?;
        poll_within(limit, || end.is_reached())
    }

    /// Orders by waiting on the host, which is slower. The context must be current.
    pub(super) fn wait_on_host(&self) -> CallResult<()> {
        let driver = self.device.driver();
        if let Err(error) = self.check_failure() {
            let code = DriverCode(error.code);
            log_warn!("could not record an event after a stream's work ({code}): the host waits for the whole context");
            reaper::synchronize(&self.device).map_err(NotFreed::into_call)?;
            *self.failure() = None;
            return Ok(());
        }
        let start = Instant::now();
        if let Some(foreign_streams) = self.foreign_streams.get() {
            for event in foreign_streams.events() {
                // SAFETY: the list keeps the event alive.
                poll("cuEventQuery", start, || unsafe { driver.event_is_reached(event) })?;
            }
        }
        poll("cuStreamQuery", start, || driver.stream_is_idle(&self.home))
    }
}
