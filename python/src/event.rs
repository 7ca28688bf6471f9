//! Reusable events.

use bridge::cuda_import::{StreamEvent, record_event};
use bridge::cudarc::driver::CudaStream;

use crate::error::Fault;
use crate::fault::driver;

/// Records the event after the work on `stream`. Creates it on the first call.
pub(crate) fn record<'e>(event: &'e mut Option<StreamEvent>, stream: &CudaStream) -> Result<&'e StreamEvent, Fault> {
    match event {
        Some(event) => {
            event.record(stream).map_err(driver)?;
            Ok(event)
        }
        none => Ok(none.insert(record_event(stream).map_err(driver)?)),
    }
}
