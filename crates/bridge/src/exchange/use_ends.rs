//! When resources that others have replaced are used no more.

/// The end of use of resources that others have replaced.
pub(super) struct UseEnds {
    /// The highest value of `rendered` that may have been submitted by then.
    pub(super) rendered: u64,
    /// A value of `computed` after all work with them; `None` if its signal could not be enqueued.
    pub(super) computed: Option<u64>,
}
