//! Stream captures, and the graphs that they result in.

use std::cell::Cell;
use std::ffi::c_uint;
use std::thread::{self, ThreadId};

use crate::abi::{
    CAPTURE_GLOBAL, CAPTURE_INVALIDATED, CAPTURE_RELAXED, CAPTURE_UNSUPPORTED, Code, NODE_COPY, NODE_HOST, NODE_KERNEL,
    NODE_SIGNAL, NODE_WAIT,
};
use crate::export::Payload;
use crate::finding::{Kind, Refusal};
use crate::ledger::Ledger;
use crate::ledger::queue::Work;

thread_local! {
    /// The capture mode of the thread, as set by `cuThreadExchangeStreamCaptureMode`.
    pub(crate) static MODE: Cell<c_uint> = const { Cell::new(CAPTURE_GLOBAL) };
}

/// A stream capture in progress.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) context: u64,
    /// A `CUstreamCaptureMode` value.
    pub(crate) mode: c_uint,
    pub(crate) thread: ThreadId,
    pub(crate) work: Vec<Work>,
    /// `true` if a forbidden call invalidated the capture.
    pub(crate) invalid: bool,
}

/// Nodes with their handles, in execution order.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) context: u64,
    pub(crate) nodes: Vec<(u64, Work)>,
}

/// An executable graph. Its nodes have the handles of the nodes of the original graph.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) context: u64,
    pub(crate) graph: u64,
    pub(crate) nodes: Vec<(u64, Work)>,
}

impl Work {
    /// Returns the `CUgraphNodeType`. Work other than waits, signals, launches and calls counts as
    /// a copy.
    pub(crate) fn node_type(&self) -> u32 {
        match self {
            Self::Wait { .. } => NODE_WAIT,
            Self::Signal { .. } => NODE_SIGNAL,
            Self::Launch(_) => NODE_KERNEL,
            Self::Call(_) => NODE_HOST,
            _ => NODE_COPY,
        }
    }
}

impl Ledger {
    /// Checks that the stream is not captured, or that its capture is still valid.
    pub(crate) fn check_capture(&self, stream: u64) -> Result<(), Code> {
        match self.captures.get(&stream) {
            Some(capture) if capture.invalid => Err(CAPTURE_INVALIDATED),
            _ => Ok(()),
        }
    }

    /// Invalidates the capture of the stream, if any.
    pub(crate) fn invalidate(&mut self, stream: u64) {
        if let Some(capture) = self.captures.get_mut(&stream) {
            capture.invalid = true;
        }
    }

    /// Refuses a call that waits for or queries a captured stream, and invalidates the capture.
    pub(crate) fn forbid_in_capture(&mut self, stream: u64) -> Result<(), Code> {
        if !self.captures.contains_key(&stream) {
            return Ok(());
        }
        self.invalidate(stream);
        Err(CAPTURE_UNSUPPORTED)
    }

    /// Checks whether this thread may call a function that could interfere with a capture: an
    /// allocation, import, mapping, free, module load, query or synchronization. Such a call is
    /// forbidden while this thread captures, unless in relaxed mode, and while any thread captures
    /// in global mode; it invalidates those captures. If the mode of the calling thread is
    /// thread-local, the call only affects the captures of that thread, and if it is relaxed, none.
    pub(crate) fn check_unsafe_call(&mut self) -> Result<(), Code> {
        let thread = thread::current().id();
        let own = MODE.get();
        let forbids = |capture: &Capture| {
            let everywhere = own == CAPTURE_GLOBAL && capture.mode == CAPTURE_GLOBAL;
            everywhere || own != CAPTURE_RELAXED && capture.mode != CAPTURE_RELAXED && capture.thread == thread
        };
        let mut result = Ok(());
        for capture in self.captures.values_mut().filter(|capture| forbids(capture)) {
            capture.invalid = true;
            result = Err(CAPTURE_UNSUPPORTED);
        }
        result
    }

    /// Like [`forbid_in_capture`](Self::forbid_in_capture), for all streams of a context.
    pub(crate) fn forbid_in_capture_of(&mut self, context: u64) -> Result<(), Code> {
        let of_context = self.captures.iter().filter(|(_, capture)| capture.context == context);
        let streams: Vec<_> = of_context.map(|(&stream, _)| stream).collect();
        streams.into_iter().try_for_each(|stream| self.forbid_in_capture(stream))
    }

    /// Returns a node of an executable graph. The original graph must still exist.
    pub(crate) fn node(&mut self, exec: u64, node: u64) -> Result<&mut Work, Refusal> {
        let graph = self.execs.get(exec)?.graph;
        self.graphs.get(graph)?;
        let nodes = &mut self.execs.get_mut(exec)?.nodes;
        let found = nodes.iter_mut().find(|(handle, _)| *handle == node).map(|(_, work)| work);
        let unknown = || Refusal::new(crate::abi::INVALID_VALUE, Kind::UnknownHandle, format!("node {node:#x}"));
        found.ok_or_else(unknown)
    }

    /// Enqueues all work of a graph, as if it were enqueued now, or nothing on an error.
    pub(crate) fn launch(&mut self, exec: u64, stream: u64) -> Result<(), Refusal> {
        let work: Vec<_> = self.execs.get(exec)?.nodes.iter().map(|(_, work)| work.clone()).collect();
        for work in &work {
            if let Work::Wait { semaphore, .. } | Work::Signal { semaphore, .. } = work {
                self.semaphores.get(*semaphore)?;
            }
        }
        for work in work {
            let submitted = match &work {
                Work::Wait { semaphore, export, .. } => Some((*semaphore, self.payload(*export)?.submit_wait())),
                Work::Signal { semaphore, export, value } => {
                    Some((*semaphore, Payload::submit_signal(self.payload(*export)?, *value)))
                }
                _ => None,
            };
            if let Some((semaphore, submitted)) = submitted {
                let name = self.semaphores.name(semaphore);
                self.report_broken_rule(&name, submitted);
            }
            self.enqueue(stream, work);
        }
        Ok(())
    }
}
