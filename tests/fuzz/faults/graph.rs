//! Frames whose compute side is a graph, where the backend has such.

use std::cell::Cell;

use bridge::cudarc::driver::CudaSlice;
use bridge::{Error, FrameGraph, RecordError, Work};

use crate::crossing::Crossing;
use crate::driver;
use crate::hook::inside;
use crate::ring::Ring;
use crate::shape::Content;
use crate::transfer::fill_with;
use crate::way::Way;
use crate::work::between;
use crate::world::Shared;

/// The graphs of an exchange.
pub(crate) struct Graph<S: Crossing>(Option<Graphs<S>>);

struct Graphs<S: Crossing> {
    graph: FrameGraph<S>,
    /// What each slot's writes.
    words: Vec<Option<u32>>,
    /// What they copy from.
    sources: Vec<CudaSlice<u32>>,
}

impl<S: Crossing> Default for Graph<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: Crossing> Graph<S> {
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl<S: Crossing, D: Way> Ring<S, D> {
    /// All of a frame in a row, or what is left of one that Vulkan began.
    pub(crate) fn frame_by_graph(&mut self, fill: bool, shared: &mut Shared) {
        if !D::VULKAN_FIRST {
            self.compute_by_graph(shared);
            return self.submit(fill, shared);
        }
        if self.compute.is_none() {
            self.begin(shared);
            self.submit(fill, shared);
        }
        self.compute_by_graph(shared);
    }

    fn compute_by_graph(&mut self, shared: &mut Shared) {
        let Some(exchange) = &mut self.exchange else { return };
        let slots = self.contents.len();
        let new = || Graphs { graph: FrameGraph::new(exchange), words: vec![None; slots], sources: Vec::new() };
        let Graphs { graph, words, sources } = self.graph.0.get_or_insert_with(new);
        // Where the compute side begins, the graph does, and an open turn is in its way.
        let turn = self.compute.take_if(|_| D::VULKAN_FIRST);
        let mut slot = turn.as_ref().map(|turn| turn.slot());
        let byte = shared.tag().to_ne_bytes()[0];
        let word = u32::from_ne_bytes([byte; 4]);
        // Before a capture, in which no memory is made.
        let source = shared.side().1.cuda().map(|cuda| S::source_of_graph(cuda.stream(), word));
        let Ok(source) = source.transpose() else { return shared.count("sources that cannot be made") };
        let source = source.flatten();
        let called = Cell::new(None);
        let device = &self.device;
        let record = |slot: usize, work: Work<'_, S>| -> Result<(), RecordError> {
            called.set(Some(slot));
            match work {
                Work::Host(host) => host.run(move |lent| S::words(lent, &mut |words| words.fill(word)))?,
                Work::Inline(work) => {
                    let mut parts = Vec::new();
                    S::kernel_parts(&work.resources, &mut parts);
                    let record = |commands| {
                        between(device, commands, || {
                            parts.iter().for_each(|part| fill_with(device, commands, part, word));
                        });
                    };
                    // SAFETY: barriers from and to what is around it, and the turn's own buffer.
                    unsafe { work.record(record) }?;
                }
                Work::Cuda(cuda) => S::record_on_cuda(cuda, byte, source.as_ref())?,
                _ => unreachable!("no other backend is opened"),
            }
            Ok(())
        };
        // SAFETY: the work uses the turn's own buffer alone.
        let (computed, hit) = inside(|| unsafe { D::compute_with(exchange, turn, graph, record) });
        shared.note(hit);
        if let Some(slot) = called.get() {
            words[slot] = Some(word);
            sources.extend(source);
        }
        let Some(computed) = computed else { return };
        match computed {
            Ok(next) => {
                slot = slot.or(next.slot());
                let slot = slot.unwrap();
                let word = words[slot].unwrap_or_else(|| panic!("the closure of slot {slot} was never called"));
                self.contents[slot] = Some(Content::Flat(word));
                shared.count("computations by graphs");
                self.go_on(next);
            }
            Err(Error::TurnOpen { .. } | Error::SlotBusy { .. } | Error::TurnLost { .. }) => {}
            Err(error) => {
                // Of which slot, only the closure would have been told.
                self.contents.fill(None);
                shared.allow_of_graph(&error, hit);
            }
        }
    }
}

impl Shared {
    /// As [`allow`](Self::allow), of an error that cudarc may have returned, to the closure of a
    /// graph or where it made the stream of a capture. Those do not name the call that failed.
    fn allow_of_graph(&mut self, error: &Error, hit: Option<&'static str>) {
        let own = match error {
            Error::Record { source, .. } => source.downcast_ref::<Error>(),
            Error::Cuda(_) if error.to_string().starts_with("cuStreamCreate failed") => None,
            _ => Some(error),
        };
        let Some(own) = own else {
            let fails = hit.is_some() || !driver::hits().is_empty() || self.has_failed();
            assert!(fails, "nothing failed, and cudarc says: {error}");
            return self.count("errors");
        };
        self.allow(own, hit);
    }
}
