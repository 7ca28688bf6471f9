//! The loss of a compute side.

/// The loss of a side, as far as the timeline that it signals goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its signals come.
    None,
    /// They do not, while other GPUs may go on with their work.
    Signaler,
    /// Nothing of it goes on.
    All,
}
