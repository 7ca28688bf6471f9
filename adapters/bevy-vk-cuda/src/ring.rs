//! Which of the three copies of a resource is whose: the copying queue's, or Bevy's. No driver is
//! involved.

/// The number of copies: one that Bevy shows, one that it may still read, and one that is
/// copied into.
pub(crate) const PLACES: usize = 3;

/// The state of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// Nobody's.
    Free,
    /// The second queue writes it.
    Copying,
    /// Whole, as the host has seen, and not shown yet.
    Ready,
    /// Bevy's current one; its last submission that reads it, or 0.
    Shown(u64),
    /// Bevy's former one, until that submission is done.
    Retiring(u64),
}

/// The three copies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ring([Place; PLACES]);

impl Ring {
    pub(crate) fn new() -> Self {
        Self([Place::Free; PLACES])
    }

    fn find(&self, is: impl Fn(Place) -> bool) -> Option<usize> {
        self.0.iter().position(|place| is(*place))
    }

    /// Returns the copy that may be written now; `None` while one is written already, or while Bevy
    /// may read the others.
    pub(crate) fn free(&self) -> Option<usize> {
        let copying = self.find(|place| place == Place::Copying);
        if copying.is_some() { None } else { self.find(|place| place == Place::Free) }
    }

    /// A submission that writes a free copy was made.
    pub(crate) fn copying(&mut self, index: usize) {
        debug_assert_eq!(self.0[index], Place::Free);
        self.0[index] = Place::Copying;
    }

    /// The host has seen the end of that submission. An older one that was never shown is free
    /// again.
    pub(crate) fn copied(&mut self) {
        let Some(done) = self.find(|place| place == Place::Copying) else { return };
        if let Some(superseded) = self.find(|place| place == Place::Ready) {
            self.0[superseded] = Place::Free;
        }
        self.0[done] = Place::Ready;
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
    use std::collections::HashSet;

    use super::*;

    /// The ring with the two queues: what has been submitted, and what has run.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct World {
        ring: Ring,
        writing: Option<usize>,
        /// Bevy's submissions that have not run, with the copy each reads.
        reading: Vec<(u64, usize)>,
        serial: u64,
        done: u64,
    }

    /// All that may happen next. `told` is what the ring is told of as done beside what has run.
    fn next(world: &World, told: u64) -> Vec<World> {
        let mut worlds = Vec::new();
        if let (Some(index), None) = (world.ring.free(), world.writing) {
            let mut next = world.clone();
            next.ring.copying(index);
            next.writing = Some(index);
            worlds.push(next);
        }
        if world.writing.is_some() {
            let mut next = world.clone();
            next.writing = None;
            next.ring.copied();
            worlds.push(next);
        }
        if world.serial < 6 {
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
        let start = World { ring: Ring::new(), writing: None, reading: Vec::new(), serial: 0, done: 0 };
        let (mut seen, mut open, mut torn) = (HashSet::from([start.clone()]), vec![start], false);
        while let Some(world) = open.pop() {
            torn |= world.writing.is_some_and(|index| world.reading.iter().any(|(_, read)| *read == index));
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

    #[test]
    fn a_stopped_bevy_leaves_the_copies_whole() {
        let mut ring = Ring::new();
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
