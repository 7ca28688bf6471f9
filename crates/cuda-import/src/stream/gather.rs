//! Points in the driver's format.

use super::SemaphorePoint;
use crate::sys::SemaphoreHandle;

/// Number of points that need no allocation.
const ON_STACK: usize = 16;

/// Converts the points to the driver's format, two arrays of the same length.
pub(super) fn gather<P: Copy, R>(
    points: &[SemaphorePoint<'_>],
    params: impl Fn(u64) -> P,
    then: impl FnOnce(&[SemaphoreHandle], &[P]) -> R,
) -> R {
    match points {
        [one] => then(&[one.semaphore.handle()], &[params(one.value)]),
        several => gather_several(several, params, then),
    }
}

/// The general case of [`gather`].
///
/// Not inlined: its arrays take kilobytes of stack, below which the driver would run on stack
/// memory that is not in the cache.
#[inline(never)]
fn gather_several<P: Copy, R>(
    points: &[SemaphorePoint<'_>],
    params: impl Fn(u64) -> P,
    then: impl FnOnce(&[SemaphoreHandle], &[P]) -> R,
) -> R {
    if points.len() <= ON_STACK {
        let mut handles = [SemaphoreHandle::NONE; ON_STACK];
        let mut values = [params(0); ON_STACK];
        for (i, point) in points.iter().enumerate() {
            handles[i] = point.semaphore.handle();
            values[i] = params(point.value);
        }
        return then(&handles[..points.len()], &values[..points.len()]);
    }
    let handles: Vec<_> = points.iter().map(|point| point.semaphore.handle()).collect();
    let values: Vec<_> = points.iter().map(|point| params(point.value)).collect();
    then(&handles, &values)
}
