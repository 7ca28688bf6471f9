//! The slots of a canvas, and the stream that their frames are handed over on.

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
use crate::screen::told;
use crate::tensor::stream::{LEGACY, named};

/// The slots. Whoever may use them holds this: the canvas, an open frame, and tensors that were
/// made of one.
pub(crate) type Kept = Arc<Native<Lent>>;

/// Slots, and the side whose stream waits for Vulkan and signals it.
pub(crate) struct Lent {
    slots: Mutex<Slots>,
    compute: Compute,
}

impl Lent {
    pub(super) fn lock(&self) -> MutexGuard<'_, Slots> {
        // A panic in between leaves slots that report their own state.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream of the hand-over; `None` on the CPU backend.
    pub(super) fn stream(&self) -> Option<&Arc<CudaStream>> {
        Some(self.compute.cuda()?.stream())
    }
}

/// The stream that a frame named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) number: usize,
    /// It is never destroyed.
    pub(super) is_lasting: bool,
}

impl Named {
    pub(super) fn of(stream: &Bound<'_, PyAny>) -> PyResult<Self> {
        let number = named(stream)?;
        Ok(Self { number, is_lasting: number == LEGACY || is_of_torchs_pool(stream, number)? })
    }
}

/// Returns `true` for a stream of the pool of torch, which destroys none: what a frame leaves on it
/// may outlive the canvas. A stream that torch only wraps has its address as `stream_id`.
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
    /// No frame has begun.
    New,
    Made(Kept),
    Closed,
}

/// The part of a canvas that its frames share.
pub(crate) struct Shared {
    life: Mutex<Life>,
    format: Format,
    /// Moved from stream to stream, so that none is made for each frame.
    event: Native<Mutex<Option<StreamEvent>>>,
    /// Of the view.
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
        // A panic in between leaves whole slots behind.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The slots, made with the first frame: on the stream that it names, where that is never
    /// destroyed. There is no event between two streams then, which costs the GPU hundreds of
    /// microseconds a frame where one of them waits for Vulkan.
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
                Compute::on_stream(self.compute.device(), stream).map_err(told)?
            }
            _ => Compute::clone(&self.compute),
        };
        let slots = Mutex::new(Slots::new(&compute, "canvas", self.format)?);
        let kept = Arc::new(Native::new(Lent { slots, compute }));
        *life = Life::Made(Arc::clone(&kept));
        Ok(kept)
    }

    /// Makes what is enqueued on `second` from now on wait for what is enqueued on `first` now.
    pub(super) fn put_behind(&self, first: &CudaStream, second: &CudaStream) -> Result<(), Fault> {
        put_behind(&mut self.event.lock().unwrap_or_else(PoisonError::into_inner), first, second)
    }

    /// Begins no more frames, and frees the slots with their last user. Returns how many still use
    /// them.
    pub(crate) fn close(&self) -> usize {
        // Unlocked before slots are freed, which may wait.
        let life = std::mem::replace(&mut *self.lock(), Life::Closed);
        match life {
            Life::Made(kept) => Arc::strong_count(&kept) - 1,
            Life::New | Life::Closed => 0,
        }
    }
}

/// For the capsules: keeps the slots, and frees them without holding up whoever gives the last
/// capsule back.
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
    // SAFETY: the wrapper destroys nothing; the caller, or a library, named a stream that lives.
    unsafe { ours.context().wrap_borrowed_stream(stream as sys::CUstream) }
}
