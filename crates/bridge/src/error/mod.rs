//! Errors of both sides.

mod cudarc;
mod devices;
mod hints;
mod invalid;
mod loss;
mod stage;
mod turns;
mod workers;

use std::time::Duration;

use crate::adapter::AdapterId;
use crate::backend::Backend;
use crate::error::hints::{busy_hint, timeout_hint};
use crate::error::turns::lost_turn;
use crate::error::workers::{settled, whole};
use crate::signaler::Signaler;

pub(crate) use crate::error::loss::first_error;
pub use crate::error::stage::Stage;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of a closure that records a frame's work. Any error type converts to it with `?`.
pub type RecordError = Box<dyn std::error::Error + Send + Sync>;

/// Errors of both sides.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Vulkan side failed.
    #[error(transparent)]
    Vulkan(#[from] vk_export::Error),

    /// The CUDA side failed.
    #[error(transparent)]
    Cuda(#[from] cuda_import::Error),

    /// The connection with another process could not be established, or was refused.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    #[error(transparent)]
    Connection(#[from] bridge_ipc::Error),

    /// The two sides are not the same GPU.
    #[error(fmt = devices::different_devices)]
    #[non_exhaustive]
    DifferentDevices {
        /// The Vulkan device's name.
        vulkan: String,
        /// Its UUID.
        vulkan_uuid: vk_export::Uuid,
        /// The CUDA device's name.
        cuda: String,
        /// Its UUID.
        cuda_uuid: vk_export::Uuid,
    },

    /// The two devices report the same UUID, but Windows identifies them as different adapters.
    #[error(fmt = devices::different_adapters)]
    #[non_exhaustive]
    DifferentAdapters {
        /// The Vulkan device's name.
        vulkan: String,
        /// Its adapter.
        vulkan_adapter: AdapterId,
        /// The CUDA device's name.
        cuda: String,
        /// Its adapter.
        cuda_adapter: AdapterId,
    },

    /// CUDA was requested, but is not available for this device.
    #[error("no CUDA for \"{vulkan}\": {reason}; use `Backend::Host` to compute on the CPU")]
    #[non_exhaustive]
    NoCuda {
        /// The Vulkan device's name.
        vulkan: String,
        /// Reason.
        reason: Box<Error>,
    },

    /// The CUDA device cannot access the memory of the drawing GPU.
    #[error(fmt = devices::no_peer)]
    #[non_exhaustive]
    NoPeer {
        /// The Vulkan device's name.
        vulkan: String,
        /// Its UUID.
        vulkan_uuid: vk_export::Uuid,
        /// The CUDA device's name.
        cuda: String,
        /// Its UUID.
        cuda_uuid: vk_export::Uuid,
        /// Reason, and what to do.
        reason: String,
    },

    /// An invalid argument.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that was to be created or used.
        object: String,
        /// Description of the problem.
        reason: String,
    },

    /// An image format that Vulkan and the compute side do not both support.
    #[error("format {format:?} cannot be shared: {reason}; use {substitute} instead")]
    #[non_exhaustive]
    UnsupportedFormat {
        /// The format.
        format: vk_export::ash::vk::Format,
        /// Reason.
        reason: &'static str,
        /// A format that can be used instead.
        substitute: &'static str,
    },

    /// A kernel module cannot be loaded.
    #[error("module \"{module}\": {reason}")]
    #[non_exhaustive]
    Module {
        /// The module's name.
        module: String,
        /// Description of the problem, or the driver's message.
        reason: String,
    },

    /// A kernel launch was rejected.
    #[error("kernel \"{kernel}\" cannot be launched: {reason}")]
    #[non_exhaustive]
    Launch {
        /// The kernel's name.
        kernel: String,
        /// Description of the problem.
        reason: String,
    },

    /// A turn is still open, so the next frame cannot begin or the exchange cannot be closed.
    #[error(fmt = turns::turn_open)]
    #[non_exhaustive]
    TurnOpen {
        /// The exchange's name.
        exchange: String,
        /// The frame of the open turn.
        frame: u64,
        /// The kind of the open turn.
        stage: Stage,
    },

    /// The resources of an exchange cannot be replaced while a turn uses them.
    #[error(fmt = turns::replaced_while_open)]
    #[non_exhaustive]
    ReplacedWhileOpen {
        /// The exchange's name.
        exchange: String,
        /// The frame of the open turn.
        frame: u64,
        /// The kind of the open turn; [`Stage::Submit`] for a `LentTurn`.
        stage: Stage,
    },

    /// New images on an adopted device have not been handed over to the compute side.
    #[error(fmt = turns::not_initialized)]
    #[non_exhaustive]
    NotInitialized {
        /// The exchange's name.
        exchange: String,
    },

    /// Every slot is held by a render turn that was neither submitted nor skipped.
    #[error(fmt = turns::slot_busy)]
    #[non_exhaustive]
    SlotBusy {
        /// The exchange's name.
        exchange: String,
        /// The slot that the next frame needs.
        slot: usize,
        /// The frame that the slot holds.
        frame: u64,
        /// The number of slots.
        slots: usize,
    },

    /// Too many slots of an [`Exchange::latest`](crate::Exchange::latest) are out of use, because
    /// lent turns were dropped.
    #[error(fmt = turns::slots_retired)]
    #[non_exhaustive]
    SlotsRetired {
        /// The exchange's name.
        exchange: String,
        /// The number of slots out of use.
        retired: usize,
        /// The number of slots.
        slots: usize,
    },

    /// A turn was dropped before it was finished.
    #[error("exchange \"{exchange}\": {}", lost_turn(*.frame, *.stage))]
    #[non_exhaustive]
    TurnLost {
        /// The exchange's name.
        exchange: String,
        /// The frame of the turn.
        frame: u64,
        /// Stage at which it was lost.
        stage: Stage,
    },

    /// While a frame or hand-over of the exchange was lent, another frame was to be submitted or
    /// lent, or retired slots were to be recovered.
    #[error(fmt = turns::out_of_order)]
    #[non_exhaustive]
    OutOfOrder {
        /// The exchange's name.
        exchange: String,
        /// The rejected frame.
        frame: u64,
        /// The frame that is lent.
        first: u64,
    },

    /// The closure that records a frame's work returned an error. The frame is lost.
    #[error("exchange \"{exchange}\": recording the work of frame {frame}, slot {slot}, failed: {source}")]
    #[non_exhaustive]
    Record {
        /// The exchange's name.
        exchange: String,
        /// The frame.
        frame: u64,
        /// The slot of the frame.
        slot: usize,
        /// Error that the closure returned.
        source: RecordError,
    },

    /// A host wait timed out.
    #[error(
        "exchange \"{exchange}\": waited {waited:?} for point {value} of \"{timeline}\", which {signaler} signals; last \
         value seen: {last_seen}; last enqueued on {history}; {}", timeout_hint(*.signaler)
    )]
    #[non_exhaustive]
    Timeout {
        /// The exchange's name.
        exchange: String,
        /// The timeline's name.
        timeline: String,
        /// The value of the point.
        value: u64,
        /// The side that signals the point.
        signaler: Signaler,
        /// The timeline's value at the end of the wait.
        last_seen: u64,
        /// Duration of the wait.
        waited: Duration,
        /// The last signal and wait that were enqueued on each timeline of the exchange.
        history: String,
    },

    /// Closing an exchange timed out because the compute side was still busy, although both
    /// timelines of the exchange had reached their final values.
    #[error("exchange \"{exchange}\": {backend} is still busy after {waited:?}; {}", busy_hint(*.backend))]
    #[non_exhaustive]
    ComputeBusy {
        /// The exchange's name.
        exchange: String,
        /// The kind of compute side.
        backend: Backend,
        /// Duration of the wait.
        waited: Duration,
    },

    /// The worker process has ended, or its connection has closed.
    #[error(
        "exchange \"{exchange}\": worker process {worker} {reason}; last complete frame: {}; slots held: {held}; signals outstanding: \
         {owed}{}; the last complete frame stays available, and another worker can be connected", whole(*.frame), settled(torn, *.signaled)
    )]
    #[non_exhaustive]
    PeerLost {
        /// The exchange's name.
        exchange: String,
        /// The process ID of the worker.
        worker: u32,
        /// Description of the loss.
        reason: String,
        /// `true` if the process is known to have ended. If `false`, only the connection is closed.
        dead: bool,
        /// Number of the last complete frame that the worker wrote, or of the last frame that it
        /// was given to read; `None` if there was none.
        frame: Option<u64>,
        /// Number of slots that the worker held, for writing or reading. Its writes to them are
        /// discarded.
        held: usize,
        /// Number of published frames, or returned slots, whose signals had not arrived. Such
        /// frames are discarded. Nothing waits for these signals, unless the exchange is in step.
        owed: u64,
        /// In step: numbers of the frames that the worker announced and will not finish. Turns that
        /// the program has not taken are withdrawn; commands already submitted run with the current
        /// contents of the slots.
        torn: Box<[u64]>,
        /// In step: the timeline value that was signaled on the worker's behalf so that Vulkan can
        /// proceed: the highest outstanding one. `None` while the worker's signal may still arrive,
        /// or if no signal was outstanding.
        signaled: Option<u64>,
    },

    /// A lost worker in step still has unfinished frames, or has set its timeline back so that the
    /// queue may wait for it. Another worker can replace it after these frames have arrived or the
    /// process has ended.
    #[error(fmt = workers::frames_owed)]
    #[non_exhaustive]
    FramesOwed {
        /// The exchange's name.
        exchange: String,
        /// The process ID of the worker.
        worker: u32,
        /// The numbers of the frames in the exchange.
        frames: Box<[u64]>,
        /// Time limit of each frame, counted from the end of the previous one.
        limit: Duration,
    },

    /// In step: frames of a replaced worker are torn. The exchange remains usable.
    #[error(fmt = workers::frames_torn)]
    #[non_exhaustive]
    FramesTorn {
        /// The exchange's name.
        exchange: String,
        /// The process ID of the worker.
        worker: u32,
        /// The numbers of the torn frames, as in [`PeerLost`](Self::PeerLost).
        torn: Box<[u64]>,
        /// The value of the exchange's timeline that was signaled on the worker's behalf.
        signaled: u64,
    },

    /// The CPU backend's thread has stopped working.
    #[error("the host compute thread has failed: {reason}; its exchanges no longer work")]
    #[non_exhaustive]
    HostFailed {
        /// Description of the failure.
        reason: String,
    },
}
