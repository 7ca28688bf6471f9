//! A tensor's way into a slot, and a picture's out of one: one copy, ordered on both sides.

// Copies between addresses.
#![allow(unsafe_code)]

use std::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::Arc;

use bridge::cuda_import::StreamMark;
use bridge::cuda_import::mark;
use bridge::cudarc::driver::{CudaStream, result, sys};
use bridge::{BufferSpec, Compute, ComputeTurn, CudaCompute, Direction, RenderFirst, RenderTurn, TimelinePoint, Work};

use crate::error::{Fault, Kind};
use crate::screen::address::{Current, check_device};
use crate::screen::{limit, told};
use crate::tensor::stream::Producer;
use crate::tensor::{Device, TensorView};

/// A wait that the negative control of a test leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Our stream's for the producer.
    Before,
    /// The producer's for our copy.
    After,
}

/// Copies tensors into slots, with the two events that it takes.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    before: Option<StreamMark>,
    after: Option<StreamMark>,
    /// For negative controls.
    pub(crate) leave_out: Option<Wait>,
}

/// The direction of a copy: a tensor into a slot, or a slot into a tensor.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

/// The end of a copy.
enum End {
    /// The producer's stream is behind it.
    Ordered,
    /// The host must wait for it: the producer does not.
    Unseen,
    /// As [`Unseen`](Self::Unseen), since the producer's stream could not be put behind it.
    Unordered(Fault),
}

impl End {
    /// Blocks until the copy has ended, where the producer is not behind it. The tensor is leaked
    /// if that is not seen: the copy may still use it.
    fn settle(self, point: &TimelinePoint, tensor: &mut TensorView) -> Result<(), Fault> {
        let fault = match self {
            Self::Ordered => return Ok(()),
            Self::Unseen => None,
            Self::Unordered(fault) => Some(fault),
        };
        let Err(error) = point.wait(limit()) else { return fault.map_or(Ok(()), Err) };
        tensor.leak();
        Err(fault.unwrap_or_else(|| told(error)))
    }
}

impl Copier {
    /// Copies the tensor into the turn's slot.
    ///
    /// - In device memory, with a known stream: our stream waits for the producer's, then the
    ///   producer's waits for our copy. The memory may be reused by what the producer enqueues
    ///   next. The host waits for nothing.
    /// - In device memory, with no stream that is known, and in host memory: the host waits for the
    ///   copy.
    ///
    /// On an error nothing is shown, and the slot is given back.
    pub(crate) fn copy(
        &mut self,
        compute: &Compute,
        mut turn: ComputeTurn<BufferSpec<u8>>,
        tensor: &mut TensorView,
    ) -> Result<RenderTurn<BufferSpec<u8>>, Fault> {
        let end = match self.enqueue(compute, turn.work(), tensor, Way::In) {
            Ok(end) => end,
            Err(fault) => {
                skip(turn);
                return Err(fault);
            }
        };
        let frame = turn.finish().map_err(|error| unfinished(tensor, error))?;
        if let Err(fault) = end.settle(frame.computed(), tensor) {
            frame.skip();
            return Err(fault);
        }
        Ok(frame)
    }

    /// Copies the turn's slot into the tensor, ordered as [`copy`](Self::copy) is: where the
    /// tensor's stream is known, what it enqueues next sees the copy, and the host waits for
    /// nothing.
    pub(crate) fn copy_out(
        &mut self,
        compute: &Compute,
        mut turn: ComputeTurn<BufferSpec<u8>, RenderFirst>,
        tensor: &mut TensorView,
    ) -> Result<(), Fault> {
        let end = match self.enqueue(compute, turn.work(), tensor, Way::Out) {
            Ok(end) => end,
            Err(fault) => {
                skip(turn);
                return Err(fault);
            }
        };
        let point = turn.finish().map_err(|error| unfinished(tensor, error))?;
        end.settle(&point, tensor)
    }

