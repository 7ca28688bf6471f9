//! The frames that a worker in step has announced and not finished, or freed and is not finished
//! with, and the time for which only the worker has delayed the oldest of them.
//!
//! Independent of the driver: the inputs are the worker's messages and the values of the timelines.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::exchange::Announcement;

/// Maximum time between two checks that counts: if this process was stopped, the worker may have
/// been stopped as well.
const MAX_COUNTED: Duration = Duration::from_millis(100);

/// Announced frames that are not finished.
#[derive(Debug)]
pub(super) struct PendingFrames {
    /// In order of values, which rise by 1.
    frames: VecDeque<PendingFrame>,
    /// The frame with the highest value that was observed as reached, or signaled in the worker's
    /// place.
    reached: Option<Announcement>,
    /// The time for which only the worker has delayed the oldest frame.
    waited: Duration,
    last_check: Instant,
    /// Value of Vulkan's timeline at the last check.
    rendered: u64,
}

/// A frame that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PendingFrame {
    pub(super) announced: Announcement,
    /// The worker's number of the frame.
    pub(super) number: u64,
    /// `true` if the worker has reported that the frame will not be complete.
    pub(super) torn: bool,
}

impl PendingFrames {
    pub(super) fn new(now: Instant) -> Self {
        Self { frames: VecDeque::new(), reached: None, waited: Duration::ZERO, last_check: now, rendered: 0 }
    }

    pub(super) fn push(&mut self, announced: Announcement, number: u64, now: Instant) {
        if self.frames.is_empty() {
            self.start_wait(now);
        }
        self.frames.push_back(PendingFrame { announced, number, torn: false });
    }

    /// Marks a frame that the worker takes back: it will not be complete, but its value is still
    /// reached. Returns the exchange's number of it, once, if it is not finished.
    pub(super) fn mark_torn(&mut self, number: u64) -> Option<u64> {
        let torn = self.frames.iter_mut().find(|frame| frame.number == number && !frame.torn)?;
        torn.torn = true;
        Some(torn.announced.frame)
    }

    /// Removes the oldest frame, which is finished.
    pub(super) fn pop(&mut self, now: Instant) -> Option<PendingFrame> {
        self.start_wait(now);
        self.frames.pop_front()
    }

    /// Removes the oldest frame if its value is at most `value`.
    pub(super) fn pop_reached(&mut self, value: u64, now: Instant) -> Option<PendingFrame> {
        let oldest = self.frames.front()?.announced;
        if oldest.value > value {
            return None;
        }
        self.reached = Some(oldest);
        self.pop(now)
    }

    fn start_wait(&mut self, now: Instant) {
        (self.waited, self.last_check) = (Duration::ZERO, now);
    }

    /// Adds the time since the last check, if only the worker delays the oldest frame. If the frame
    /// waits for Vulkan's last use of its slot, `rendered` shows whether that has ended. For a
    /// program that `leaves`, time in which Vulkan makes no progress counts as well: the submission
    /// that it waits for may never be made. Returns the frame once the time exceeds `limit`.
    pub(super) fn find_overrun(
        &mut self,
        rendered: u64,
        leaves: bool,
        limit: Duration,
        now: Instant,
    ) -> Option<PendingFrame> {
        let oldest = *self.frames.front()?;
        let since = now.saturating_duration_since(self.last_check);
        self.last_check = now;
        let before = std::mem::replace(&mut self.rendered, rendered);
        if oldest.announced.after > before && rendered > before {
            self.waited = Duration::ZERO;
        }
        if leaves || oldest.announced.after <= rendered {
            self.waited += since.min(MAX_COUNTED);
        }
        (self.waited > limit).then_some(oldest)
    }

    /// Removes and returns all frames.
    pub(super) fn take_all(&mut self) -> Vec<PendingFrame> {
        self.frames.drain(..).collect()
    }

