//! The frames of a worker that computes with CUDA, from their announcement until its timeline shows
//! that they are complete.
//!
//! Independent of the driver: the inputs are the worker's messages and its timeline's values.

use std::collections::VecDeque;

use super::FinishedFrame;

/// Published frames that are not complete yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Frames {
    /// In order of rising values.
    pending: VecDeque<PendingFrame>,
    /// The highest value that was published.
    announced: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PendingFrame {
    slot: usize,
    frame: u64,
    value: u64,
}

/// The outcome of a value of the worker's timeline.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReachedFrames {
    /// The slot of the newest complete frame.
    pub(super) whole: Option<usize>,
    /// The slots of superseded frames.
    pub(super) superseded: Vec<usize>,
}

impl Frames {
    /// Adds a published frame. If its value does not rise, returns its slot as an error: such a
    /// frame could never be observed as complete.
    pub(super) fn push(&mut self, FinishedFrame { slot, frame, value }: FinishedFrame) -> Result<(), usize> {
        if value <= self.announced {
            return Err(slot);
        }
        self.announced = value;
        self.pending.push_back(PendingFrame { slot, frame, value });
        Ok(())
    }

    /// Removes a frame that the worker takes back. Returns its slot if the frame was not complete.
    pub(super) fn remove_torn(&mut self, slot: usize, frame: u64) -> Option<usize> {
        let place = self.pending.iter().position(|pending| (pending.slot, pending.frame) == (slot, frame))?;
        self.pending.remove(place).map(|torn| torn.slot)
    }

    /// Handles a value that the worker's timeline has reached.
    pub(super) fn take_reached(&mut self, value: u64) -> ReachedFrames {
        let mut settled = ReachedFrames::default();
        while let Some(whole) = self.pending.pop_front_if(|oldest| oldest.value <= value) {
            // A newer frame is complete, so this one is not needed.
            settled.superseded.extend(settled.whole.replace(whole.slot));
        }
        settled
    }

    /// Returns the number of frames that are not complete.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SLOTS: usize = 3;

    /// The actual state: the worker's slots, its frames and its timeline.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct World {
        frames: Frames,
        /// For each slot, the number and value of its published frame; `None` if the worker owns
        /// it.
        published: [Option<(u64, u64)>; SLOTS],
        next: u64,
        /// Value of the worker's timeline.
        reached: u64,
        shown: Option<u64>,
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Publishes from a slot, with a value that is this much greater.
        Publish(usize, u64),
        Torn(usize),
        /// The timeline rises by this much, possibly beyond the published values.
        Rise(u64),
    }

    fn steps() -> Vec<Step> {
        let of_slots = (0..SLOTS).flat_map(|slot| [Step::Publish(slot, 1), Step::Publish(slot, 2), Step::Torn(slot)]);
        of_slots.chain([Step::Rise(1), Step::Rise(3)]).collect()
    }

    impl World {
        fn step(&mut self, step: Step) {
            match step {
                Step::Publish(slot, more) => {
                    if self.published[slot].is_some() {
                        return;
                    }
                    let value = self.frames.announced + more;
                    self.frames.push(FinishedFrame { slot, frame: self.next, value }).unwrap();
                    self.published[slot] = Some((self.next, value));
                    self.next += 1;
                }
                Step::Torn(slot) => {
                    let Some((frame, _)) = self.published[slot] else { return };
                    assert_eq!(self.frames.remove_torn(slot, frame + 1), None, "another frame");
                    assert_eq!(self.frames.remove_torn(slot, frame), Some(slot));
                    self.published[slot] = None;
                }
                Step::Rise(by) => self.reached += by,
            }
            // The thread does this whenever something has happened.
            let ReachedFrames { whole, superseded } = self.frames.take_reached(self.reached);
            for slot in superseded.iter().chain(&whole) {
                let (frame, value) = self.published[*slot].take().expect("a slot is given back once");
                assert!(value <= self.reached, "a frame that is not whole");
                assert!(Some(frame) > self.shown, "an older frame");
                self.shown = Some(frame);
            }
            assert!(whole.is_some() || superseded.is_empty(), "nobody sees the newest");
            let left = self.published.iter().flatten();
            assert!(left.clone().all(|(_, value)| *value > self.reached), "a frame that is whole is kept back");
            assert_eq!(left.count(), self.frames.len());
        }
    }

    #[test]
    fn all_schedules_show_only_complete_frames() {
        let start = World { frames: Frames::default(), published: [None; SLOTS], next: 0, reached: 0, shown: None };
        let mut seen = HashSet::from([start.clone()]);
        let mut open = vec![start];
        for _ in 0..6 {
            let mut next = Vec::new();
            for (world, step) in open.iter().flat_map(|world| steps().into_iter().map(move |step| (world, step))) {
                let mut world = world.clone();
                world.step(step);
                if seen.insert(world.clone()) {
                    next.push(world);
                }
            }
            open = next;
        }
        assert!(seen.len() > 1000, "only {} states", seen.len());
    }

    fn frame(slot: usize, frame: u64, value: u64) -> FinishedFrame {
        FinishedFrame { slot, frame, value }
    }

    #[test]
    fn newest_of_several_complete_frames_is_shown() {
        let mut frames = Frames::default();
        (0..3).for_each(|i| frames.push(frame(i, i as u64, 10 + i as u64)).unwrap());
        assert_eq!(frames.take_reached(9), ReachedFrames::default());
        assert_eq!(frames.take_reached(11), ReachedFrames { whole: Some(1), superseded: vec![0] });
        assert_eq!((frames.take_reached(11), frames.len()), (ReachedFrames::default(), 1));
        // The worker ends here: no more frames complete.
        assert_eq!(frames.remove_torn(2, 2), Some(2));
        assert_eq!((frames.take_reached(99), frames.len()), (ReachedFrames::default(), 0));
    }

    #[test]
    fn frame_with_a_repeated_value_is_refused() {
        let mut frames = Frames::default();
        frames.push(frame(0, 0, 5)).unwrap();
        assert_eq!(frames.push(frame(1, 1, 5)), Err(1));
        assert_eq!(frames.take_reached(u64::MAX), ReachedFrames { whole: Some(0), superseded: vec![] });
        assert_eq!(frames.push(frame(0, 2, 0)), Err(0));
    }
}
