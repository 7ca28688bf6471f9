//! The frames that a worker in step has announced and not finished, or given back and is not done
//! with, and for how long nothing but the worker has delayed the oldest of them.
//!
//! Without a driver: what the worker says and how far the timelines are goes in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::exchange::Announced;

/// The most time between two looks that counts: where this process was stopped itself, the worker
/// may have been so too.
const MOST_COUNTED: Duration = Duration::from_millis(100);

/// Announced frames that are not finished.
#[derive(Debug)]
pub(super) struct Owed {
    /// The values rise by one.
    frames: VecDeque<Frame>,
    /// The time for which nothing but the worker has delayed the oldest.
    waited: Duration,
    looked: Instant,
    /// How far Vulkan was at the last look.
    rendered: u64,
}

/// A frame that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) announced: Announced,
    /// The worker's number.
    pub(super) number: u64,
    /// The worker has said that it will not be whole.
    pub(super) torn: bool,
}

impl Owed {
    pub(super) fn new(now: Instant) -> Self {
        Self { frames: VecDeque::new(), waited: Duration::ZERO, looked: now, rendered: 0 }
    }

    pub(super) fn announced(&mut self, announced: Announced, number: u64, now: Instant) {
        if self.frames.is_empty() {
            self.start(now);
        }
        self.frames.push_back(Frame { announced, number, torn: false });
    }

    /// The worker takes a frame back: it will not be whole, and its value comes all the same. Gives
    /// the exchange's number of it once, if it is not finished.
    pub(super) fn torn(&mut self, number: u64) -> Option<u64> {
        let torn = self.frames.iter_mut().find(|frame| frame.number == number && !frame.torn)?;
        torn.torn = true;
        Some(torn.announced.frame)
    }

    /// The oldest is finished.
    pub(super) fn finish(&mut self, now: Instant) -> Option<Frame> {
        self.start(now);
        self.frames.pop_front()
    }

    /// The oldest, if its value is at most `value`, is finished.
    pub(super) fn reached(&mut self, value: u64, now: Instant) -> Option<Frame> {
        let is_reached = self.frames.front()?.announced.value <= value;
        if is_reached { self.finish(now) } else { None }
    }

    fn start(&mut self, now: Instant) {
        (self.waited, self.looked) = (Duration::ZERO, now);
    }

