//! Configuration of an exchange.

use std::time::Duration;

use vk_export::QueueKind;

use crate::buffer::pool::SharedPool;
use crate::error::{Error, Result};

/// The most frames that [`ExchangeInfo::frames_in_flight`] may name: a value is kept for each.
const MOST_IN_FLIGHT: usize = 1024;

/// The most slots: one for each frame that may be in flight. More only wait, and a number that was
/// computed wrongly would allocate until nothing is left.
pub(super) const MOST_SLOTS: usize = MOST_IN_FLIGHT;

/// Configuration of an [`Exchange`](crate::Exchange).
#[derive(Debug, Clone, Copy)]
pub struct ExchangeInfo<'a> {
    /// Its name, in errors, traces and GPU debuggers. Default: "exchange".
    pub name: &'a str,
    /// Slots, so the number of frames that may be between the two sides; from 1 to 1024. More hide
    /// more of the cost of switching the GPU between CUDA and Vulkan, and take more memory and
    /// latency. Default: 3.
    pub slots: usize,
    /// Number of frames that may be unfinished on the GPU when another begins; from 1 to 1024. At
    /// the bound, `begin` blocks until the oldest is done: what a user does now is seen that many
    /// frames later at most. Default: no bound, `begin` never blocks, and what bounds the queue is
    /// that the program waits for the command buffers that it records again.
    pub frames_in_flight: Option<usize>,
    /// The limit of every wait on the host, dropping included. In step with a worker in another
    /// process it is the worker's limit for each frame, and dropping waits for all that it owes:
    /// see `RemoteExchange`. Default: 5 seconds.
    pub timeout: Duration,
    /// Which of the device's queues Vulkan's side is submitted to. Default: the main one, which
    /// draws.
    ///
    /// [`QueueKind::Transfer`] is for frames that are only copied, such as uploads and recordings:
    /// where the GPU has copy engines of their own, handing over to them costs no switch between
    /// CUDA and Vulkan.
    ///
    /// With [`Backend::Inline`](crate::Backend::Inline) it is the queue that the
    /// [`Compute`](crate::Compute) is on.
    pub queue: QueueKind,
    /// Pool for the buffers of the slots: exchanges that come and go, or hold many buffers,
    /// are set up many times faster from a pool. The exchange keeps it, for buffers that replace
    /// others. Images always have memory of their own. Default: none, each buffer has memory of its
    /// own.
    pub pool: Option<&'a SharedPool>,
}

impl Default for ExchangeInfo<'_> {
    fn default() -> Self {
        Self {
            name: "exchange",
            slots: 3,
            frames_in_flight: None,
            timeout: Duration::from_secs(5),
            queue: QueueKind::Graphics,
            pool: None,
        }
    }
}

impl ExchangeInfo<'_> {
    /// Checks the numbers that no driver would.
    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |reason: &str| Error::invalid(format!("exchange \"{}\"", self.name), reason);
        if self.slots == 0 {
            return Err(invalid("it has 0 slots; 3 keep both sides busy, 1 makes them take turns"));
        }
        if self.slots > MOST_SLOTS {
            return Err(invalid(&format!(
                "it has {} slots; {MOST_SLOTS} are the most, 3 keep both sides busy",
                self.slots
            )));
        }
        if self.frames_in_flight == Some(0) {
            return Err(invalid("it may have 0 frames in flight, so none could begin; 1 makes the host wait for each"));
        }
        if let Some(frames) = self.frames_in_flight.filter(|frames| *frames > MOST_IN_FLIGHT) {
            return Err(invalid(&format!(
                "it may have {frames} frames in flight; {MOST_IN_FLIGHT} are the most, and `None` is no bound"
            )));
        }
        Ok(())
    }
}
