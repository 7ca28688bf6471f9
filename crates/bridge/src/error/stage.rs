//! Stages of a frame that errors refer to.

use std::fmt;

/// The kind of turn that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// A compute turn that has not been finished.
    Compute,
    /// A render turn that has been neither submitted nor skipped.
    Render,
    /// A lent turn. It is unknown whether its parts were submitted.
    Submit,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compute => "compute",
            Self::Render => "render",
            Self::Submit => "lent",
        })
    }
}

impl Stage {
    /// Returns the calls that end this kind of turn.
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Compute => "finish, publish or skip",
            Self::Render => "submit or skip",
            Self::Submit => "end (`submitted`, `not_submitted`)",
        }
    }
}
