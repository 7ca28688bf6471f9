//! The reader of a latest exchange on behalf of another process: one that computes with CUDA and
//! holds slots, or one on the CPU, for which this process copies.

use std::time::Duration;

use super::compute_read::ComputeRead;
use super::reader::LatestReader;
use crate::error::Result;
use crate::exchange::direction::RenderFirst;
use crate::resources::Resources;

/// A frame that the other process may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentFrame {
    pub(crate) slot: usize,
    pub(crate) frame: u64,
}

impl<R: Resources> LatestReader<R, RenderFirst> {
    /// Takes the newest finished frame for the other process, unless that process has it or a newer
    /// one, or holds the maximum number of slots. Returns the frame, and whether there will be one,
    /// without a notification, once Vulkan's commands have ended.
    ///
    /// Vulkan's accesses to the slot are ordered before later accesses of the caller on the host.
    pub(crate) fn send_newest(&self) -> Result<(Option<SentFrame>, bool)> {
        let state = &self.shared().state;
        state.check_compute()?;
        let drawn = state.objects.rendered.value()?;
        let (sent, drawing) = {
            let most = self.shared().max_remote_slots();
            let mut ledger = self.shared().ledger();
            (ledger.send_frame(drawn, most), ledger.has_unfinished_frame(drawn))
        };
        if sent.is_some() {
            // Reading a value orders no memory accesses; a wait does. The value is reached, so the
            // only possible error is the loss of the device, which leaves nothing to order and is
            // reported by other calls.
            let _ = state.objects.rendered.semaphore().try_wait(drawn, Duration::ZERO);
        }
        Ok((sent.map(|(slot, frame)| SentFrame { slot, frame }), drawing))
    }

    /// Gives back a frame that was taken for the other process, which was not notified of it: the
    /// frame is the newest again for the next process.
    pub(crate) fn return_unsent(&self, slot: usize, frame: u64) {
        self.shared().ledger().return_unsent(slot, frame);
    }

    /// Returns a turn with the newest finished frame if it is newer than `than`, and whether there
    /// will be one, without a notification, once Vulkan's commands have ended.
    pub(crate) fn newer_than(&mut self, than: Option<u64>) -> Result<(Option<ComputeRead<R>>, bool)> {
        // In this order: a frame that finishes in between is either returned now or counts as being
        // drawn.
        let drawn = self.shared().state.objects.rendered.value()?;
        let turn = self.newest()?.and_then(|turn| match Some(turn.frame()) > than {
            true => Some(turn),
            false => {
                turn.skip();
                None
            }
        });
        Ok((turn, self.shared().ledger().has_unfinished_frame(drawn)))
    }
}
