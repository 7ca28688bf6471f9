//! A worker on the CPU: finished frames are copied into slots and published.

use std::sync::Arc;

use super::Finished;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeFirst, ComputeWrite, LatestWriter, Work};
use crate::observe::log_warn;
use crate::remote::copy::{Copy, CopyEnd, Files};
use crate::remote::part::{Handed, Outcome};
use crate::remote::wake::Wake;

/// Copies a worker's frames, one at a time, the newest next. What is superseded meanwhile goes back
/// uncopied.
pub(in crate::remote) struct HostFeed<R: Resources> {
    files: Files,
    writer: LatestWriter<R, ComputeFirst>,
    wake: Arc<Wake>,
    copying: Option<Copying<R>>,
    /// The worker's newest finished frame, where that is not copied so far.
    next: Option<Finished>,
    /// The reason for which no frame could be begun for `next`, which is tried again.
    refused: Option<String>,
}

struct Copying<R: Resources> {
    turn: ComputeWrite<R>,
    from: Finished,
    /// The worker has taken it back.
    torn: bool,
    end: Arc<CopyEnd>,
}

impl<R: Resources> HostFeed<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>, files: Files, wake: &Arc<Wake>) -> Self {
        Self { files, writer, wake: Arc::clone(wake), copying: None, next: None, refused: None }
    }

    /// Notes a frame of the worker's. Gives the slot of the one that it supersedes.
    pub(super) fn finished(&mut self, frame: Finished) -> Option<Outcome> {
        self.next.replace(frame).map(|old| freed(old.slot, None))
    }

    /// The worker takes a frame back, which it has published: it is shown to nobody if that is
    /// still possible.
    pub(super) fn torn(&mut self, slot: usize, frame: u64) -> Option<Outcome> {
        let is_it = |of: &Finished| (of.slot, of.frame) == (slot, frame);
        if let Some(copying) = &mut self.copying
            && is_it(&copying.from)
        {
            copying.torn = true;
        }
        self.next.take_if(|next| is_it(next)).map(|next| freed(next.slot, None))
    }

    /// Returns `true` if any frame is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.copying.is_some() || self.next.is_some()
    }

    /// Returns `true` if the newest frame waits for something that tells nobody:
    /// [`advance`](Self::advance) is to be called again after a while.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Publishes what was copied and begins the next copy; gives the slot that is the worker's
    /// again. Does not block.
    ///
    /// # Errors
    /// Why the worker's memory cannot be read: it is not what it said.
    pub(super) fn advance(&mut self) -> Result<Option<Outcome>, String> {
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
            // Where the exchange's own thread has failed, its reader says so, and it is not the
            // worker's fault.
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
            // New images that nobody has initialized so far, or a frame that was lost and is told
            // once: the worker's newest stays.
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
        self.copying = self.begin(turn, next);
        Ok(self.copying.is_none().then(|| freed(next.slot, None)))
    }

    /// Begins to copy; `None` where that cannot be.
    fn begin(&mut self, mut turn: ComputeWrite<R>, from: Finished) -> Option<Copying<R>> {
        let Some(sources) = self.files.get(from.slot) else {
            self.told(turn.skip());
            return None;
        };
        let end = CopyEnd::new(&self.wake);
        let mut copy = Copy::new(sources, &end);
        let enqueued = match turn.work() {
            Work::Host(host) => host.run_on_bytes(move |place, run| copy.copy(place, run)),
            // The exchange was made for the CPU; dropping the copy tells that it did not run.
            _ => Ok(()),
        };
        if self.told(enqueued).is_none() {
            self.told(turn.skip());
            return None;
        }
        Some(Copying { turn, from, torn: false, end })
    }

    /// Frees the memory, as soon as no copy uses it.
    pub(super) fn release(&mut self) {
        self.files = Files::default();
    }

    /// Gives up what is on its way.
    pub(super) fn stop(mut self) -> LatestWriter<R, ComputeFirst> {
        if let Some(Copying { turn, .. }) = self.copying.take() {
            // The copy goes on; the slot's next use is behind it.
            self.told(turn.skip());
        }
        self.writer
    }

    /// A frame that could not be taken over is lost, and no more than that.
    fn told<T>(&self, result: Result<T>) -> Option<T> {
        result.inspect_err(|error| log_warn!("exchange \"{}\": a frame is lost: {error}", self.writer.name())).ok()
    }
}

/// The slot is the worker's again; nothing of this process's uses it.
fn freed(slot: usize, published: Option<u64>) -> Outcome {
    Outcome { published, handed: Some(Handed { slot, frame: None, value: 0 }) }
}
