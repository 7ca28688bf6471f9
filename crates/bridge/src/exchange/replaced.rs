//! Replaced resources, until they are no longer used.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::exchange::slots::use_ends::UseEnds;
use crate::exchange::state::State;
use crate::observe::log_warn;
use crate::resources::Resources;

/// The generations of an exchange's slots that may still be in use, and those that are being freed.
/// Dropping this waits for both, with the exchange's timeouts.
pub(super) struct ReplacedSlots<R: Resources> {
    waiting: Vec<Arc<State<R>>>,
    /// The thread that frees slots. There is only one at a time, however often resources are
    /// replaced.
    freeing: Option<JoinHandle<()>>,
}

impl<R: Resources> ReplacedSlots<R> {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), freeing: None }
    }

    /// Takes over slots that are not the exchange's, or no longer. Their use ends as described by
    /// `ends`.
    pub(super) fn push(&mut self, state: Arc<State<R>>, ends: UseEnds) {
        // Each generation is pushed once.
        let _ = state.use_ends.set(ends);
        self.waiting.push(state);
    }

    /// Frees resources that neither side uses any more. Does not block.
    ///
    /// CUDA frees a mapping only once no stream of the context waits (measured with a driver for
    /// CUDA 13.0), so this thread would block while frames are in flight. Therefore a separate
    /// thread frees CUDA mappings. Resources that a [`FrameGraph`](crate::exchange::FrameGraph) or
    /// a turn also holds are kept until it releases them: as the last owner it would free them on a
    /// thread of the program.
    pub(super) fn free(&mut self) {
        if let Some(thread) = self.freeing.take_if(|thread| thread.is_finished()) {
            join(thread);
        }
        if self.waiting.is_empty() || self.freeing.is_some() {
            return;
        }
        // New references are only cloned from existing ones, so a count of 1 cannot rise.
        let is_free = |state: &mut Arc<State<R>>| Arc::strong_count(state) == 1 && state.has_ended();
        let ended: Vec<_> = self.waiting.extract_if(.., is_free).collect();
        let Some(first) = ended.first().filter(|state| state.compute.side().is_foreign()) else { return };
        let name = first.name.clone();
        // If the thread cannot be started, the closure is dropped here, and the slots with it.
        match std::thread::Builder::new().name("bridge-replaced".into()).spawn(move || drop(ended)) {
            Ok(thread) => self.freeing = Some(thread),
            Err(error) => {
                log_warn!("exchange \"{name}\": could not start a thread that frees the replaced resources: {error}")
            }
        }
    }
}

impl<R: Resources> Drop for ReplacedSlots<R> {
    fn drop(&mut self) {
        self.waiting.clear();
        self.freeing.take().into_iter().for_each(join);
    }
}

/// Joins a thread. A panic there has been reported by the thread itself.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}
