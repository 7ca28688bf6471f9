//! Events that are recorded many times.

use bridge::cuda_import::{Error, StreamEvent, record_event};
use bridge::cudarc::driver::CudaStream;

use crate::error::{Fault, Kind};

/// Records the event after the work on `stream`, and creates it at the first call.
pub(crate) fn record<'e>(event: &'e mut Option<StreamEvent>, stream: &CudaStream) -> Result<&'e StreamEvent, Fault> {
    match event {
        Some(event) => {
            event.record(stream).map_err(driver)?;
            Ok(event)
        }
        none => Ok(none.insert(record_event(stream).map_err(driver)?)),
    }
}

/// A failed driver call of an event.
pub(crate) fn driver(error: Error) -> Fault {
    Fault::new(Kind::Driver, error)
}
