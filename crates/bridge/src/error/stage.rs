//! The stages of a frame, as errors name them.

/// Stage at which a turn was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Before `ComputeTurn::finish`.
    Compute,
    /// After it, before the frame was submitted or skipped.
    Render,
    /// As a `LentTurn`: the submission may or may not have happened.
    Submit,
}

impl Stage {
    /// Returns the name of that turn.
    pub(super) fn turn(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Render => "render",
            Self::Submit => "lent",
        }
    }

    /// Returns the calls that end that turn.
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Compute => "finish or drop",
            Self::Render => "submit or skip",
            Self::Submit => "end (`submitted`, `not_submitted`)",
        }
    }
}
