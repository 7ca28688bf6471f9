//! The capture mode of a thread: which captures of other threads its calls are not to disturb.

// Calls C.
#![allow(unsafe_code)]

use std::ffi::c_uint;

use super::{CallResult, Driver, check_call};
use crate::error::code::DriverCode;
use crate::logging::log_warn;

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`, the mode of every new thread.
const GLOBAL: c_uint = 0;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`
const RELAXED: c_uint = 2;

/// A mode other than that of a new thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaptureMode(c_uint);

/// Sets the mode of this thread for as long as it lives.
#[must_use = "the mode is set only as long as this lives"]
#[derive(Debug)]
pub(crate) struct InMode {
    driver: Driver,
    before: Option<c_uint>,
}

impl Driver {
    /// The mode of this thread; `None` for that of a new one, and where the driver does not tell.
    pub(crate) fn capture_mode(self) -> Option<CaptureMode> {
        // It is told only in exchange for another.
        let mode = self.exchange_capture_mode(RELAXED).ok()?;
        if mode != RELAXED {
            self.restore_capture_mode(mode);
        }
        (mode != GLOBAL).then_some(CaptureMode(mode))
    }

    /// Sets the mode of this thread. Where the driver refuses it, the calls that follow are made in
    /// the mode that the thread has.
    pub(crate) fn enter_capture_mode(self, CaptureMode(mode): CaptureMode) -> InMode {
        InMode { driver: self, before: self.exchange_capture_mode(mode).ok() }
    }

    fn restore_capture_mode(self, mode: c_uint) {
        if let Err(error) = self.exchange_capture_mode(mode) {
            let code = DriverCode(error.code);
            log_warn!("could not restore the capture mode of this host thread: {} failed: {code}", error.call);
        }
    }

    fn exchange_capture_mode(self, mut mode: c_uint) -> CallResult<c_uint> {
        let exchange = self.table.cuThreadExchangeStreamCaptureMode;
        // SAFETY: `mode` is a place for input and result, an enum of the size of an int.
        check_call("cuThreadExchangeStreamCaptureMode", unsafe { exchange(&mut mode) })?;
        Ok(mode)
    }
}

impl Drop for InMode {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            self.driver.restore_capture_mode(before);
        }
    }
}
