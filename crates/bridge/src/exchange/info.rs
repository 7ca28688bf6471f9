//! Configuration of an exchange.

use std::time::Duration;

use vk_export::QueueKind;

use crate::buffer::pool::SharedPool;

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
    /// The limit of every wait on the host, dropping included. Default: 5 seconds.
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
