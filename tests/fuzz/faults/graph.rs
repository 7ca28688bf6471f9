//! Frames whose compute side is a graph, if the backend supports graphs.

use std::cell::Cell;

use bridge::cudarc::driver::CudaSlice;
use bridge::{Error, FrameGraph, RecordError, Work};

use crate::crossing::{Crossing, Known};
use crate::direction_ext::DirectionExt;
use crate::driver;
use crate::hook::inside;
use crate::ring::Ring;
use crate::transfer::fill_with;
use crate::work::between;
use crate::world::Shared;

/// The graphs of an exchange.
pub(crate) struct Graph<S: Crossing>(Option<Graphs<S>>);

struct Graphs<S: Crossing> {
    graph: FrameGraph<S>,
    /// The word that the graph of each slot writes.
    words: Vec<Option<u32>>,
    /// The sources that the graphs copy from.
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

impl<S: Crossing, D: DirectionExt> Ring<S, D> {
    /// Runs all steps of a frame, or the remaining steps of a frame that Vulkan began.
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
        // In compute-first exchanges, the graph begins the frame, so an open turn is an error.
        let turn = self.compute.take_if(|_| D::VULKAN_FIRST);
        let mut slot = turn.as_ref().map(|turn| turn.slot());
        let byte = shared.tag().to_ne_bytes()[0];
        let word = u32::from_ne_bytes([byte; 4]);
        // Created before a capture, because memory cannot be allocated during one.
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
                    // SAFETY: barriers from and to the surrounding commands, and the turn's own
                    // resources.
                    unsafe { work.record(record) }?;
                }
                Work::Cuda(cuda) => S::record_on_cuda(cuda, byte, source.as_ref())?,
                _ => unreachable!("no other backend is opened"),
            }
            Ok(())
        };
        // SAFETY: the work only uses the turn's own resources.
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
                self.contents[slot] = Some(Known::flat(word));
                shared.count("computations by graphs");
                self.continue_with(next);
            }
            Err(Error::TurnOpen { .. } | Error::SlotBusy { .. } | Error::TurnLost { .. }) => {}
            Err(error) => {
                // The slot is unknown, because only the closure receives it.
                self.contents.fill(None);
                shared.allow_of_graph(&error, hit);
            }
        }
    }
}

impl Shared {
    /// Like [`allow`](Self::allow), for an error that cudarc may have returned to the closure of a
    /// graph or when it created the capture stream. Such errors do not name the call that failed.
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
