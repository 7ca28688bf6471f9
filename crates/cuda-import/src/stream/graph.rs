//! A frame as a CUDA graph: a wait, the work and a signal, captured once and launched repeatedly
//! with other values.
//!
//! Contains unsafe code because each launch accesses everything that was captured.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::CudaStream;

use crate::capture::CaptureScope;
use crate::device::{CudaDevice, check_recorded};
use crate::error::{Error, Object, Result};
use crate::leak::count_leak;
use crate::logging::{log_debug, log_error, log_trace};
use crate::semaphore::ImportedSemaphore;
use crate::stream::create;
use crate::stream::refusal::{check_capture, check_context};
use crate::stream::{SemaphorePoint, Target, enqueue_signal, enqueue_wait};
use crate::sys::{CallError, CallResult, ExecHandle, GraphHandle, NodeHandle, NodeKind, Restoring, SemaphoreHandle};

/// The work of one frame on one stream, captured once and launched repeatedly: a wait for a
/// semaphore, the recorded work, and a signal of a semaphore. A launch makes three driver calls,
/// regardless of the amount of work. Only the two semaphore values change.
///
/// Everything else is fixed at capture: kernels, addresses and the values of scalar arguments. Put
/// data that changes from frame to frame in device memory. Launches of one graph run one after the
/// other.
///
/// A graph can be dropped while launches are running: "if the executable graph is in-flight, it
/// will not be terminated, but rather freed asynchronously on completion" (cuda.h,
/// `cuGraphExecDestroy`). The objects that they use must stay alive; see [`launch`](Self::launch).
///
/// Driver API: [graph management][driver].
///
/// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html
#[doc(alias = "CUgraphExec")]
#[derive(Debug)]
pub struct StreamGraph {
    exec: ExecHandle,
    wait: (NodeHandle, SemaphoreHandle),
    signal: (NodeHandle, SemaphoreHandle),
    stream: Restoring<Arc<CudaStream>>,
    /// Dropped after the executable graph, which `drop` destroys.
    graph: Graph,
}

/// The captured graph, whose nodes identify the parts of the executable graph to change.
#[derive(Debug)]
struct Graph {
    handle: GraphHandle,
    name: Box<str>,
    device: CudaDevice,
}

/// The reason why a capture failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError<E> {
    /// A CUDA call failed, or the captured work cannot be launched repeatedly.
    #[error(transparent)]
    Cuda(#[from] Error),
    /// The closure returned an error.
    #[error("{0}")]
    Record(E),
}

