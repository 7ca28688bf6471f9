//! Errors, with advice on how to resolve them.

mod call;
pub(crate) mod image;
mod object;
mod present;

use std::time::Duration;

use uuid::Uuid;

use crate::error::image::ImageProblem;
use crate::sys::{DriverCode, DriverVersion};

use object::place;
use present::{list, uuid_advice};

pub(crate) use object::Object;
pub use present::PresentDevice;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of this crate. `object` is the object concerned, such as `memory "particles"`; `device`
/// is a device's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No CUDA driver was found on this machine.
    #[error("no CUDA driver: {detail}")]
    #[non_exhaustive]
    NoDriver {
        /// The library that was not found, and what to do.
        detail: String,
    },

    /// The driver lacks functions that this crate needs.
    #[error(
        "the CUDA driver is too old{}: it lacks {}; install driver 525 or newer",
        version.map(|version| format!(" ({version})")).unwrap_or_default(),
        missing.join(", ")
    )]
    #[non_exhaustive]
    DriverTooOld {
        /// All missing functions.
        missing: Vec<&'static str>,
        /// The CUDA version that the driver supports, if known.
        version: Option<DriverVersion>,
    },

    /// A driver call failed. A `call` that does not begin with `cu` was made by cudarc: an earlier
    /// call, whose error cudarc recorded, or one by the program, whose error was converted with
    /// `From`.
    #[error("{call} failed: {code}{}{}", place(object, device), advice(*code, call))]
    #[non_exhaustive]
    Driver {
        /// The driver's name of the call.
        call: &'static str,
        /// The returned code.
        code: DriverCode,
        /// The object of the call; may be empty.
        object: String,
        /// The device's name; may be empty.
        device: String,
    },

    /// A module is not PTX text. It was not passed to the driver.
    #[error("module {module:?} is not PTX text: {problem}; compile it to PTX (`nvcc -ptx`)")]
    #[non_exhaustive]
    InvalidPtx {
        /// The module's name.
        module: String,
        /// The value or condition that was found instead.
        problem: &'static str,
    },

    /// The driver's compiler rejected a module.
    #[error("module {module:?} cannot be compiled for {device}: {code}; the driver's compiler says: {log}")]
    #[non_exhaustive]
    Compile {
        /// The module's name.
        module: String,
        /// The code that `cuModuleLoadDataEx` returned.
        code: DriverCode,
        /// The device.
        device: String,
        /// The compiler's output, one line per error, each with its line in the PTX.
        log: String,
    },

    /// The process has no free file descriptor for the import. The handle was closed.
    #[error("no file descriptor is left to import {object} with ({source}); raise the limit (`ulimit -n`)")]
    #[non_exhaustive]
    NoDescriptor {
        /// The object that should be imported.
        object: String,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// The handle was rejected before a driver call. It was closed, unless it is not open in this
    /// process.
    #[error("{object} cannot be imported from this handle: {reason}")]
    #[non_exhaustive]
    InvalidHandle {
        /// The object that should be imported.
        object: String,
        /// A description of the problem, and what to do.
        reason: String,
    },

    /// No CUDA device has this UUID.
    #[error("no CUDA device has the UUID {uuid}; present: {}. {}", list(present), uuid_advice(uuid))]
    #[non_exhaustive]
    NoSuchDevice {
        /// The requested UUID.
        uuid: Uuid,
        /// The available devices.
        present: Vec<PresentDevice>,
    },

    /// The device cannot import timeline semaphores.
    #[error(
        "{object} is a timeline semaphore, and {device} cannot import those (driver for {driver}; 460 or newer is required)"
    )]
    #[non_exhaustive]
    TimelineUnsupported {
        /// The semaphore.
        object: String,
        /// The device.
        device: String,
        /// The CUDA version that the driver supports.
        driver: DriverVersion,
    },

    /// A stream and an object, or two objects, belong to different CUDA contexts.
    #[error(
        "{object} belongs to the CUDA context of {device}, the stream to another one; create the stream with \
         CudaDevice::new_stream"
    )]
    #[non_exhaustive]
    ContextMismatch {
        /// The object.
        object: String,
        /// The object's device.
        device: String,
    },

    /// The per-thread default stream is a different stream on each thread, so work on it cannot be
    /// ordered.
    #[error("{object} cannot be used on the per-thread default stream; make a stream with CudaDevice::new_stream")]
    #[non_exhaustive]
    PerThreadStream {
        /// The object.
        object: String,
    },

    /// The stream is being captured into a graph, so work that is enqueued on it does not run now.
    #[error(
        "{object} on {device}: the stream is being captured into a graph; end the capture first (`CudaStream::end_capture`)"
    )]
    #[non_exhaustive]
    StreamCaptured {
        /// The object that the stream should be used for.
        object: String,
        /// The device.
        device: String,
    },

    /// The object was used on streams other than its home stream too often without an exclusive
    /// borrow, see [`DeviceView`](crate::DeviceView#uses-on-other-streams).
    #[error(
        "{object} on {device} was used {limit} times on other streams without an exclusive borrow; borrow it with \
         `view_mut` in between, use a resource of an exchange in the next turn, or use it on its home stream"
    )]
    #[non_exhaustive]
    TooManyUses {
        /// The object.
        object: String,
        /// Its device.
        device: String,
        /// The maximum number of uses.
        limit: usize,
    },

    /// A length or size of zero.
    #[error("{object} has zero {what}; it must be at least one")]
    #[non_exhaustive]
    Zero {
        /// The object.
        object: String,
        /// `length`, `allocation size` or `element size`.
        what: &'static str,
    },

    /// The size in bytes does not fit into 64 bits.
    #[error("{len} elements of {element_size} bytes in {object}: the size overflows")]
    #[non_exhaustive]
    SizeOverflow {
        /// The object.
        object: String,
        /// The requested number of elements.
        len: usize,
        /// The size of an element in bytes.
        element_size: usize,
    },

    /// A range does not lie inside the imported memory.
    #[error("bytes {offset}..{} do not lie inside {object}, which has {allocation_size} bytes", u128::from(*offset) + u128::from(*size))]
    #[non_exhaustive]
    OutOfRange {
        /// The memory.
        object: String,
        /// The first requested byte.
        offset: u64,
        /// The requested size in bytes.
        size: u64,
        /// The size of the memory in bytes.
        allocation_size: u64,
    },

    /// An offset is not aligned for the element type.
    #[error("offset {offset} in {object} is not a multiple of {align}, the alignment of {element}")]
    #[non_exhaustive]
    Misaligned {
        /// The memory.
        object: String,
        /// The offset in bytes.
        offset: u64,
        /// The required alignment in bytes.
        align: u64,
        /// The element type.
        element: &'static str,
    },

    /// Memory for several GPUs is mapped in whole pages, but its size is not a multiple of the page
    /// size.
    #[error(
        "{object} has {size} bytes, which is not a multiple of {granularity}; round its size up to map it for other \
         GPUs"
    )]
    #[non_exhaustive]
    Granularity {
        /// The memory.
        object: String,
        /// The size of the allocation in bytes.
        size: u64,
        /// The size of a page in bytes.
        granularity: u64,
    },

    /// A device cannot get access to the memory of another GPU.
    #[error("{object} cannot be mapped for {device}: {reason}")]
    #[non_exhaustive]
    PeerUnsupported {
        /// The memory.
        object: String,
        /// The device.
        device: String,
        /// The reason.
        reason: String,
    },

    /// Part of the range is already mapped. Two mappings of the same bytes need not be coherent
    /// with each other.
    #[error("bytes {offset}..{end} of {object} overlap a mapping of {}..{}; map once and take slices, or close that one first", mapped.start, mapped.end)]
    #[non_exhaustive]
    Overlap {
        /// The memory.
        object: String,
        /// The first requested byte.
        offset: u64,
        /// One past the last requested byte.
        end: u64,
        /// The existing mapping, in bytes.
        mapped: std::ops::Range<u64>,
    },

    /// An image that is described or used in an unsupported way.
    #[error("{object} on {device}: {problem}")]
    #[non_exhaustive]
    Image {
        /// The image.
        object: String,
        /// The device.
        device: String,
        /// The problem, and what to change.
        problem: ImageProblem,
    },

    /// The captured work cannot be launched repeatedly.
    #[error("{object} on {device} cannot be captured: {problem}")]
    #[non_exhaustive]
    Graph {
        /// The graph.
        object: String,
        /// The device.
        device: String,
        /// The reason, and what to change.
        problem: &'static str,
    },

    /// Work that uses the object did not complete in time, so the object is leaked deliberately.
    #[error("{object} on {device} is still in use after {waited:?} and is leaked: its stream is blocked")]
    #[non_exhaustive]
    StillInUse {
        /// The object.
        object: String,
        /// Its device.
        device: String,
        /// Duration of the wait.
        waited: Duration,
    },

    /// The driver call that frees the object has not returned: it blocks while any stream of the
    /// context is blocked. The object counts as leaked; the driver frees it later, when the call
    /// completes.
    #[error(
        "{object} on {device} could not be freed within {waited:?}: a stream of the context is blocked, and the driver \
         frees nothing until it resumes; the object counts as leaked"
    )]
    #[non_exhaustive]
    FreeBlocked {
        /// The object.
        object: String,
        /// Its device.
        device: String,
        /// Duration of the wait for the driver.
        waited: Duration,
    },
}

fn advice(code: DriverCode, call: &str) -> String {
    code.advice(call).map(|advice| format!(": {advice}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
