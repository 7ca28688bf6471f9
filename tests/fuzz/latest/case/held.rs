//! One side of a case held back, so that a wait which the other leaves out is seen however fast
//! either of them is.

use bridge::{ExportDevice, QueueKind};
use bridge_tests::Gate;

/// What is held from each submission to the next time that the case waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Held {
    #[default]
    Nothing,
    /// What is submitted to Vulkan's queue.
    Queue,
    /// What is enqueued on CUDA's streams.
    Streams,
}

/// Vulkan's queue of a case.
#[derive(Default)]
pub(crate) struct Queue {
    held: bool,
    gate: Option<Gate>,
}

impl Queue {
    pub(crate) fn new(held: Held) -> Self {
        Self { held: held == Held::Queue, gate: None }
    }

    /// Before a submission.
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

    /// Before the case waits for what it has submitted.
    pub(crate) fn go_on(&mut self) {
        self.gate = None;
    }
}
