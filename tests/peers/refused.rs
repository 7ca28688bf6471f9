//! Invalid splits.

use std::ops::Range;

use bridge::{Backend, Compute, Error, Work};
use bridge_tests::{Filler, Readback, Rig};

use crate::{LEN, read, words};

/// Each of these leaves the turn unchanged: it computes a whole frame afterwards.
pub(crate) fn invalid_ranges_are_refused(rig: &Rig, compute: &Compute) {
    let gpus = compute.cuda().unwrap().gpus().len();
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), crate::SIZE);
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    let mut refused = |ranges: &[Range<usize>], why: &str| {
        let error = turn.work_split(ranges).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::InvalidArgument { .. }) && text.contains(why), "{text}");
        assert!(text.contains("parts"), "it does not name the exchange: {text}");
    };
    refused(&vec![0..0; gpus + 1], "ranges were given");
    let with_first = |first| [vec![first], vec![0..0; gpus - 1]].concat();
    refused(&with_first(0..LEN + 1), "do not lie inside");
    #[allow(clippy::reversed_empty_ranges, reason = "what is tested")]
    refused(&with_first(2..1), "do not lie inside");
    if gpus > 1 {
        refused(&vec![0..LEN; gpus], "overlap");
        refused(&with_first(1..LEN), "one cache line");
    }
    filler.fill(&mut turn, 9);
    let turn = turn.finish().unwrap();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 9));
    exchange.close().unwrap();
}

/// A single GPU accepts one range, so programs need only one code path; the CPU uses closures.
pub(crate) fn a_single_compute_device_is_not_split(rig: &Rig, compute: &Compute) {
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    if compute.backend() == Backend::Host {
        let text = turn.work_split(std::slice::from_ref(&(0..LEN))).unwrap_err().to_string();
        assert!(text.contains("host") && text.contains("ComputeTurn::work"), "{text}");
        assert!(matches!(turn.work(), Work::Host(_)));
        return turn.skip().unwrap();
    }
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), crate::SIZE);
    let mut parts = turn.work_split(std::slice::from_ref(&(0..LEN))).unwrap();
    filler.fill_part(parts.remove(0), 4);
    let turn = turn.finish().unwrap();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 4));
    exchange.close().unwrap();
}
