//! Errors of a worker.

use std::time::Duration;

use cuda_import::cudarc::driver::DriverError;

/// Result of the calls of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of this crate.
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
        /// Name of the GPU that computes.
        device: String,
        /// UUID of the GPU that draws.
        renderer: cuda_import::Uuid,
        /// Error of the failed import.
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
        /// Description of the renderer.
        who: String,
        /// Name of the exchange.
        exchange: String,
        /// The frame that was being written, or that was read last.
        frame: u64,
        /// Value of the renderer's timeline that this side's stream waited for and that was
        /// signaled in the renderer's place, if any.
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
        /// Name of the exchange.
        exchange: String,
        /// Cause of the end.
        reason: String,
    },

    /// A wait timed out.
    #[error("timed out after {waited:?} waiting for {what}")]
    #[non_exhaustive]
    Timeout {
        /// Event that was waited for.
        what: String,
        /// Time limit of the wait.
        waited: Duration,
    },

    /// The renderer offers other resources than the program requests. The renderer was notified.
    #[error("\"{exchange}\": {reason}")]
    #[non_exhaustive]
    Mismatch {
        /// Name of the exchange.
        exchange: String,
        /// Description of the difference.
        reason: String,
    },

    /// An exchange in step was requested, but a side does not allow it.
    #[error(
        "\"{exchange}\" cannot be used in step: {who}; both sides must set it, or use `Worker::latest` or \
         `Worker::latest_reader`"
    )]
    #[non_exhaustive]
    NoTrust {
        /// Name of the exchange.
        exchange: String,
        /// The side that does not allow it, and the setting that would.
        who: &'static str,
    },

    /// No allowed backend is available.
    #[error("no backend that the renderer allows is available: {reason}")]
    #[non_exhaustive]
    NoBackend {
        /// Reason for each backend.
        reason: String,
    },

    /// A range is outside a resource.
    #[error("{what} {start}..{end} are out of range; there are {len}")]
    #[non_exhaustive]
    OutOfRange {
        /// Kind of the items: elements, or texels of a level.
        what: &'static str,
        /// Start of the range.
        start: usize,
        /// End of the range, exclusive.
        end: usize,
        /// Number of available items.
        len: usize,
    },
}

/// Converts the error of a program's own cudarc call, such as a copy or a launch on the stream of
/// `CudaWork`, to [`Error::Cuda`].
impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Self::Cuda(error.into())
    }
}

#[cfg(test)]
mod tests {
    use cuda_import::cudarc::driver::sys::CUresult;

    use super::*;

    #[test]
    fn question_mark_converts_errors_of_cudarc() {
        fn launch() -> Result<()> {
            Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE))?;
            Ok(())
        }
        let error = launch().unwrap_err();
        assert!(matches!(&error, Error::Cuda(cuda) if cuda.driver_code().is_some_and(|code| code.0 == 1)), "{error}");
    }
}
