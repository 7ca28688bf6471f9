//! Stages of a frame that errors refer to.

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

impl Stage {
    /// Returns the name of this kind of turn.
    pub(super) fn turn(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Render => "render",
            Self::Submit => "lent",
        }
    }

    /// Returns the calls that end this kind of turn.
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Compute => "finish or drop",
            Self::Render => "submit or skip",
            Self::Submit => "end (`submitted`, `not_submitted`)",
        }
    }
}
