//! The slots of a canvas, and the stream on which their frames are handed over.

// Wraps streams of other libraries.
#![allow(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge::Compute;
use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaStream, sys};
use pyo3::prelude::*;

use crate::error::{Fault, Kind};
use crate::fork::Process;
use crate::native::{Native, drop_later};
use crate::screen::order::{check_stream, put_behind};
use crate::screen::slots::{Format, Slots};
use crate::screen::to_fault;
use crate::tensor::stream::{LEGACY, named};

/// Reference to the slots, held by all their users: the canvas, an open frame, and tensors created
/// from a frame.
pub(crate) type Kept = Arc<Native<Lent>>;

/// The slots, and the compute side whose stream waits for Vulkan and signals it.
pub(crate) struct Lent {
    slots: Mutex<Slots>,
    compute: Compute,
}

impl Lent {
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
}

/// The stream that the user gave for a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) number: usize,
    /// `true` if the stream is never destroyed.
    pub(super) is_lasting: bool,
}

impl Named {
    pub(super) fn of(stream: &Bound<'_, PyAny>) -> PyResult<Self> {
        let number = named(stream)?;
        Ok(Self { number, is_lasting: number == LEGACY || is_of_torchs_pool(stream, number)? })
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
    /// Reused for all streams, so that no frame creates an event.
    event: Native<Mutex<Option<StreamEvent>>>,
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
            event: Native::new(Mutex::new(None)),
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
    pub(super) fn slots(&self, stream: Option<Named>) -> Result<Kept, Fault> {
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
        let slots = Mutex::new(Slots::new(&compute, "canvas", self.format)?);
        let kept = Arc::new(Native::new(Lent { slots, compute }));
        *life = Life::Made(Arc::clone(&kept));
        Ok(kept)
    }

    /// Makes later work on `second` wait for the work enqueued on `first` so far.
    pub(super) fn put_behind(&self, first: &CudaStream, second: &CudaStream) -> Result<(), Fault> {
        put_behind(&mut self.event.lock().unwrap_or_else(PoisonError::into_inner), first, second)
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
pub(crate) struct Export(Option<Kept>);

impl Export {
    pub(crate) fn new(kept: Kept) -> Self {
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
