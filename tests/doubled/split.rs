//! Several GPUs compute one frame.

use bridge::cudarc::driver::DevicePtrMut;
use bridge::cudarc::driver::result::memset_d8_async;
use bridge::{Compute, Error, Exchange, Stage, Work};
use bridge_tests::{Gate, Peers, Readback, Rig};
use driver_double::Double;

use crate::{LEN, SIZE, info, words};

/// `CUDA_ERROR_OUT_OF_MEMORY`
const NO_MEMORY: u32 = 2;

/// A turn is dropped whose GPUs cannot be ordered, and the next attempts fail too: until one
/// succeeds, the slot must not be used, because the second GPU still writes to it.
pub(crate) fn joins_fail(double: &Double, rig: &Rig, _: &Compute) {
    const JOIN: &str = "cuStreamWaitEvent";
    let readback = Readback::new(rig.device(), SIZE);
    let devices = Peers::Both.devices(rig.device()).unwrap();
    let compute = Compute::group(rig.device(), &devices).unwrap();
    let gate = Gate::on_gpu(&compute, 1);
    let mut exchange = Exchange::new(&compute, &info(1), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    gate.hold_stream();
    let mut parts = turn.work_split(&[0..LEN / 2, LEN / 2..LEN]).unwrap();
    let (address, stream) = (parts[1].elements.as_raw(), parts[1].stream);
    stream.context().bind_to_thread().unwrap();
    // SAFETY: the second half of the turn's own buffer, on that part's stream.
    unsafe { memset_d8_async(address, 1, 2 * LEN, stream.cu_stream()) }.unwrap();
    parts.clear();
    drop(parts);
    double.forget_calls();
    double.fail_named(JOIN, 3, NO_MEMORY);
    drop(turn);
    // The first error reports that the turn was lost, the second that there is no slot.
    for _ in 0..2 {
        let error = exchange.begin().unwrap_err();
        assert!(matches!(error, Error::TurnLost { stage: Stage::Compute, .. }), "{error}");
    }
    let failed = double.calls().into_iter().filter(|call| call.name == JOIN && call.code == NO_MEMORY).count();
    assert_eq!(failed, 3, "of the turn's end, and each `begin`");

    let mut turn = exchange.begin().unwrap();
    let Work::Cuda(mut cuda) = turn.work() else { unreachable!("no other backend is opened") };
    let stream = cuda.stream;
    stream.context().bind_to_thread().unwrap();
    let (address, order) = cuda.resources.device_ptr_mut(stream);
    // SAFETY: the turn's own buffer, on the turn's own stream.
    unsafe { memset_d8_async(address, 2, 4 * LEN, stream.cu_stream()) }.unwrap();
    drop(order);
    let turn = turn.finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the leader does not wait for the second GPU");
    gate.open();
    let source = (turn.resources().as_raw(), SIZE);
    assert!(readback.run(turn, &[source]) == [u32::from_ne_bytes([2; 4]); LEN]);
    exchange.close().unwrap();
}
