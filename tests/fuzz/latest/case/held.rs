//! Holding back one side of a case, so that a wait missing on the other side is detected whatever
//! the speed of the two sides.

use bridge::{ExportDevice, QueueKind};
use bridge_tests::Gate;

/// The work that is held from each submission until the case next waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Held {
    #[default]
    Nothing,
    /// Submissions to Vulkan's queue.
    Queue,
    /// Work enqueued on CUDA streams.
    Streams,
}

/// The Vulkan queue of a case.
#[derive(Default)]
pub(crate) struct Queue {
    held: bool,
    gate: Option<Gate>,
}

impl Queue {
    pub(crate) fn new(held: Held) -> Self {
        Self { held: held == Held::Queue, gate: None }
    }

    /// Holds the queue, if requested. Called before a submission.
    pub(crate) fn hold(&mut self, device: &ExportDevice) {
        if self.held && self.gate.is_none() {
            let gate = Gate::new(device);
            gate.hold_queue(device, QueueKind::Graphics);
            self.gate = Some(gate);
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.gate.is_some()
    }

    /// Releases the queue. Called before the case waits for its submissions.
    pub(crate) fn release(&mut self) {
        self.gate = None;
    }
}
