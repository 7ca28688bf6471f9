//! Stream capture and graphs, for frames that are launched repeatedly.
//!
//! Contains unsafe code because it calls C. All functions need a current context. All symbols exist
//! in every driver for CUDA 12.0.
#![allow(unsafe_code)]

use std::ffi::c_uint;

use cudarc::driver::{CudaStream, sys as cu};

use super::{CallResult, Driver, SemaphoreHandle, check_call, signal_params, wait_params};

/// A captured graph. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GraphHandle(cu::CUgraph);

/// An executable graph. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecHandle(cu::CUgraphExec);

/// A node of a graph, which owns it. Same layout as the driver's handle, for arrays.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct NodeHandle(cu::CUgraphNode);

// SAFETY: the handle is never dereferenced here. "Graph objects are not internally synchronized"
// (cuda.h, "Graph object thread safety"): the owner makes its calls through `&mut`.
unsafe impl Send for GraphHandle {}
// SAFETY: as for Send; a shared one has no operations.
unsafe impl Sync for GraphHandle {}
// SAFETY: as for a graph.
unsafe impl Send for ExecHandle {}
// SAFETY: as for a graph.
unsafe impl Sync for ExecHandle {}
// SAFETY: as for a graph.
unsafe impl Send for NodeHandle {}
// SAFETY: as for a graph.
unsafe impl Sync for NodeHandle {}

/// The operation of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    SemaphoreWait,
    SemaphoreSignal,
    Other,
}

/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: calls of other threads do not affect the capture.
const THREAD_LOCAL: c_uint = 1;

impl Driver {
    /// # Safety
    /// `stream` is used only for the work to capture until [`end_capture`](Self::end_capture),
    /// which must be called on this thread.
    pub(crate) unsafe fn begin_capture(self, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the stream is borrowed; the caller ends the capture on this thread, as the mode
        // requires.
        let code = unsafe { (self.table.cuStreamBeginCapture_v2)(stream.cu_stream(), THREAD_LOCAL) };
        check_call("cuStreamBeginCapture", code)
    }

    /// Returns the graph, which the caller must destroy; `None` if nothing was captured.
    ///
    /// # Safety
    /// This thread began the capture of `stream`.
    pub(crate) unsafe fn end_capture(self, stream: &CudaStream) -> CallResult<Option<GraphHandle>> {
        let mut graph = std::ptr::null_mut();
        // SAFETY: `graph` receives the result, the stream is borrowed; the caller guarantees the
        // thread.
        let code = unsafe { (self.table.cuStreamEndCapture)(stream.cu_stream(), &mut graph) };
        check_call("cuStreamEndCapture", code)?;
        Ok((!graph.is_null()).then_some(GraphHandle(graph)))
    }

    /// # Safety
    /// `graph` is alive, and no other thread uses it.
    pub(crate) unsafe fn graph_nodes(self, graph: GraphHandle) -> CallResult<Vec<NodeHandle>> {
        let mut count = 0;
        // SAFETY: "nodes may be NULL, in which case this function will return the number of nodes
        // in numNodes".
        let code = unsafe { (self.table.cuGraphGetNodes)(graph.0, std::ptr::null_mut(), &mut count) };
        check_call("cuGraphGetNodes", code)?;
        let mut nodes = vec![NodeHandle(std::ptr::null_mut()); count];
        // SAFETY: the array has room for `count` nodes.
        let code = unsafe { (self.table.cuGraphGetNodes)(graph.0, nodes.as_mut_ptr(), &mut count) };
        check_call("cuGraphGetNodes", code)?;
        nodes.truncate(count);
        Ok(nodes)
    }

    /// # Safety
    /// The graph of `node` is alive, and no other thread uses it.
    pub(crate) unsafe fn node_kind(self, node: NodeHandle) -> CallResult<NodeKind> {
        let mut kind = 0;
        // SAFETY: `kind` receives the result, an enum of the size of an int; the caller guarantees
        // the node.
        check_call("cuGraphNodeGetType", unsafe { (self.table.cuGraphNodeGetType)(node, &mut kind) })?;
        Ok(match kind {
            8 => NodeKind::SemaphoreSignal,
            9 => NodeKind::SemaphoreWait,
            _ => NodeKind::Other,
        })
    }

