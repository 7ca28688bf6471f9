//! Contexts lost to a fault. Every call that works in such a context returns the code of the fault;
//! other contexts, and calls that need no context such as `cuInit`, still work. Only the last
//! release of the context ends this state.

use crate::abi::Code;
use crate::ledger::Ledger;

impl Ledger {
    /// Returns the code that all calls in the context return, if it is lost.
    pub(crate) fn lost(&self, context: u64) -> Option<Code> {
        self.lost.get(&context).copied()
    }

    /// Loses the context to a fault: pending work of its streams is dropped. The code of the first
    /// fault is kept.
    pub(crate) fn lose(&mut self, context: u64, code: Code) {
        self.lost.entry(context).or_insert(code);
        for queue in self.queues.values_mut().filter(|queue| queue.context == context) {
            queue.work.clear();
        }
    }

    /// Returns the context of an object.
    pub(crate) fn owner(&self, handle: u64) -> Option<u64> {
        let first = self.streams.find(handle).map(|stream| stream.context);
        first
            .or_else(|| self.events.find(handle).map(|event| event.context))
            .or_else(|| self.mappings.find(handle).map(|mapping| mapping.context))
            .or_else(|| self.memories.find(handle).map(|memory| memory.context))
            .or_else(|| self.semaphores.find(handle).map(|semaphore| semaphore.context))
            .or_else(|| self.arrays.find(handle).map(|array| array.context))
            .or_else(|| self.textures.find(handle).or(self.surfaces.find(handle)).map(|object| object.context))
            .or_else(|| self.graphs.find(handle).map(|graph| graph.context))
            .or_else(|| self.execs.find(handle).map(|exec| exec.context))
            .or_else(|| self.modules.find(handle).map(|module| module.context))
    }

    /// Returns `true` if the object or context was lost to a fault, so that keeping it is not a
    /// leak.
    pub(crate) fn was_lost(&self, handle: u64) -> bool {
        self.lost.contains_key(&self.owner(handle).unwrap_or(handle))
    }
}
