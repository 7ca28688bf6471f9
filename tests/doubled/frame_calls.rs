//! The CUDA calls that a frame makes in addition to the program's own work.

use bridge::{Compute, Exchange, LatestInfo};
use bridge_tests::Rig;
use driver_double::Double;

use crate::{info, words};

const CONTEXT: &str = "cuCtxGetCurrent";
const CAPTURE: &str = "cuStreamIsCapturing";
const WAIT: &str = "cuWaitExternalSemaphoresAsync";
const SIGNAL: &str = "cuSignalExternalSemaphoresAsync";

/// One wait and one signal, however many resources there are. Before each of them, the bridge asks
/// which context is current and whether the stream is being captured, because the program's code
/// runs between the two.
pub(crate) fn are_expected(double: &Double, _: &Rig, compute: &Compute) {
    compute.cuda().unwrap().device().context().bind_to_thread().unwrap();
    let mut exchange = Exchange::new(compute, &info(1), vec![words(); 3]).unwrap();
    let mut frame = || {
        double.forget_calls();
        let turn = exchange.begin().unwrap().finish().unwrap();
        let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
        // SAFETY: nothing is recorded between the barriers.
        unsafe { turn.run_once(Rig::LONG, |_, _| {}) }.unwrap();
        calls
    };
    // The first use of the slot waits for nothing; it asks whether CUDA works.
    frame();
    for _ in 0..3 {
        assert_eq!(frame(), [CONTEXT, CAPTURE, WAIT, CONTEXT, CAPTURE, SIGNAL]);
    }
    exchange.close().unwrap();

    let info = LatestInfo { timeout: Rig::LONG, ..LatestInfo::default() };
    let (mut writer, mut reader) = Exchange::latest(compute, &info, words()).unwrap();
    for _ in 0..4 {
        double.forget_calls();
        let point = writer.begin().unwrap().publish().unwrap();
        let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
        // The slot has not been read: its writer waits for nothing.
        assert_eq!(calls, [CONTEXT, CAPTURE, SIGNAL]);
        point.wait(Rig::LONG).unwrap();
        double.forget_calls();
        reader.newest().unwrap().unwrap().skip();
        assert_eq!(double.calls().len(), 0, "the reader asks Vulkan");
    }
    writer.close(reader).unwrap();
}
