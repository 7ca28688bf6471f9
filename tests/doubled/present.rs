//! The CUDA calls that a presented frame makes.

use bridge::{Compute, Exchange};
use bridge_tests::{Gate, Rig};
use driver_double::Double;

use crate::{info, words};

/// The stream is queried once, which makes drivers that batch work submit it; nothing is waited
/// for.
pub(crate) fn is_one_query(double: &Double, _: &Rig, compute: &Compute) {
    let gate = Gate::on(compute);
    let mut exchange = Exchange::new(compute, &info(1), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    let turn = turn.finish().unwrap();
    let stream = compute.cuda().unwrap().stream().cu_stream().addr() as u64;
    // In addition to making the context current, asking whether the stream is being captured, and
    // entering and leaving the relaxed capture mode.
    let expected = [("cuStreamIsCapturing", stream), ("cuStreamQuery", stream)];
    let asked = || {
        let calls = double.calls().into_iter().map(|call| (call.name, call.object));
        calls
            .filter(|(name, _)| !name.starts_with("cuCtx") && name != "cuThreadExchangeStreamCaptureMode")
            .collect::<Vec<_>>()
    };
    double.forget_calls();
    turn.prepare_present().unwrap();
    assert_eq!(asked(), expected.map(|(name, object)| (name.to_owned(), object)));
    let turn = turn.lend().unwrap();
    double.forget_calls();
    turn.prepare_present().unwrap();
    assert_eq!(asked(), expected.map(|(name, object)| (name.to_owned(), object)), "of a lent turn");
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    // SAFETY: the parts were not passed to anything.
    unsafe { turn.not_submitted() };
    gate.open();
    exchange.close().unwrap();
}
