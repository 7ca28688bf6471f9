//! Copies to a part on another stream of its GPU than the one that the turn lends. The stream is
//! held, and only the exchange knows about it.

use std::sync::Arc;

use bridge::cuda_import::cudarc::driver::{CudaSlice, CudaStream};
use bridge::{Compute, ComputeTurn, Error};
use bridge_tests::{Filler, Gate, Readback, Rig};

use crate::{LEN, SIZE, Words, parts, read, words};

/// Another stream of the last GPU, and the source of its copies.
struct ForeignStream {
    // Dropped first: freeing the others may wait for it.
    gate: Gate,
    source: CudaSlice<u32>,
    stream: Arc<CudaStream>,
}

impl ForeignStream {
    fn new(compute: &Compute) -> Self {
        let last = compute.cuda().unwrap().gpus().len() - 1;
        let (device, _) = compute.cuda().unwrap().gpus().nth(last).unwrap();
        let stream = device.new_stream().unwrap();
        let source = stream.clone_htod(&Filler::pattern(LEN, 70_000_000)).unwrap();
        stream.synchronize().unwrap();
        let gate = Gate::on_stream(compute, last, &stream);
        Self { gate, source, stream }
    }

    /// Enqueues a copy to the last GPU's part, behind the gate. Then, with `kernel`, fills every
    /// part with a kernel of the filler.
    fn copy(&self, compute: &Compute, turn: &mut ComputeTurn<Words>, kernel: Option<(&Filler, u32)>) {
        let ranges = compute.cuda().unwrap().even_split::<u32>(LEN);
        let last = ranges.len() - 1;
        for (place, mut part) in turn.work_split(&ranges).unwrap().into_iter().enumerate() {
            if place == last {
                let source = self.source.slice(..part.elements.len());
                // Resources that are created at the first use by another stream are not created
                // while the gate is closed.
                self.stream.memcpy_dtod(&source, &mut part.elements).unwrap();
                self.gate.hold_stream();
                self.stream.memcpy_dtod(&source, &mut part.elements).unwrap();
            }
            if let Some((filler, base)) = kernel {
                filler.fill_part(part, base + 100_000_000 * place as u32);
            }
        }
    }
}

/// `work` after `work_split`: the leader overwrites what the copy has written.
pub(crate) fn the_leader_waits_for_a_copy_on_another_stream(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let foreign_stream = ForeignStream::new(compute);
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    foreign_stream.copy(compute, &mut turn, None);
    filler.fill(&mut turn, 5000);
    let turn = turn.finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    foreign_stream.gate.open();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 5000), "the leader did not wait for the copy");
    exchange.close().unwrap();
}

/// A turn is dropped while the copy is still pending: the slot's next frame runs after it
/// nevertheless.
pub(crate) fn a_copy_of_a_dropped_turn_is_waited_for(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let foreign_stream = ForeignStream::new(compute);
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    foreign_stream.copy(compute, &mut turn, None);
    drop(turn);
    assert!(matches!(exchange.begin().unwrap_err(), Error::TurnLost { .. }));
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 3000);
    let turn = turn.finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    foreign_stream.gate.open();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 3000), "the lost frame's copy came later");
    exchange.close().unwrap();
}

/// `CudaPart::kernels` after a copy of the same part: the kernel overwrites what the copy has
/// written.
pub(crate) fn kernels_wait_for_a_copy_of_their_part(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let foreign_stream = ForeignStream::new(compute);
    let gpus = compute.cuda().unwrap().gpus().len();
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    foreign_stream.copy(compute, &mut turn, Some((&filler, 1000)));
    let turn = turn.finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    foreign_stream.gate.open();
    assert!(read(&readback, turn) == parts(gpus, 1000), "the kernel did not wait for the copy");
    exchange.close().unwrap();
}
