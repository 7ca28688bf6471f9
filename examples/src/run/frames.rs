//! The frames in flight.
#![allow(unsafe_code)] // Frames are begun only in free slots.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use bridge::{SubmitInfo, TimelinePoint};

use super::Demo;
use crate::gpu::output::Wanted;

/// A program and its frames in flight.
pub(super) struct Frames<D> {
    pub(super) demo: D,
    in_flight: VecDeque<InFlight>,
    slots: usize,
    next: u64,
}

/// A frame that was submitted to the GPU.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) frame: u64,
    pub(super) slot: usize,
    rendered: TimelinePoint,
}

impl<D: Demo> Frames<D> {
    /// Creates an empty set of at most `slots` frames.
    pub(super) fn new(demo: D, slots: u32) -> Self {
        let slots = slots as usize;
        Self { demo, in_flight: VecDeque::with_capacity(slots), slots, next: 0 }
    }

    /// Returns the number of frames that were begun.
    pub(super) fn count(&self) -> u64 {
        self.next
    }

    /// Returns the slot of the next frame; its last frame is done after
    /// [`make_room`](Self::make_room).
    pub(super) fn next_slot(&self) -> usize {
        (self.next % self.slots as u64) as usize
    }

    /// If all slots are in flight, waits for the oldest frame and returns it; its read-back buffers
    /// can be read until the next frame.
    pub(super) fn make_room(&mut self) -> Result<Option<InFlight>> {
        if self.in_flight.len() < self.slots { Ok(None) } else { self.finish_oldest() }
    }

    /// Waits for the oldest frame in flight, if any, and returns it.
    pub(super) fn finish_oldest(&mut self) -> Result<Option<InFlight>> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(None) };
        oldest.rendered.wait(self.demo.time_limit())?;
        Ok(Some(oldest))
    }

    /// Begins the next frame, for which a slot must be free, see [`make_room`](Self::make_room).
    ///
    /// # Safety
    /// As for [`Demo::frame`], except for the slot.
    pub(super) unsafe fn begin(&mut self, wanted: Wanted<'_>, submit: SubmitInfo<'_>) -> Result<()> {
        anyhow::ensure!(self.in_flight.len() < self.slots, "no slot is free for frame {}", self.next);
        let (frame, slot) = (self.next, self.next_slot());
        // SAFETY: fewer than all slots are in flight, and slots are used in order, so this slot is
        // free; the caller guarantees the rest.
        let rendered = unsafe { self.demo.frame(frame, slot, wanted, submit) };
        let rendered = rendered.with_context(|| format!("frame {frame}"))?;
        self.in_flight.push_back(InFlight { frame, slot, rendered });
        self.next += 1;
        Ok(())
    }
}
