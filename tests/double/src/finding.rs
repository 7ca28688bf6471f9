//! What can be found wrong with the use of the driver.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;

use crate::abi::Code;

/// Names a file to which each finding is appended as it is made: its kind and what happened, with a
/// tab between them. For tests that do not ask the double themselves.
const LOG: &str = "DRIVER_DOUBLE_FINDINGS";

/// Appends to the file that [`LOG`] names, if it does.
///
/// # Panics
/// When the file cannot be written.
pub(crate) fn log(kind: Kind, text: &str) {
    let Some(path) = std::env::var_os(LOG) else { return };
    let line = format!("{kind}\t{text}\n");
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A rule that was broken. The names are what tests compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody closed a descriptor that is the driver's, or one that the driver had closed.
    DoubleClose,
    /// Nobody closed it.
    DescriptorLeak,
    /// Never destroyed.
    ObjectLeak,
    UseAfterDestroy,
    UnknownHandle,
    /// "Destroying the memory object doesn't free any mapping": it must have been freed before.
    MappedAtDestroy,
    /// Vulkan destroys an image, or frees memory, that CUDA has mapped. Drivers keep the memory,
    /// but who frees it in this order takes it for unused.
    #[cfg(target_os = "linux")]
    MappedAtFree,
    /// VUID-VkBindImageMemoryInfo-image-07460: an image is bound to memory once.
    #[cfg(target_os = "linux")]
    BoundTwice,
    /// "Any outstanding signals or waits must have completed."
    PendingAtDestroy,
    /// A binary semaphore's signal must have been submitted before its wait, one for each.
    WaitBeforeSignal,
    /// A binary semaphore signaled that nobody waited for yet.
    SignalOverSignal,
    /// A timeline's values must rise.
    ValueNotRising,
    /// Signals completed in another order than that of their values.
    ValueFell,
    SizeDiffers,
    DedicatedDiffers,
    /// An image mapped as another one than was exported.
    ImageDiffers,
    /// An image whose texels the drivers place differently, which CUDA's maps without a word
    /// (measured).
    MipLayout,
    /// A texture or surface object was left when its array was destroyed.
    ObjectsAtDestroy,
    /// A texture in a way that cuda.h forbids.
    TextureForbidden,
    /// A descriptor of something else than it was imported as.
    WrongObject,
    /// Memory of another GPU than the importing context's.
    WrongDevice,
    NoContext,
    WrongContext,
    /// Memory used by a device that was given no access to it.
    NoAccess,
    /// The context went while something lived in it.
    OutlivesContext,
    /// A mapping is freed with cuMemFree, never with its stream-ordered sister.
    AsyncFreeOfMapping,
    /// A capture that was begun and not ended.
    CaptureLeft,
    /// Work on memory that is not there.
    OutOfBounds,
    /// A function that a stream calls on the host must call nothing of CUDA's.
    CallInHostFunction,
    /// The host waits for what does not come.
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
            Self::CallInHostFunction => "call-in-host-function",
            Self::Hang => "hang",
        })
    }
}

/// Why a call is refused: its code, and the finding if it broke a rule.
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
