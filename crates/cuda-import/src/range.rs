//! Ranges as arguments of any of the standard types.

use std::ops::{Bound, Range, RangeBounds};

/// Returns the start and the end of `range` in a sequence of `len` elements, without checking them.
/// `next` returns the number after another one, and saturates.
pub(crate) fn resolve<T: Copy + Default>(range: &impl RangeBounds<T>, len: T, next: fn(T) -> T) -> Range<T> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => next(before),
        Bound::Unbounded => T::default(),
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => next(last),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    start..end
}
