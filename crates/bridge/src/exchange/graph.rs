//! The compute side of a frame as a CUDA graph, captured once per slot.
#![allow(unsafe_code)] // Captured work runs again in later frames.

use std::sync::Arc;

use cuda_import::CaptureError;
use cuda_import::cudarc::driver::CudaStream;

use super::Exchange;
use super::direction::{ComputeFirst, Direction, Protocol, RenderFirst};
use super::slots::lender::OnCuda;
use super::state::State;
use super::turn::compute::ComputeTurn;
use super::turn::render::RenderTurn;
use super::work::Work;
use crate::error::{Error, RecordError, Result};
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

/// The compute side's frames of one exchange as CUDA graphs, one per slot: the wait for Vulkan, the
/// kernels and copies, and the signal are captured the first time that a slot is used, and then
/// launched as one graph with updated semaphore values.
///
/// ```no_run
/// # #![allow(unsafe_code)]
/// # use bridge::{BufferSpec, Exchange, FrameGraph, RenderTurn, Work};
/// # use bridge::cuda_import::cudarc::driver::{CudaFunction, LaunchConfig};
/// # use bridge::cuda_import::cudarc::driver::PushKernelArg;
/// # fn frames(
/// #     exchange: &mut Exchange<BufferSpec<u32>>,
/// #     step: &CudaFunction,
/// #     config: LaunchConfig,
/// #     submit: impl Fn(RenderTurn<BufferSpec<u32>>),
/// # ) -> Result<(), bridge::Error> {
/// let mut graph = FrameGraph::new(exchange);
/// loop {
///     // SAFETY: the kernels use the frame's own buffer alone, and their module
///     // outlives the graph.
///     let turn = unsafe {
///         exchange.compute_with(&mut graph, |_slot, work| {
///             match work {
///                 Work::Cuda(mut cuda) => {
///                     for pass in 0..20u32 {
///                         let mut launch = cuda.stream.launch_builder(step);
///                         launch.arg(&mut cuda.resources).arg(&pass);
///                         // SAFETY: the kernel takes a buffer and the number of
///                         // the pass.
///                         unsafe { launch.launch(config) }?;
///                     }
///                 }
///                 Work::Host(host) => host.run(|words| words.fill(7))?,
///                 _ => return Err("it needs CUDA or the CPU".into()),
///             }
///             Ok(())
///         })
///     }?;
///     submit(turn);
/// }
/// # }
/// ```
///
/// # Fixed values
/// Launches, addresses and scalar arguments are those of the capture. Data that changes from frame
/// to frame belongs in device memory, such as a counter that a kernel increments. After any other
/// change, call [`invalidate`](Self::invalidate) to capture every slot again; replacing the
/// exchange's resources ([`Exchange::replace`]) does this automatically. Frames with a graph and
/// turns of [`Exchange::begin`] may alternate in any order.
///
/// On the CPU and in the Vulkan queue ([`Backend::Inline`](crate::Backend::Inline)) there is
/// nothing to capture: the closure runs in every frame, so that a program needs only one code path.
///
/// # cudarc's own slices
/// cudarc tracks the use of each `CudaSlice` with events, and a capture must not wait for an event
/// from outside the capture: the error is `CUDA_ERROR_STREAM_CAPTURE_ISOLATION`. Call
/// `CudaContext::disable_event_tracking` before you create the slices that a graph uses. The
/// exchange's own resources do not need this.
///
/// # Dropping a graph
/// A graph may be dropped while its frames are being computed: the driver frees a running graph
/// once it has completed. A graph keeps the exchange's slots and timelines alive, so they are freed
/// once both the graph and the exchange are dropped.
pub struct FrameGraph<R: Resources> {
    // Field order is drop order: the graphs refer to the timelines' semaphores and the slots'
    // memory.
    slots: Box<[Option<cuda_import::StreamGraph>]>,
    shared: Arc<State<R>>,
}

