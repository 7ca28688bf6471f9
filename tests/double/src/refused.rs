//! Ownership of a descriptor that an import refuses. Drivers differ, and cuda.h only specifies
//! the owner after a successful import.

use crate::abi::{Code, INVALID_VALUE};

/// Whether the driver closes the descriptors of imports that it refuses. It never closes an NT
/// handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Refused {
    /// As measured with a driver for CUDA 13.0: a memory descriptor is closed unless an argument is
    /// wrong, a semaphore descriptor is left open.
    #[default]
    Measured,
    /// Descriptors are left open, as cuda.h suggests.
    LeftOpen,
    /// Descriptors are closed unless an argument is wrong.
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