    /// Drops all frames, since the device is lost: they are of no use, and could not be observed.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
    }

    /// Records that the value of a removed frame, if any, was signaled in the worker's place, with
    /// all lower ones.
    pub(super) fn set_reached(&mut self, last: Option<PendingFrame>) {
        self.reached = last.map(|last| last.announced).or(self.reached);
    }

    /// Returns the highest value that was [reached](Self::pop_reached) by the worker or [signaled
    /// in its place](Self::set_reached); 0 if there is none. Unless the timeline is set back, it
    /// has at least this value.
    pub(super) fn reached(&self) -> u64 {
        self.reached.map_or(0, |reached| reached.value)
    }

    /// Returns the exchange's number of the frame with the value [`reached`](Self::reached).
    pub(super) fn reached_frame(&self) -> Option<u64> {
        self.reached.map(|reached| reached.frame)
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Returns the exchange's numbers of all frames.
    pub(super) fn frames(&self) -> Box<[u64]> {
        self.frames.iter().map(|frame| frame.announced.frame).collect()
    }

    /// Returns `true` if the frame in a slot is not finished.
    pub(super) fn contains_slot(&self, slot: usize) -> bool {
        self.frames.iter().any(|frame| frame.announced.slot == slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);
    const CHECK_INTERVAL: Duration = Duration::from_millis(50);

    /// Announced frames, with a clock that the test controls.
    struct World {
        pending: PendingFrames,
        now: Instant,
        next: u64,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { pending: PendingFrames::new(now), now, next: 0 }
        }

        fn announce(&mut self, after: u64) {
            let announced =
                Announcement { frame: self.next + 100, slot: self.next as usize % 3, value: self.next + 1, after };
            self.pending.push(announced, self.next, self.now);
            self.next += 1;
        }

        /// Checks `times` times; returns the frame that overran its limit meanwhile.
        fn check(&mut self, times: u32, rendered: u64) -> Option<u64> {
            self.check_as(times, rendered, false)
        }

        /// Like [`check`](Self::check), for a program that leaves or does not.
        fn check_as(&mut self, times: u32, rendered: u64, leaves: bool) -> Option<u64> {
            (0..times).find_map(|_| {
                self.now += CHECK_INTERVAL;
                self.pending.find_overrun(rendered, leaves, LIMIT, self.now).map(|frame| frame.announced.frame)
            })
        }
    }

    #[test]
    fn limit_of_each_frame_starts_at_the_end_of_the_previous_one() {
        let mut world = World::new();
        (0..3).for_each(|_| world.announce(0));
        for value in 1..=3 {
            assert_eq!(world.check(20, 0), None, "at the limit");
            assert_eq!(world.pending.pop_reached(value - 1, world.now), None);
            let whole = world.pending.pop_reached(value, world.now).unwrap();
            assert_eq!((whole.announced.frame, whole.torn), (99 + value, false));
        }
        assert_eq!((world.pending.len(), world.check(100, 0)), (0, None), "nothing is owed");
        world.announce(0);
        assert_eq!(world.check(21, 0), Some(103));
    }

    /// Time in which the worker's stream waits for Vulkan does not count.
    #[test]
    fn time_waiting_for_vulkan_does_not_count() {
        let mut world = World::new();
        world.announce(5);
        assert_eq!((world.check(100, 4), world.check(20, 5)), (None, None));
        assert_eq!(world.check(1, 5), Some(100));
    }

    /// If a program leaves, nothing may be left that makes the submission that Vulkan waits for.
    #[test]
    fn leaving_program_waits_while_vulkan_makes_progress() {
        let mut world = World::new();
        world.announce(5);
        assert_eq!(world.check(100, 0), None);
        for rendered in 1..=4 {
            assert_eq!(world.check_as(20, rendered, true), None, "it moves");
        }
        // From here on, only the worker's time counts; Vulkan has used none of it.
        assert_eq!(world.check_as(20, 5, true), None);
        // Further progress of Vulkan does not help the worker.
        assert_eq!(world.check_as(1, 6, true), Some(100));
        let mut world = World::new();
        world.announce(5);
        assert_eq!((world.check_as(20, 4, true), world.check_as(1, 4, true)), (None, Some(100)), "it stands still");
    }

    /// A renderer that was stopped has not observed the worker meanwhile.
    #[test]
    fn long_pause_between_checks_counts_only_partly() {
        let mut world = World::new();
        world.announce(0);
        world.now += Duration::from_secs(3600);
        assert_eq!((world.check(1, 0), world.check(17, 0)), (None, None));
        assert_eq!(world.check(2, 0), Some(100));
    }

    #[test]
    fn torn_frame_is_finished_in_order() {
        let mut world = World::new();
        (0..3).for_each(|_| world.announce(0));
        assert_eq!([1, 7, 1].map(|number| world.pending.mark_torn(number)), [Some(101), None, None]);
        assert_eq!([0, 1, 2].map(|slot| world.pending.contains_slot(slot)), [true; 3]);
        let finished = [(); 3].map(|()| world.pending.pop(world.now).unwrap().torn);
        assert_eq!((finished, world.pending.mark_torn(1)), ([false, true, false], None));
        world.announce(0);
        assert_eq!((world.pending.take_all().len(), world.pending.len()), (1, 0));
    }
}
