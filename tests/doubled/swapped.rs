//! Lent resources, which are public fields, are swapped between two works of one compute side.

use std::mem::swap;

use bridge::cuda_import::query;
use bridge::{Compute, Error, Exchange, LatestInfo, Work};
use bridge_tests::{Gate, Peers, Rig};
use driver_double::Double;

use crate::{LEN, info, words};

/// One of the program's streams is held while it uses one buffer. Launches that use this buffer run
/// after that, whichever turn lent it.
pub(crate) fn launches_wait_for_what_they_use(_: &Double, _: &Rig, compute: &Compute) {
    let guest = compute.cuda().unwrap().device().new_stream().unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Exchange::new(compute, &info(1), (words(),)).unwrap());
    let (mut one, mut other) = (first.begin().unwrap(), second.begin().unwrap());
    // Dropped before everything that it holds.
    let gate = Gate::on_stream(compute, 0, &guest);
    let (Work::Cuda(mut mine), Work::Cuda(mut others)) = (one.work(), other.work()) else { unreachable!() };
    let home = mine.stream;
    gate.hold_stream();
    guest.memset_zeros(&mut others.resources.0).unwrap();
    swap(&mut mine.resources, &mut others.resources);
    assert!(query(home).unwrap(), "nobody has made the stream wait so far");
    let _ = Work::Cuda(mine).kernels().unwrap();
    assert!(!query(home).unwrap(), "launches with the buffer do not wait for the guest");
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

/// The same for the parts of several GPUs. A part with elements of another GPU is refused: nothing
/// orders its stream with that GPU's use of them.
pub(crate) fn launches_of_a_part_wait_for_what_they_use(_: &Double, rig: &Rig, _: &Compute) {
    let devices = Peers::Both.devices(rig.device()).unwrap();
    let compute = &Compute::group(rig.device(), &devices).unwrap();
    let guest = compute.cuda().unwrap().gpus().nth(1).unwrap().0.new_stream().unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Exchange::new(compute, &info(1), words()).unwrap());
    let (mut one, mut other) = (first.begin().unwrap(), second.begin().unwrap());
    let gate = Gate::on_stream(compute, 1, &guest);
    let ranges = [0..LEN / 2, LEN / 2..LEN];
    let mut mine = one.work_split(&ranges).unwrap();
    let mut others = other.work_split(&ranges).unwrap();
    gate.hold_stream();
    guest.memset_zeros(&mut others[1].elements).unwrap();
    swap(&mut mine[1].elements, &mut others[1].elements);
    let home = mine[1].stream;
    assert!(query(home).unwrap(), "nobody has made the stream wait so far");
    let _ = mine.pop().unwrap().kernels().unwrap();
    assert!(!query(home).unwrap(), "launches with the elements do not wait for the guest");

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
