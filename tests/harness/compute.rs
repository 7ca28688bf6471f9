//! Compute sides for tests: a missing CUDA is a skip, everything else that fails is a failure.

use bridge::{Backend, Compute, ExportDevice, cuda_import};

use crate::{Need, skip};

/// The compute side of `backend` for `device`; `None`, and the test is skipped, where CUDA has no such GPU.
///
/// # Panics
/// When the CPU backend does not start, or CUDA does not although it knows this GPU.
pub fn compute(device: &ExportDevice, backend: Backend, test: &str) -> Option<Compute> {
    match Compute::new(device, backend) {
        Ok(compute) => Some(compute),
        Err(error) => {
            assert!(backend != Backend::Host, "{test}: the CPU backend runs on every device: {error}");
            assert!(!is_paired(device), "{test}: CUDA knows \"{}\" and does not work with it: {error}", device.name());
            skip(Need::Gpu, &format!("{test} on {backend}"), &error.to_string());
            None
        }
    }
}

/// Whether CUDA has the GPU of a Vulkan device.
fn is_paired(device: &ExportDevice) -> bool {
    cuda_import::probe().is_ok_and(|found| found.devices.iter().any(|cuda| cuda.uuid == device.uuid()))
}
