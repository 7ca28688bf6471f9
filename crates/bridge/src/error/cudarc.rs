//! Conversion of cudarc's errors.

use cuda_import::cudarc::driver::DriverError;

use crate::error::Error;

/// Converts the error of a program's own cudarc call, such as a copy or a launch on the stream of
/// [`CudaWork`](crate::CudaWork), to [`Error::Cuda`].
impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Self::Cuda(error.into())
    }
}

#[cfg(test)]
mod tests {
    use cuda_import::cudarc::driver::sys::CUresult;

    use super::*;
    use crate::error::Result;

    #[test]
    fn question_mark_converts_errors_of_cudarc() {
        fn launch() -> Result<()> {
            Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE))?;
            Ok(())
        }
        let error = launch().unwrap_err();
        assert!(matches!(&error, Error::Cuda(cuda) if cuda.driver_code().is_some_and(|code| code.0 == 1)), "{error}");
    }
}
