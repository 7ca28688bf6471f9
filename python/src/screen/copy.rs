//! A tensor's way into a slot, and a picture's out of one: one copy, ordered on both sides.

// Copies between addresses.
#![allow(unsafe_code)]

use std::ptr::with_exposed_provenance_mut;
use std::sync::Arc;

use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaStream, result, sys};
use bridge::{BufferSpec, Compute, ComputeTurn, Direction, RenderFirst, RenderTurn, TimelinePoint, Work};

use crate::error::{Fault, Kind};
use crate::memory::Copying;
use crate::screen::address::{Current, check_device};
use crate::screen::order::put_behind;
use crate::screen::rows::{Pitched, copy_rows, gather, scatter};
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
    before: Option<StreamEvent>,
    after: Option<StreamEvent>,
    /// For negative controls.
    pub(crate) leave_out: Option<Wait>,
}

/// The direction of a copy: a tensor into a slot, or a slot into a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// The end of a copy.
enum End {
    /// The producer's stream is behind it.
    Ordered,
    /// The host must wait for it: the producer does not.
    Unseen(Option<Staged>),
    /// As [`Unseen`](Self::Unseen), since the producer's stream could not be put behind it.
    Unordered(Fault),
}

/// Rows of a tensor in host memory, without their gaps: what the device copies from or to.
struct Staged {
    bytes: Vec<u8>,
    way: Way,
}

impl End {
    /// Blocks until the copy has ended, where the producer is not behind it. The tensor is leaked
    /// if that is not seen: the copy may still use it.
    fn settle(self, point: &TimelinePoint, tensor: &mut TensorView) -> Result<(), Fault> {
        let (fault, staged) = match self {
            Self::Ordered => return Ok(()),
            Self::Unseen(staged) => (None, staged),
            Self::Unordered(fault) => (Some(fault), None),
        };
        if let Err(error) = point.wait(limit()) {
            std::mem::forget(staged);
            tensor.leak();
            return Err(fault.unwrap_or_else(|| told(error)));
        }
        if let Some(Staged { bytes, way: Way::Out }) = staged {
            // SAFETY: memory of the tensor's, checked as far as it can be, and writable.
            unsafe { scatter(&bytes, tensor.address, tensor.rows) };
        }
        fault.map_or(Ok(()), Err)
    }

    /// Leaks what the copy may still use: its end will not be seen.
    fn abandon(self, tensor: &mut TensorView) {
        std::mem::forget(self);
        tensor.leak();
    }
}

impl Wait {
    /// From its name, in tests.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "before" => Some(Self::Before),
            "after" => Some(Self::After),
            _ => None,
        }
    }
}

impl Copier {
    /// Copies the tensors into the turn's slot, one behind the other.
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
                return Err(told(error));
            }
        };
        // Each is waited for, whatever became of those before.
        let settled = ends.map(|(end, tensor)| end.settle(&frame.computed(), tensor)).fold(Ok(()), Result::and);
        if let Err(fault) = settled {
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
                Err(told(error))
            }
        }
    }

    /// Enqueues the copy on the turn's side, to or from the slot's bytes from `at` on. On an error
    /// nothing was enqueued.
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
            Work::Host(work) => on_host(at, tensor, way, |bytes| work.run(bytes).map_err(told)),
            _ => Err(Fault::new(Kind::Driver, "the compute side has no memory that can be copied to or from")),
        }
    }

    /// A tensor in device memory.
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
        // SAFETY: the wrappers destroy nothing. The streams live: their library, or the caller,
        // just named them.
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
                // SAFETY: both have that many bytes, `check_memory` has asked; the slot is this
                // turn's, the tensor's work is before this on the stream.
                unsafe { result::memcpy_dtod_async(target.address, source.address, rows.len, ours.cu_stream()) }
                    .map_err(failed("cuMemcpyDtoDAsync"))?;
            } else {
                // SAFETY: as above; the rows do not overlap, for none is longer than the pitch.
                unsafe { copy_rows((target, source), rows, ours.cu_stream()) }?;
            }
        }
        let behind = producers.iter().filter(|_| self.leave_out != Some(Wait::After));
        let mut ordered = copying.map_or(Ok(()), Copying::enqueued);
        ordered = behind.map(|producer| put_behind(&mut self.after, ours, producer)).fold(ordered, Result::and);
        if let Err(fault) = ordered {
            // The copy is enqueued all the same.
            return Ok(End::Unordered(fault));
        }
        Ok(if producers.is_empty() { End::Unseen(None) } else { End::Ordered })
    }
}

/// Gives a turn back without handing its slot on.
pub(crate) fn skip<D: Direction>(turn: ComputeTurn<BufferSpec<u8>, D>) {
    if let Err(error) = turn.skip() {
        log::warn!("{error}");
    }
}

/// Refuses a tensor in memory that the compute side cannot copy from or to.
fn check_memory(compute: &Compute, tensor: &TensorView) -> Result<(), Fault> {
    match (compute.cuda(), tensor.device) {
        (_, Device::Cpu) => Ok(()),
        (Some(cuda), Device::Cuda(_)) => check_device(cuda.device(), cuda.stream().context(), tensor),
        (None, Device::Cuda(_)) => {
            let (what, advice) = (tensor.describe(), tensor.role.moved(".cpu()", "the CPU"));
            let reason = format!(
                "{what} is in the memory of a CUDA device, the view on the CPU backend: {advice}, or backend=\"cuda\""
            );
            Err(Fault::new(Kind::Device, reason))
        }
    }
}

/// A tensor in host memory, over the bus. Rows with gaps go through memory without.
fn from_host(ours: &CudaStream, slot: sys::CUdeviceptr, tensor: &TensorView, way: Way) -> Result<End, Fault> {
    let (size, packed, stream) = (tensor.size(), tensor.rows.are_packed(), ours.cu_stream());
    let mut staged = (!packed).then(|| Staged { bytes: vec![0; size], way });
    if let (Some(staged), Way::In) = (&mut staged, way) {
        // SAFETY: memory of the tensor's, checked as far as it can be.
        unsafe { gather(tensor.address, tensor.rows, &mut staged.bytes) };
    }
    let memory = match &mut staged {
        Some(staged) => staged.bytes.as_mut_ptr(),
        None => with_exposed_provenance_mut::<u8>(tensor.address),
    };
    let _current = Current::push(ours.context())?;
    match way {
        Way::In => {
            // SAFETY: that many bytes, of the tensor or just made; the copy is waited for before
            // they go.
            let bytes = unsafe { std::slice::from_raw_parts(memory, size) };
            // SAFETY: the slot has at least as many bytes behind its start, and is this turn's.
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

/// On the CPU backend's thread.
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
            // SAFETY: memory of the tensor's, checked as far as it can be; the copy is waited for
            // before it goes.
            Way::In => unsafe { gather(address, rows, slot) },
            // SAFETY: as above, and writable.
            Way::Out => unsafe { scatter(slot, address, rows) },
        }
    }))?;
    Ok(End::Unseen(None))
}

pub(super) fn failed(call: &'static str) -> impl Fn(bridge::cudarc::driver::DriverError) -> Fault {
    move |error| Fault::new(Kind::Driver, format!("{call} failed: {error} ({})", error.0 as u32))
}
