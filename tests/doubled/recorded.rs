//! Errors that cudarc records in a context object: safe code can record any, and they say nothing
//! about the context.

use bridge::Exchange;
use bridge::cudarc::driver::DriverError;
use bridge::cudarc::driver::sys::CUresult;
use bridge_tests::Rig;

use crate::lost::Frame;
use crate::{info, with_double, words};

/// If the context were lost, the host would signal for it. See `lost`, where it is.
#[test]
fn no_signal_is_made_in_place_of_a_pending_one() {
    with_double("recorded::no_signal_is_made_in_place_of_a_pending_one", |double, rig, compute| {
        let mut exchange = Exchange::new(compute, &info(2), words()).unwrap();
        double.hold_work();
        let pending = exchange.begin().unwrap().finish().unwrap();
        let frame = Frame::of(rig, &pending.computed());
        let context = compute.cuda().unwrap().stream().context();
        for code in [CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, CUresult::CUDA_ERROR_LAUNCH_FAILED] {
            context.record_err(Err::<(), _>(DriverError(code)));
            let begun = exchange.begin();
            assert!(!frame.is_signaled(), "{begun:?}");
            begun.and_then(|turn| turn.skip()).unwrap();
            compute.check_alive().unwrap();
        }
        let _ = context.check_err();
        double.release_work();
        assert!(frame.is_signaled());
        // SAFETY: nothing is recorded between the barriers.
        unsafe { pending.run_once(Rig::LONG, |_, _| {}) }.unwrap();
        exchange.close().unwrap();
    });
}
