//! Which of the copies of a resource is whose: the copying queue's, or Bevy's. No driver is
//! involved.

/// The number of Bevy's frames that may be unfinished when it begins another: wgpu acquires an
/// image of a window once the frame that drew to it before has ended, and a window has as many as
/// Bevy's default of `Window::desired_maximum_frame_latency`, which is 2, and one.
pub(crate) const IN_FLIGHT: u64 = 2;

/// The number of copies that are copied into at once. The copying queue shares the GPU with Bevy's,
/// so that the host may see a copy's end a frame of Bevy's later than the next.
pub(crate) const COPYING: usize = 2;

/// The number of copies: one for each of Bevy's unfinished frames, which may read one each, the
/// last of them the one that is shown; one that is whole and shown next; and those that are copied
/// into. With fewer, Bevy draws frames without a new one though the writer is as fast as it.
pub(crate) const PLACES: usize = IN_FLIGHT as usize + 1 + COPYING;

/// The state of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// Nobody's.
    Free,
    /// The second queue writes it, behind so many others.
    Copying(usize),
    /// Whole, as the host has seen, and not shown yet.
    Ready,
    /// Bevy's current one; its last submission that reads it, or 0.
    Shown(u64),
    /// Bevy's former one, until that submission is done.
    Retiring(u64),
}

/// The copies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ring<const N: usize = PLACES>([Place; N]);

impl<const N: usize> Ring<N> {
    pub(crate) fn new() -> Self {
        Self([Place::Free; N])
    }

    fn find(&self, is: impl Fn(Place) -> bool) -> Option<usize> {
        self.0.iter().position(|place| is(*place))
    }

    /// Returns the copy that may be written now; `None` while [`COPYING`] are written already, or
    /// while Bevy may read the others.
    pub(crate) fn free(&self) -> Option<usize> {
        if self.copies() < COPYING { self.find(|place| place == Place::Free) } else { None }
    }

    /// The number of copies that are written.
    fn copies(&self) -> usize {
        self.0.iter().filter(|place| matches!(place, Place::Copying(_))).count()
    }

    /// A submission that writes a free copy was made.
    pub(crate) fn copying(&mut self, index: usize) {
        debug_assert_eq!(self.0[index], Place::Free);
        self.0[index] = Place::Copying(self.copies());
    }

    /// The host has seen the end of the oldest of those submissions. An older copy that was never
    /// shown is free again.
    pub(crate) fn copied(&mut self) {
        let Some(done) = self.find(|place| place == Place::Copying(0)) else { return };
        if let Some(superseded) = self.find(|place| place == Place::Ready) {
            self.0[superseded] = Place::Free;
        }
        self.0[done] = Place::Ready;
        for place in &mut self.0 {
            if let Place::Copying(before) = place {
                *before -= 1;
            }
        }
    }

    /// Switches to the newest whole copy. Returns `true` if there is a newer one than before.
    pub(crate) fn switch(&mut self) -> bool {
        let Some(ready) = self.find(|place| place == Place::Ready) else { return false };
        if let Some(old) = self.shown()
            && let Place::Shown(serial) = self.0[old]
        {
            self.0[old] = if serial == 0 { Place::Free } else { Place::Retiring(serial) };
        }
        self.0[ready] = Place::Shown(0);
        true
    }

    /// Returns the copy that Bevy's submissions may read.
    pub(crate) fn shown(&self) -> Option<usize> {
        self.find(|place| matches!(place, Place::Shown(_)))
    }

    /// A submission of Bevy's, numbered from 1, reads the shown copy.
    pub(crate) fn read(&mut self, serial: u64) {
        if let Some(index) = self.shown() {
            self.0[index] = Place::Shown(serial);
        }
    }

