use std::collections::HashSet;

use super::*;

const SLOTS: u32 = 4;

/// The writer, its GPU and the renderer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    frames: Vec<Frame>,
    announced_at: Option<u64>,
    free: Vec<u32>,
    /// The frames that the renderer has. It returns those that a newer complete one supersedes.
    announced: Vec<Frame>,
    next: u64,
    /// Frames with a lower number are complete.
    complete: u64,
    /// Frames with a lower number are known to be complete.
    known: u64,
    now: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish,
    Complete,
    /// The writer asks the GPU.
    Look,
    /// A third of the interval passes.
    Tick,
    /// The thread or a writer without a slot announces everything.
    Announce,
    /// The stream has failed.
    Fail,
}

const STEPS: [Step; 6] = [Step::Publish, Step::Complete, Step::Look, Step::Tick, Step::Announce, Step::Fail];

impl World {
    fn step(&mut self, step: Step, start: Instant) {
        let at = |ticks: u64| start + INTERVAL / 3 * u32::try_from(ticks).unwrap();
        let now = at(self.now);
        let mut held =
            HeldFrames { frames: self.frames.iter().copied().collect(), announced: self.announced_at.map(at) };
        let mut free: FreeSlots = self.free.iter().map(|slot| (*slot, 0)).collect();
        let mut announced = Vec::new();
        match step {
            Step::Publish => {
                let Some((slot, _)) = free.pop_front() else { return };
                held.push(Frame { slot, frame: self.next, value: self.next + 1 }, self.known, &mut free);
                self.next += 1;
                let due = held.due(now, self.known);
                announced.extend(std::iter::from_fn(|| held.announce(now)).take(due));
            }
            Step::Complete => self.complete = self.next.min(self.complete + 1),
            Step::Look => self.known = self.complete,
            Step::Tick => self.now += 1,
            Step::Announce => {
                held.recycle(self.known, &mut free);
                announced.extend(std::iter::from_fn(|| held.announce(now)));
            }
            Step::Fail => {
                let first = held.remove_incomplete(self.known, &mut free);
                assert!(first.is_none_or(|first| first >= self.known), "a complete frame is removed");
                // Nothing that was not seen as complete will be.
                self.complete = self.known;
                announced.extend(std::iter::from_fn(|| held.announce(now)));
            }
        }
        if !announced.is_empty() {
            self.announced_at = Some(self.now);
        }
        let before = self.newest_complete();
        self.announced.extend(announced);
        assert!(self.announced.is_sorted_by(|a, b| a.frame < b.frame), "an older frame is announced");
        while self.announced.get(1).is_some_and(|newer| newer.frame < self.complete) {
            free.push_back((self.announced.remove(0).slot, 0));
        }
        self.frames = held.frames.into();
        self.free = free.into_iter().map(|(slot, _)| slot).collect();
        assert!(before <= self.newest_complete(), "the newest complete frame is lost");
        let mut slots: Vec<u32> = self.frames.iter().chain(&self.announced).map(|frame| frame.slot).collect();
        slots.extend(&self.free);
        slots.sort_unstable();
        assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>(), "each slot has one owner");
        assert!(self.frames.is_empty() || self.announced_at.is_some(), "nobody announces the frames");
    }

    /// Returns the number of the newest complete frame that the renderer has or will get.
    fn newest_complete(&self) -> Option<u64> {
        let all = self.frames.iter().chain(&self.announced);
        all.map(|frame| frame.frame).filter(|frame| *frame < self.complete).max()
    }
}

#[test]
#[cfg_attr(miri, ignore)] // Many states, and no memory accesses to check.
fn all_schedules_keep_the_newest_complete_frame() {
    let start = Instant::now();
    let (frames, free) = (Vec::new(), (0..SLOTS).collect());
    let world =
        World { frames, announced_at: None, free, announced: Vec::new(), next: 0, complete: 0, known: 0, now: 0 };
    let mut seen = HashSet::from([world.clone()]);
    let mut open = vec![world];
    for _ in 0..9 {
        let mut next = Vec::new();
        for (world, step) in open.iter().flat_map(|world| STEPS.into_iter().map(move |step| (world, step))) {
            let mut world = world.clone();
            world.step(step, start);
            if seen.insert(world.clone()) {
                next.push(world);
            }
        }
        open = next;
    }
    assert!(seen.len() > 1000, "only {} states", seen.len());
}

fn frame(number: u64) -> Frame {
    Frame { slot: u32::try_from(number).unwrap(), frame: number, value: number + 1 }
}

#[test]
fn frames_are_announced_at_once_unless_they_follow_another_quickly() {
    let (mut held, mut free, start) = (HeldFrames::default(), FreeSlots::new(), Instant::now());
    held.push(frame(0), 0, &mut free);
    assert_eq!((held.due(start, 0), held.deadline()), (1, None));
    assert_eq!(held.announce(start), Some(frame(0)));
    for number in 1..4 {
        held.push(frame(number), 1, &mut free);
        assert_eq!(held.due(start, 1), 0);
    }
    assert_eq!(held.deadline(), Some(start + 2 * INTERVAL));
    let later = start + INTERVAL;
    assert_eq!(held.due(later, 1), 3, "none is complete");
    held.push(frame(4), 3, &mut free);
    assert_eq!(free, [(1, 0)], "frame 2 supersedes it");
    assert_eq!(held.due(later, 3), 1, "the complete one");
    assert_eq!(held.announce(later), Some(frame(2)));
    assert_eq!((held.due(later, 3), held.len()), (0, 2));
}

#[test]
fn frames_that_will_not_be_complete_are_removed() {
    let (mut held, mut free) = (HeldFrames::default(), FreeSlots::new());
    (0..4).for_each(|number| held.push(frame(number), 0, &mut free));
    assert_eq!(held.remove_incomplete(2, &mut free), Some(2));
    assert_eq!(free, [(0, 0), (2, 0), (3, 0)]);
    assert_eq!((held.announce(Instant::now()), held.len()), (Some(frame(1)), 0));
    assert_eq!(held.remove_incomplete(2, &mut free), None);
}
