//! Support of a device for CUDA kernels in its command buffers.

use super::ExportDevice;
use crate::device::kernel_calls::KernelCalls;
use crate::error::{Error, Requirement, Result};

impl ExportDevice {
    /// Returns `true` if CUDA kernels can be recorded into command buffers:
    /// [`missing_for_cuda_kernels`](Self::missing_for_cuda_kernels) is empty.
    pub fn has_cuda_kernels(&self) -> bool {
        self.0.kernel_calls.is_ok()
    }

    /// Returns the reasons why CUDA kernels cannot be recorded into command buffers: extensions of
    /// [`CUDA_KERNEL_EXTENSIONS`](crate::CUDA_KERNEL_EXTENSIONS) and features that are not enabled,
    /// or that the device lacks.
    pub fn missing_for_cuda_kernels(&self) -> &[Requirement] {
        self.0.kernel_calls.as_ref().err().map_or(&[], Vec::as_slice)
    }

    /// Checks that CUDA kernels can be recorded into command buffers; `purpose` names the user of
    /// that support in the error.
    ///
    /// # Errors
    /// [`Error::Missing`] with all [`missing_for_cuda_kernels`](Self::missing_for_cuda_kernels), if
    /// there are any.
    pub fn require_cuda_kernels(&self, purpose: &'static str) -> Result<()> {
        let missing = self.missing_for_cuda_kernels();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Missing { device: self.name().to_owned(), purpose, missing: missing.to_vec() })
    }

    /// Returns the functions for CUDA kernels.
    pub(crate) fn kernel_calls(&self) -> Result<&KernelCalls> {
        self.0.kernel_calls.as_ref().map_err(|missing| Error::Missing {
            device: self.name().to_owned(),
            purpose: "recording CUDA kernels",
            missing: missing.clone(),
        })
    }
}
