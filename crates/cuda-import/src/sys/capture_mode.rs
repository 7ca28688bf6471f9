//! The capture mode of a thread, which determines which of its calls are errors during captures of
//! other threads.

// Contains unsafe code because it calls C.
#![allow(unsafe_code)]

use std::ffi::c_uint;

use super::code::DriverCode;
use super::{CallResult, Driver, check_call};
use crate::logging::log_warn;

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`, the mode of every new thread.
const GLOBAL: c_uint = 0;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`
const RELAXED: c_uint = 2;

/// A mode other than the default of a new thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaptureMode(c_uint);

/// Sets the mode of this thread until it is dropped.
#[must_use = "the mode is set only as long as this lives"]
#[derive(Debug)]
pub(crate) struct CaptureModeGuard {
    driver: Driver,
    previous: Option<c_uint>,
}

impl Driver {
    /// Returns the mode of this thread; `None` for the default, and if the driver call fails.
    pub(crate) fn capture_mode(self) -> Option<CaptureMode> {
        // The mode can only be read by exchanging it.
        let mode = self.exchange_capture_mode(RELAXED).ok()?;
        if mode != RELAXED {
            self.restore_capture_mode(mode);
        }
        (mode != GLOBAL).then_some(CaptureMode(mode))
    }

    /// Sets the mode of this thread. If the driver call fails, later calls are made in the current
    /// mode.
    pub(crate) fn enter_capture_mode(self, CaptureMode(mode): CaptureMode) -> CaptureModeGuard {
        CaptureModeGuard { driver: self, previous: self.exchange_capture_mode(mode).ok() }
    }

    /// Sets the relaxed mode, in which this thread's calls do not affect captures. Queries need it:
    /// in another mode they are errors that invalidate a capture of this thread, and captures of
    /// other threads in global mode, whichever stream or event they query (measured on an H200).
    pub(crate) fn relax_captures(self) -> CaptureModeGuard {
        self.enter_capture_mode(CaptureMode(RELAXED))
    }

    fn restore_capture_mode(self, mode: c_uint) {
        if let Err(error) = self.exchange_capture_mode(mode) {
            let code = DriverCode(error.code);
            log_warn!("could not restore the capture mode of this host thread: {} failed: {code}", error.call);
        }
    }

    fn exchange_capture_mode(self, mut mode: c_uint) -> CallResult<c_uint> {
        let exchange = self.table.cuThreadExchangeStreamCaptureMode;
        // SAFETY: `mode` is both input and result, an enum of the size of an int.
        check_call("cuThreadExchangeStreamCaptureMode", unsafe { exchange(&mut mode) })?;
        Ok(mode)
    }
}

impl Drop for CaptureModeGuard {
    fn drop(&mut self) {
        if let Some(before) = self.previous.take() {
            self.driver.restore_capture_mode(before);
        }
    }
}
