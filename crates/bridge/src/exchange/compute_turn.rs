//! The compute side's part of a frame.
#![allow(unsafe_code)] // Lends what the turn owns.

use std::marker::PhantomData;
use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;
use cuda_import::signal_one;

use super::{RenderTurn, Shared, ledger};
use crate::compute::{HostStream, SideRef};
use crate::live::{Alive, Kind};
use crate::{Error, Resources, Result};

/// The compute side's part of a frame: it owns the slot until [`finish`](Self::finish).
///
/// Dropped before that, its frame is lost: the next `begin` says so, and the one after begins the frame again.
#[must_use = "a turn that is dropped before `finish` loses its frame"]
pub struct ComputeTurn<R: Resources> {
    shared: Arc<Shared<R>>,
    frame: u64,
    slot: usize,
    finished: bool,
    _alive: Alive,
}

/// What there is to compute with.
pub enum Work<'t, R: Resources> {
    /// A CUDA stream and the resources as device views.
    Cuda(CudaWork<'t, R>),
    /// The CPU's queue.
    Host(HostWork<'t, R>),
}

/// A frame's work on CUDA.
pub struct CudaWork<'t, R: Resources> {
    /// The stream that has waited for the slot and will signal it. Kernels that use the resources are launched here;
    /// cudarc's copies may use any stream of the device.
    pub stream: &'t Arc<CudaStream>,
    /// The resources, as kernel arguments and as cudarc slices.
    pub resources: R::Cuda<'t>,
}

/// A frame's work on the CPU.
pub struct HostWork<'t, R: Resources> {
    stream: &'t HostStream,
    slots: &'t Arc<[R::Slot]>,
    slot: usize,
    turn: PhantomData<&'t mut R>,
}

impl<R: Resources> ComputeTurn<R> {
    pub(super) fn new(shared: Arc<Shared<R>>, frame: u64, slot: usize) -> Self {
        Self { shared, frame, slot, finished: false, _alive: Alive::new(Kind::Turn) }
    }

    /// The number of the frame, from 0.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// The slot, below [`Exchange::slots`](crate::Exchange::slots). It still holds what was computed for it last time.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// What there is to compute with, lent until the turn is finished.
    pub fn work(&mut self) -> Work<'_, R> {
        match self.shared.compute.side() {
            SideRef::Cuda(cuda) => {
                // SAFETY: rule "no access outside the turn": this turn alone holds the slot, the borrow of the turn is
                // the borrow of the view, and what is enqueued with it is ordered by the stream's wait and signal.
                let resources = unsafe { R::cuda(&self.shared.slots[self.slot]) };
                match resources {
                    Some(resources) => Work::Cuda(CudaWork { stream: cuda.stream(), resources }),
                    // The slots were made by the same `Compute`, so this cannot be; and if it could, nobody is harmed.
                    None => unreachable!("a slot of another backend"),
                }
            }
            SideRef::Host(stream) => {
                Work::Host(HostWork { stream, slots: &self.shared.slots, slot: self.slot, turn: PhantomData })
            }
        }
    }

    /// Hands the slot to Vulkan: the compute side signals when all its work is done.
    ///
    /// # Errors
    /// The failed call; the frame is then lost, as if the turn had been dropped.
    pub fn finish(mut self) -> Result<RenderTurn<R>> {
        let shared = &self.shared;
        let value = ledger::value(self.frame);
        match (shared.compute.side(), shared.computed.cuda()) {
            (SideRef::Cuda(cuda), Some(computed)) => {
                R::join(&shared.slots[self.slot])?;
                // SAFETY: the values rise strictly: this timeline's only signaller is this stream, and the ledger lets
                // one turn be open at a time and numbers the frames upwards. The semaphore outlives the signal: it is
                // destroyed after the point was reached.
                unsafe { signal_one(cuda.stream(), computed, value) }?;
            }
            (SideRef::Host(host), _) => host.signal(&shared.computed, value)?,
            (SideRef::Cuda(_), None) => {}
        }
        let point = shared.computed.issue(value);
        shared.ledger().finish(self.frame);
        self.finished = true;
        Ok(RenderTurn::new(Arc::clone(&self.shared), self.frame, self.slot, point))
    }
}

impl<R: Resources> Drop for ComputeTurn<R> {
    fn drop(&mut self) {
        if !self.finished {
            log::warn!("exchange \"{}\": the compute turn of frame {} was dropped", self.shared.name, self.frame);
            self.shared.ledger().drop_compute(self.frame);
        }
    }
}

impl<R: Resources> HostWork<'_, R> {
    /// Enqueues a closure that gets the resources as slices; it runs on the CPU backend's thread, after what was enqueued
    /// before it and after Vulkan is done with the slot. Several closures run one after the other.
    ///
    /// # Errors
    /// [`Error::HostFailed`] when an earlier closure panicked or Vulkan never got done.
    pub fn run(&self, work: impl for<'a> FnOnce(R::Host<'a>) + Send + 'static) -> Result<(), Error> {
        let (slots, slot) = (Arc::clone(self.slots), self.slot);
        self.stream.run(move || {
            // SAFETY: the turn that enqueued this holds the slot until its signal, which is behind this in the queue;
            // Vulkan's last use is before this, by the wait that `begin` enqueued; closures run one at a time.
            if let Some(resources) = unsafe { R::host(&slots[slot]) } {
                work(resources);
            }
        })
    }
}

impl<R: Resources> std::fmt::Debug for ComputeTurn<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComputeTurn(\"{}\", frame {}, slot {})", self.shared.name, self.frame, self.slot)
    }
}