    /// The host has seen the end of all of Bevy's submissions up to this one.
    pub(crate) fn done(&mut self, serial: u64) {
        for place in &mut self.0 {
            if matches!(place, Place::Retiring(last) if *last <= serial) {
                *place = Place::Free;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use super::*;

    /// The ring with the two queues: what has been submitted, and what has run.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct World {
        ring: Ring,
        /// Copies that are written, the oldest first.
        writing: Vec<usize>,
        /// Bevy's submissions that have not run, with the copy each reads.
        reading: Vec<(u64, usize)>,
        serial: u64,
        done: u64,
    }

    /// All that may happen next. `told` is what the ring is told of as done beside what has run.
    fn next(world: &World, told: u64) -> Vec<World> {
        let mut worlds = Vec::new();
        if let Some(index) = world.ring.free() {
            let mut next = world.clone();
            next.ring.copying(index);
            next.writing.push(index);
            worlds.push(next);
        }
        if !world.writing.is_empty() {
            let mut next = world.clone();
            next.writing.remove(0);
            next.ring.copied();
            worlds.push(next);
        }
        if world.serial < 5 {
            let mut next = world.clone();
            next.ring.switch();
            if let Some(shown) = next.ring.shown() {
                next.serial += 1;
                next.ring.read(next.serial);
                next.reading.push((next.serial, shown));
                worlds.push(next);
            }
        }
        if let Some((serial, _)) = world.reading.first().copied() {
            let mut next = world.clone();
            next.reading.remove(0);
            next.done = serial;
            worlds.push(next);
        }
        let mut next = world.clone();
        next.ring.done(world.done + told);
        worlds.push(next);
        worlds
    }

    /// Returns whether any schedule writes a copy while Bevy reads it, and how many
    /// states there are.
    fn explore(told: u64) -> (bool, usize) {
        let start = World { ring: Ring::new(), writing: Vec::new(), reading: Vec::new(), serial: 0, done: 0 };
        let (mut seen, mut open, mut torn) = (HashSet::from([start.clone()]), vec![start], false);
        while let Some(world) = open.pop() {
            torn |= world.reading.iter().any(|(_, read)| world.writing.contains(read));
            open.extend(next(&world, told).into_iter().filter(|next| seen.insert(next.clone())));
        }
        (torn, seen.len())
    }

    #[test]
    fn no_schedule_writes_what_bevy_reads() {
        let (torn, states) = explore(0);
        assert!(!torn && states > 100, "{states} states");
    }

    /// The negative control: a copy that is used again one submission too early is torn in some
    /// schedule.
    #[test]
    fn told_too_early_a_schedule_tears() {
        assert!(explore(1).0);
    }

    /// The number of new frames among a hundred of Bevy's, behind the first copy, where the writer
    /// has one for each. The last `in_flight` of Bevy's are unfinished when it begins another, and
    /// the host sees a copy's end so many of them later.
    fn new_frames<const N: usize>(in_flight: u64, later: u64) -> usize {
        let (mut ring, mut ends) = (Ring::<N>::new(), VecDeque::new());
        // As `SharedPresent` does.
        let newer = |serial: &u64| {
            while ends.pop_front_if(|end| *end <= *serial).is_some() {
                ring.copied();
            }
            ring.done(serial.saturating_sub(1 + in_flight));
            if let Some(free) = ring.free() {
                ring.copying(free);
                ends.push_back(serial + later);
            }
            let newer = ring.switch();
            if newer {
                ring.read(*serial);
            }
            newer
        };
        (1..=100 + later).filter(newer).count()
    }

    #[test]
    fn each_of_bevys_frames_has_a_new_one() {
        for (in_flight, later) in [(0, 1), (1, 1), (IN_FLIGHT, 1), (IN_FLIGHT, COPYING as u64)] {
            assert_eq!(new_frames::<PLACES>(in_flight, later), 100, "{in_flight} in flight, {later} later");
        }
    }

    /// The negative control: with three copies frames are left out, and with one less than there
    /// are; with as many, once more frames are in flight, or copies last longer.
    #[test]
    fn with_fewer_copies_frames_are_left_out() {
        assert!(new_frames::<3>(IN_FLIGHT, 1) < 80);
        assert!(new_frames::<{ PLACES - 1 }>(IN_FLIGHT, COPYING as u64) < 90);
        assert!(new_frames::<PLACES>(IN_FLIGHT + 1, COPYING as u64) < 90);
        assert!(new_frames::<PLACES>(IN_FLIGHT, COPYING as u64 + 1) < 90);
    }

    #[test]
    fn a_stopped_bevy_leaves_the_copies_whole() {
        let mut ring = Ring::<PLACES>::new();
        for _ in 0..10 {
            if let Some(free) = ring.free() {
                ring.copying(free);
                ring.copied();
            }
        }
        assert!(ring.switch() && ring.shown().is_some());
        assert!(!ring.switch(), "the same again");
    }
}
