//! Resources that others have replaced, until their use has ended.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::resources::Resources;
use super::state::State;
use super::use_ends::UseEnds;
use crate::observe::log_warn;

/// The generations of an exchange's slots that may still be in use, and those that are being freed.
/// Dropping it waits for both, with the exchange's limits.
pub(super) struct Replaced<R: Resources> {
    waiting: Vec<Arc<State<R>>>,
    /// One at a time, however often resources are replaced.
    freeing: Option<JoinHandle<()>>,
}

impl<R: Resources> Replaced<R> {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), freeing: None }
    }

    /// Takes slots over that are not the exchange's, or no more, and whose use ends as `ends` says.
    pub(super) fn push(&mut self, state: Arc<State<R>>, ends: UseEnds) {
        // They are pushed once.
        let _ = state.use_ends.set(ends);
        self.waiting.push(state);
    }

    /// Frees what neither side uses any more. Does not block.
    ///
    /// CUDA frees a mapping only once no stream of the context waits (measured with a driver for
    /// CUDA 13.0), which is never the case on this thread while frames are in flight. So a thread
    /// of its own does it. What a [`FrameGraph`](super::FrameGraph) or a turn holds too stays until
    /// they have let go of it: they would be the last, on a thread of the program's.
    pub(super) fn free(&mut self) {
        if let Some(thread) = self.freeing.take_if(|thread| thread.is_finished()) {
            join(thread);
        }
        if self.waiting.is_empty() || self.freeing.is_some() {
            return;
        }
        // Nobody comes by another reference but from one.
        let is_free = |state: &mut Arc<State<R>>| Arc::strong_count(state) == 1 && state.has_ended();
        let ended: Vec<_> = self.waiting.extract_if(.., is_free).collect();
        let Some(first) = ended.first().filter(|state| state.compute.side().is_foreign()) else { return };
        let name = first.name.clone();
        // If no thread starts, the closure is dropped here, and with it the slots.
        match std::thread::Builder::new().name("bridge-replaced".into()).spawn(move || drop(ended)) {
            Ok(thread) => self.freeing = Some(thread),
            Err(error) => log_warn!("exchange \"{name}\": no thread to free what was replaced: {error}"),
        }
    }
}

impl<R: Resources> Drop for Replaced<R> {
    fn drop(&mut self) {
        self.waiting.clear();
        self.freeing.take().into_iter().for_each(join);
    }
}

/// A panic in there has been reported by the thread.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}
