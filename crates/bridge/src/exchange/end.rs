//! Where an exchange's slots end.

/// Where a generation of slots ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// On the thread that drops it last, or on one of its own where that one may not wait.
    Here,
    /// On the thread that was started for it.
    Elsewhere,
    /// No such thread has started: nobody may wait, and what may be in use is leaked.
    Nowhere,
}
