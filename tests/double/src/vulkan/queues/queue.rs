//! A queue of the device: batches in order, and the thread that forwards them.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ash::vk;
use ash::vk::Handle as _;

use super::batch::Batch;

/// The first word of a dispatchable object, which the loader replaces ("Architecture of the Vulkan
/// Loader Interfaces", ICD_LOADER_MAGIC).
const LOADER_MAGIC: usize = 0x01CD_C0DE;

/// The device that the queues belong to.
#[derive(Debug)]
pub(super) struct Underlying {
    pub(super) device: vk::Device,
    /// The device's only queue. It is used by the thread that holds this lock.
    queue: Mutex<vk::Queue>,
    /// `true` once the program destroys the device.
    closing: AtomicBool,
}

impl Underlying {
    pub(super) fn new(device: vk::Device, queue: vk::Queue) -> Self {
        Self { device, queue: Mutex::new(queue), closing: AtomicBool::new(false) }
    }

    /// Locks the device's queue.
    pub(super) fn queue(&self) -> MutexGuard<'_, vk::Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Waits until the batch can be forwarded, and calls `forward` with the device's queue.
    pub(super) fn in_turn(&self, batch: &Batch, forward: impl FnOnce(vk::Queue) -> vk::Result) -> vk::Result {
        match batch.await_waits(self.device, || self.is_closing()) {
            vk::Result::SUCCESS => {
                let result = forward(*self.queue());
                batch.advance();
                result
            }
            other => other,
        }
    }
}

#[derive(Debug)]
struct State {
    /// Each with the fence that it signals, or null.
    batches: VecDeque<(Batch, vk::Fence)>,
    /// `true` while the thread forwards a batch.
    is_forwarding: bool,
    /// The first error of the underlying driver.
    result: vk::Result,
}

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    /// What the handle points to: the loader's word.
    dispatch: Box<AtomicUsize>,
    pub(super) family: u32,
    pub(super) index: u32,
    pub(super) underlying: Arc<Underlying>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn new(underlying: Arc<Underlying>, family: u32, index: u32) -> Self {
        let state = State { batches: VecDeque::new(), is_forwarding: false, result: vk::Result::SUCCESS };
        Self {
            dispatch: Box::new(AtomicUsize::new(LOADER_MAGIC)),
            family,
            index,
            underlying,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn handle(&self) -> vk::Queue {
        vk::Queue::from_raw(self.dispatch.as_ptr().expose_provenance() as u64)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds batches. The last one signals the fence.
    pub(super) fn submit(&self, mut batches: Vec<Batch>, fence: vk::Fence) -> vk::Result {
        let last = batches.pop().unwrap_or_default();
        let mut state = self.state();
        state.batches.extend(batches.into_iter().map(|batch| (batch, vk::Fence::null())));
        state.batches.push_back((last, fence));
        self.changed.notify_all();
        state.result
    }

    /// Waits until every batch so far is forwarded.
    pub(super) fn drain(&self) -> vk::Result {
        let is_busy = |state: &mut State| state.is_forwarding || !state.batches.is_empty();
        let state = self.changed.wait_while(self.state(), is_busy);
        state.unwrap_or_else(PoisonError::into_inner).result
    }

    /// Forwards batches until [`close`](Self::close).
    pub(super) fn run(&self) {
        loop {
            let is_idle = |state: &mut State| state.batches.is_empty() && !self.underlying.is_closing();
            let state = self.changed.wait_while(self.state(), is_idle);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            if self.underlying.is_closing() {
                return;
            }
            let Some((batch, fence)) = state.batches.pop_front() else { continue };
            state.is_forwarding = true;
            drop(state);
            let result = self.underlying.in_turn(&batch, |queue| {
                // SAFETY: the queue is locked. The program uses neither the fence nor the batch's
                // objects otherwise until the batch has ended (VUID-vkQueueSubmit2-fence-04895,
                // -commandBuffer-03875).
                unsafe { batch.forward(queue, fence) }
            });
            let mut state = self.state();
            state.is_forwarding = false;
            if result != vk::Result::SUCCESS && state.result == vk::Result::SUCCESS {
                state.result = result;
            }
            self.changed.notify_all();
        }
    }

    /// Makes the threads of the device's queues return.
    pub(super) fn close(&self) {
        self.underlying.closing.store(true, Ordering::SeqCst);
        // Not between a thread's check and its wait.
        drop(self.state());
        self.changed.notify_all();
    }
}
