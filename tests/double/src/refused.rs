//! What becomes of a descriptor that an import refuses: drivers differ, and cuda.h says only whose
//! it is after a success.

use crate::abi::{Code, INVALID_VALUE};

/// Whether a driver closes the descriptors of imports that it refuses. None closes an NT handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Refused {
    /// As a driver for CUDA 13.0 was measured: that of memory is closed unless an argument is
    /// wrong, that of a semaphore is left open.
    #[default]
    Measured,
    /// All are left open, as cuda.h reads.
    LeftOpen,
    /// All are closed unless an argument is wrong.
    Closed,
}

impl Refused {
    pub(crate) fn closes_memory(self, code: Code) -> bool {
        self != Self::LeftOpen && code != INVALID_VALUE
    }

    pub(crate) fn closes_semaphore(self, code: Code) -> bool {
        self == Self::Closed && code != INVALID_VALUE
    }
}
