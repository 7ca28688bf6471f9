//! Exploration of all states of a model, reduced by the symmetry of slots and numbers.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::super::Slot;
use super::world::{FAULTS, REMOTE_READER, REMOTE_WRITER, VALID, WRITER_FAULTS, World};

/// Explores every reachable state. Returns the number of states, or a description of a fault and of
/// the step that caused it.
pub(super) fn explore(start: World) -> Result<usize, String> {
    let (sound, faulty) = match (start.remote_writer, start.remote_reader) {
        (true, _) => (&REMOTE_WRITER[..], &FAULTS[..]),
        (_, true) => (&REMOTE_READER[..], &WRITER_FAULTS[..]),
        _ => (&VALID[..], &FAULTS[..]),
    };
    let faults = start.faults;
    let mut seen = HashSet::from([start.clone()]);
    let mut open = VecDeque::from([start]);
    while let Some(world) = open.pop_front() {
        for step in sound.iter().chain(faulty.iter().filter(|_| faults > 0)) {
            let mut next = world.clone();
            let done = next.step(*step).map_err(|fault| format!("{fault}; {step:?} after {world:#?}"))?;
            let next = next.normalized().sorted();
            if done && seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

impl World {
    /// Returns the same world with its slots in a canonical order.
    pub(super) fn sorted(mut self) -> Self {
        let mut order: Vec<_> = (0..self.sizes.slots).collect();
        let of_turn = |slot| self.reading.map(|turn| (turn.slot == slot, turn.replaced_slot == Some(slot)));
        order.sort_by_key(|slot| {
            let held = (self.writing == Some(*slot), self.held == Some(*slot), of_turn(*slot));
            (self.ledger.slots[*slot], self.contents[*slot], held)
        });
        let place = |slot: &mut usize| *slot = order.iter().position(|old| old == slot).unwrap();
        self.ledger.slots = order.iter().map(|slot| self.ledger.slots[*slot]).collect();
        self.contents = order.iter().map(|slot| self.contents[*slot]).collect();
        self.writing.iter_mut().chain(&mut self.held).for_each(place);
        for turn in self.ledger.reading.iter_mut().chain(&mut self.reading) {
            place(&mut turn.slot);
            turn.replaced_slot.iter_mut().for_each(place);
        }
        self
    }

    /// Returns the same world with the smallest numbers in the same order, so that there are
    /// finitely many worlds.
    pub(super) fn normalized(mut self) -> Self {
        let (mut frames, mut writes, mut reads) = (Ranks::default(), Ranks::default(), Ranks::default());
        for rename in [false, true] {
            let mut frame = |number: &mut u64| frames.visit(number, rename);
            let mut write = |number: &mut u64| writes.visit(number, rename);
            let mut read = |number: &mut u64| reads.visit(number, rename);
            for slot in &mut self.ledger.slots {
                match slot {
                    Slot::Free { last_uses } | Slot::Writing { last_uses } => {
                        read(&mut last_uses.read);
                        write(&mut last_uses.written);
                    }
                    Slot::Unknown { last_uses, value } => {
                        read(&mut last_uses.read);
                        write(&mut last_uses.written);
                        write(value);
                    }
                    Slot::Published { frame: number, value }
                    | Slot::Taking { frame: number, value }
                    | Slot::Held { frame: number, value } => {
                        frame(number);
                        write(value);
                    }
                    Slot::Retired { value } => write(value),
                    Slot::Remote => {}
                }
            }
            for content in &mut self.contents {
                content.frame.iter_mut().for_each(&mut frame);
                write(&mut content.written);
                read(&mut content.read);
            }
            for (value, number) in &mut self.unwritten {
                write(value);
                number.iter_mut().for_each(&mut frame);
            }
            self.recent.iter_mut().for_each(&mut write);
            for turn in self.ledger.reading.iter_mut().chain(&mut self.reading) {
                frame(&mut turn.frame);
                write(&mut turn.value);
            }
            let options = [&mut self.finished, &mut self.published, &mut self.last_taken, &mut self.ledger.last_taken];
            options.into_iter().flatten().for_each(&mut frame);
            frame(&mut self.ledger.next);
            [&mut self.written, &mut self.reached, &mut self.ledger.finished].into_iter().for_each(&mut write);
            self.unread.iter_mut().for_each(&mut read);
            [&mut self.read, &mut self.read_reached].into_iter().for_each(&mut read);
        }
        self
    }
}

/// Numbers and their ranks; 0 keeps its rank.
#[derive(Default)]
struct Ranks(BTreeMap<u64, u64>);

impl Ranks {
    fn visit(&mut self, number: &mut u64, rename: bool) {
        if !rename {
            self.0.insert(0, 0);
            self.0.insert(*number, 0);
            return;
        }
        if self.0.values().all(|rank| *rank == 0) {
            self.0.values_mut().zip(0..).for_each(|(rank, next)| *rank = next);
        }
        *number = self.0[number];
    }
}
