//! Lent resources and streams, which are public fields, are swapped between two works of one
//! compute side.

use std::mem::swap;

use bridge::cuda_import::query;
use bridge::{Compute, Error, Exchange, FrameGraph, LatestInfo, Work};
use bridge_tests::{Gate, Peers, Rig};
use driver_double::Double;

use crate::{LEN, Words, info, words};

/// One of the program's streams is held while it uses one buffer. Launches that use this buffer run
/// after that, whichever turn lent it.
pub(crate) fn launches_wait_for_what_they_use(_: &Double, _: &Rig, compute: &Compute) {
    let foreign_stream = compute.cuda().unwrap().device().new_stream().unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Exchange::new(compute, &info(1), (words(),)).unwrap());
    let (mut one, mut other) = (first.begin().unwrap(), second.begin().unwrap());
    // Dropped before everything that it holds.
    let gate = Gate::on_stream(compute, 0, &foreign_stream);
    let (Work::Cuda(mut mine), Work::Cuda(mut others)) = (one.work(), other.work()) else { unreachable!() };
    let home = mine.stream;
    gate.hold_stream();
    foreign_stream.memset_zeros(&mut others.resources.0).unwrap();
    swap(&mut mine.resources, &mut others.resources);
    assert!(query(home).unwrap(), "nobody has made the stream wait so far");
    let _ = Work::Cuda(mine).kernels().unwrap();
    assert!(!query(home).unwrap(), "launches with the buffer do not wait for the foreign stream");
    gate.open();
    one.skip().unwrap();
    other.skip().unwrap();
    first.close().unwrap();
    second.close().unwrap();
}

/// A latest exchange has its own stream, with which launches on the compute side's stream are not
/// ordered. Resources that were swapped between the two are refused; on their own stream they are
/// accepted.
pub(crate) fn resources_of_another_stream_are_refused(_: &Double, _: &Rig, compute: &Compute) {
    let mut in_step = Exchange::new(compute, &info(1), (words(),)).unwrap();
    let latest = LatestInfo { name: "latest", ..Default::default() };
    let (mut writer, reader) = Exchange::latest(compute, &latest, (words(),)).unwrap();
    let (mut one, mut other) = (in_step.begin().unwrap(), writer.begin().unwrap());
    for swapped in [true, false] {
        let (Work::Cuda(mut mine), Work::Cuda(mut others)) = (one.work(), other.work()) else { unreachable!() };
        assert_ne!(mine.stream, others.stream);
        if swapped {
            swap(&mut mine.resources, &mut others.resources);
        }
        for work in [Work::Cuda(mine), Work::Cuda(others)] {
            let result = work.kernels().map(drop);
            assert_eq!(matches!(result, Err(Error::InvalidArgument { .. })), swapped, "{result:?}");
            assert_eq!(result.is_err(), swapped, "{result:?}");
        }
    }
    one.skip().unwrap();
    other.skip().unwrap();
    in_step.close().unwrap();
    writer.close(reader).unwrap();
}

fn refused(work: Work<'_, (Words,)>) {
    let result = work.kernels().map(drop);
    assert!(matches!(result, Err(Error::InvalidArgument { .. })), "{result:?}");
}

