//! Which bytes of a block are whose.

use bridge_trace::isolated;
use offset_allocator::{Allocation, Allocator};

/// In bytes: where a range starts and what its size is rounded up to. No buffer shares a cache line
/// or a memory transaction with another.
pub(super) const UNIT: u64 = 256;

/// The most bytes that a block may have: the allocator counts units in 32 bits.
pub(super) const LARGEST: u64 = UNIT << 31;

/// The most ranges of one block; the allocator takes about 32 bytes for each.
const MAX_RANGES: u32 = 32 << 10;

/// The free and the taken bytes of a block.
pub(super) struct Ranges {
    /// It logs in the midst of its bookkeeping. `None` once the program's logger has panicked
    /// there: nobody knows any more what is free.
    allocator: Option<Allocator>,
    live: usize,
    taken: u64,
}

/// Bytes that are one buffer's.
pub(super) struct Taken {
    /// Offset of the buffer, in bytes.
    pub(super) offset: u64,
    /// Bytes that are taken, padding before and behind the buffer included.
    size: u64,
    allocation: Allocation,
}

impl Ranges {
    /// Creates the ranges of a block of `size` bytes: a power of two, so that the allocator, which
    /// keeps free ranges in classes of rounded sizes, finds a range as large as the block. None for
    /// what it cannot count.
    pub(super) fn new(size: u64) -> Option<Self> {
        let units = u32::try_from(size / UNIT).ok().filter(|units| units.is_power_of_two())?;
        let allocator = isolated(|| Allocator::with_max_allocs(units, units.clamp(8, MAX_RANGES)));
        Some(Self { allocator, live: 0, taken: 0 })
    }

    /// Takes bytes that are free now, or None if there are not as many in one piece. `alignment` is
    /// a power of two.
    pub(super) fn take(&mut self, size: u64, alignment: u64) -> Option<Taken> {
        let size = padded(size, alignment)?;
        let units = u32::try_from(size / UNIT).ok()?;
        let allocation = self.with_allocator(|allocator| allocator.allocate(units))??;
        let offset = (u64::from(allocation.offset) * UNIT).next_multiple_of(alignment);
        self.live += 1;
        self.taken += size;
        Some(Taken { offset, size, allocation })
    }

    /// Makes bytes free that were taken here.
    pub(super) fn give_back(&mut self, taken: Taken) {
        self.with_allocator(|allocator| allocator.free(taken.allocation));
        self.live -= 1;
        self.taken -= taken.size;
    }

    /// `None` once a logger has panicked in the allocator, here or before.
    fn with_allocator<T>(&mut self, call: impl FnOnce(&mut Allocator) -> T) -> Option<T> {
        let allocator = self.allocator.as_mut()?;
        let called = isolated(|| call(allocator));
        if called.is_none() {
            self.allocator = None;
        }
        called
    }

    /// Returns `true` if nothing can be taken here any more.
    pub(super) fn is_broken(&self) -> bool {
        self.allocator.is_none()
    }

    /// Ranges that are taken.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Bytes that are taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }
}

/// Bytes to take for `size` bytes, so that they can be aligned: the allocator knows no alignment
/// but its unit. None if that cannot be counted.
pub(super) fn padded(size: u64, alignment: u64) -> Option<u64> {
    size.checked_next_multiple_of(alignment.max(UNIT))?.checked_add(alignment.saturating_sub(UNIT))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bridge_trace::log;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Take { size: u64, alignment: u64 },
        GiveBack(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![4 => 1u64..2000, 2 => 1u64..100_000, 1 => 1u64..(2 << 20)];
        prop_oneof![
            3 => (size, 0u32..14).prop_map(|(size, log)| Step::Take { size, alignment: 1 << log }),
            2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        ]
    }

    proptest! {
        #[test]
        fn live_ranges_never_share_a_byte(log in 16u32..22, steps in prop::collection::vec(step(), 1..200)) {
            let block = 1u64 << log;
            let mut ranges = Ranges::new(block).unwrap();
            let mut live: Vec<(Taken, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take { size, alignment } => {
                        let Some(taken) = ranges.take(size, alignment) else {
                            prop_assert!(!live.is_empty() || padded(size, alignment).unwrap() > block);
                            continue;
                        };
                        prop_assert!(taken.offset.is_multiple_of(alignment.max(UNIT)), "{} % {alignment}", taken.offset);
                        prop_assert!(taken.offset + size <= block);
                        for (other, other_size) in &live {
                            let apart = taken.offset + size <= other.offset || other.offset + other_size <= taken.offset;
                            prop_assert!(apart, "{}+{size} and {}+{other_size}", taken.offset, other.offset);
                        }
                        live.push((taken, size));
                    }
                    Step::GiveBack(_) if live.is_empty() => {}
                    Step::GiveBack(index) => {
                        let (taken, _) = live.swap_remove(index.index(live.len()));
                        ranges.give_back(taken);
                    }
                }
                prop_assert_eq!(ranges.live(), live.len());
                prop_assert!(ranges.taken() >= live.iter().map(|(_, size)| size).sum());
            }
            live.into_iter().for_each(|(taken, _)| ranges.give_back(taken));
            prop_assert_eq!((ranges.live(), ranges.taken()), (0, 0));
            prop_assert!(ranges.take(block, 1).is_some(), "what was given back is in one piece again");
        }
    }

    #[test]
    fn a_full_block_refuses_and_takes_again() {
        let mut ranges = Ranges::new(1 << 16).unwrap();
        let mut all: Vec<_> = std::iter::from_fn(|| ranges.take(1, 1)).collect();
        // The allocator keeps a node or two back.
        assert!(all.len() >= 254, "{}", all.len());
        assert!(ranges.take(1, 1).is_none());
        ranges.give_back(all.pop().unwrap());
        assert!(ranges.take(UNIT, UNIT).is_some());
    }

    thread_local! {
        static PANICS: Cell<bool> = const { Cell::new(false) };
    }

    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            PANICS.get()
        }

        fn log(&self, _: &log::Record<'_>) {
            if PANICS.get() {
                std::panic::resume_unwind(Box::new("the logger panics"));
            }
        }

        fn flush(&self) {}
    }

    /// The allocator may have noted a half of what it did: it must not be asked again.
    #[test]
    fn after_a_logger_that_panics_nothing_is_taken() {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let panicking = |call: &mut dyn FnMut()| {
            PANICS.set(true);
            call();
            PANICS.set(false);
        };
        let [mut takes, mut gives] = [(); 2].map(|()| Ranges::new(1 << 16).unwrap());
        let first = gives.take(1 << 10, 1).unwrap();
        let (mut taken, mut first) = (None, Some(first));
        panicking(&mut || taken = takes.take(1 << 10, 1));
        panicking(&mut || gives.give_back(first.take().unwrap()));
        assert!(taken.is_none() && takes.is_broken() && gives.is_broken(), "the allocator logs no more: void");
        assert!(takes.take(1, 1).is_none() && gives.take(1, 1).is_none());
        assert_eq!((takes.live(), takes.taken(), gives.live(), gives.taken()), (0, 0, 0, 0));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert!(Ranges::new(3 << 16).is_none());
        assert!(Ranges::new(LARGEST << 1).is_none());
        let mut ranges = Ranges::new(1 << 20).unwrap();
        assert!(ranges.take(u64::MAX, 1).is_none());
        assert!(ranges.take(1, 1 << 63).is_none());
    }
}
