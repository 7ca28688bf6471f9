//! Copies of tensors into slots, and of pictures out of slots, ordered with the producer's stream
//! on both sides.

// Copies between addresses.
#![allow(unsafe_code)]

use std::ptr::with_exposed_provenance_mut;
use std::sync::Arc;

use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaStream, result, sys};
use bridge::{BufferSpec, Compute, ComputeTurn, Direction, RenderFirst, RenderTurn, TimelinePoint, Work};

use crate::error::{Fault, Kind};
use crate::fault::{failed, to_fault};
use crate::memory::Copying;
use crate::screen::address::{Current, check_device};
use crate::screen::limit;
use crate::screen::order::put_behind;
use crate::screen::rows::{Pitched, copy_rows, gather, scatter};
use crate::tensor::array::view_argument;
use crate::tensor::stream::Producer;
use crate::tensor::{Device, TensorView};

/// A wait that a test's negative control omits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The wait of our stream for the producer.
    Before,
    /// The wait of the producer for our copy.
    After,
}

/// Copies tensors from and to slots, with the two events that this requires.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    before: Option<StreamEvent>,
    after: Option<StreamEvent>,
    /// The wait that is omitted, for negative controls.
    pub(crate) leave_out: Option<Wait>,
}

/// The direction of a copy: a tensor into a slot, or a slot into a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// How the end of a copy is observed.
enum End {
    /// The producer's stream waits for the copy.
    Ordered,
    /// The host must wait for the copy, since the producer does not.
    Unseen(Option<Staged>),
    /// Like [`Unseen`](Self::Unseen), because enqueuing the producer's wait failed.
    Unordered(Fault),
}

/// Host memory with the rows of a tensor without gaps, which the device copies from or to.
struct Staged {
    bytes: Vec<u8>,
    way: Way,
}

impl End {
    /// Blocks until the copy has ended, unless the producer waits for it. If the end is not seen,
    /// the tensor is leaked, since the copy may still use it.
    fn settle(self, point: &TimelinePoint, tensor: &mut TensorView) -> Result<(), Fault> {
        let (fault, staged) = match self {
            Self::Ordered => return Ok(()),
            Self::Unseen(staged) => (None, staged),
            Self::Unordered(fault) => (Some(fault), None),
        };
        if let Err(error) = point.wait(limit()) {
            std::mem::forget(staged);
            tensor.leak();
            return Err(fault.unwrap_or_else(|| to_fault(error)));
        }
        if let Some(Staged { bytes, way: Way::Out }) = staged {
            // SAFETY: the rows are memory of the tensor, checked as far as possible, and writable.
            unsafe { scatter(&bytes, tensor.address, tensor.rows) };
        }
        fault.map_or(Ok(()), Err)
    }

    /// Leaks everything that the copy may still use, since its end will not be seen.
    fn abandon(self, tensor: &mut TensorView) {
        std::mem::forget(self);
        tensor.leak();
    }
}

impl Wait {
    /// Parses the name, in tests.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "before" => Some(Self::Before),
            "after" => Some(Self::After),
            _ => None,
        }
    }
}

impl Copier {
    /// Copies the tensors into the turn's slot, one after the other.
    ///
    /// - In device memory, with a known stream: our stream waits for the producer's stream, which
    ///   then waits for our copy. Work that the producer enqueues later may reuse the memory. The
    ///   host does not wait.
    /// - In device memory without a known stream, and in host memory: the host waits for the copy.
    ///
    /// On an error nothing is shown, and the slot is released.
    pub(crate) fn copy(
        &mut self,
        compute: &Compute,
        mut turn: ComputeTurn<BufferSpec<u8>>,
        tensors: &mut [&mut TensorView],
    ) -> Result<RenderTurn<BufferSpec<u8>>, Fault> {
        let mut ends = Vec::with_capacity(tensors.len());
        let mut at = 0;
        let enqueued = tensors.iter().try_for_each(|tensor| check_memory(compute, tensor)).and_then(|()| {
            tensors.iter().try_for_each(|tensor| {
                ends.push(self.enqueue(turn.work(), at, tensor, Way::In)?);
                at += tensor.size();
                Ok(())
            })
        });
        let ends = ends.into_iter().zip(tensors.iter_mut());
        if let Err(fault) = enqueued {
            skip(turn);
            ends.for_each(|(end, tensor)| end.abandon(tensor));
            return Err(fault);
        }
        let frame = match turn.finish() {
            Ok(frame) => frame,
            Err(error) => {
                ends.for_each(|(end, tensor)| end.abandon(tensor));
                return Err(to_fault(error));
            }
        };
        // All copies are waited for, even if an earlier wait failed.
        let settled = ends.map(|(end, tensor)| end.settle(&frame.computed(), tensor)).fold(Ok(()), Result::and);
        if let Err(fault) = settled {
            frame.skip();
            return Err(fault);
        }
        Ok(frame)
    }

