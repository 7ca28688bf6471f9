//! Running several programs at a time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::Result;

/// Runs `work` on all items, on one thread more than there are processors, because tests of order
/// wait. Passes the results to `take` as they complete; the first error of `take` ends the run.
pub(super) fn each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(&T, R) -> Result<()>,
) -> Result<()> {
    let left = Mutex::new(items.iter().collect::<VecDeque<_>>());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (tell, ended) = mpsc::channel();
    let threads = thread::available_parallelism().map_or(1, usize::from) + 1;
    thread::scope(|scope| {
        for _ in 0..threads {
            let (tell, next, work) = (tell.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(item) = next() {
                    if tell.send((item, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        ended.into_iter().try_for_each(|(item, result)| take(item, result))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_worked_on_once_and_an_error_ends_the_run() {
        let mut taken = Vec::new();
        let take = |_: &i32, square: i32| {
            taken.push(square);
            Ok(())
        };
        each(&[1, 2, 3, 4], |item| item * item, take).unwrap();
        taken.sort_unstable();
        assert_eq!(taken, [1, 4, 9, 16]);
        assert!(each(&[1], |item| *item, |_, _| anyhow::bail!("why")).is_err());
    }
}
