//! Reasons for a refusal or an end.

use std::fmt;

/// Reasons for a refusal or an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The side has ended as planned.
    Done,
    /// No common version.
    Version,
    /// A backend that is not allowed, or cannot be had.
    Backend,
    /// The GPU is another one than was said, or cannot reach the memory.
    Device,
    /// A resource cannot be imported, or is another one than the program expects.
    Resource,
    /// The peer has broken the protocol.
    Protocol,
    /// A failure of the side itself.
    Failure,
    /// A code that this version does not know.
    Other(u32),
}

impl Code {
    /// Returns the number that messages carry.
    pub fn number(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Version => 1,
            Self::Backend => 2,
            Self::Device => 3,
            Self::Resource => 4,
            Self::Protocol => 5,
            Self::Failure => 6,
            Self::Other(number) => number,
        }
    }

    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::Version,
            2 => Self::Backend,
            3 => Self::Device,
            4 => Self::Resource,
            5 => Self::Protocol,
            6 => Self::Failure,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "code {number}"),
            known => write!(f, "{known:?}"),
        }
    }
}
