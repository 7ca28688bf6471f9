//! The frames for a worker on the CPU, which are copied into memory that it reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeRead, LatestReader, RenderFirst, Work};
use crate::observe::log_warn;
use crate::remote::copy::{Copy, CopyEnd, Files};
use crate::remote::part::{Handed, Outcome, Patience, RETRY};
use crate::remote::wake::Wake;

/// Copies the newest finished frame, one at a time, while the worker leaves memory free. Superseded
/// frames are not copied.
pub(in crate::remote) struct HostServe<R: Resources> {
    files: Files,
    reader: LatestReader<R, RenderFirst>,
    wake: Arc<Wake>,
    /// The worker's slots that it does not hold, in the order in which they were freed.
    free: VecDeque<usize>,
    copying: Option<Copying<R>>,
    /// The last frame that was copied.
    last: Option<u64>,
    /// Number of frames that were given to the worker.
    given: u64,
    /// Whether a frame will be finished once Vulkan's commands have ended.
    drawing: bool,
    /// Reason why no frame could be requested, if any. It is tried again.
    refused: Option<String>,
    is_open: bool,
    patience: Patience,
}

struct Copying<R: Resources> {
    turn: ComputeRead<R>,
    to: usize,
    end: Arc<CopyEnd>,
}

impl<R: Resources> HostServe<R> {
    pub(super) fn new(reader: LatestReader<R, RenderFirst>, files: Files, wake: &Arc<Wake>) -> Self {
        Self {
            free: (0..files.len()).collect(),
            files,
            reader,
            wake: Arc::clone(wake),
            copying: None,
            last: None,
            given: 0,
            drawing: false,
            refused: None,
            is_open: true,
            patience: Patience::new(),
        }
    }

    /// Records that the worker frees a slot.
    pub(super) fn freed(&mut self, slot: usize) {
        self.free.push_back(slot);
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        let looks = self.is_open && self.copying.is_none() && !self.free.is_empty();
        match &self.refused {
            Some(_) => Some(RETRY),
            None => (looks && self.drawing).then(|| self.patience.sleep()),
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
            return self.ended(ended);
        }
        if self.copying.is_some() || self.free.is_empty() || !self.is_open {
            return Ok(None);
        }
        let was_drawing = self.drawing;
        let turn = match self.reader.newer(self.last) {
            Ok((turn, drawing)) => {
                (self.drawing, self.refused) = (drawing, None);
                turn
            }
            // The failure is in this process and is reported by the writer; the worker is not at
            // fault.
            Err(error) => {
                let reason = error.to_string();
                if self.refused.as_ref() != Some(&reason) {
                    log_warn!("exchange \"{}\": no frame can be shown to the worker: {reason}", self.reader.name());
                }
                (self.refused, self.drawing) = (Some(reason), false);
                None
            }
        };
        if turn.is_some() || self.drawing && !was_drawing {
            self.patience.renew();
        }
        if let Some(turn) = turn {
            self.copying = self.begin(turn);
        }
        Ok(None)
    }

    /// Handles a copy that has ended.
    fn ended(&mut self, Copying { turn, to, end }: Copying<R>) -> Result<Option<Outcome>, String> {
        let frame = turn.frame();
        self.told(turn.finish().map(drop));
        let copied = end.result().unwrap_or(Ok(()));
        if copied.is_ok() && self.is_open {
            self.last = Some(frame);
            self.given += 1;
            let handed = Handed { slot: to, frame: Some(frame), value: self.given };
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
    fn begin(&mut self, mut turn: ComputeRead<R>) -> Option<Copying<R>> {
        let to = self.free.pop_front()?;
        let end = CopyEnd::new(&self.wake);
        let enqueued = match (turn.work(), self.files.get(to)) {
            (Work::Host(host), Some(files)) => {
                let mut copy = Copy::new(files, &end);
                host.run_on_bytes(move |place, run| copy.copy(place, run))
            }
            // Unreachable: the exchange is on the CPU, and the session knows the slots.
            _ => Ok(()),
        };
        if self.told(enqueued).is_none() {
            self.free.push_front(to);
            self.told(turn.finish().map(drop));
            return None;
        }
        Some(Copying { turn, to, end })
    }

    /// Releases the memory once no copy uses it.
    pub(super) fn release(&mut self) {
        self.files = Files::default();
    }

    /// Abandons the frame in progress.
    pub(super) fn stop(mut self) -> LatestReader<R, RenderFirst> {
        if let Some(Copying { turn, .. }) = self.copying.take() {
            // The copy continues; the slot's next use is ordered after it.
            self.told(turn.finish().map(drop));
        }
        self.reader
    }

    /// Logs an error. The worker does not get this frame; nothing else is affected.
    fn told<T>(&self, result: Result<T>) -> Option<T> {
        let warn = |error: &_| log_warn!("exchange \"{}\": a frame is not shown: {error}", self.reader.name());
        result.inspect_err(warn).ok()
    }
}
