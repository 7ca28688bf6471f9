//! Mapping of stream handles to queues, and the order between streams: the legacy default stream is
//! in order with all streams of its context that are not non-blocking.

use std::thread;

use crate::abi::{CAPTURE_IMPLICIT, STREAM_LEGACY, STREAM_PER_THREAD};
use crate::finding::Refusal;
use crate::ledger::Ledger;
use crate::ledger::queue::{Queue, SyncMode};

impl Ledger {
    /// Returns the stream's queue, to enqueue work or to query it. Fails if the stream is the
    /// legacy default stream while a stream in order with it is captured, and invalidates that
    /// capture.
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

    /// Returns the stream's queue. Null and 1 are the legacy default stream of `context`, 2 is the
    /// per-thread default stream of this thread.
    pub(crate) fn resolve(&mut self, context: u64, raw: u64) -> Result<u64, Refusal> {
        match raw {
            0 | STREAM_LEGACY => Ok(self.contexts.get(context)?.default_stream),
            STREAM_PER_THREAD => self.per_thread(context),
            _ => {
                self.check_context(context, "stream", self.streams.get(raw)?.context)?;
                Ok(raw)
            }
        }
    }

    /// Returns this thread's default stream, which is created on first use.
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

    /// Returns the captured streams on which work of `stream` would depend if it is the legacy
    /// default stream.
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

    /// Returns the stream that delays work with number `order` of `queue`.
    pub(crate) fn delaying_stream(&self, queue: &Queue, order: u64) -> Option<u64> {
        let holds = match queue.sync {
            SyncMode::Legacy => SyncMode::Blocking,
            SyncMode::Blocking => SyncMode::Legacy,
            SyncMode::NonBlocking => return None,
        };
        let mut others = self.queues.iter().filter(|(_, other)| other.context == queue.context && other.sync == holds);
        others.find(|(_, other)| other.work.front().is_some_and(|(its, _)| *its < order)).map(|(&stream, _)| stream)
    }
}