    /// Copies the turn's slot into the tensor, with the same ordering as [`copy`](Self::copy): if
    /// the tensor's stream is known, work enqueued on it later sees the copy, and the host does not
    /// wait.
    pub(crate) fn copy_out(
        &mut self,
        compute: &Compute,
        mut turn: ComputeTurn<BufferSpec<u8>, RenderFirst>,
        tensor: &mut TensorView,
    ) -> Result<(), Fault> {
        let checked = check_memory(compute, tensor);
        let end = match checked.and_then(|()| self.enqueue(turn.work(), 0, tensor, Way::Out)) {
            Ok(end) => end,
            Err(fault) => {
                skip(turn);
                return Err(fault);
            }
        };
        match turn.finish() {
            Ok(point) => end.settle(&point, tensor),
            Err(error) => {
                end.abandon(tensor);
                Err(to_fault(error))
            }
        }
    }

    /// Enqueues the copy on the turn's compute side, to or from the slot's bytes starting at `at`.
    /// On an error nothing was enqueued.
    fn enqueue(
        &mut self,
        work: Work<'_, BufferSpec<u8>>,
        at: usize,
        tensor: &TensorView,
        way: Way,
    ) -> Result<End, Fault> {
        match work {
            Work::Cuda(work) if tensor.device == Device::Cpu => {
                from_host(work.stream, work.resources.as_raw() + at as sys::CUdeviceptr, tensor, way)
            }
            Work::Cuda(work) => {
                self.on_cuda(work.stream, work.resources.as_raw() + at as sys::CUdeviceptr, tensor, way)
            }
            Work::Host(work) => on_host(at, tensor, way, |bytes| work.run(bytes).map_err(to_fault)),
            _ => Err(Fault::new(Kind::Driver, "the compute side has no memory that can be copied to or from")),
        }
    }

    /// Enqueues the copy of a tensor in device memory.
    fn on_cuda(
        &mut self,
        ours: &Arc<CudaStream>,
        slot: sys::CUdeviceptr,
        tensor: &TensorView,
        way: Way,
    ) -> Result<End, Fault> {
        let context = ours.context();
        let named: &[usize] = match &tensor.producer {
            Producer::Streams(streams) => streams,
            Producer::Unnamed | Producer::Host => &[],
        };
        // SAFETY: the wrappers do not destroy the streams. The streams are live, since their
        // library or the caller just named them.
        let wrap = |&stream: &usize| unsafe { context.wrap_borrowed_stream(stream as sys::CUstream) };
        let producers: Vec<_> = named.iter().map(wrap).collect();
        for producer in producers.iter().filter(|_| self.leave_out != Some(Wait::Before)) {
            put_behind(&mut self.before, producer, ours)?;
        }
        let copying = tensor.memory().map(|memory| memory.before_copy(ours)).transpose()?;
        {
            let _current = Current::push(context)?;
            let rows = tensor.rows;
            let memory = Pitched { address: tensor.address as sys::CUdeviceptr, pitch: rows.pitch };
            let slot = Pitched { address: slot, pitch: rows.len };
            let (target, source) = match way {
                Way::In => (slot, memory),
                Way::Out => (memory, slot),
            };
            if rows.are_packed() {
                // SAFETY: both have that many bytes, as `check_memory` has checked; the slot
                // belongs to this turn, and the stream waits for the tensor's work first.
                unsafe { result::memcpy_dtod_async(target.address, source.address, rows.len, ours.cu_stream()) }
                    .map_err(failed("cuMemcpyDtoDAsync"))?;
            } else {
                // SAFETY: as above; the rows do not overlap, since none is longer than the pitch.
                unsafe { copy_rows((target, source), rows, ours.cu_stream()) }?;
            }
        }
        let behind = producers.iter().filter(|_| self.leave_out != Some(Wait::After));
        let mut ordered = copying.map_or(Ok(()), Copying::enqueued);
        ordered = behind.map(|producer| put_behind(&mut self.after, ours, producer)).fold(ordered, Result::and);
        if let Err(fault) = ordered {
            // The copy is enqueued nevertheless.
            return Ok(End::Unordered(fault));
        }
        Ok(if producers.is_empty() { End::Unseen(None) } else { End::Ordered })
    }
}

