//! Ownership of the copies of a resource by the copy queue or by Bevy. This module calls no driver.

/// The number of Bevy's frames that may be unfinished when it begins another: wgpu acquires an
/// image of a window only after the frame that last drew to that image has ended, and a window has
/// one image more than Bevy's default of `Window::desired_maximum_frame_latency`, which is 2.
pub(crate) const IN_FLIGHT: u64 = 2;

/// The number of copies that may be written at the same time. The copy queue shares the GPU with
/// Bevy's queue, so the host may see the end of a copy one of Bevy's frames late.
pub(crate) const COPYING: usize = 2;

/// The number of copies: one for each of Bevy's unfinished frames, each of which may read one, the
/// last of them being the shown one; a complete one that is shown next; and those that are being
/// written. With fewer, some of Bevy's frames show nothing new although the writer is fast enough.
pub(crate) const PLACES: usize = IN_FLIGHT as usize + 1 + COPYING;

/// The state of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// Unused.
    Free,
    /// The copy queue writes it, after this many other copies.
    Copying(usize),
    /// Complete, as the host has seen, and not shown yet.
    Ready,
    /// Bevy's current copy, with the last submission of Bevy that reads it, or 0.
    Shown(u64),
    /// A former copy of Bevy, until this submission is done.
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

    /// Returns the copy that may be written now; `None` while [`COPYING`] copies are being written,
    /// or while Bevy may read the others.
    pub(crate) fn free(&self) -> Option<usize> {
        if self.copies() < COPYING { self.find(|place| place == Place::Free) } else { None }
    }

    /// Returns the number of copies that are being written.
    fn copies(&self) -> usize {
        self.0.iter().filter(|place| matches!(place, Place::Copying(_))).count()
    }

    /// Notes a submission that writes a free copy.
    pub(crate) fn copying(&mut self, index: usize) {
        debug_assert_eq!(self.0[index], Place::Free);
        self.0[index] = Place::Copying(self.copies());
    }

    /// Notes that the host has seen the end of the oldest of those submissions. An older complete
    /// copy that was never shown becomes free.
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

    /// Switches to the newest complete copy. Returns `true` if there is a newer one than before.
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

    /// Notes that a submission of Bevy, numbered from 1, reads the shown copy.
    pub(crate) fn read(&mut self, serial: u64) {
        if let Some(index) = self.shown() {
            self.0[index] = Place::Shown(serial);
        }
    }

    /// Notes that the host has seen the end of all of Bevy's submissions up to this one.
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

    /// The ring and the two queues: the submitted and the completed work.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct World {
        ring: Ring,
        /// The copies that are being written, oldest first.
        writing: Vec<usize>,
        /// Bevy's submissions that have not run, with the copy that each of them reads.
        reading: Vec<(u64, usize)>,
        serial: u64,
        done: u64,
    }

    /// Returns all possible next states. The ring is notified of `told` submissions more than have
    /// run.
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

    /// Returns whether any schedule writes a copy while Bevy reads it, and the number of states.
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

    /// Negative control: if a copy is reused one submission too early, some schedule writes it
    /// while Bevy reads it.
    #[test]
    fn told_too_early_a_schedule_tears() {
        assert!(explore(1).0);
    }

    /// Returns the number of new frames among a hundred of Bevy's, after the first copy, if the
    /// writer has a frame for each. The last `in_flight` of Bevy's frames are unfinished when it
    /// begins another, and the host sees the end of a copy `later` frames later.
    fn new_frames<const N: usize>(in_flight: u64, later: u64) -> usize {
        let (mut ring, mut ends) = (Ring::<N>::new(), VecDeque::new());
        // The steps of `SharedPresent`.
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

    /// Negative control: frames are skipped with three copies, with one copy less than `PLACES`,
    /// and with `PLACES` if more frames are in flight or copies take longer.
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
