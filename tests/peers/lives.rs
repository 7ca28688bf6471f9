//! Objects that remain after compute sides and exchanges have ended.

use bridge::cuda_import::leaks;
use bridge::{Compute, LiveObjects};
use bridge_tests::{Filler, Readback, Rig, open_descriptors};

use crate::{fill_parts, parts, read, words};

pub(crate) fn nothing_is_left(rig: &Rig, compute: &Compute) {
    let devices: Vec<_> = compute.cuda().unwrap().gpus().map(|(device, _)| device.clone()).collect();
    let round = || {
        // A new compute side each time: the probe must not leave anything either.
        let compute = Compute::group(rig.device(), &devices).unwrap();
        let (filler, readback) = (Filler::new(&compute), Readback::new(rig.device(), crate::SIZE));
        let mut exchange = words(&compute, 2);
        let mut turn = exchange.begin().unwrap();
        fill_parts(&compute, &filler, &mut turn, 3);
        let turn = turn.finish().unwrap();
        assert!(read(&readback, turn) == parts(devices.len(), 3));
        exchange.close().unwrap();
    };
    // The driver opens descriptors of its own when an operation is used for the first time.
    (0..3).for_each(|_| round());
    let before = (open_descriptors(), leaks(), LiveObjects::now());
    (0..20).for_each(|_| round());
    assert_eq!(before, (open_descriptors(), leaks(), LiveObjects::now()));
}
