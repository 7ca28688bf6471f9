//! Code shared by the tests that use the double.
#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

pub(crate) mod finds;
pub(crate) mod log_capture;
pub(crate) mod os;
pub(crate) mod raw;
#[cfg(target_os = "linux")]
pub(crate) mod renderer;
pub(crate) mod walk;
pub(crate) mod world;

use driver_double::{Double, Finding};

/// All functions that `cuda-import` calls, directly or through cudarc. It looks up all of them
/// before it calls one.
pub(crate) const CALLS: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxPushCurrent_v2",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDestroyExternalMemory",
    "cuDestroyExternalSemaphore",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    #[cfg(windows)]
    "cuDeviceGetLuid",
    "cuDeviceGetName",
    "cuDeviceGetUuid_v2",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuExternalMemoryGetMappedBuffer",
    "cuExternalMemoryGetMappedMipmappedArray",
    "cuFuncGetAttribute",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphExecExternalSemaphoresSignalNodeSetParams",
    "cuGraphExecExternalSemaphoresWaitNodeSetParams",
    "cuGraphGetNodes",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphNodeGetType",
    "cuGraphUpload",
    "cuImportExternalMemory",
    "cuImportExternalSemaphore",
    "cuInit",
    "cuLaunchKernel",
    "cuMemFree_v2",
    "cuMemcpy3DAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMipmappedArrayDestroy",
    "cuMipmappedArrayGetLevel",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuSignalExternalSemaphoresAsync",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamIsCapturing",
    "cuThreadExchangeStreamCaptureMode",
    "cuStreamQuery",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuSurfObjectCreate",
    "cuSurfObjectDestroy",
    "cuTexObjectCreate",
    "cuTexObjectDestroy",
    "cuWaitExternalSemaphoresAsync",
];

/// Functions that `cuda-import` looks up when memory of another GPU is imported.
pub(crate) const PEER_CALLS: &[&str] = &[
    "cuDeviceCanAccessPeer",
    "cuMemAddressFree",
    "cuMemAddressReserve",
    "cuMemImportFromShareableHandle",
    "cuMemMap",
    "cuMemRelease",
    "cuMemSetAccess",
    "cuMemUnmap",
];

/// Checks that there are no findings and that no object is left.
pub(crate) fn assert_clean(double: &Double) {
    assert_eq!(double.findings_at_exit(), Vec::<Finding>::new());
    assert_eq!(double.live(), Vec::new());
}

/// Checks that the first successful call of this name followed on `count` queries that found
/// unfinished work, and that there were no more of those: those of
/// [`signal_after_queries`](Double::signal_after_queries).
pub(crate) fn assert_follows_queries(double: &Double, name: &str, query: &str, count: usize) {
    const NOT_READY: u32 = 600;
    let calls = double.calls();
    let unready: Vec<_> =
        (0..calls.len()).filter(|at| calls[*at].name == query && calls[*at].code == NOT_READY).collect();
    let first = calls.iter().position(|call| call.name == name && call.code == 0);
    assert_eq!(unready.len(), count, "{query} in {calls:?}");
    assert!(first > unready.last().copied(), "{name} before the work has ended, or not at all: {calls:?}");
}

pub(crate) fn kinds(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.kind.as_str()).collect()
}
