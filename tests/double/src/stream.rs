//! Which queue a stream's handle stands for, and what holds a queue back besides its own work: the
//! legacy default stream is in order with all streams of its context, but for those that were made
//! non-blocking.

use std::thread;

use crate::abi::{CAPTURE_IMPLICIT, STREAM_LEGACY, STREAM_PER_THREAD};
use crate::finding::Refusal;
use crate::ledger::Ledger;
use crate::queue::Queue;

/// How a stream is in order with the legacy default stream of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncMode {
    /// It is the legacy default stream.
    Legacy,
    /// Each waits for what the other was given before.
    Blocking,
    NonBlocking,
}

impl Ledger {
    /// The stream's queue, to enqueue work or to ask. What the legacy default stream must not do
    /// while a stream that is in order with it is captured ends that capture.
    pub(crate) fn stream(&mut self, context: u64, raw: u64) -> Result<u64, Refusal> {
        let stream = self.resolve(context, raw)?;
        self.check_capture(stream)?;
        let implicit = self.implicitly_captured(stream);
        if !implicit.is_empty() {
            implicit.into_iter().for_each(|captured| self.invalidate(captured));
            return Err(CAPTURE_IMPLICIT.into());
        }
        Ok(stream)
    }

    /// The stream's queue. Null and 1 are the legacy default stream of `context`, 2 is this
    /// thread's.
    pub(crate) fn resolve(&mut self, context: u64, raw: u64) -> Result<u64, Refusal> {
        match raw {
            0 | STREAM_LEGACY => Ok(self.contexts.get(context)?.default_stream),
            STREAM_PER_THREAD => self.per_thread(context),
            _ => {
                self.of(context, "stream", self.streams.get(raw)?.context)?;
                Ok(raw)
            }
        }
    }

    /// Made when a thread first asks for it.
    fn per_thread(&mut self, context: u64) -> Result<u64, Refusal> {
        let thread = thread::current().id();
        let known = self.contexts.get(context)?.per_thread.iter().find(|(its, _)| *its == thread);
        if let Some(&(_, stream)) = known {
            return Ok(stream);
        }
        let stream = self.new_handle();
        self.queues.insert(stream, Queue::new(context, SyncMode::Blocking));
        self.contexts.get_mut(context)?.per_thread.push((thread, stream));
        Ok(stream)
    }

    /// Streams being captured on which work of `stream`, the legacy default stream, would depend.
    pub(crate) fn implicitly_captured(&self, stream: u64) -> Vec<u64> {
        let Some(queue) = self.queues.get(&stream).filter(|queue| queue.sync == SyncMode::Legacy) else {
            return Vec::new();
        };
        let depends = |captured: &u64| {
            let captured = self.queues.get(captured);
            captured.is_some_and(|other| other.context == queue.context && other.sync == SyncMode::Blocking)
        };
        self.captures.keys().copied().filter(depends).collect()
    }

    /// The stream that holds back what `queue` was given as number `order`.
    pub(crate) fn held_by(&self, queue: &Queue, order: u64) -> Option<u64> {
        let holds = match queue.sync {
            SyncMode::Legacy => SyncMode::Blocking,
            SyncMode::Blocking => SyncMode::Legacy,
            SyncMode::NonBlocking => return None,
        };
        let mut others = self.queues.iter().filter(|(_, other)| other.context == queue.context && other.sync == holds);
        others.find(|(_, other)| other.work.front().is_some_and(|(its, _)| *its < order)).map(|(&stream, _)| stream)
    }
}
