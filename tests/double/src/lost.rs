//! Contexts that a fault has taken. All that works in such a context returns the code of the fault
//! from then on; other contexts and what needs none, as `cuInit`, go on. Only the last release of
//! the context ends it.

use crate::abi::Code;
use crate::ledger::Ledger;

impl Ledger {
    /// The code that all calls in the context return, if a fault has taken it.
    pub(crate) fn lost(&self, context: u64) -> Option<Code> {
        self.lost.get(&context).copied()
    }

    /// A fault takes the context: nothing that its streams have still to do will be done. The first
    /// fault's code stays.
    pub(crate) fn lose(&mut self, context: u64, code: Code) {
        self.lost.entry(context).or_insert(code);
        for queue in self.queues.values_mut().filter(|queue| queue.context == context) {
            queue.work.clear();
        }
    }

    /// The context that an object lives in.
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

    /// Whether the object, or the context, went down with a fault: that it stays is nobody's fault.
    pub(crate) fn went_down(&self, handle: u64) -> bool {
        self.lost.contains_key(&self.owner(handle).unwrap_or(handle))
    }
}
