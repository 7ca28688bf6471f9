//! The device of a tensor's memory.

use std::fmt;

use bridge::Compute;

/// The ordinal for a tensor whose device is not known.
pub(crate) const UNKNOWN: i32 = -1;

/// The memory that a tensor is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// Memory that the CPU can access, pinned or not.
    Cpu,
    /// A CUDA device, by its ordinal in this process.
    Cuda(i32),
}

impl Device {
    /// Returns the device of the memory that a compute side uses.
    pub(crate) fn of(compute: &Compute) -> Self {
        let ordinal = compute.cuda().map(|cuda| i32::try_from(cuda.device().ordinal()).unwrap_or(UNKNOWN));
        ordinal.map_or(Self::Cpu, Self::Cuda)
    }

    /// Returns the name of the device in torch: `"cpu"` or `"cuda:1"`, or `"cuda"` if the ordinal
    /// is not known.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda(UNKNOWN) => "cuda".to_owned(),
            Self::Cuda(ordinal) => format!("cuda:{ordinal}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("the CPU"),
            Self::Cuda(ordinal) => write!(f, "CUDA device {ordinal}"),
        }
    }
}
