//! Which bytes of a block are whose.

use std::collections::{BTreeMap, BTreeSet};

/// In bytes: where a range starts and what its size is rounded up to. No buffer shares a cache line
/// or a memory transaction with another.
pub(super) const UNIT: u64 = 256;

/// The most bytes that a block may have: units are counted in 32 bits.
pub(super) const LARGEST: u64 = UNIT << 31;

/// The free and the taken bytes of a block. What is taken is taken from the smallest free range
/// that is large enough; what is given back is one range with its free neighbors.
pub(super) struct Ranges {
    /// The free ranges: where each one starts, and its size. Both in units.
    free: BTreeMap<u32, u32>,
    /// The same, by their sizes.
    by_size: BTreeSet<(u32, u32)>,
    live: usize,
    taken: u64,
}

/// Bytes that are one buffer's.
pub(super) struct Taken {
    /// Offset of the buffer, in bytes.
    pub(super) offset: u64,
    /// Units that are taken, padding before and behind the buffer included.
    start: u32,
    len: u32,
}

impl Ranges {
    /// Creates the ranges of a block of `size` bytes, a multiple of [`UNIT`]. None for what cannot
    /// be counted.
    pub(super) fn new(size: u64) -> Option<Self> {
        let units = u32::try_from(size / UNIT).ok().filter(|units| *units > 0 && size <= LARGEST)?;
        let mut ranges = Self { free: BTreeMap::new(), by_size: BTreeSet::new(), live: 0, taken: 0 };
        ranges.insert(0, units);
        Some(ranges)
    }

    /// Takes bytes that are free now, or None if there are not as many in one piece. `alignment` is
    /// a power of two.
    pub(super) fn take(&mut self, size: u64, alignment: u64) -> Option<Taken> {
        let size = padded(size, alignment)?;
        let len = u32::try_from(size / UNIT).ok()?;
        let &(found, start) = self.by_size.range((len, 0)..).next()?;
        self.remove(start, found);
        if found > len {
            self.insert(start + len, found - len);
        }
        self.live += 1;
        self.taken += size;
        Some(Taken { offset: (u64::from(start) * UNIT).next_multiple_of(alignment), start, len })
    }

    /// Makes bytes free that were taken here.
    pub(super) fn give_back(&mut self, Taken { mut start, mut len, .. }: Taken) {
        self.live -= 1;
        self.taken -= u64::from(len) * UNIT;
        let before = self.free.range(..start).next_back().map(|(start, len)| (*start, *len));
        if let Some((other, other_len)) = before.filter(|(other, other_len)| other + other_len == start) {
            self.remove(other, other_len);
            (start, len) = (other, other_len + len);
        }
        if let Some(other_len) = self.free.get(&(start + len)).copied() {
            self.remove(start + len, other_len);
            len += other_len;
        }
        self.insert(start, len);
    }

    fn insert(&mut self, start: u32, len: u32) {
        self.free.insert(start, len);
        self.by_size.insert((len, start));
    }

    fn remove(&mut self, start: u32, len: u32) {
        self.free.remove(&start);
        self.by_size.remove(&(len, start));
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

/// Bytes to take for `size` bytes, so that they can be aligned: ranges are aligned to their unit
/// alone. None if that cannot be counted.
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
        assert_eq!(all.len(), 256);
        assert!(ranges.take(1, 1).is_none());
        ranges.give_back(all.pop().unwrap());
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

    /// The pool's lock is held meanwhile, and the program's logger may use the pool.
    #[test]
    fn nothing_is_logged() {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let mut ranges = Ranges::new(1 << 16).unwrap();
        let [first, second] = [(); 2].map(|()| ranges.take(1 << 10, 1).unwrap());
        ranges.give_back(first);
        ranges.give_back(second);
        assert_eq!(LINES.get(), 0);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert!(Ranges::new(0).is_none());
        assert!(Ranges::new(LARGEST << 1).is_none());
        let mut ranges = Ranges::new(1 << 20).unwrap();
        assert!(ranges.take(u64::MAX, 1).is_none());
        assert!(ranges.take(1, 1 << 63).is_none());
    }
}
