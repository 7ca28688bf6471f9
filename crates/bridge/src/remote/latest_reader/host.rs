//! The frames for a worker on the CPU, which are copied into memory that it reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::exchange::{ComputeRead, LatestReader, RenderFirst};
use crate::observe::log_warn;
use crate::remote::copy::{CopyResult, CopyTask, SlotFiles};
use crate::remote::part::{Backoff, HandedSlot, Outcome, RETRY_INTERVAL};
use crate::remote::wake::Waker;
use crate::resources::Resources;

/// Copies the newest finished frame, one at a time, while the worker leaves memory free. Superseded
/// frames are not copied.
pub(in crate::remote) struct HostReaderPart<R: Resources> {
    files: SlotFiles,
    reader: LatestReader<R, RenderFirst>,
    waker: Arc<Waker>,
    /// The worker's slots that it does not hold, in the order in which they were freed.
    free: VecDeque<usize>,
    copying: Option<Copying<R>>,
    /// The last frame that was copied.
    last_copied: Option<u64>,
    /// Number of frames that were given to the worker.
    given_count: u64,
    /// `true` if a frame will be finished once Vulkan's commands have ended.
    has_unfinished_frame: bool,
    /// Reason why no frame could be requested, if any. It is tried again.
    refused: Option<String>,
    is_open: bool,
    backoff: Backoff,
}

struct Copying<R: Resources> {
    turn: ComputeRead<R>,
    to: usize,
    end: Arc<CopyResult>,
}

impl<R: Resources> HostReaderPart<R> {
    pub(super) fn new(reader: LatestReader<R, RenderFirst>, files: SlotFiles, waker: &Arc<Waker>) -> Self {
        Self {
            free: (0..files.len()).collect(),
            files,
            reader,
            waker: Arc::clone(waker),
            copying: None,
            last_copied: None,
            given_count: 0,
            has_unfinished_frame: false,
            refused: None,
            is_open: true,
            backoff: Backoff::new(),
        }
    }

    /// Records that the worker frees a slot.
    pub(super) fn add_free(&mut self, slot: usize) {
        self.free.push_back(slot);
    }

    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let looks = self.is_open && self.copying.is_none() && !self.free.is_empty();
        match &self.refused {
            Some(_) => Some(RETRY_INTERVAL),
            None => (looks && self.has_unfinished_frame).then(|| self.backoff.delay()),
        }
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// Gives the worker a copied frame, or starts the next copy. Does not block.
    ///
    /// # Errors
    /// A description of why the worker's memory cannot be written, because it was changed.
    pub(super) fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if let Some(ended) = self.copying.take_if(|copying| copying.end.result().is_some()) {
            return self.finish_copy(ended);
        }
        if self.copying.is_some() || self.free.is_empty() || !self.is_open {
            return Ok(None);
        }
        let was_drawing = self.has_unfinished_frame;
        let turn = match self.reader.newer_than(self.last_copied) {
            Ok((turn, drawing)) => {
                (self.has_unfinished_frame, self.refused) = (drawing, None);
                turn
            }
            // The failure is in this process and is reported by the writer; the worker is not at
            // fault.
            Err(error) => {
                let reason = error.to_string();
                if self.refused.as_ref() != Some(&reason) {
                    log_warn!("exchange \"{}\": no frame can be shown to the worker: {reason}", self.reader.name());
                }
                (self.refused, self.has_unfinished_frame) = (Some(reason), false);
                None
            }
        };
        if turn.is_some() || self.has_unfinished_frame && !was_drawing {
            self.backoff.reset();
        }
        if let Some(turn) = turn {
            self.copying = self.begin_copy(turn);
        }
        Ok(None)
    }

    /// Handles a copy that has ended.
    fn finish_copy(&mut self, Copying { turn, to, end }: Copying<R>) -> Result<Option<Outcome>, String> {
        let frame = turn.frame();
        self.ok_or_log(turn.finish().map(drop));
        let copied = end.result().unwrap_or(Ok(()));
        if copied.is_ok() && self.is_open {
            self.last_copied = Some(frame);
            self.given_count += 1;
            let handed = HandedSlot { slot: to, frame: Some(frame), value: self.given_count };
            return Ok(Some(Outcome { published: None, handed: Some(handed) }));
        }
        self.free.push_front(to);
        // If the exchange's own thread has failed, the writer reports it, and the worker is not at
        // fault.
        if self.reader.compute().check_alive().is_ok() {
            copied?;
        }
        Ok(None)
    }

    /// Starts a copy; returns `None` if that fails.
    fn begin_copy(&mut self, mut turn: ComputeRead<R>) -> Option<Copying<R>> {
        let to = self.free.pop_front()?;
        let end = CopyResult::new(&self.waker);
        let Some(files) = self.files.get(to) else {
            self.ok_or_log(turn.finish().map(drop));
            return None;
        };
        let mut copy = CopyTask::new(files, &end);
        let enqueued = turn.work().run_for_each_run(move |place, run| copy.copy(place, run));
        if self.ok_or_log(enqueued).is_none() {
            self.free.push_front(to);
            self.ok_or_log(turn.finish().map(drop));
            return None;
        }
        Some(Copying { turn, to, end })
    }

    /// Releases the memory once no copy uses it.
    pub(super) fn release(&mut self) {
        self.files = SlotFiles::default();
    }

    /// Abandons the frame in progress.
    pub(super) fn stop(mut self) -> LatestReader<R, RenderFirst> {
        if let Some(Copying { turn, .. }) = self.copying.take() {
            // The copy continues; the slot's next use is ordered after it.
            self.ok_or_log(turn.finish().map(drop));
        }
        self.reader
    }

    /// Logs an error. The worker does not get this frame; nothing else is affected.
    fn ok_or_log<T>(&self, result: Result<T>) -> Option<T> {
        let warn = |error: &_| log_warn!("exchange \"{}\": a frame is not shown: {error}", self.reader.name());
        result.inspect_err(warn).ok()
    }
}
