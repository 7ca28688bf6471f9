//! The reader of a latest exchange on behalf of another process: of one that computes with CUDA,
//! which holds slots, and of one on the CPU, for which this process copies.

use std::time::Duration;

use super::compute_read::ComputeRead;
use super::reader::LatestReader;
use crate::error::Result;
use crate::exchange::direction::RenderFirst;
use crate::exchange::resources::Resources;

/// A frame that the other process may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) slot: usize,
    pub(crate) frame: u64,
}

impl<R: Resources> LatestReader<R, RenderFirst> {
    /// Takes the newest finished frame for the other process, unless that has it or a newer one, or
    /// holds as many slots as it may. Returns it, and whether there will be one once Vulkan's
    /// commands have ended, which wakes nobody.
    ///
    /// What Vulkan has done with the slot is ordered before what the caller's host does next.
    pub(crate) fn send_away(&self) -> Result<(Option<Shown>, bool)> {
        let state = &self.shared().state;
        state.check_compute()?;
        let drawn = state.held.rendered.value()?;
        let (shown, drawing) = {
            let most = self.shared().most_away();
            let mut ledger = self.shared().ledger();
            (ledger.show_away(drawn, most), ledger.is_drawing(drawn))
        };
        if shown.is_some() {
            // Asking for a value orders no memory; a wait does. It is reached: nothing but the loss
            // of the device, where nothing is left to order, is an error, and other calls tell
            // that.
            let _ = state.held.rendered.semaphore().try_wait(drawn, Duration::ZERO);
        }
        Ok((shown.map(|(slot, frame)| Shown { slot, frame }), drawing))
    }

    /// The other process was not told of a frame that was taken for it: it is the newest again for
    /// the next one.
    pub(crate) fn unshow(&self, slot: usize, frame: u64) {
        self.shared().ledger().unshow_away(slot, frame);
    }

    /// A turn with the newest finished frame, if it is newer than `than`; and whether there will be
    /// one once Vulkan's commands have ended, which wakes nobody.
    pub(crate) fn newer(&mut self, than: Option<u64>) -> Result<(Option<ComputeRead<R>>, bool)> {
        // In this order: a frame that is finished in between is had now, or still being drawn.
        let drawn = self.shared().state.held.rendered.value()?;
        let turn = self.newest()?.and_then(|turn| match Some(turn.frame()) > than {
            true => Some(turn),
            false => {
                turn.skip();
                None
            }
        });
        Ok((turn, self.shared().ledger().is_drawing(drawn)))
    }
}
