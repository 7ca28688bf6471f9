//! Configuration of an exchange.

use std::time::Duration;

use vk_export::QueueKind;

use crate::error::{Error, Result};
use crate::pool::SharedPool;

/// Maximum number of frames, and of a reader's submissions, in flight: a value is kept for each.
pub(super) const MAX_IN_FLIGHT: usize = 1024;

/// Maximum number of slots: one for each frame that may be in flight. More slots would only wait,
/// and a miscalculated number would use up all memory.
pub(super) const MAX_SLOTS: usize = MAX_IN_FLIGHT;

/// Configuration of an [`Exchange`](crate::Exchange).
#[derive(Debug, Clone, Copy)]
pub struct ExchangeInfo<'a> {
    /// Name of the exchange in errors, traces and GPU debuggers. Default: "exchange".
    pub name: &'a str,
    /// Number of slots, from 1 to 1024: the number of frames that can be in progress between the
    /// two sides. More slots hide more of the cost of switching the GPU between CUDA and Vulkan,
    /// but use more memory and add latency. Default: 3.
    pub slots: usize,
    /// Maximum number of unfinished frames on the GPU when another begins, from 1 to 1024. At the
    /// limit, `begin` blocks until the oldest completes, which bounds input latency. Default:
    /// `None`; `begin` then never blocks, and only the program's own waits, such as for command
    /// buffers that it records again, limit the frames in flight.
    pub frames_in_flight: Option<usize>,
    /// Time limit of every host wait, including the wait on drop. In step with a worker process it
    /// is also the worker's limit for each frame, and dropping waits for every frame that it owes;
    /// see `RemoteExchangeReader`. Default: 5 seconds.
    pub timeout: Duration,
    /// The device queue that frames are submitted to. Default: the main (graphics) queue.
    ///
    /// [`QueueKind::Transfer`] is for frames that are only copied, such as uploads and recordings:
    /// if the GPU has dedicated copy engines, a hand-over to them needs no switch between CUDA and
    /// Vulkan.
    ///
    /// With [`Backend::Inline`](crate::Backend::Inline) it must be the queue of the
    /// [`Compute`](crate::Compute).
    pub queue: QueueKind,
    /// Pool for the slots' buffers: with a pool, creating short-lived exchanges or exchanges with
    /// many buffers is many times faster. The exchange keeps a clone, for buffers that replace
    /// others. Images always have dedicated memory. Default: `None`; each buffer then has dedicated
    /// memory.
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
    /// Checks the numbers, which no driver call would reject.
    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |reason: &str| Error::invalid(format!("exchange \"{}\"", self.name), reason);
        if self.slots == 0 {
            return Err(invalid("it has 0 slots; 3 are usually enough, and 1 makes the two sides take turns"));
        }
        if self.slots > MAX_SLOTS {
            return Err(invalid(&format!(
                "it has {} slots; the maximum is {MAX_SLOTS}; 3 are usually enough",
                self.slots
            )));
        }
        if self.frames_in_flight == Some(0) {
            return Err(invalid("`frames_in_flight` is 0; 1 makes the host wait for each frame, `None` is no limit"));
        }
        if let Some(frames) = self.frames_in_flight.filter(|frames| *frames > MAX_IN_FLIGHT) {
            return Err(invalid(&format!(
                "`frames_in_flight` is {frames}; the maximum is {MAX_IN_FLIGHT}, and `None` is no limit"
            )));
        }
        Ok(())
    }
}
