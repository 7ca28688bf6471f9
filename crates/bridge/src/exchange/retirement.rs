//! When resources that others have replaced are used no more.

/// The end of use of resources that others have replaced.
pub(super) struct Retirement {
    /// The highest value of `rendered` that may have been submitted by then.
    pub(super) rendered: u64,
    /// A value of `computed` behind all work with them; `None` where its signal could not be
    /// enqueued.
    pub(super) computed: Option<u64>,
}
