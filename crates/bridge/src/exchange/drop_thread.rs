//! The thread that frees an exchange's slots.

/// The thread that waits for the end of a generation of slots and frees them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DropThread {
    /// The thread that drops the last reference or, if that thread may not wait, a new one.
    Current,
    /// A thread that was started for this purpose.
    Spawned,
    /// No such thread could be started: there is no wait, and objects that may be in use are
    /// leaked.
    NotStarted,
}
