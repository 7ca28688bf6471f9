//! Allocation of the byte ranges of a block.

use std::ops::Range;

use range_alloc::RangeAllocator;

/// Granularity of sizes and offsets, in bytes: no buffer shares a cache line or a memory
/// transaction with another.
pub(super) const UNIT: u64 = 256;

/// Maximum size of a block, in bytes.
pub(super) const MAX_BLOCK_SIZE: u64 = 512 << 30;

/// The allocator for the bytes of a block.
///
/// The pool's lock is held during calls of the allocator, which must therefore not call the
/// program's logger.
pub(super) struct Ranges {
    allocator: RangeAllocator<u64>,
    size: u64,
    live: usize,
    taken: u64,
}

/// A byte range allocated to one buffer.
pub(super) struct AllocatedRange(Range<u64>);

impl AllocatedRange {
    /// Returns the offset of the buffer, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.0.start
    }
}

impl Ranges {
    /// Creates the ranges of a block of `size` bytes, a multiple of [`UNIT`]. Returns `None` if
    /// `size` is 0 or greater than [`MAX_BLOCK_SIZE`].
    pub(super) fn new(size: u64) -> Option<Self> {
        let allocator = (1..=MAX_BLOCK_SIZE).contains(&size).then(|| RangeAllocator::new(0..size))?;
        Some(Self { allocator, size, live: 0, taken: 0 })
    }

    /// Allocates `size` bytes, at least 1, or returns `None` if there is no contiguous free range
    /// of that size. `alignment` is a power of two.
    pub(super) fn take(&mut self, size: u64, alignment: u64) -> Option<AllocatedRange> {
        let size = round_up(size.max(1)).filter(|size| *size <= self.size)?;
        let alignment = Some(alignment.max(UNIT)).filter(|alignment| *alignment <= MAX_BLOCK_SIZE)?;
        let range = self.allocator.allocate_range_aligned(size, alignment).ok()?;
        self.live += 1;
        self.taken += size;
        Some(AllocatedRange(range))
    }

    /// Frees a range that was allocated here.
    pub(super) fn free(&mut self, AllocatedRange(range): AllocatedRange) {
        self.live -= 1;
        self.taken -= range.end - range.start;
        self.allocator.free_range(range);
    }

    /// Returns the number of allocated ranges.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Returns the number of allocated bytes.
    pub(super) fn allocated(&self) -> u64 {
        self.taken
    }
}

/// Returns `size` rounded up to [`UNIT`], or `None` on overflow.
pub(super) fn round_up(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(UNIT)
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

    /// Miri takes long for each.
    const MAX_STEPS: usize = if cfg!(miri) { 10 } else { 200 };

    proptest! {
        #[test]
        fn live_ranges_never_share_a_byte(log in 16u32..22, steps in prop::collection::vec(step(), 1..MAX_STEPS)) {
            let block = 1u64 << log;
            let mut ranges = Ranges::new(block).unwrap();
            let mut live: Vec<(AllocatedRange, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take { size, alignment } => {
                        let Some(taken) = ranges.take(size, alignment) else {
                            prop_assert!(!live.is_empty() || round_up(size).unwrap() > block);
                            continue;
                        };
                        prop_assert!(taken.offset().is_multiple_of(alignment.max(UNIT)), "{} % {alignment}", taken.offset());
                        prop_assert!(taken.offset() + size <= block);
                        for (other, other_size) in &live {
                            let apart = taken.offset() + size <= other.offset() || other.offset() + other_size <= taken.offset();
                            prop_assert!(apart, "{}+{size} and {}+{other_size}", taken.offset(), other.offset());
                        }
                        live.push((taken, size));
                    }
                    Step::GiveBack(_) if live.is_empty() => {}
                    Step::GiveBack(index) => {
                        let (taken, _) = live.swap_remove(index.index(live.len()));
                        ranges.free(taken);
                    }
                }
                prop_assert_eq!(ranges.live(), live.len());
                prop_assert!(ranges.allocated() >= live.iter().map(|(_, size)| size).sum());
            }
            live.into_iter().for_each(|(taken, _)| ranges.free(taken));
            prop_assert_eq!((ranges.live(), ranges.allocated()), (0, 0));
            prop_assert!(ranges.take(block, 1).is_some(), "what was given back is in one piece again");
        }
    }

    #[test]
    fn full_block_refuses_and_recovers() {
        let mut ranges = Ranges::new(1 << 16).unwrap();
        let mut all: Vec<_> = std::iter::from_fn(|| ranges.take(1, 1)).collect();
        assert_eq!(all.len(), 256);
        assert!(ranges.take(1, 1).is_none());
        ranges.free(all.pop().unwrap());
        assert!(ranges.take(UNIT, UNIT).is_some());
    }

    thread_local! {
        static LINES: Cell<usize> = const { Cell::new(0) };
    }

    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, _: &log::Record<'_>) {
            LINES.set(LINES.get() + 1);
        }

        fn flush(&self) {}
    }

    /// The allocator logs nothing: the pool's lock is held during its calls, and the program's
    /// logger may use the pool.
    #[test]
    fn nothing_is_logged() {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let mut ranges = Ranges::new(1 << 16).unwrap();
        let [first, second] = [(); 2].map(|()| ranges.take(1 << 10, 1).unwrap());
        ranges.free(first);
        ranges.free(second);
        assert_eq!(LINES.get(), 0);
    }

    #[test]
    fn uncountable_sizes_are_refused() {
        assert!(Ranges::new(0).is_none());
        assert!(Ranges::new(MAX_BLOCK_SIZE << 1).is_none());
        let mut ranges = Ranges::new(1 << 20).unwrap();
        assert!(ranges.take(u64::MAX, 1).is_none());
        assert!(ranges.take(1, 1 << 63).is_none());
    }
}