    /// Enqueues the copy on the turn's side. On an error nothing was enqueued.
    fn enqueue(
        &mut self,
        compute: &Compute,
        work: Work<'_, BufferSpec<u8>>,
        tensor: &TensorView,
        way: Way,
    ) -> Result<End, Fault> {
        match work {
            Work::Cuda(work) => match compute.cuda() {
                Some(cuda) => self.on_cuda(cuda, work.stream, work.resources.as_raw(), tensor, way),
                None => Err(Fault::new(Kind::Driver, "the turn is of CUDA, its compute side is not")),
            },
            Work::Host(work) => on_host(tensor, way, |bytes| work.run(bytes).map_err(told)),
            _ => Err(Fault::new(Kind::Driver, "the compute side has no memory that can be copied to or from")),
        }
    }

    fn on_cuda(
        &mut self,
        cuda: &CudaCompute,
        ours: &Arc<CudaStream>,
        slot: sys::CUdeviceptr,
        tensor: &TensorView,
        way: Way,
    ) -> Result<End, Fault> {
        let size = tensor.size();
        let context = ours.context();
        if tensor.device == Device::Cpu {
            let _current = Current::push(context)?;
            match way {
                Way::In => {
                    let start = with_exposed_provenance::<u8>(tensor.address);
                    // SAFETY: that many bytes, checked as far as they can be; the copy is waited
                    // for before they go.
                    let bytes = unsafe { std::slice::from_raw_parts(start, size) };
                    // SAFETY: the slot has at least as many bytes as the tensor, and is this
                    // turn's.
                    unsafe { result::memcpy_htod_async(slot, bytes, ours.cu_stream()) }
                        .map_err(failed("cuMemcpyHtoDAsync"))?;
                }
                Way::Out => {
                    let start = with_exposed_provenance_mut::<u8>(tensor.address);
                    // SAFETY: as above, and writable.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(start, size) };
                    // SAFETY: as above.
                    unsafe { result::memcpy_dtoh_async(bytes, slot, ours.cu_stream()) }
                        .map_err(failed("cuMemcpyDtoHAsync"))?;
                }
            }
            return Ok(End::Unseen);
        }
        check_device(cuda.device(), context, tensor)?;
        let named: &[usize] = match &tensor.producer {
            Producer::Streams(streams) => streams,
            Producer::Unnamed | Producer::Host => &[],
        };
        // SAFETY: the wrappers destroy nothing. The streams live: their library, or the caller,
        // just named them.
        let wrap = |&stream: &usize| unsafe { context.wrap_borrowed_stream(stream as sys::CUstream) };
        let producers: Vec<_> = named.iter().map(wrap).collect();
        for producer in producers.iter().filter(|_| self.leave_out != Some(Wait::Before)) {
            put_behind(&mut self.before, producer, ours)?;
        }
        {
            let _current = Current::push(context)?;
            let memory = tensor.address as sys::CUdeviceptr;
            let (target, source) = match way {
                Way::In => (slot, memory),
                Way::Out => (memory, slot),
            };
            // SAFETY: both have that many bytes; the slot is this turn's, the tensor's work is
            // before this on the stream.
            unsafe { result::memcpy_dtod_async(target, source, size, ours.cu_stream()) }
                .map_err(failed("cuMemcpyDtoDAsync"))?;
        }
        for producer in producers.iter().filter(|_| self.leave_out != Some(Wait::After)) {
            if let Err(fault) = put_behind(&mut self.after, ours, producer) {
                // The copy is enqueued all the same.
                return Ok(End::Unordered(fault));
            }
        }
        Ok(if producers.is_empty() { End::Unseen } else { End::Ordered })
    }
}

/// Gives a turn back without handing its slot on.
pub(crate) fn skip<D: Direction>(turn: ComputeTurn<BufferSpec<u8>, D>) {
    if let Err(error) = turn.skip() {
        log::warn!("{error}");
    }
}

