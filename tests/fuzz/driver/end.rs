//! The ends of objects, which are dropped, closed or forgotten, one by one and at the end of the
//! case.

use std::collections::BTreeSet;

use bridge_fuzz::Counts;
use cuda_import::{Error, leaks};

use crate::memories::SIZE;
use crate::op::{Ending, ObjectKind};
use crate::outcome::Outcome;
use crate::world::{World, kinds};

/// Objects that remain because they were forgotten.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    mappings: usize,
    images: usize,
    semaphores: usize,
    graphs: usize,
    blocks: BTreeSet<usize>,
    memories: BTreeSet<usize>,
}

impl World<'_> {
    pub(crate) fn end(&mut self, what: ObjectKind, which: u8, how: Ending) -> Option<Outcome> {
        let before = leaks();
        let forgotten = how == Ending::Forget;
        let result = match what {
            ObjectKind::Array => self.end_array(which, how)?,
            ObjectKind::Image => self.end_image(which, how)?,
            ObjectKind::Block => self.end_block(which, how)?,
            ObjectKind::Graph => self.end_graph(which, how)?,
            ObjectKind::Memory => {
                let (which, imported) = pick(&mut self.memories, which, |memory| &mut memory.imported, |_| true)?;
                if forgotten {
                    self.forgotten.memories.insert(which);
                }
                end_plain(imported, how)
            }
            ObjectKind::Timeline => {
                self.gates.open(self.double);
                let (_, semaphore) =
                    pick(&mut self.timelines, which, |timeline| &mut timeline.semaphore, |it| it.graphs == 0)?;
                self.forgotten.semaphores += usize::from(forgotten);
                end_plain(semaphore, how)
            }
            ObjectKind::Binary => {
                self.gates.open(self.double);
                let (_, semaphore) = pick(&mut self.binaries, which, |binary| &mut binary.semaphore, |_| true)?;
                self.forgotten.semaphores += usize::from(forgotten);
                end_plain(semaphore, how)
            }
            ObjectKind::Mark => {
                let (_, mark) = pick(&mut self.marks, which, |mark| &mut mark.mark, |_| true)?;
                end_plain(mark, Ending::Drop)
            }
        };
        let leaked = leaks() - before;
        assert!(leaked == 0 || self.faulted || self.armed, "{leaked} leaked with no call failing");
        Some(Outcome::new(if forgotten { "forgotten" } else { "ends" }, result))
    }

    fn end_array(&mut self, which: u8, how: Ending) -> Option<Result<(), Error>> {
        let unused = |array: &crate::arrays::Array| array.graphs == 0 || how == Ending::Forget;
        let (which, buffer) = pick(&mut self.arrays, which, |array| &mut array.buffer, unused)?;
        let array = &self.arrays[which];
        let (memory, block, bytes) = (array.memory, array.block, array.bytes());
        let before = leaks();
        let result = match how {
            Ending::Forget => {
                std::mem::forget(buffer);
                self.forgotten.mappings += usize::from(block.is_none());
                self.forgotten.blocks.extend(block);
                self.forgotten.memories.insert(memory);
                return Some(Ok(()));
            }
            Ending::Close => buffer.close(),
            Ending::Drop => end_plain(buffer, how),
        };
        // Leaked bytes stay claimed.
        match block {
            _ if leaks() > before => {}
            None => self.memories[memory].give_back(&bytes),
            Some(block) => {
                self.blocks[block].taken.retain(|other| *other != bytes);
                self.blocks[block].parts -= 1;
                self.end_mapping_of(block, before);
            }
        }
        Some(result)
    }

    fn end_block(&mut self, which: u8, how: Ending) -> Option<Result<(), Error>> {
        let (which, block) = pick(&mut self.blocks, which, |block| &mut block.block, |_| true)?;
        let before = leaks();
        if how == Ending::Forget {
            self.forgotten.blocks.insert(which);
            self.forgotten.memories.insert(self.blocks[which].memory);
            std::mem::forget(block);
            return Some(Ok(()));
        }
        // Only its last owner can close it.
        let result = match std::sync::Arc::into_inner(block) {
            Some(block) if how == Ending::Close => block.close(),
            _ => Ok(()),
        };
        self.end_mapping_of(which, before);
        Some(result)
    }

    /// Notes that a block ends with its last part.
    fn end_mapping_of(&mut self, block: usize, leaks_before: u64) {
        let ended = self.blocks[block].block.is_none() && self.blocks[block].parts == 0;
        if ended && leaks() == leaks_before && !self.forgotten.blocks.contains(&block) {
            let memory = self.blocks[block].memory;
            self.memories[memory].give_back(&(0..SIZE));
        }
    }

    fn end_image(&mut self, which: u8, how: Ending) -> Option<Result<(), Error>> {
        let (which, image) = pick(&mut self.images, which, |image| &mut image.image, |_| true)?;
        let memory = self.images[which].memory;
        let before = leaks();
        let result = match how {
            Ending::Forget => {
                std::mem::forget(image);
                self.forgotten.images += 1;
                self.forgotten.memories.insert(memory);
                return Some(Ok(()));
            }
            Ending::Close => image.close(),
            Ending::Drop => end_plain(image, how),
        };
        if leaks() == before {
            self.memories[memory].give_back(&(0..SIZE));
        }
        Some(result)
    }

    /// Ends a graph whose launches may still run.
    fn end_graph(&mut self, which: u8, how: Ending) -> Option<Result<(), Error>> {
        let (which, graph) = pick(&mut self.graphs, which, |graph| &mut graph.graph, |_| true)?;
        if how == Ending::Forget {
            self.forgotten.graphs += 1;
        } else {
            let graph = &self.graphs[which];
            let (arrays, timelines) = (graph.arrays(), [graph.wait, graph.signal]);
            arrays.into_iter().for_each(|array| self.arrays[array].graphs -= 1);
            timelines.into_iter().for_each(|timeline| self.timelines[timeline].graphs -= 1);
        }
        Some(end_plain(graph, how))
    }
}

