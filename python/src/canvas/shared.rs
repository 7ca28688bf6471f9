//! The slots of a canvas, and the stream on which their frames are handed over.

// Wraps streams of other libraries.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge::Compute;
use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaStream, sys};
use pyo3::prelude::*;

use crate::error::{Fault, Kind};
use crate::fault::to_fault;
use crate::fork::Process;
use crate::native::{Native, drop_later};
use crate::screen::order::{check_stream, put_behind};
use crate::screen::slots::{Format, Slots};
use crate::tensor::stream::{LEGACY, named};

/// Reference to the slots, held by all their users: the canvas, an open frame, and tensors created
/// from a frame.
pub(super) type Kept = Arc<Native<Lent>>;

/// The slots, and the compute side whose stream waits for Vulkan and signals it.
pub(super) struct Lent {
    /// Dropped in `drop`, unless a stream may still use them.
    slots: ManuallyDrop<Mutex<Slots>>,
    /// Streams of ended frames that the stream of the hand-over does not wait for yet.
    unjoined: Mutex<Streams>,
    /// Reused for all streams, so that no frame creates an event.
    event: Mutex<Option<StreamEvent>>,
    compute: Compute,
}

/// Streams that may use the memory of a frame.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) numbers: BTreeSet<usize>,
    /// The objects of these streams that the user gave, which may destroy them when they are
    /// dropped.
    pub(super) keep: Vec<Arc<Py<PyAny>>>,
}

