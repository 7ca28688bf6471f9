//! How much of a compute side is lost.

/// How much of a compute side is lost, and whether it still signals its timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The side still signals its timeline.
    None,
    /// The side no longer signals, but some of its GPUs may continue their work.
    Signaler,
    /// All GPUs of the side are lost, and none of its work continues.
    All,
}
