//! Findings: the rules that a use of the driver can break.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;

use crate::abi::Code;

/// Environment variable with the path of a file. Each finding is appended to it immediately, as its
/// kind and text separated by a tab. For tests that do not query the double themselves.
const LOG: &str = "DRIVER_DOUBLE_FINDINGS";

/// Appends to the file that [`LOG`] names, if it is set.
///
/// # Panics
///
/// If the file cannot be written.
pub(crate) fn log(kind: Kind, text: &str) {
    let Some(path) = std::env::var_os(LOG) else { return };
    let line = format!("{kind}\t{text}\n");
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A rule that was broken. Tests compare the displayed names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A descriptor that the driver owns, or that the driver closed, was closed by other code.
    DoubleClose,
    /// A descriptor was never closed.
    DescriptorLeak,
    /// An object was never destroyed.
    ObjectLeak,
    UseAfterDestroy,
    UnknownHandle,
    /// "Destroying the memory object doesn't free any mapping": it must have been freed before.
    MappedAtDestroy,
    /// Vulkan destroys an image, or frees memory, that CUDA still maps. Drivers keep the memory,
    /// but the program considers it unused.
    #[cfg(target_os = "linux")]
    MappedAtFree,
    /// VUID-VkBindImageMemoryInfo-image-07460: an image must be bound to memory only once.
    #[cfg(target_os = "linux")]
    BoundTwice,
    /// VUID-vkQueueSubmit-pCommandBuffers-00074: a queue of one family was given a command buffer
    /// from a pool of another.
    #[cfg(target_os = "linux")]
    WrongFamily,
    /// "Any outstanding signals or waits must have completed."
    PendingAtDestroy,
    /// A wait for a binary semaphore was submitted before its signal. Each wait needs its own
    /// signal.
    WaitBeforeSignal,
    /// A binary semaphore was signaled again before a wait.
    SignalOverSignal,
    /// The values of timeline signals must increase.
    ValueNotRising,
    /// Signals completed in a different order than that of their values.
    ValueFell,
    SizeDiffers,
    DedicatedDiffers,
    /// An image was mapped with a description that differs from the exported image.
    ImageDiffers,
    /// The drivers place the texels of this image differently, but CUDA maps it without an error
    /// (measured).
    MipLayout,
    /// A texture or surface object still existed when its array was destroyed.
    ObjectsAtDestroy,
    /// A texture was created in a way that cuda.h forbids.
    TextureForbidden,
    /// A descriptor was imported as a different kind of object.
    WrongObject,
    /// The memory belongs to a different GPU than the importing context.
    WrongDevice,
    NoContext,
    WrongContext,
    /// A device used memory without having access to it.
    NoAccess,
    /// A context was destroyed while objects still existed in it.
    OutlivesContext,
    /// A mapping was freed with the stream-ordered `cuMemFreeAsync` instead of `cuMemFree`.
    AsyncFreeOfMapping,
    /// A capture was begun and never ended.
    CaptureLeft,
    /// Work accessed memory that does not exist.
    OutOfBounds,
    /// A module was loaded from bytes that are not PTX. The driver takes the size of a binary
    /// module from its header, and reads beyond the bytes that the program has passed if that is
    /// wrong.
    InvalidPtx,
    /// A host function that a stream runs called CUDA, which is forbidden.
    CallInHostFunction,
    /// The host waits for something that never happens.
    Hang,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DoubleClose => "double-close",
            Self::DescriptorLeak => "descriptor-leak",
            Self::ObjectLeak => "object-leak",
            Self::UseAfterDestroy => "use-after-destroy",
            Self::UnknownHandle => "unknown-handle",
            Self::MappedAtDestroy => "mapped-at-destroy",
            #[cfg(target_os = "linux")]
            Self::MappedAtFree => "mapped-at-free",
            #[cfg(target_os = "linux")]
            Self::BoundTwice => "bound-twice",
            #[cfg(target_os = "linux")]
            Self::WrongFamily => "wrong-family",
            Self::PendingAtDestroy => "pending-at-destroy",
            Self::WaitBeforeSignal => "wait-before-signal",
            Self::SignalOverSignal => "signal-over-signal",
            Self::ValueNotRising => "value-not-rising",
            Self::ValueFell => "value-fell",
            Self::SizeDiffers => "size-differs",
            Self::DedicatedDiffers => "dedicated-differs",
            Self::ImageDiffers => "image-differs",
            Self::MipLayout => "mip-layout",
            Self::ObjectsAtDestroy => "objects-at-destroy",
            Self::TextureForbidden => "texture-forbidden",
            Self::WrongObject => "wrong-object",
            Self::WrongDevice => "wrong-device",
            Self::NoContext => "no-context",
            Self::WrongContext => "wrong-context",
            Self::NoAccess => "no-access",
            Self::OutlivesContext => "outlives-context",
            Self::AsyncFreeOfMapping => "async-free-of-mapping",
            Self::CaptureLeft => "capture-left",
            Self::OutOfBounds => "out-of-bounds",
            Self::InvalidPtx => "not-ptx",
            Self::CallInHostFunction => "call-in-host-function",
            Self::Hang => "hang",
        })
    }
}

/// The reason for refusing a call: its error code, and a finding if the call broke a rule.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) finding: Option<(Kind, String)>,
}

impl Refusal {
    pub(crate) fn new(code: Code, kind: Kind, text: String) -> Self {
        Self { code, finding: Some((kind, text)) }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, finding: None }
    }
}
