//! Compute sides for tests: if CUDA is missing, the test is skipped; any other failure fails it.

use bridge::cuda_import::{CudaDeviceReport, DriverCode, Error, report};
use bridge::{Backend, Compute, ExportDevice};

use crate::{Need, skip, skip_case};

/// Creates the compute side of `backend` for `device`, for a test of only this backend. Returns
/// `None` and skips the test if CUDA has no such GPU.
///
/// # Panics
/// Panics if the CPU backend does not start, or if CUDA has this GPU but does not start.
pub fn compute(device: &ExportDevice, backend: Backend) -> Option<Compute> {
    compute_or_skip(device, backend, |reason| skip(Need::Gpu, reason))
}

/// Like [`compute`], for a test of several cases; without CUDA the case is skipped.
///
/// # Panics
/// Panics as [`compute`] does.
pub fn case_on(device: &ExportDevice, backend: Backend, case: &str) -> Option<Compute> {
    compute_or_skip(device, backend, |reason| skip_case(Need::Gpu, &format!("{case} on {backend}"), reason))
}

fn compute_or_skip(device: &ExportDevice, backend: Backend, skip: impl FnOnce(&str)) -> Option<Compute> {
    match Compute::new(device, backend) {
        Ok(compute) => Some(compute),
        Err(error) => {
            assert!(backend != Backend::Host, "the CPU backend runs on every device: {error}");
            match report() {
                Ok(found) => {
                    let paired = found.devices.iter().any(|cuda| cuda.uuid == device.uuid());
                    assert!(!paired, "CUDA has \"{}\" and does not work with it: {error}", device.name());
                }
                Err(why) => assert_none(&why),
            }
            skip(&error.to_string());
            None
        }
    }
}

/// Returns CUDA's devices; returns `None` and skips the test if there are none.
///
/// # Panics
/// Panics if there is a CUDA driver with a device that does not start.
pub fn cuda_devices() -> Option<Vec<CudaDeviceReport>> {
    match report() {
        Ok(found) => Some(found.devices),
        Err(why) => {
            assert_none(&why);
            skip(Need::Gpu, &why.to_string());
            None
        }
    }
}

/// Checks that the error means that CUDA is not available, and not that it is available but fails.
fn assert_none(error: &Error) {
    // CUDA_ERROR_STUB_LIBRARY and CUDA_ERROR_NO_DEVICE.
    const UNAVAILABLE: [Option<DriverCode>; 2] = [Some(DriverCode(34)), Some(DriverCode(100))];
    let none = matches!(error, Error::NoDriver { .. }) || UNAVAILABLE.contains(&error.driver_code());
    assert!(none, "CUDA is here and does not start: {error}");
}