    /// # Safety
    /// `graph` is alive, and no other thread uses it.
    pub(crate) unsafe fn instantiate(self, graph: GraphHandle) -> CallResult<ExecHandle> {
        let mut exec = std::ptr::null_mut();
        // SAFETY: `exec` receives the result; 0 means "no flags"; the caller guarantees the graph.
        let code = unsafe { (self.table.cuGraphInstantiateWithFlags)(&mut exec, graph.0, 0) };
        check_call("cuGraphInstantiateWithFlags", code)?;
        Ok(ExecHandle(exec))
    }

    /// # Safety
    /// `exec` is alive, and no other thread uses it.
    pub(crate) unsafe fn upload(self, exec: ExecHandle, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the stream is borrowed; the caller guarantees the graph.
        check_call("cuGraphUpload", unsafe { (self.table.cuGraphUpload)(exec.0, stream.cu_stream()) })
    }

    /// Makes later launches wait for `value`; earlier launches are not affected.
    ///
    /// # Safety
    /// `exec` is alive and no other thread uses it; `node` waits for one semaphore in the graph
    /// from which `exec` was instantiated; that graph and `semaphore` are alive.
    pub(crate) unsafe fn set_wait(
        self,
        exec: ExecHandle,
        node: NodeHandle,
        semaphore: SemaphoreHandle,
        value: u64,
    ) -> CallResult<()> {
        let (mut semaphore, point) = (semaphore.0, wait_params(value));
        let params =
            cu::CUDA_EXT_SEM_WAIT_NODE_PARAMS { extSemArray: &mut semaphore, paramsArray: &point, numExtSems: 1 };
        // SAFETY: both arrays hold one element, as many as the node had ("changing
        // nodeParams->numExtSems is not supported"); the caller guarantees the handles.
        let code = unsafe { (self.table.cuGraphExecExternalSemaphoresWaitNodeSetParams)(exec.0, node, &params) };
        check_call("cuGraphExecExternalSemaphoresWaitNodeSetParams", code)
    }

    /// Makes later launches signal `value`; earlier launches are not affected.
    ///
    /// # Safety
    /// The requirements of [`set_wait`](Self::set_wait), for a signal node.
    pub(crate) unsafe fn set_signal(
        self,
        exec: ExecHandle,
        node: NodeHandle,
        semaphore: SemaphoreHandle,
        value: u64,
    ) -> CallResult<()> {
        let (mut semaphore, point) = (semaphore.0, signal_params(value));
        let params =
            cu::CUDA_EXT_SEM_SIGNAL_NODE_PARAMS { extSemArray: &mut semaphore, paramsArray: &point, numExtSems: 1 };
        // SAFETY: as in `set_wait`.
        let code = unsafe { (self.table.cuGraphExecExternalSemaphoresSignalNodeSetParams)(exec.0, node, &params) };
        check_call("cuGraphExecExternalSemaphoresSignalNodeSetParams", code)
    }

    /// # Safety
    /// `exec` is alive, no other thread uses it, and everything that it accesses is alive until the
    /// launch has ended.
    pub(crate) unsafe fn launch_graph(self, exec: ExecHandle, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the stream is borrowed; the caller guarantees the graph and everything that it
        // accesses.
        check_call("cuGraphLaunch", unsafe { (self.table.cuGraphLaunch)(exec.0, stream.cu_stream()) })
    }

    /// # Safety
    /// `exec` is alive and not used again. It may be running.
    pub(crate) unsafe fn destroy_exec(self, exec: ExecHandle) -> CallResult<()> {
        // SAFETY: "if the executable graph is in-flight, it will not be terminated, but rather
        // freed asynchronously on completion"; the caller guarantees the handle.
        check_call("cuGraphExecDestroy", unsafe { (self.table.cuGraphExecDestroy)(exec.0) })
    }

    /// # Safety
    /// `graph` is alive, and neither it nor its nodes are used again.
    pub(crate) unsafe fn destroy_graph(self, graph: GraphHandle) -> CallResult<()> {
        // SAFETY: the caller guarantees the handle.
        check_call("cuGraphDestroy", unsafe { (self.table.cuGraphDestroy)(graph.0) })
    }
}
