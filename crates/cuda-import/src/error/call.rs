//! Failed calls and loads, and cudarc's errors: conversions to [`Error`], and what it says about
//! them.

use std::fmt;

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use crate::error::Error;
use crate::sys::{CallError, DriverCode, DriverVersion, LoadError};

impl CallError {
    /// Adds the object of the call and its device.
    pub(crate) fn at(self, object: impl fmt::Display, device: &str) -> Error {
        Error::Driver {
            call: self.call,
            code: DriverCode(self.code),
            object: object.to_string(),
            device: device.to_owned(),
        }
    }

    /// Converts the error for cudarc's record of errors. cudarc's enum has no variant for unknown
    /// codes, so codes that are not listed here become "unknown".
    pub(crate) fn to_cudarc(self) -> DriverError {
        use CUresult as Code;
        const CODES: &[Code] = &[
            Code::CUDA_ERROR_INVALID_VALUE,
            Code::CUDA_ERROR_OUT_OF_MEMORY,
            Code::CUDA_ERROR_NOT_INITIALIZED,
            Code::CUDA_ERROR_DEINITIALIZED,
            Code::CUDA_ERROR_INVALID_CONTEXT,
            Code::CUDA_ERROR_ECC_UNCORRECTABLE,
            Code::CUDA_ERROR_INVALID_HANDLE,
            Code::CUDA_ERROR_ILLEGAL_ADDRESS,
            Code::CUDA_ERROR_LAUNCH_TIMEOUT,
            Code::CUDA_ERROR_CONTEXT_IS_DESTROYED,
            Code::CUDA_ERROR_ASSERT,
            Code::CUDA_ERROR_HARDWARE_STACK_ERROR,
            Code::CUDA_ERROR_ILLEGAL_INSTRUCTION,
            Code::CUDA_ERROR_MISALIGNED_ADDRESS,
            Code::CUDA_ERROR_INVALID_ADDRESS_SPACE,
            Code::CUDA_ERROR_INVALID_PC,
            Code::CUDA_ERROR_LAUNCH_FAILED,
            Code::CUDA_ERROR_NOT_PERMITTED,
            Code::CUDA_ERROR_NOT_SUPPORTED,
            Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
            Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
            Code::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
            Code::CUDA_ERROR_CAPTURED_EVENT,
        ];
        let known = CODES.iter().find(|known| **known as u32 == self.code);
        DriverError(known.copied().unwrap_or(Code::CUDA_ERROR_UNKNOWN))
    }

    /// Converts the error of a call that cudarc made to a numeric code.
    pub(crate) fn from_cudarc(call: &'static str, error: DriverError) -> Self {
        Self { call, code: error.0 as u32 }
    }
}

impl Error {
    /// Returns `true` if the CUDA context is lost: every later call in it will fail, see
    /// [`DriverCode::is_context_lost`].
    ///
    /// Only errors of this crate's driver calls are considered: an error from cudarc may have been
    /// recorded earlier, by unrelated work.
    pub fn is_context_lost(&self) -> bool {
        matches!(self, Self::Driver { call, code, .. } if call.starts_with("cu") && code.is_context_lost())
    }

    /// Returns the driver's code, if a driver call failed.
    pub fn driver_code(&self) -> Option<DriverCode> {
        match self {
            Self::Driver { code, .. } | Self::Compile { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns `true` if a driver call failed because memory is exhausted
    /// (`CUDA_ERROR_OUT_OF_MEMORY`).
    pub fn is_out_of_memory(&self) -> bool {
        self.driver_code() == Some(DriverCode(CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32))
    }
}

/// Converts the error of a program's own cudarc call, so that `?` works on cudarc's copies and
/// launches. The code is kept; [`driver_code`](Error::driver_code) returns it.
impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        // The name does not begin with `cu`: cudarc may return an error that it recorded earlier.
        CallError::from_cudarc("a cudarc call", error).at("", "")
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NoLibrary => Self::NoDriver { detail: NO_LIBRARY.to_owned() },
            LoadError::MissingSymbols { missing, version } => {
                Self::DriverTooOld { missing, version: version.map(DriverVersion::from_raw) }
            }
        }
    }
}

#[cfg(not(windows))]
const NO_LIBRARY: &str = "libcuda.so.1 was not found, or could not be loaded. It comes with the NVIDIA driver, not with the CUDA \
    toolkit: install the driver, and in a container start it with its GPUs (`--gpus all`)";
#[cfg(windows)]
const NO_LIBRARY: &str =
    "nvcuda.dll was not found, or could not be loaded. It comes with the NVIDIA driver: install that";
