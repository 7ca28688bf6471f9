//! Frames that several GPUs compute together.

use bridge::Compute;
use bridge_tests::{Filler, Readback, Rig};

use crate::{LEN, fill_parts, parts, read, words};

pub(crate) fn each_gpu_writes_its_part(rig: &Rig, compute: &Compute) {
    let gpus = compute.cuda().unwrap().gpus().len();
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), crate::SIZE);
    for slots in 1..=3 {
        let mut exchange = words(compute, slots);
        for frame in 0..20 {
            let mut turn = exchange.begin().unwrap();
            fill_parts(compute, &filler, &mut turn, frame * 1000 + 7);
            let turn = turn.finish().unwrap();
            assert!(read(&readback, turn) == parts(gpus, frame * 1000 + 7), "frame {frame} of {slots} slots");
        }
        exchange.close().unwrap();
    }
}

/// Ranges are assigned to other GPUs within a frame: the second call's work runs after the first's,
/// on whichever GPU that was.
pub(crate) fn two_splits_run_in_order(rig: &Rig, compute: &Compute) {
    let cuda = compute.cuda().unwrap();
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), crate::SIZE);
    let mut exchange = words(compute, 2);
    let straight = cuda.even_split::<u32>(LEN);
    let mut swapped = straight.clone();
    swapped.reverse();
    for frame in 0..20u32 {
        let mut turn = exchange.begin().unwrap();
        for part in turn.work_split(&straight).unwrap() {
            filler.fill_part(part, frame);
        }
        for part in turn.work_split(&swapped).unwrap() {
            let base = 1_000_000 + part.range.start as u32;
            filler.fill_part(part, base);
        }
        let turn = turn.finish().unwrap();
        assert!(read(&readback, turn) == Filler::pattern(LEN, 1_000_000), "frame {frame}");
    }
    exchange.close().unwrap();
}

/// The data that each GPU wrote is still there after the buffers have grown, and each GPU writes to
/// the larger buffers.
pub(crate) fn parts_are_grown_and_kept(rig: &Rig, compute: &Compute) {
    let gpus = compute.cuda().unwrap().gpus().len();
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), crate::SIZE);
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    fill_parts(compute, &filler, &mut turn, 5);
    let turn = turn.finish().unwrap();
    assert!(read(&readback, turn) == parts(gpus, 5));
    exchange.grow(3 * LEN).unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    assert!(read(&readback, turn) == parts(gpus, 5), "the contents were not kept");
    let ranges = compute.cuda().unwrap().even_split::<u32>(3 * LEN);
    let mut turn = exchange.begin().unwrap();
    for part in turn.work_split(&ranges).unwrap() {
        let base = part.range.start as u32;
        filler.fill_part(part, base);
    }
    let turn = turn.finish().unwrap();
    let readback = Readback::new(rig.device(), 3 * crate::SIZE);
    let source = (turn.resources().as_raw(), 3 * crate::SIZE);
    assert!(readback.run(turn, &[source]) == Filler::pattern(3 * LEN, 0));
    exchange.close().unwrap();
}