/// Launches are ordered with a turn only on the stream that the turn has lent. Another stream in
/// its place is refused, whether it is one of the program's or one of another exchange.
pub(crate) fn another_stream_is_refused(_: &Double, _: &Rig, compute: &Compute) {
    let mut in_step = Exchange::new(compute, &info(1), (words(),)).unwrap();
    let latest = LatestInfo { name: "latest", ..Default::default() };
    let (mut writer, reader) = Exchange::latest(compute, &latest, (words(),)).unwrap();
    let (mut one, mut other) = (in_step.begin().unwrap(), writer.begin().unwrap());
    let own = compute.cuda().unwrap().device().new_stream().unwrap();
    {
        let (Work::Cuda(mut mine), Work::Cuda(mut others)) = (one.work(), other.work()) else { unreachable!() };
        swap(&mut mine.stream, &mut others.stream);
        refused(Work::Cuda(mine));
        refused(Work::Cuda(others));
    }
    {
        let Work::Cuda(mut mine) = one.work() else { unreachable!() };
        mine.stream = &own;
        refused(Work::Cuda(mine));
    }
    let _ = one.work().kernels().unwrap();
    one.skip().unwrap();
    other.skip().unwrap();
    in_step.close().unwrap();
    writer.close(reader).unwrap();

    // The stream that a graph is captured on, in another turn.
    let [mut captured, mut exchange] = [(); 2].map(|()| Exchange::new(compute, &info(1), (words(),)).unwrap());
    let mut turn = exchange.begin().unwrap();
    let mut graph = FrameGraph::new(&captured);
    let record = |_, work: Work<'_, _>| {
        let (Work::Cuda(mine), Work::Cuda(mut others)) = (work, turn.work()) else { unreachable!() };
        others.stream = mine.stream;
        refused(Work::Cuda(others));
        Ok(())
    };
    // SAFETY: nothing is launched.
    unsafe { captured.compute_with(&mut graph, record) }.unwrap().skip();
    turn.skip().unwrap();
    drop(graph);
    captured.close().unwrap();
    exchange.close().unwrap();
}

/// A part whose stream was exchanged for another one is refused, even if it is empty.
pub(crate) fn another_stream_of_a_part_is_refused(_: &Double, rig: &Rig, _: &Compute) {
    let devices = Peers::Both.devices(rig.device()).unwrap();
    let compute = &Compute::group(rig.device(), &devices).unwrap();
    let own = compute.cuda().unwrap().gpus().nth(1).unwrap().0.new_stream().unwrap();
    let mut exchange = Exchange::new(compute, &info(1), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    for ranges in [[0..LEN / 2, LEN / 2..LEN], [0..0, 0..0]] {
        for foreign in [false, true] {
            let mut parts = turn.work_split(&ranges).unwrap();
            let second = parts.pop().unwrap();
            let mut first = parts.pop().unwrap();
            first.stream = if foreign { &own } else { second.stream };
            let result = first.kernels().map(drop);
            assert!(matches!(result, Err(Error::InvalidArgument { .. })), "{result:?}");
            second.kernels().map(drop).unwrap();
        }
    }
    turn.skip().unwrap();
    exchange.close().unwrap();
}

/// The same for the parts of several GPUs. A part with elements of another GPU is refused: nothing
/// orders its stream with that GPU's use of them.
pub(crate) fn launches_of_a_part_wait_for_what_they_use(_: &Double, rig: &Rig, _: &Compute) {
    let devices = Peers::Both.devices(rig.device()).unwrap();
    let compute = &Compute::group(rig.device(), &devices).unwrap();
    let foreign_stream = compute.cuda().unwrap().gpus().nth(1).unwrap().0.new_stream().unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Exchange::new(compute, &info(1), words()).unwrap());
    let (mut one, mut other) = (first.begin().unwrap(), second.begin().unwrap());
    let gate = Gate::on_stream(compute, 1, &foreign_stream);
    let ranges = [0..LEN / 2, LEN / 2..LEN];
    let mut mine = one.work_split(&ranges).unwrap();
    let mut others = other.work_split(&ranges).unwrap();
    gate.hold_stream();
    foreign_stream.memset_zeros(&mut others[1].elements).unwrap();
    swap(&mut mine[1].elements, &mut others[1].elements);
    let home = mine[1].stream;
    assert!(query(home).unwrap(), "nobody has made the stream wait so far");
    let _ = mine.pop().unwrap().kernels().unwrap();
    assert!(!query(home).unwrap(), "launches with the elements do not wait for the foreign stream");

    let mut elsewhere = mine.pop().unwrap();
    swap(&mut elsewhere.elements, &mut others[1].elements);
    let refused = elsewhere.kernels().map(drop);
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    gate.open();
    drop(others);
    one.skip().unwrap();
    other.skip().unwrap();
    first.close().unwrap();
    second.close().unwrap();
}