impl<R: Resources> FrameGraph<R> {
    /// Creates the graphs of an exchange. None is captured yet.
    pub fn new<D: Direction>(exchange: &Exchange<R, D>) -> Self {
        Self {
            slots: exchange.shared.objects.slots.iter().map(|_| None).collect(),
            shared: Arc::clone(&exchange.shared),
        }
    }

    /// Discards the captured graphs: the closure is called again for every slot.
    pub fn invalidate(&mut self) {
        self.slots.fill_with(|| None);
    }

    /// Checks that the graph belongs to this exchange. If the exchange's resources were replaced
    /// since the last frame, every slot is captured again.
    fn follow(&mut self, shared: &Arc<State<R>>) -> Result<()> {
        if Arc::ptr_eq(&self.shared, shared) {
            return Ok(());
        }
        if Arc::ptr_eq(&self.shared.core, &shared.core) {
            self.invalidate();
            self.shared = Arc::clone(shared);
            return Ok(());
        }
        Err(Error::invalid(
            format!("the frame graph of exchange \"{}\"", self.shared.name),
            format!("it was used with exchange \"{}\"; make one for each with `FrameGraph::new`", shared.name),
        ))
    }
}

impl<R: Resources> Exchange<R, ComputeFirst> {
    /// Begins a frame, computes it with `graph` and finishes it: [`begin`](Self::begin) and
    /// [`ComputeTurn::finish`] in one call, for work that is the same in every frame. `record` gets
    /// the slot and enqueues the work; with CUDA it is called only if the slot has no graph yet;
    /// see [`FrameGraph`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the graph of another exchange; no frame has begun then.
    /// Otherwise the errors of `begin` and `finish`, [`Error::Record`] with the error that `record`
    /// returned, or [`Error::Cuda`] if the work cannot be captured or launched; the frame is then
    /// lost, as if its turn had been dropped, and the slot is captured at the next attempt.
    ///
    /// # Safety
    /// With CUDA, `record` enqueues work only on the stream that it is lent. That work runs again
    /// in every later frame of the slot, until the graph is invalidated or dropped and
    /// [`RenderTurn::computed`] of the last such frame is reached. Until then, everything that it
    /// uses besides the frame's own resources stays alive (device memory, host memory that is
    /// copied from or to, modules), and nothing else uses that memory at the same time.
    #[doc(alias = "cuGraphLaunch")]
    pub unsafe fn compute_with(
        &mut self,
        graph: &mut FrameGraph<R>,
        record: impl FnOnce(usize, Work<'_, R>) -> Result<(), RecordError>,
    ) -> Result<RenderTurn<R>> {
        let shared = &self.shared;
        graph.follow(shared)?;
        // After `follow`, which releases the replaced slots that the graph held.
        self.replaced.free();
        let begun = shared.next_frame()?;
        let captured = graph.slots[begun.slot].is_some();
        let turn = if captured {
            ComputeTurn::new(shared, begun)
        } else {
            // The graph waits by itself. This wait orders work that `record` enqueues outside of
            // the graph, although it should not.
            ComputeFirst::begin_turn(shared, begun)?
        };
        let wait = Wait { value: begun.wait, enqueued: !captured };
        // SAFETY: upheld by the caller.
        unsafe { turn.run(graph, wait, record) }
    }
}

impl<R: Resources> ComputeTurn<R, RenderFirst> {
    /// Computes the frame with `graph` and finishes it: [`work`](Self::work) and
    /// [`finish`](Self::finish) in one call, for work that is the same in every frame. It is the
    /// counterpart of [`Exchange::compute_with`] for frames that Vulkan begins. The graph's work
    /// must not depend on other work that was enqueued for this turn.
    ///
    /// # Errors
    /// As [`Exchange::compute_with`]; whatever the error, the turn is lost.
    ///
    /// # Safety
    /// As [`Exchange::compute_with`].
    pub unsafe fn compute_with(
        self,
        graph: &mut FrameGraph<R>,
        record: impl FnOnce(usize, Work<'_, R>) -> Result<(), RecordError>,
    ) -> Result<TimelinePoint> {
        graph.follow(&self.shared)?;
        let wait = Wait { value: Some(self.rendered), enqueued: true };
        // SAFETY: upheld by the caller.
        unsafe { self.run(graph, wait, record) }
    }
}

/// The value of `rendered` to wait for, if any, and whether the compute side's wait is already
/// enqueued.
struct Wait {
    value: Option<u64>,
    enqueued: bool,
}

impl<R: Resources, D: Direction> ComputeTurn<R, D> {
    /// # Safety
    /// As [`Exchange::compute_with`]; `graph` belongs to this turn's exchange, and `wait.value` is
    /// that of an accepted submission.
    unsafe fn run(
        mut self,
        graph: &mut FrameGraph<R>,
        wait: Wait,
        record: impl FnOnce(usize, Work<'_, R>) -> Result<(), RecordError>,
    ) -> Result<D::Finished<R>> {
        let (shared, frame, slot) = (Arc::clone(&self.shared), self.frame, self.slot);
        let failed = |source| Error::Record { exchange: shared.name.clone(), frame, slot, source };
        let Some(cuda) = shared.objects.lender.cuda() else {
            record(slot, self.work()).map_err(failed)?;
            return self.finish();
        };
        // A slot that `work` has lent out of order cannot be handed over.
        if let Some(error) = self.unjoined.take() {
            return Err(*error);
        }
        let place = &mut graph.slots[slot];
        let launched = match place {
            Some(launched) => launched,
            None => {
                let captured = capture(&shared.name, cuda, slot, record).map_err(|error| match error {
                    CaptureError::Cuda(error) => error.into(),
                    CaptureError::Record(source) => failed(source),
                    other => failed(other.to_string().into()),
                })?;
                place.insert(captured)
            }
        };
        // A frame with a graph lends no views; this is for work that a dropped turn has left.
        shared.objects.lender.join(slot)?;
        // SAFETY: rule "no wait before its signal": the ledger returns the value of a submission
        // that was accepted, and 0 is a timeline's initial value. The values of `computed` rise:
        // this stream is its only signaler, and `signal_computed` takes and enqueues one value at a
        // time. Slots and semaphores are destroyed after the stream has drained; the caller
        // guarantees the rest that the graph uses.
        let launch = |value| Ok(unsafe { launched.launch(wait.value.unwrap_or(0), value) }?);
        let launched = shared.signal_computed(launch);
        if launched.is_err() {
            // The state of the graph after a failed launch is unknown.
            graph.slots[slot] = None;
        }
        let computed = launched?;
        if let (Some(value), false) = (wait.value, wait.enqueued) {
            shared.objects.rendered.record_wait(value);
        }
        Ok(self.into_finished(computed))
    }
}

/// Captures a slot's frame as a graph, to be launched on the compute stream.
fn capture<R: Resources>(
    exchange: &str,
    cuda: &OnCuda<R>,
    slot: usize,
    record: impl FnOnce(usize, Work<'_, R>) -> Result<(), RecordError>,
) -> Result<cuda_import::StreamGraph, CaptureError<RecordError>> {
    let record = |stream: &Arc<CudaStream>| {
        // SAFETY: rule "no access outside the turn": the turn holds the slot, the view does not
        // outlive the closure, and the captured work is launched only between the stream's wait and
        // signal.
        record(slot, unsafe { cuda.work_on(slot, stream) })
    };
    // SAFETY: the link outlives the graph: a `FrameGraph` holds the shared state and drops it last.
    // The caller is responsible for the recorded work, see `Exchange::compute_with`.
    unsafe { cuda.link.capture(&format!("{exchange}[{slot}]"), record) }
}

impl<R: Resources> std::fmt::Debug for FrameGraph<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let captured = self.slots.iter().flatten().count();
        write!(f, "FrameGraph(\"{}\", {captured} of {} slots captured)", self.shared.name, self.slots.len())
    }
}
