//! The writer part of a worker on the CPU: finished frames are copied into slots and published.

use std::sync::Arc;

use super::FinishedFrame;
use crate::error::Result;
use crate::exchange::{ComputeFirst, ComputeWrite, LatestWriter};
use crate::observe::log_warn;
use crate::remote::copy::{CopyResult, CopyTask, SlotFiles};
use crate::remote::part::{HandedSlot, Outcome};
use crate::remote::wake::Waker;
use crate::resources::Resources;

/// Copies a worker's frames, one at a time, the newest next. Superseded frames are not copied, and
/// their slots return to the worker.
pub(in crate::remote) struct HostWriterPart<R: Resources> {
    files: SlotFiles,
    writer: LatestWriter<R, ComputeFirst>,
    waker: Arc<Waker>,
    copying: Option<Copying<R>>,
    /// The worker's newest finished frame, if it is not being copied.
    next: Option<FinishedFrame>,
    /// Reason why the copy of `next` could not be started, if any. It is tried again.
    refused: Option<String>,
}

struct Copying<R: Resources> {
    turn: ComputeWrite<R>,
    from: FinishedFrame,
    /// `true` if the worker has taken the frame back.
    torn: bool,
    end: Arc<CopyResult>,
}

impl<R: Resources> HostWriterPart<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>, files: SlotFiles, waker: &Arc<Waker>) -> Self {
        Self { files, writer, waker: Arc::clone(waker), copying: None, next: None, refused: None }
    }

    /// Records a finished frame. Returns the slot of the frame that it supersedes.
    pub(super) fn set_finished(&mut self, frame: FinishedFrame) -> Option<Outcome> {
        self.next.replace(frame).map(|old| freed(old.slot, None))
    }

    /// Handles a published frame that the worker takes back: it is not shown if that is still
    /// possible.
    pub(super) fn mark_torn(&mut self, slot: usize, frame: u64) -> Option<Outcome> {
        let is_it = |of: &FinishedFrame| (of.slot, of.frame) == (slot, frame);
        if let Some(copying) = &mut self.copying
            && is_it(&copying.from)
        {
            copying.torn = true;
        }
        self.next.take_if(|next| is_it(next)).map(|next| freed(next.slot, None))
    }

    /// Returns `true` if a frame is waiting or being copied.
    pub(super) fn is_busy(&self) -> bool {
        self.copying.is_some() || self.next.is_some()
    }

    /// Returns `true` if the newest frame waits for an event without a notification:
    /// [`advance`](Self::advance) is to be called again after a while.
    pub(super) fn is_retrying(&self) -> bool {
        self.refused.is_some()
    }

    /// Publishes a finished copy or starts the next one; returns a slot that the worker gets back.
    /// Does not block.
    ///
    /// # Errors
    /// A description of why the worker's memory cannot be read, because it was changed.
    pub(super) fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if let Some(ended) = self.copying.take_if(|copying| copying.end.result().is_some()) {
            let Copying { turn, from, torn, end } = ended;
            let frame = turn.frame();
            let copied = end.result().unwrap_or(Ok(()));
            let published = match &copied {
                Ok(()) if !torn => self.ok_or_log(turn.publish()).map(|_| frame),
                _ => {
                    self.ok_or_log(turn.skip());
                    None
                }
            };
            // If the exchange's own thread has failed, the reader reports it, and the worker is not
            // at fault.
            if self.writer.compute().check_alive().is_ok() {
                copied?;
            }
            return Ok(Some(freed(from.slot, published)));
        }
        if self.copying.is_some() {
            return Ok(None);
        }
        let Some(next) = self.next else { return Ok(None) };
        let turn = match self.writer.begin() {
            Ok(turn) => turn,
            // New images that were not initialized yet, or a lost frame that is reported once: the
            // worker's newest frame is kept.
            Err(error) => {
                let reason = error.to_string();
                if self.refused.as_ref() != Some(&reason) {
                    log_warn!("exchange \"{}\": the worker's frame {} waits: {reason}", self.writer.name(), next.frame);
                }
                self.refused = Some(reason);
                return Ok(None);
            }
        };
        (self.next, self.refused) = (None, None);
        self.copying = self.begin_copy(turn, next);
        Ok(self.copying.is_none().then(|| freed(next.slot, None)))
    }

    /// Starts a copy; returns `None` if that fails.
    fn begin_copy(&mut self, mut turn: ComputeWrite<R>, from: FinishedFrame) -> Option<Copying<R>> {
        let Some(sources) = self.files.get(from.slot) else {
            self.ok_or_log(turn.skip());
            return None;
        };
        let end = CopyResult::new(&self.waker);
        let mut copy = CopyTask::new(sources, &end);
        let enqueued = turn.work().run_for_each_run(move |place, run| copy.copy(place, run));
        if self.ok_or_log(enqueued).is_none() {
            self.ok_or_log(turn.skip());
            return None;
        }
        Some(Copying { turn, from, torn: false, end })
    }

    /// Releases the memory once no copy uses it.
    pub(super) fn release(&mut self) {
        self.files = SlotFiles::default();
    }

    /// Abandons the frames in progress.
    pub(super) fn stop(mut self) -> LatestWriter<R, ComputeFirst> {
        if let Some(Copying { turn, .. }) = self.copying.take() {
            // The copy continues; the slot's next use is ordered after it.
            self.ok_or_log(turn.skip());
        }
        self.writer
    }

    /// Logs an error. Only the frame is lost.
    fn ok_or_log<T>(&self, result: Result<T>) -> Option<T> {
        result.inspect_err(|error| log_warn!("exchange \"{}\": a frame is lost: {error}", self.writer.name())).ok()
    }
}

/// Returns the outcome that gives a slot back to the worker. This process no longer uses it.
fn freed(slot: usize, published: Option<u64>) -> Outcome {
    Outcome { published, handed: Some(HandedSlot { slot, frame: None, value: 0 }) }
}