impl Lent {
    fn new(slots: Slots, compute: Compute) -> Self {
        let slots = ManuallyDrop::new(Mutex::new(slots));
        Self { slots, unjoined: Mutex::default(), event: Mutex::default(), compute }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Slots> {
        // After a panic the slots are still valid and report their own state.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the stream of the hand-over; `None` on the CPU backend.
    pub(super) fn stream(&self) -> Option<&Arc<CudaStream>> {
        Some(self.compute.cuda()?.stream())
    }

    /// Checks the stream of the hand-over and the one that the user gave for a frame; see
    /// [`check_stream`].
    pub(super) fn check_streams(&self, stream: Option<usize>) -> Result<(), Fault> {
        let Some(ours) = self.stream() else { return Ok(()) };
        let streams = [Some(ours.cu_stream() as usize), stream];
        streams.into_iter().flatten().try_for_each(|stream| check_stream(ours, stream))
    }

    /// Makes later work on `second` wait for the work enqueued on `first` so far.
    pub(super) fn put_behind(&self, first: &CudaStream, second: &CudaStream) -> Result<(), Fault> {
        put_behind(&mut self.event.lock().unwrap_or_else(PoisonError::into_inner), first, second)
    }

    /// Makes later work on the stream of the hand-over wait for the work enqueued on these streams.
    /// After an error, [`join_rest`](Self::join_rest) must succeed before the slots are used again.
    pub(super) fn join(&self, streams: Streams) -> Result<(), Fault> {
        {
            let mut unjoined = self.unjoined();
            unjoined.numbers.extend(streams.numbers);
            unjoined.keep.extend(streams.keep);
        }
        self.join_rest()
    }

    /// Joins the streams that could not be joined when their frame ended, such as those that were
    /// being captured.
    pub(super) fn join_rest(&self) -> Result<(), Fault> {
        let mut unjoined = self.unjoined();
        let mut joined = Ok(());
        if let Some(ours) = self.stream() {
            // Joins all streams, even if one fails.
            unjoined.numbers.retain(|&stream| match self.put_behind(&foreign(ours, stream), ours) {
                Ok(()) => false,
                Err(fault) => {
                    joined = Err(fault);
                    true
                }
            });
        }
        if joined.is_ok() {
            unjoined.keep.clear();
        }
        joined
    }

    fn unjoined(&self) -> MutexGuard<'_, Streams> {
        self.unjoined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Err(fault) = self.join_rest() {
            log::error!("the memory of a canvas is leaked, since a stream that wrote it could not be joined: {fault}");
            return;
        }
        // SAFETY: `ManuallyDrop::drop`: the slots are dropped only here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.slots) };
    }
}

/// The stream that the user gave for a frame.
pub(super) struct Named {
    pub(super) number: usize,
    /// `true` if the stream is never destroyed.
    is_lasting: bool,
    /// Keeps the stream alive, since the object may destroy it.
    pub(super) object: Arc<Py<PyAny>>,
}

impl Named {
    pub(super) fn of(stream: &Bound<'_, PyAny>) -> PyResult<Self> {
        let number = named(stream)?;
        let is_lasting = number == LEGACY || is_of_torchs_pool(stream, number)?;
        Ok(Self { number, is_lasting, object: Arc::new(stream.clone().unbind()) })
    }
}

/// Returns `true` for a stream of torch's pool, which is never destroyed, so work of a frame on it
/// may outlive the canvas. For a stream that torch only wraps, `stream_id` is its address.
fn is_of_torchs_pool(stream: &Bound<'_, PyAny>, number: usize) -> PyResult<bool> {
    let modules = stream.py().import("sys")?.getattr("modules")?;
    let Ok(cuda) = modules.get_item("torch.cuda") else { return Ok(false) };
    let Some(class) = cuda.getattr_opt("Stream")? else { return Ok(false) };
    if !stream.get_type().is(&class) {
        return Ok(false);
    }
    let id = stream.getattr("stream_id")?.extract::<i64>()?;
    Ok(i64::try_from(number) != Ok(id))
}

enum Life {
    /// No frame has begun yet.
    New,
    Made(Kept),
    Closed,
}

/// The part of a canvas that its frames share.
pub(crate) struct Shared {
    life: Mutex<Life>,
    format: Format,
    /// The compute side of the view.
    compute: Native<Compute>,
    pub(super) process: Process,
}

impl Shared {
    pub(crate) fn new(compute: &Compute, format: Format) -> Result<Arc<Self>, Fault> {
        Slots::check(compute.device(), format)?;
        Ok(Arc::new(Self {
            life: Mutex::new(Life::New),
            format,
            compute: Native::new(compute.clone()),
            process: Process::current(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        // After a panic the state is still valid.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Returns the slots, which the first frame creates: on the stream that it names, if that is
    /// never destroyed. This avoids an event between two streams, which costs hundreds of
    /// microseconds per frame on the GPU if one of them waits for Vulkan.
    pub(super) fn slots(&self, stream: Option<&Named>) -> Result<Kept, Fault> {
        let mut life = self.lock();
        match &*life {
            Life::Made(kept) => return Ok(Arc::clone(kept)),
            Life::Closed => return Err(Fault::new(Kind::Closed, "the view of the canvas is closed")),
            Life::New => {}
        }
        let lead = stream.filter(|stream| stream.is_lasting).map(|stream| stream.number);
        let compute = match (self.compute.cuda(), lead) {
            (Some(cuda), Some(number)) => {
                check_stream(cuda.stream(), number)?;
                let stream = foreign(cuda.stream(), number);
                Compute::on_stream(self.compute.device(), stream).map_err(to_fault)?
            }
            _ => Compute::clone(&self.compute),
        };
        let slots = Slots::new(&compute, "canvas", self.format)?;
        let kept = Arc::new(Native::new(Lent::new(slots, compute)));
        *life = Life::Made(Arc::clone(&kept));
        Ok(kept)
    }

    /// Stops new frames. The slots are freed with their last user. Returns the number of users that
    /// remain.
    pub(crate) fn close(&self) -> usize {
        // The lock is released before slots are freed, which may wait.
        let life = std::mem::replace(&mut *self.lock(), Life::Closed);
        match life {
            Life::Made(kept) => Arc::strong_count(&kept) - 1,
            Life::New | Life::Closed => 0,
        }
    }
}

/// Owner of DLPack capsules: keeps the slots alive, and frees them on another thread, so that
/// releasing the last capsule does not wait.
pub(super) struct Export(Option<Kept>);

impl Export {
    pub(super) fn new(kept: Kept) -> Self {
        Self(Some(kept))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take().and_then(Arc::into_inner) {
            drop_later(slots);
        }
    }
}

pub(super) fn foreign(ours: &Arc<CudaStream>, stream: usize) -> Arc<CudaStream> {
    // SAFETY: the wrapper does not destroy the stream; the caller or a library named a live stream.
    unsafe { ours.context().wrap_borrowed_stream(stream as sys::CUstream) }
}
