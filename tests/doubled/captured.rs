//! Captures of the compute side's own stream by the program.

use bridge::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use bridge::{Compute, Error, LiveObjects, cuda_import};
use bridge_tests::Rig;
use driver_double::Double;

/// Kernel memory cannot be created during a capture, because the copy of its contents would read
/// them when the graph is launched, after the call has returned.
pub(crate) fn kernel_memory_is_refused(double: &Double, _: &Rig, compute: &Compute) {
    let stream = compute.cuda().unwrap().stream();
    let before = LiveObjects::now();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    double.forget_calls();
    let whole = compute.kernel_memory("whole", &[1u32, 2]).map(drop).unwrap_err();
    let split = compute.kernel_memory_split("split", &[1u32, 2], std::slice::from_ref(&(0..2))).map(drop).unwrap_err();
    for error in [whole, split] {
        assert!(matches!(error, Error::Cuda(cuda_import::Error::StreamCaptured { .. })), "{error}");
    }
    let copies = double.calls().into_iter().filter(|call| call.name.starts_with("cuMem")).count();
    assert_eq!(copies, 0, "nothing gets into the graph");
    drop(stream.end_capture(CUgraphInstantiate_flags(0)).unwrap());
    assert_eq!(LiveObjects::now(), before);
    drop(compute.kernel_memory("after", &[1u32, 2]).unwrap());
}
