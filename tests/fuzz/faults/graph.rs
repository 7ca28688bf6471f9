//! Frames whose compute side is a graph, where the backend has such.

use std::cell::Cell;

use bridge::cudarc::driver::DevicePtrMut;
use bridge::cudarc::driver::result::memset_d8_async;
use bridge::{CudaWork, Error, FrameGraph, RecordError, Work};

use crate::driver;
use crate::hook::inside;
use crate::ring::{Ring, Words};
use crate::shape::{Content, Shape};
use crate::transfer::fill_with;
use crate::way::Way;
use crate::work::between;
use crate::world::Shared;

/// The graphs of an exchange, with the word that each slot's writes.
#[derive(Default)]
pub(crate) struct Graph(Option<(FrameGraph<Words>, Vec<Option<u32>>)>);

impl Graph {
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl<D: Way> Ring<D> {
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
        let (graph, words) = self.graph.0.get_or_insert_with(|| (FrameGraph::new(exchange), vec![None; slots]));
        // Where the compute side begins, the graph does, and an open turn is in its way.
        let turn = self.compute.take_if(|_| D::VULKAN_FIRST);
        let mut slot = turn.as_ref().map(|turn| turn.slot());
        let byte = shared.tag().to_ne_bytes()[0];
        let word = u32::from_ne_bytes([byte; 4]);
        let called = Cell::new(None);
        let device = &self.device;
        let record = |slot: usize, work: Work<'_, Words>| -> Result<(), RecordError> {
            called.set(Some(slot));
            match work {
                Work::Host(host) => host.run(move |words| words.fill(word))?,
                Work::Inline(work) => {
                    let mut parts = Vec::new();
                    Words::kernel_parts(&work.resources, &mut parts);
                    let record = |commands| {
                        between(device, commands, || {
                            parts.iter().for_each(|part| fill_with(device, commands, part, word));
                        });
                    };
                    // SAFETY: barriers from and to what is around it, and the turn's own buffer.
                    unsafe { work.record(record) }?;
                }
                Work::Cuda(cuda) => on_cuda(cuda, byte)?,
                _ => unreachable!("no other backend is opened"),
            }
            Ok(())
        };
        // SAFETY: the work uses the turn's own buffer alone.
        let (computed, hit) = inside(|| unsafe { D::compute_with(exchange, turn, graph, record) });
        shared.note(hit);
        if let Some(slot) = called.get() {
            words[slot] = Some(word);
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

/// Enqueues: all bytes are `byte`.
fn on_cuda(mut cuda: CudaWork<'_, Words>, byte: u8) -> Result<(), RecordError> {
    let stream = cuda.stream;
    stream.context().bind_to_thread()?;
    let size = 4 * cuda.resources.len();
    let (address, _order) = cuda.resources.device_ptr_mut(stream);
    // SAFETY: the turn's own buffer, on the stream that is lent.
    unsafe { memset_d8_async(address, byte, size, stream.cu_stream()) }?;
    Ok(())
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