impl StreamGraph {
    /// Captures the work that `record` enqueues on the stream that is passed to it, between a wait
    /// for `wait` and a signal of `signal`. Nothing runs yet. `name` is the graph's name in errors
    /// and logs, and the graph will be launched on `stream`.
    ///
    /// The stream passed to `record` is not `stream`, which others can use in the meantime. Buffers
    /// and images whose home stream is `stream` treat it as their home stream; using them on any
    /// other stream is an error. Do not record other semaphore waits or signals: their values would
    /// be the same in every frame.
    ///
    /// cudarc tracks the use of its own `CudaSlice`s with events, and a capture cannot wait for an
    /// event recorded outside (`CUDA_ERROR_STREAM_CAPTURE_ISOLATION`). Create slices that are used
    /// here after a call of `CudaContext::disable_event_tracking`.
    ///
    /// # Errors
    /// [`CaptureError::Record`] with the error of `record`; [`Error::ContextMismatch`] for a
    /// semaphore of another context, [`Error::Graph`] for work that cannot be launched repeatedly,
    /// [`Error::Driver`]. In all cases, and if `record` panics, the capture is ended and discarded.
    ///
    /// # Safety
    /// - Both semaphores are timelines, and live longer than the graph.
    /// - `record` enqueues work only on the stream that is passed to it. That work reads host
    ///   memory, if any, at each launch: see [`launch`](Self::launch) for what must be alive then.
    #[doc(alias = "cuStreamBeginCapture")]
    pub unsafe fn capture<E>(
        name: &str,
        stream: &Arc<CudaStream>,
        wait: &ImportedSemaphore,
        signal: &ImportedSemaphore,
        record: impl FnOnce(&Arc<CudaStream>) -> Result<(), E>,
    ) -> Result<Self, CaptureError<E>> {
        let (device, object) = (wait.device(), Object("graph", name));
        let failed = |error: CallError| error.at(&object, device.name());
        let refused = |problem| Error::Graph { object: object.to_string(), device: device.name().to_owned(), problem };
        for semaphore in [wait, signal] {
            check_context(stream, semaphore.device(), semaphore.object())?;
        }
        check_recorded(stream.context()).map_err(failed)?;
        let _current = device.bind().map_err(failed)?;
        check_capture(device.driver(), stream, &object, || device.name().to_owned())?;
        let lent = create::another(device, stream.context()).map_err(failed)?;
        let scope = CaptureScope::new(stream, &lent).ok_or_else(|| refused(NESTED))?;
        let capture = Capture::begin(&lent, device).map_err(failed)?;
        // SAFETY: the wait is captured, not enqueued; the semaphore lives as long as the graph, by
        // this function's contract.
        unsafe { enqueue_wait(Target::Graph, &lent, &[SemaphorePoint { semaphore: wait, value: 0 }]) }?;
        record(&lent).map_err(CaptureError::Record)?;
        // The closure may have made another context current.
        let _again = device.bind().map_err(failed)?;
        if scope.has_unordered_use() {
            // The error that cudarc recorded for it is less specific.
            let _ = stream.context().check_err();
            return Err(refused(UNORDERED_USE).into());
        }
        // If the capture was ended in the meantime, its graph belongs to other code, and the signal
        // would be enqueued immediately.
        if !device.driver().is_capturing(&lent).map_err(failed)? {
            return Err(refused(ENDED).into());
        }
        // SAFETY: as above.
        unsafe { enqueue_signal(Target::Graph, &lent, &[SemaphorePoint { semaphore: signal, value: 0 }]) }?;
        let handle = capture.end().map_err(failed)?.ok_or_else(|| refused(EMPTY))?;
        let graph = Graph { handle, name: name.into(), device: device.clone() };
        drop(scope);
        let (wait_node, signal_node) = graph.semaphore_nodes().map_err(failed)?.ok_or_else(|| refused(SEMAPHORES))?;
        // SAFETY: the graph is alive, and not shared.
        let exec = unsafe { device.driver().instantiate(handle) }.map_err(failed)?;
        let (wait, signal) = ((wait_node, wait.handle()), (signal_node, signal.handle()));
        let made = Self { exec, wait, signal, stream: Restoring::new(Arc::clone(stream)), graph };
        // Upload now, so that the first launch costs no more than later ones.
        // SAFETY: it was just created, and is not shared.
        unsafe { device.driver().upload(exec, stream) }.map_err(failed)?;
        log_trace!("capture {object}");
        Ok(made)
    }

    /// Enqueues the frame on the graph's stream: waits until the first semaphore reaches
    /// `wait_value`, does the work, and sets the second semaphore to `signal_value`. Earlier
    /// launches keep their values. Allocates nothing.
    ///
    /// If other streams used the buffers too, call
    /// [`MappedBuffer::join_foreign_work`](crate::MappedBuffer::join_foreign_work) first.
    ///
    /// Driver API: [`cuGraphLaunch`][driver].
    ///
    /// # Errors
    /// [`Error::Driver`] for one of the calls or an earlier one in the context. In both cases
    /// nothing was enqueued.
    ///
    /// # Safety
    /// - `wait_value` will be signaled, otherwise the stream waits forever. `signal_value` is
    ///   greater than every value that is signaled or pending.
    /// - All recorded work may run again now: the memory that it uses, on the device and on the
    ///   host, its kernels' modules, and its texture and surface objects are alive until the launch
    ///   has ended, and are not used in any other way.
    /// - The semaphores live until the launch has ended.
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html
    #[doc(alias = "cuGraphLaunch")]
    #[doc(alias = "cuGraphExecExternalSemaphoresWaitNodeSetParams")]
    pub unsafe fn launch(&mut self, wait_value: u64, signal_value: u64) -> Result<()> {
        let (device, (wait, signal)) = (&self.graph.device, (self.wait, self.signal));
        let (driver, exec) = (device.driver(), self.exec);
        let failed = |error: CallError| error.at(self.graph.object(), device.name());
        check_recorded(self.stream.context()).map_err(failed)?;
        let _current = device.bind().map_err(failed)?;
        check_capture(driver, &self.stream, self.graph.object(), || device.name().to_owned())?;
        let launch = || {
            // SAFETY: the node waits for one semaphore, in the graph that `self` holds; the
            // semaphore is alive.
            unsafe { driver.set_wait(exec, wait.0, wait.1, wait_value) }?;
            // SAFETY: the node signals one semaphore, otherwise as above.
            unsafe { driver.set_signal(exec, signal.0, signal.1, signal_value) }?;
            // SAFETY: this function's caller guarantees that everything the graph uses is alive.
            unsafe { driver.launch_graph(exec, &self.stream) }
        };
        launch().map_err(failed)?;
        log_trace!("launch {}: wait {wait_value}, signal {signal_value}", self.graph.object());
        Ok(())
    }

