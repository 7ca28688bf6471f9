//! The end of the use of replaced resources.

/// The timeline values at which the use of replaced resources ends.
pub(in crate::exchange) struct UseEnds {
    /// The highest value of `rendered` that may have been submitted when they were replaced.
    pub(in crate::exchange) rendered: u64,
    /// A value of `computed` after all work with them, or `None` if its signal could not be
    /// enqueued.
    pub(in crate::exchange) computed: Option<u64>,
}
