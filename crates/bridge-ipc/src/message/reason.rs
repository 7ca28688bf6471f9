//! Reasons for refusing or ending an exchange or a connection.

use std::fmt;

/// Reasons for refusing or ending an exchange or a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The sender has ended as planned.
    Done,
    /// No common version.
    Version,
    /// The backend is not allowed or not available.
    Backend,
    /// The GPU is not the one that was stated, or it cannot access the memory.
    Device,
    /// A resource cannot be imported, or is not the one that the program expects.
    Resource,
    /// The peer violated the protocol.
    Protocol,
    /// The sender itself failed.
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
