//! A CUDA graph by hand: captured from a stream, instantiated and launched.
#![allow(unsafe_code)] // Driver calls.

use std::ptr;

use anyhow::Result;
use bridge::cuda_import::cudarc::driver::sys;

use super::cuda::{Stream, check, warn};

/// A graph and its executable. The owner must wait for its launches before dropping it or their
/// resources.
pub(crate) struct Graph {
    graph: sys::CUgraph,
    exec: sys::CUgraphExec,
}

impl Graph {
    /// Captures the work that `record` enqueues on the stream. Uploads the executable, so that the
    /// first launch is as fast as the others.
    pub(crate) fn capture(stream: &Stream, record: impl FnOnce(sys::CUstream) -> Result<()>) -> Result<Self> {
        let raw = stream.as_raw();
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: a live stream that is not being captured.
        check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(raw, mode) })?;
        let recorded = record(raw);
        // From here on, a failure drops what was created; the destructor skips null handles.
        let mut made = Self { graph: ptr::null_mut(), exec: ptr::null_mut() };
        // SAFETY: the capture was begun above, on this thread.
        let ended = check("cuStreamEndCapture", unsafe { sys::cuStreamEndCapture(raw, &mut made.graph) });
        recorded?;
        ended?;
        // SAFETY: the graph was just captured.
        let code = unsafe { sys::cuGraphInstantiateWithFlags(&mut made.exec, made.graph, 0) };
        check("cuGraphInstantiate", code)?;
        // SAFETY: both are live.
        check("cuGraphUpload", unsafe { sys::cuGraphUpload(made.exec, raw) })?;
        Ok(made)
    }

    /// Launches the graph once.
    ///
    /// # Safety
    /// The captured work may run now, and its resources live until it has completed.
    pub(crate) unsafe fn launch(&self, stream: &Stream) -> Result<()> {
        // SAFETY: the caller upholds the contract; both are live.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.exec, stream.as_raw()) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if !self.exec.is_null() {
            // SAFETY: not used again; "if in-flight, it will be freed asynchronously on
            // completion".
            warn(check("cuGraphExecDestroy", unsafe { sys::cuGraphExecDestroy(self.exec) }));
        }
        if !self.graph.is_null() {
            // SAFETY: not used again.
            warn(check("cuGraphDestroy", unsafe { sys::cuGraphDestroy(self.graph) }));
        }
    }
}