/// Takes a remaining object that satisfies `is`.
fn pick<T, V>(
    list: &mut [T],
    which: u8,
    place: impl Fn(&mut T) -> &mut Option<V>,
    is: impl Fn(&T) -> bool,
) -> Option<(usize, V)> {
    let fits = |&at: &usize| is(&list[at]);
    let suitable: Vec<_> = (0..list.len()).filter(fits).collect();
    let alive: Vec<_> = suitable.into_iter().filter(|&at| place(&mut list[at]).is_some()).collect();
    let which = *alive.get(usize::from(which).checked_rem(alive.len())?)?;
    Some((which, place(&mut list[which]).take()?))
}

/// Ends an object that cannot be closed; it is dropped instead.
fn end_plain<V>(value: V, how: Ending) -> Result<(), Error> {
    match how {
        Ending::Forget => std::mem::forget(value),
        Ending::Drop | Ending::Close => drop(value),
    }
    Ok(())
}

/// Ends everything that is left of a case. Objects still alive after that must have been forgotten,
/// or counted as leaked.
pub(crate) fn end(world: World<'_>) -> Counts {
    let double = world.double;
    world.gates.open(double);
    // Graphs are dropped before the objects that they use, the rest in any order.
    let World { graphs, arrays, blocks, images, timelines, binaries, marks, .. } = world;
    drop(graphs);
    drop((marks, arrays, images, blocks, timelines, binaries));
    let World { mut counts, forgotten, faulted, lost, leaks: before, memories, streams, unrelated, device, .. } = world;
    drop(memories);
    // cudarc leaves the context of a dropped stream current.
    drop(streams);
    double.set_current(0);
    drop(unrelated);
    double.set_current(0);
    drop(device);
    let leaked = usize::try_from(leaks() - before).unwrap();
    assert!(leaked == 0 || faulted, "{leaked} leaked with no call failing");
    let mut findings = double.findings();
    // Objects left in a context by a failed call are destroyed with that context.
    findings.retain(|it| it.kind != "outlives-context" || !faulted);
    assert!(findings.is_empty(), "the end broke rules, {}: {findings:#?}", kinds(&findings));
    let live = double.live();
    assert!(live.iter().all(|it| it.kind() != "descriptor"), "descriptors are left: {live:#?}");
    if !lost {
        let (refused, kept): (Vec<_>, Vec<_>) = live.iter().partition(|it| it.refused);
        assert!(refused.is_empty() || faulted, "not destroyed: {refused:#?}");
        let check = |kinds: &[&str], forgotten: usize| {
            let there = kept.iter().filter(|it| kinds.contains(&it.kind())).count();
            let right = forgotten <= there && there <= forgotten + leaked;
            assert!(right, "{there} {kinds:?} are left, {forgotten} were forgotten, {leaked} leaked: {live:#?}");
        };
        check(&["mapping"], forgotten.mappings + forgotten.blocks.len());
        check(&["array"], forgotten.images);
        check(&["memory"], forgotten.memories.len());
        check(&["semaphore"], forgotten.semaphores);
        check(&["exec"], forgotten.graphs);
        check(&["graph"], forgotten.graphs);
        let all = forgotten.mappings + forgotten.blocks.len() + forgotten.images + forgotten.memories.len();
        if all + forgotten.semaphores + forgotten.graphs + leaked == 0 {
            assert!(kept.is_empty(), "nothing was forgotten, and left are {kept:#?}");
        }
    }
    counts.add(match (lost, faulted) {
        (true, _) => "cases with a lost context",
        (false, true) => "cases with a failed call",
        (false, false) => "cases without",
    });
    double.forget();
    counts
}