/// Releases a turn without handing its slot over.
pub(crate) fn skip<D: Direction>(turn: ComputeTurn<BufferSpec<u8>, D>) {
    if let Err(error) = turn.skip() {
        log::warn!("{error}");
    }
}

/// Checks that the compute side can copy from or to the tensor's memory.
fn check_memory(compute: &Compute, tensor: &TensorView) -> Result<(), Fault> {
    match (compute.cuda(), tensor.device) {
        (_, Device::Cpu) => Ok(()),
        (Some(cuda), Device::Cuda(_)) => check_device(cuda.device(), cuda.stream().context(), tensor),
        (None, Device::Cuda(theirs)) => {
            let (what, advice) = (tensor.describe(), tensor.role.moved(".cpu()", "the CPU"));
            let (gpu, why, device) = (compute.device().name(), compute.reason(), view_argument(theirs));
            let reason = format!(
                "{what} is in the memory of a CUDA device, but the view on {gpu} uses the CPU backend ({why}): {advice}, or \
                 make the view with backend=\"cuda\" and {device}"
            );
            Err(Fault::new(Kind::Device, reason))
        }
    }
}

/// Copies a tensor in host memory to or from the GPU. Rows with gaps are copied through memory
/// without gaps.
fn from_host(ours: &CudaStream, slot: sys::CUdeviceptr, tensor: &TensorView, way: Way) -> Result<End, Fault> {
    let (size, packed, stream) = (tensor.size(), tensor.rows.are_packed(), ours.cu_stream());
    let mut staged = (!packed).then(|| Staged { bytes: vec![0; size], way });
    if let (Some(staged), Way::In) = (&mut staged, way) {
        // SAFETY: the rows are memory of the tensor, checked as far as possible.
        unsafe { gather(tensor.address, tensor.rows, &mut staged.bytes) };
    }
    let memory = match &mut staged {
        Some(staged) => staged.bytes.as_mut_ptr(),
        None => with_exposed_provenance_mut::<u8>(tensor.address),
    };
    let _current = Current::push(ours.context())?;
    match way {
        Way::In => {
            // SAFETY: there are `size` bytes, of the tensor or just allocated; the copy is waited
            // for before they are freed.
            let bytes = unsafe { std::slice::from_raw_parts(memory, size) };
            // SAFETY: the slot has at least `size` bytes from this address on, and belongs to this
            // turn.
            unsafe { result::memcpy_htod_async(slot, bytes, stream) }.map_err(failed("cuMemcpyHtoDAsync"))?;
        }
        Way::Out => {
            // SAFETY: as above, and writable.
            let bytes = unsafe { std::slice::from_raw_parts_mut(memory, size) };
            // SAFETY: as above.
            unsafe { result::memcpy_dtoh_async(bytes, slot, stream) }.map_err(failed("cuMemcpyDtoHAsync"))?;
        }
    }
    Ok(End::Unseen(staged))
}

/// Enqueues the copy on the CPU backend's thread.
fn on_host(
    at: usize,
    tensor: &TensorView,
    way: Way,
    run: impl FnOnce(Box<dyn for<'a> FnOnce(&'a mut [u8]) + Send>) -> Result<(), Fault>,
) -> Result<End, Fault> {
    let (address, rows) = (tensor.address, tensor.rows);
    run(Box::new(move |slot| {
        let Some(slot) = slot.get_mut(at..).and_then(|slot| slot.get_mut(..rows.size())) else { return };
        match way {
            // SAFETY: the rows are memory of the tensor, checked as far as possible; the copy is
            // waited for before it is freed.
            Way::In => unsafe { gather(address, rows, slot) },
            // SAFETY: as above, and writable.
            Way::Out => unsafe { scatter(slot, address, rows) },
        }
    }))?;
    Ok(End::Unseen(None))
}