    /// Counts the time since the last look, if nothing but the worker delays the oldest frame:
    /// where it waits for Vulkan's last use of its slot, `rendered` is how far Vulkan is. For a
    /// program that `leaves`, the time in which Vulkan does not move counts as well: nobody may be
    /// left that would submit what it waits for. Gives the frame once that is more than `limit`.
    pub(super) fn overrun(&mut self, rendered: u64, leaves: bool, limit: Duration, now: Instant) -> Option<Frame> {
        let oldest = *self.frames.front()?;
        let since = now.saturating_duration_since(self.looked);
        self.looked = now;
        let before = std::mem::replace(&mut self.rendered, rendered);
        if oldest.announced.after > before && rendered > before {
            self.waited = Duration::ZERO;
        }
        if leaves || oldest.announced.after <= rendered {
            self.waited += since.min(MOST_COUNTED);
        }
        (self.waited > limit).then_some(oldest)
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Vec<Frame> {
        self.frames.drain(..).collect()
    }

    /// What is owed to a device that is lost is of no use to anybody, and cannot be seen to come.
    /// Gives `is_lost` back.
    pub(super) fn forgive(&mut self, is_lost: bool) -> bool {
        if is_lost {
            self.frames.clear();
        }
        is_lost
    }

    pub(super) fn count(&self) -> usize {
        self.frames.len()
    }

    /// The exchange's numbers of all.
    pub(super) fn frames(&self) -> Box<[u64]> {
        self.frames.iter().map(|frame| frame.announced.frame).collect()
    }

    /// Returns `true` if the frame in a slot is not finished.
    pub(super) fn has(&self, slot: usize) -> bool {
        self.frames.iter().any(|frame| frame.announced.slot == slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);
    const LOOK: Duration = Duration::from_millis(50);

    /// Announced frames, on a clock of the test's own.
    struct World {
        owed: Owed,
        now: Instant,
        next: u64,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { owed: Owed::new(now), now, next: 0 }
        }

        fn announce(&mut self, after: u64) {
            let announced =
                Announced { frame: self.next + 100, slot: self.next as usize % 3, value: self.next + 1, after };
            self.owed.announced(announced, self.next, self.now);
            self.next += 1;
        }

        /// Looks so often, and gives the frame that overran its limit meanwhile.
        fn look(&mut self, times: u32, rendered: u64) -> Option<u64> {
            self.look_as(times, rendered, false)
        }

        /// The same, for a program that leaves or does not.
        fn look_as(&mut self, times: u32, rendered: u64, leaves: bool) -> Option<u64> {
            (0..times).find_map(|_| {
                self.now += LOOK;
                self.owed.overrun(rendered, leaves, LIMIT, self.now).map(|frame| frame.announced.frame)
            })
        }
    }

    #[test]
    fn each_frame_has_the_limit_from_the_end_of_the_one_before() {
        let mut world = World::new();
        (0..3).for_each(|_| world.announce(0));
        for value in 1..=3 {
            assert_eq!(world.look(20, 0), None, "at the limit");
            assert_eq!(world.owed.reached(value - 1, world.now), None);
            let whole = world.owed.reached(value, world.now).unwrap();
            assert_eq!((whole.announced.frame, whole.torn), (99 + value, false));
        }
        assert_eq!((world.owed.count(), world.look(100, 0)), (0, None), "nothing is owed");
        world.announce(0);
        assert_eq!(world.look(21, 0), Some(103));
    }

    /// The time in which the worker's stream waits for Vulkan is not the worker's.
    #[test]
    fn what_vulkan_delays_does_not_count() {
        let mut world = World::new();
        world.announce(5);
        assert_eq!((world.look(100, 4), world.look(20, 5)), (None, None));
        assert_eq!(world.look(1, 5), Some(100));
    }

    /// Of a program that leaves, nobody may be left that would submit what Vulkan waits for.
    #[test]
    fn a_program_that_leaves_waits_for_vulkan_as_long_as_that_moves() {
        let mut world = World::new();
        world.announce(5);
        assert_eq!(world.look(100, 0), None);
        for rendered in 1..=4 {
            assert_eq!(world.look_as(20, rendered, true), None, "it moves");
        }
        // From here on it is the worker's time alone, of which Vulkan has taken none.
        assert_eq!(world.look_as(20, 5, true), None);
        // That Vulkan moves on is of no use to it.
        assert_eq!(world.look_as(1, 6, true), Some(100));
        let mut world = World::new();
        world.announce(5);
        assert_eq!((world.look_as(20, 4, true), world.look_as(1, 4, true)), (None, Some(100)), "it stands still");
    }

    /// A renderer that was stopped has not seen what the worker did meanwhile.
    #[test]
    fn a_pause_between_two_looks_counts_a_little_alone() {
        let mut world = World::new();
        world.announce(0);
        world.now += Duration::from_secs(3600);
        assert_eq!((world.look(1, 0), world.look(17, 0)), (None, None));
        assert_eq!(world.look(2, 0), Some(100));
    }

    #[test]
    fn a_frame_that_is_taken_back_is_finished_in_its_turn() {
        let mut world = World::new();
        (0..3).for_each(|_| world.announce(0));
        assert_eq!([1, 7, 1].map(|number| world.owed.torn(number)), [Some(101), None, None]);
        assert_eq!([0, 1, 2].map(|slot| world.owed.has(slot)), [true; 3]);
        let finished = [(); 3].map(|()| world.owed.finish(world.now).unwrap().torn);
        assert_eq!((finished, world.owed.torn(1)), ([false, true, false], None));
        world.announce(0);
        assert_eq!((world.owed.take().len(), world.owed.count()), (1, 0));
    }
}
