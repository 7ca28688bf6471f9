//! The writer of an exchange on behalf of a worker on the CPU: finished frames are copied into slots and published.

use std::fs::File;
use std::sync::Arc;

use super::copy::{CopyEnd, CopyIn};
use super::wake::Wake;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeFirst, ComputeWrite, LatestWriter, Work};
use crate::observe::log_warn;

/// The memory that a worker writes its frames to: of each of its slots, one file a resource.
pub(super) type Frames = Box<[Arc<[File]>]>;

/// A frame as the worker has published it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    /// The worker's slot.
    pub(super) slot: usize,
    /// The worker's number.
    pub(super) frame: u64,
}

/// Copies a worker's frames, one at a time, the newest next. What is superseded meanwhile goes back uncopied.
pub(super) struct Feed<R: Resources> {
    writer: LatestWriter<R, ComputeFirst>,
    wake: Arc<Wake>,
    copying: Option<Copying<R>>,
    /// The worker's newest finished frame, where that is not copied so far.
    next: Option<Finished>,
    /// Why no frame could be begun for `next`, which is tried again.
    refused: Option<String>,
}

struct Copying<R: Resources> {
    turn: ComputeWrite<R>,
    from: Finished,
    /// The worker has taken it back.
    torn: bool,
    end: Arc<CopyEnd>,
}

/// What came of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The worker's slot, which is its own again.
    pub(super) slot: usize,
    /// The number of the frame where it was published.
    pub(super) frame: Option<u64>,
}

impl<R: Resources> Feed<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>, wake: &Arc<Wake>) -> Self {
        Self { writer, wake: Arc::clone(wake), copying: None, next: None, refused: None }
    }

    pub(super) fn into_writer(self) -> LatestWriter<R, ComputeFirst> {
        self.writer
    }

    /// Notes a frame of the worker's. Gives the slot of the one that it supersedes.
    pub(super) fn finished(&mut self, frame: Finished) -> Option<Taken> {
        self.next.replace(frame).map(|old| Taken { slot: old.slot, frame: None })
    }

    /// The worker takes a frame back, which it has published: it is shown to nobody if that is still possible.
    pub(super) fn torn(&mut self, frame: Finished) -> Option<Taken> {
        if let Some(copying) = &mut self.copying
            && copying.from == frame
        {
            copying.torn = true;
        }
        self.next.take_if(|next| *next == frame).map(|next| Taken { slot: next.slot, frame: None })
    }

    /// Whether any frame is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.copying.is_some() || self.next.is_some()
    }

    /// Whether the newest frame waits for something that tells nobody: [`advance`](Self::advance) is to be called again after a while.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Publishes what was copied and begins the next copy; gives the slot that is the worker's again. Does not block.
    ///
    /// # Errors
    /// Why the worker's memory cannot be read: it is not what it said.
    pub(super) fn advance(&mut self, frames: &Frames) -> Result<Option<Taken>, String> {
        if let Some(ended) = self.copying.take_if(|copying| copying.end.result().is_some()) {
            let Copying { turn, from, torn, end } = ended;
            let frame = turn.frame();
            let copied = end.result().unwrap_or(Ok(()));
            let published = match &copied {
                Ok(()) if !torn => self.told(turn.publish()).map(|_| frame),
                _ => {
                    self.told(turn.skip());
                    None
                }
            };
            // Where the exchange's own thread has failed, its reader says so, and it is not the worker's fault.
            if self.writer.compute().check().is_ok() {
                copied?;
            }
            return Ok(Some(Taken { slot: from.slot, frame: published }));
        }
        if self.copying.is_some() {
            return Ok(None);
        }
        let Some(next) = self.next else { return Ok(None) };
        let turn = match self.writer.begin() {
            Ok(turn) => turn,
            // New images that nobody has initialised so far, or a frame that was lost and is told once: the worker's newest stays.
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
        self.copying = self.begin(turn, frames, next);
        Ok(self.copying.is_none().then_some(Taken { slot: next.slot, frame: None }))
    }

    /// Begins to copy; `None` where that cannot be.
    fn begin(&mut self, mut turn: ComputeWrite<R>, frames: &Frames, from: Finished) -> Option<Copying<R>> {
        let Some(sources) = frames.get(from.slot) else {
            self.told(turn.skip());
            return None;
        };
        let end = CopyEnd::new(&self.wake);
        let mut copy = CopyIn::new(sources, &end);
        let enqueued = match turn.work() {
            Work::Host(host) => host.run_on_bytes(move |place, run| copy.fill(place, run)),
            // The exchange was made for the CPU; dropping the copy tells that it did not run.
            _ => Ok(()),
        };
        if self.told(enqueued).is_none() {
            self.told(turn.skip());
            return None;
        }
        Some(Copying { turn, from, torn: false, end })
    }

    /// Gives up what is on its way.
    pub(super) fn stop(&mut self) {
        self.next = None;
        if let Some(Copying { turn, .. }) = self.copying.take() {
            // The copy goes on; the slot's next use is behind it.
            self.told(turn.skip());
        }
    }

    /// A frame that could not be taken over is lost, and no more than that.
    fn told<T>(&self, result: Result<T>) -> Option<T> {
        result.inspect_err(|error| log_warn!("exchange \"{}\": a frame is lost: {error}", self.writer.name())).ok()
    }
}