/// The error of a turn that could not be handed on with its copy, which may still use the tensor.
fn unfinished(tensor: &mut TensorView, error: bridge::Error) -> Fault {
    tensor.leak();
    told(error)
}

/// Refuses a tensor with a stream that cannot be joined; see [`check_stream`].
pub(crate) fn check_streams(compute: &Compute, producer: &Producer) -> Result<(), Fault> {
    let (Some(cuda), Producer::Streams(streams)) = (compute.cuda(), producer) else { return Ok(()) };
    streams.iter().try_for_each(|&stream| check_stream(cuda.stream(), stream))
}

/// Refuses a stream that is being captured into a CUDA graph, and one of another context than ours,
/// that of another GPU for example. Called before anything is enqueued for a frame, which would end
/// the capture.
pub(crate) fn check_stream(ours: &CudaStream, stream: usize) -> Result<(), Fault> {
    let _current = Current::push(ours.context())?;
    let raw = stream as sys::CUstream;
    let mut context = std::ptr::null_mut();
    // SAFETY: the stream lives: its library, or the caller, just named it; the context is written
    // to this frame.
    let code = unsafe { sys::cuStreamGetCtx(raw, &raw mut context) };
    code.result().map_err(failed("cuStreamGetCtx"))?;
    if context != ours.context().cu_ctx() {
        let ordinal = ours.context().ordinal();
        let reason = format!(
            "stream {stream:#x} is of another CUDA context than cuda:{ordinal}, the view's device: make one there"
        );
        return Err(Fault::new(Kind::Device, reason));
    }
    // SAFETY: as above.
    let status = unsafe { result::stream::is_capturing(raw) };
    match status.map_err(failed("cuStreamIsCapturing"))? {
        sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE => Ok(()),
        _ => Err(Fault::new(
            Kind::Usage,
            format!(
                "stream {stream:#x} is being captured into a CUDA graph, and a view takes no part in one: show the tensor after the capture"
            ),
        )),
    }
}

/// Makes what is enqueued on `second` from now on wait for what is enqueued on `first` now. The
/// event is made once.
pub(crate) fn put_behind(event: &mut Option<StreamMark>, first: &CudaStream, second: &CudaStream) -> Result<(), Fault> {
    let cuda = |error: bridge::cuda_import::Error| Fault::new(Kind::Driver, error);
    let event = match event {
        Some(event) => {
            event.move_to_end(first).map_err(cuda)?;
            event
        }
        none => none.insert(mark(first).map_err(cuda)?),
    };
    event.hold_back(second).map_err(cuda)
}

/// On the CPU backend's thread.
fn on_host(
    tensor: &TensorView,
    way: Way,
    run: impl FnOnce(Box<dyn for<'a> FnOnce(&'a mut [u8]) + Send>) -> Result<(), Fault>,
) -> Result<End, Fault> {
    if let Device::Cuda(_) = tensor.device {
        let what = tensor.describe();
        return Err(Fault::new(
            Kind::Device,
            format!(
                "{what} is in the memory of a CUDA device, the view on the CPU backend: use .cpu(), or backend=\"cuda\""
            ),
        ));
    }
    let (address, size) = (tensor.address, tensor.size());
    run(Box::new(move |slot| {
        let Some(slot) = slot.get_mut(..size) else { return };
        let memory = with_exposed_provenance_mut::<u8>(address);
        match way {
            // SAFETY: the tensor has that many bytes, checked as far as they can be; the copy is
            // waited for before they go.
            Way::In => slot.copy_from_slice(unsafe { std::slice::from_raw_parts(memory, size) }),
            // SAFETY: as above, and writable. Raw, since others may have views of it.
            Way::Out => unsafe { memory.copy_from(slot.as_ptr(), size) },
        }
    }))?;
    Ok(End::Unseen)
}

fn failed(call: &'static str) -> impl Fn(bridge::cudarc::driver::DriverError) -> Fault {
    move |error| Fault::new(Kind::Driver, format!("{call} failed: {error} ({})", error.0 as u32))
}
