//! Errors of a worker.

use std::time::Duration;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] bridge_ipc::Error),

    /// CUDA failed.
    #[error(transparent)]
    Cuda(#[from] cuda_import::Error),

    /// CUDA does not see the GPU that draws, and therefore cannot import its timelines on another
    /// GPU.
    #[error(
        "\"{device}\" cannot take the timelines of the GPU that draws ({renderer}), which CUDA does not see: let this process \
         see both with CUDA_VISIBLE_DEVICES, and choose the one that computes by `WorkerInfo::device`, or connect with `Backend::Host`, \
         whose frames are copied; {source}"
    )]
    #[non_exhaustive]
    HiddenGpu {
        /// The GPU that computes.
        device: String,
        /// The GPU that draws.
        renderer: cuda_import::Uuid,
        /// The failed import.
        source: Box<cuda_import::Error>,
    },

    /// The renderer's process has ended. No stream of this process waits for the renderer any more.
    #[error(
        "{who} has ended{}, at frame {frame} of \"{exchange}\"{}; connect to the next renderer",
        reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default(),
        owed.map(|value| format!(", and value {value} of its timeline, which this side waited for, was signaled from here"))
            .unwrap_or_default()
    )]
    #[non_exhaustive]
    PeerLost {
        /// The renderer.
        who: String,
        /// The exchange.
        exchange: String,
        /// The frame that was being written, or that was read last.
        frame: u64,
        /// The value of the renderer's timeline that this side's stream waited for and that was
        /// signaled in its place.
        owed: Option<u64>,
        /// Why the connection had ended before, unless the renderer ended it as planned or without
        /// a message: the text of the renderer's last message, or what this side rejected.
        reason: Option<Box<str>>,
    },

    /// The renderer has closed the exchange or the connection. Its process still runs, or was still
    /// exiting at the end of the call's timeout.
    #[error("\"{exchange}\" was closed: {reason}")]
    #[non_exhaustive]
    Closed {
        /// The exchange.
        exchange: String,
        /// By what.
        reason: String,
    },

    /// A wait timed out.
    #[error("{what} did not come within {waited:?}")]
    #[non_exhaustive]
    Timeout {
        /// The event that did not happen.
        what: String,
        /// The limit of the wait.
        waited: Duration,
    },

    /// The renderer offers other resources than the program requests. The renderer was notified.
    #[error("\"{exchange}\": {reason}")]
    #[non_exhaustive]
    Mismatch {
        /// The exchange.
        exchange: String,
        /// The difference.
        reason: String,
    },

    /// An exchange in step was requested, but a side does not allow it.
    #[error(
        "\"{exchange}\" cannot be had in step: {who}; both sides have to set it, or use `Worker::latest` or `Worker::latest_reader`"
    )]
    #[non_exhaustive]
    NoTrust {
        /// The exchange.
        exchange: String,
        /// The side that does not, and how it would.
        who: &'static str,
    },

    /// No backend is available.
    #[error("no backend that the renderer allows can be had: {reason}")]
    #[non_exhaustive]
    NoBackend {
        /// The reasons, for each backend.
        reason: String,
    },

    /// A range outside a resource.
    #[error("{what} {start}..{end} do not lie inside of {len}")]
    #[non_exhaustive]
    OutOfRange {
        /// Elements, or texels of a level.
        what: &'static str,
        /// The first.
        start: usize,
        /// One past the last.
        end: usize,
        /// The number that there are.
        len: usize,
    },
}
