//! Order of a copy with the other uses, and with the end, of a slice of cudarc.
//!
//! cudarc makes the calls that order a slice only for streams that it created, and skips them while
//! an error is recorded in a context object: the slice is then freed at once on its own stream, and
//! a later use does not wait. So the copy is ordered with that stream here, and the event that
//! cudarc keeps for uses on other streams is recorded here as well.
//!
//! Contains unsafe code because it passes events to the driver.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::{CudaStream, SyncOnDrop};

use crate::capture::{Role, role};
use crate::error::image::ImageProblem;
use crate::error::{Error, Result};
use crate::identity::{is_per_thread, is_same};
use crate::image::MappedImage;
use crate::image::copy::wait_for_idle;
use crate::stream::Event;
use crate::stream::poll::warn;
use crate::stream::refusal::{Refusal, check_capture};
use crate::sys::{CallError, CallResult, EventHandle};

/// The order of one copy.
#[must_use]
pub(crate) enum SliceOrder {
    /// Made by the guard: of a view; and of a slice if the program has promised to order its uses,
    /// which includes all captured work.
    ByGuard,
    /// Made here. `other` is the slice's own stream, unless the copy is made there, and an event.
    Here { other: Option<(Arc<CudaStream>, Event)> },
}

impl SliceOrder {
    /// Makes `stream` wait for the work of `own`, the stream on which cudarc frees the memory, if
    /// it is a slice. The context must be current until the order is [made](Self::end).
    pub(crate) fn begin<T>(image: &MappedImage<T>, own: Option<&Arc<CudaStream>>, stream: &CudaStream) -> Result<Self> {
        let Some(own) = own.filter(|own| own.context().is_event_tracking()) else { return Ok(Self::ByGuard) };
        if role(stream, image.stream()) != Role::Ordinary {
            return Ok(Self::ByGuard);
        }
        let device = image.memory().device();
        let check = |stream| check_capture(device.driver(), stream, image.object(), || device.name().to_owned());
        check(stream)?;
        if is_same(own, stream) {
            return Ok(Self::Here { other: None });
        }
        if is_per_thread(own) {
            let (object, device) = (image.object().to_string(), device.name().to_owned());
            return Err(Error::Image { object, device, problem: ImageProblem::UnorderedSlice });
        }
        check(own)?;
        let make = || {
            let event = image.order().record_event(own)?;
            event.make_wait(stream)?;
            Ok(event)
        };
        let event = make().map_err(|error: CallError| error.at(image.object(), device.name()))?;
        Ok(Self::Here { other: Some((Arc::clone(own), event)) })
    }

    /// Makes later uses of the slice, and its end, wait for the copy on `stream`, if it was
    /// enqueued. The host waits if the streams cannot.
    pub(crate) fn end<T>(
        self,
        image: &MappedImage<T>,
        stream: &CudaStream,
        guard: SyncOnDrop<'_>,
        enqueued: Result<()>,
    ) -> Result<()> {
        let (Self::Here { other }, SyncOnDrop::Record(used)) = (self, &guard) else { return enqueued };
        let device = image.memory().device();
        let order = || {
            // The copy may have called the program's logger, which may have bound another context.
            let _current = device.bind()?;
            let driver = device.driver();
            // A logger or another thread may have begun a capture, into which the calls would go.
            for stream in std::iter::once(stream).chain(other.as_ref().map(|(own, _)| &**own)) {
                if driver.is_capturing(stream)? {
                    return Err(CallError::from_cudarc("cuEventRecord", Refusal::Captured.note()));
                }
            }
            if let Some((event, _)) = used {
                // SAFETY: the guard borrows the event.
                unsafe { driver.record_event(EventHandle::of(event), stream) }?;
            }
            let Some((own, event)) = &other else { return Ok(()) };
            event.record(stream)?;
            event.make_wait(own)
        };
        let ordered: CallResult<()> = if enqueued.is_ok() { order() } else { Ok(()) };
        if ordered.is_err() {
            wait_for_idle(device, stream);
        }
        // It would record the event again, also if nothing was enqueued.
        std::mem::forget(guard);
        match (ordered, other) {
            (Err(error), _) => warn(error),
            // No further waits for it follow.
            (Ok(()), Some((_, event))) => image.order().put_back_event(event),
            (Ok(()), None) => {}
        }
        enqueued
    }
}
