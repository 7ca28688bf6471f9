//! Contexts that a fault has taken. All that works in such a context returns the code of the fault from then on; other contexts
//! and what needs none, as `cuInit`, go on. Only the last release of the context ends it.

use crate::abi::Code;
use crate::ledger::Ledger;

impl Ledger {
    /// The code that all calls in the context return, if a fault has taken it.
    pub(crate) fn lost(&self, context: u64) -> Option<Code> {
        self.lost.get(&context).copied()
    }

    /// A fault takes the context: nothing that its streams have still to do will be done. The first fault's code stays.
    pub(crate) fn lose(&mut self, context: u64, code: Code) {
        self.lost.entry(context).or_insert(code);
        for queue in self.queues.values_mut().filter(|queue| queue.context == context) {
            queue.work.clear();
        }
    }

    /// The context that an object lives in.
    pub(crate) fn owner(&self, handle: u64) -> Option<u64> {
        let memory = self.memories.get(handle).map(|memory| memory.context);
        let mapping = self.mappings.get(handle).map(|mapping| mapping.context);
        let semaphore = self.semaphores.get(handle).map(|semaphore| semaphore.context);
        let event = self.events.get(handle).map(|event| event.context);
        let stream = self.streams.get(handle).map(|stream| stream.context);
        let array = self.arrays.get(handle).map(|array| array.context);
        let texture = self.textures.get(handle).map(|object| object.context);
        let surface = self.surfaces.get(handle).map(|object| object.context);
        let graph = self.graphs.get(handle).map(|graph| graph.context);
        let exec = self.execs.get(handle).map(|exec| exec.context);
        let module = self.modules.get(handle).map(|module| module.context);
        let others = texture.or(surface).or(graph).or(exec).or(module);
        memory.or(mapping).or(semaphore).or(event).or(stream).or(array).or(others).ok()
    }

    /// Whether the object, or the context, went down with a fault: that it stays is nobody's fault.
    pub(crate) fn went_down(&self, handle: u64) -> bool {
        self.lost.contains_key(&self.owner(handle).unwrap_or(handle))
    }
}