    /// Returns the stream that the graph is launched on.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

const ENDED: &str = "its capture was ended while it was recorded; do not end the lent stream's capture";
const NESTED: &str = "this thread is already capturing another graph; end that one first";
const UNORDERED_USE: &str = "a buffer or image was used on a stream other than the captured one, so the use would not be a \
    part of the graph; enqueue all work on the lent stream";
const EMPTY: &str = "the driver captured nothing";
const SEMAPHORES: &str = "semaphores were waited for or signaled during the capture, with values that would be the \
    same in every frame; do that outside of the graph";

impl Drop for StreamGraph {
    fn drop(&mut self) {
        let Graph { device, .. } = &self.graph;
        // SAFETY: it is alive, and not used after this drop. Launches may still be running.
        let destroyed = device.bind().and_then(|_current| unsafe { device.driver().destroy_exec(self.exec) });
        match destroyed {
            Ok(()) => log_trace!("destroy {}", self.graph.object()),
            Err(error) => {
                count_leak();
                let error = error.at(self.graph.object(), device.name());
                log_error!("{error}");
            }
        }
    }
}

impl Graph {
    fn object(&self) -> Object<'_> {
        Object("graph", &self.name)
    }

    /// Returns the only wait node and the only signal node; `None` unless there is one of each.
    fn semaphore_nodes(&self) -> CallResult<Option<(NodeHandle, NodeHandle)>> {
        let driver = self.device.driver();
        let (mut waits, mut signals) = (Vec::new(), Vec::new());
        // SAFETY: the graph is alive, and not shared.
        for node in unsafe { driver.graph_nodes(self.handle) }? {
            // SAFETY: as above.
            match unsafe { driver.node_kind(node) }? {
                NodeKind::SemaphoreWait => waits.push(node),
                NodeKind::SemaphoreSignal => signals.push(node),
                NodeKind::Other => {}
            }
        }
        Ok(match (&waits[..], &signals[..]) {
            (&[wait], &[signal]) => Some((wait, signal)),
            _ => None,
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let destroyed = self.device.bind().and_then(|_current| {
            // SAFETY: the graph is alive, and neither it nor its nodes are used after this drop.
            unsafe { self.device.driver().destroy_graph(self.handle) }
        });
        if let Err(error) = destroyed {
            count_leak();
            let error = error.at(self.object(), self.device.name());
            log_error!("{error}");
        }
    }
}

/// A stream that is being captured by this thread. Dropping it ends the capture and destroys the
/// graph.
struct Capture<'a> {
    stream: &'a CudaStream,
    device: &'a CudaDevice,
    open: bool,
}

impl<'a> Capture<'a> {
    /// Begins the capture of a stream, which must not be shared.
    fn begin(stream: &'a CudaStream, device: &'a CudaDevice) -> CallResult<Self> {
        let _current = device.bind()?;
        // SAFETY: the stream is not shared; the result ends the capture, and stays on this thread,
        // because it is a local variable of the only function that creates it.
        unsafe { device.driver().begin_capture(stream) }?;
        Ok(Self { stream, device, open: true })
    }

    /// Ends the capture and returns the graph, which the caller must destroy.
    fn end(mut self) -> CallResult<Option<GraphHandle>> {
        self.close()
    }

    fn close(&mut self) -> CallResult<Option<GraphHandle>> {
        let bound = self.device.bind();
        self.open = false;
        // End the capture even if `bind` failed: the context has been current since before the
        // capture, unless the closure changed it, and a stream must not be destroyed while it is
        // being captured.
        // SAFETY: this thread began the capture, see `begin`.
        let ended = unsafe { self.device.driver().end_capture(self.stream) };
        let Err(error) = bound else { return ended };
        if let Ok(Some(graph)) = ended {
            // SAFETY: it was just created, and is not shared.
            unsafe { self.device.driver().destroy_graph(graph) }?;
        }
        Err(error)
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let thrown = self.close().and_then(|graph| match graph {
            // SAFETY: the graph is not shared.
            Some(graph) => unsafe { self.device.driver().destroy_graph(graph) },
            None => Ok(()),
        });
        if let Err(error) = thrown {
            // Expected if a forbidden call ended the capture before.
            let error = error.at("a capture that was given up", self.device.name());
            log_debug!("{error}");
        }
    }
}
