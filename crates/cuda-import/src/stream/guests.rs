//! The guest streams of one buffer or image: for each an event that stands for its last use.
//!
//! cudarc records such an event when its guard is dropped, and can only note a failure in the context object that the guard's
//! stream holds. Any call of anybody takes it from there. So guards are made with a context object of our own, which nobody
//! else has: what is noted there is ours alone, and a guest whose work could not be recorded stays known.
//!
//! Unsafe because it makes cudarc objects of raw handles.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, SyncOnDrop};

use crate::device::CudaDevice;
use crate::stream::identity::key;
use crate::sys::{CallError, CallResult, EventHandle, Owner};

/// More guests than this are synchronised on the host, so that a program which makes a stream a frame stays bounded.
const MAX_EVENTS: usize = 8;

/// More are refused: that many different handles are no use of streams any more.
const MAX_GUESTS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Guests {
    /// As a list that only grows: a guard borrows an event in it.
    first: OnceLock<Box<Guest>>,
    /// cudarc records events only in a context that has a stream of its own making, so this one is there as long as the list.
    _anchor: Arc<CudaStream>,
    /// Last: the others hold it.
    context: OwnMailbox,
}

#[derive(Debug)]
struct Guest {
    /// The guest under our own context object. Borrowed: only used while a guard borrows the real one.
    stream: Arc<CudaStream>,
    /// None for one of too many.
    last_use: Option<CudaEvent>,
    next: OnceLock<Box<Guest>>,
}

impl Owner for Guests {}

impl Guests {
    /// The device's context must be current.
    pub(crate) fn new(device: &CudaDevice, home: &CudaStream) -> CallResult<Self> {
        let context = OwnMailbox::new(device)?;
        // SAFETY: the handle is live while `home` is borrowed, and the wrapper goes at the end of this function.
        let home = unsafe { context.0.wrap_borrowed_stream(home.cu_stream()) };
        let anchor = home.fork().map_err(|error| CallError::from_cudarc("cuStreamCreate", error))?;
        // What the destructors in there noted is no guest's.
        device.context().record_err(context.0.check_err());
        Ok(Self { first: OnceLock::new(), _anchor: anchor, context })
    }

    /// What was noted since the last call: a guest's work is not covered by its event.
    pub(crate) fn take_failure(&self) -> Option<CallError> {
        self.context.0.check_err().err().map(|error| CallError::from_cudarc("cuEventRecord", error))
    }

    /// The events of all guests.
    pub(crate) fn events(&self) -> impl Iterator<Item = EventHandle> {
        let first = self.first.get().map(Box::as_ref);
        let guests = std::iter::successors(first, |guest| guest.next.get().map(Box::as_ref));
        guests.filter_map(|guest| guest.last_use.as_ref()).map(EventHandle::of)
    }

    /// What has the end of the work on `stream` recorded once it is dropped.
    pub(crate) fn guard(&self, stream: &CudaStream) -> CallResult<SyncOnDrop<'_>> {
        let made = |error| CallError::from_cudarc("cuEventCreate", error);
        let mut place = &self.first;
        for nth in 0..MAX_GUESTS {
            if place.get().is_none() {
                let last_use = (nth < MAX_EVENTS).then(|| self.context.0.new_event(None).map_err(made)).transpose()?;
                // SAFETY: the wrapper destroys nothing, and is used only under a guard that borrows the real stream.
                let stream = unsafe { self.context.0.wrap_borrowed_stream(stream.cu_stream()) };
                // Losing a race here leaves another stream's entry in this place: go on behind it.
                let _ = place.set(Box::new(Guest { stream, last_use, next: OnceLock::new() }));
            }
            let Some(guest) = place.get() else { break };
            if key(&guest.stream) == key(stream) {
                return Ok(match &guest.last_use {
                    Some(event) => SyncOnDrop::Record(Some((event, &guest.stream))),
                    None => SyncOnDrop::Sync(Some(&guest.stream)),
                });
            }
            place = &guest.next;
        }
        Err(CallError { call: "cuEventCreate", code: crate::sys::INVALID_VALUE })
    }
}

/// A second context object for the device's context, with a mailbox of its own. It owns nothing.
#[derive(Debug)]
struct OwnMailbox(ManuallyDrop<Arc<CudaContext>>, CudaDevice);

impl OwnMailbox {
    /// The device's context must be current.
    fn new(device: &CudaDevice) -> CallResult<Self> {
        let known = device.context();
        let own = match device.template() {
            Some(template) => template.copy(),
            None => {
                // SAFETY: the context is live, `device` holds it. What the object takes for its own is never destroyed by it:
                // `drop` takes it apart.
                let own = unsafe { CudaContext::from_raw_context(known.ordinal(), known.cu_device(), known.cu_ctx()) };
                own.map_err(|error| CallError::from_cudarc("cuDeviceGetAttribute", error))?
            }
        };
        Ok(Self(ManuallyDrop::new(own), device.clone()))
    }
}

impl Drop for OwnMailbox {
    fn drop(&mut self) {
        // What failed in destructors goes where cudarc leaves such errors.
        let left: Result<(), DriverError> = self.0.check_err();
        self.1.context().record_err(left);
        // SAFETY: taken here only, once, and not used afterwards.
        let own = unsafe { ManuallyDrop::take(&mut self.0) };
        // Its drop would give up the context, which it does not own. The object holds no memory; where somebody took a clone
        // out of a guard, the count stays above zero for good.
        match Arc::try_unwrap(own) {
            Ok(own) => std::mem::forget(own),
            Err(shared) => std::mem::forget(shared),
        }
    }
}
