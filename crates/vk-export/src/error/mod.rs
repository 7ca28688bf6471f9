//! Errors of the Vulkan side, with advice on how to resolve them.

use ash::vk;

use requirement::to_texts;
use texts::{advice, describe_free, describe_max_allocation_size, or_none, software};

pub(crate) mod requirement;

mod ptx_refusal;
mod texts;

pub use ptx_refusal::PtxRefusal;
pub use requirement::Requirement;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the Vulkan side.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No Vulkan loader was found on this machine.
    #[error(
        "no Vulkan loader: {detail}; install it (Debian, Ubuntu: `apt install libvulkan1`, Fedora: \
         `dnf install vulkan-loader`)"
    )]
    #[non_exhaustive]
    NoLoader {
        /// The message of the system's dynamic linker.
        detail: String,
    },

    /// The loader works, but no device matches the request.
    #[error("no Vulkan device is suitable: requested {requested}; found: {available}{}", software(available))]
    #[non_exhaustive]
    NoDevice {
        /// The selector as text.
        requested: String,
        /// Each device that was found with the reasons against it, or "none".
        available: String,
    },

    /// The device or its setup lacks requirements; all of them are listed.
    #[error("{device} lacks what {purpose} needs: {}", to_texts(missing).join("; "))]
    #[non_exhaustive]
    Missing {
        /// The device's name.
        device: String,
        /// The purpose that the missing items are needed for.
        purpose: &'static str,
        /// Everything that is missing.
        missing: Vec<Requirement>,
    },

    /// A Vulkan call failed.
    #[error("{call} failed: {result:?} ({}) [{object}, {device}]{}", .result.as_raw(), advice(call, *.result))]
    #[non_exhaustive]
    Vulkan {
        /// The name of the call.
        call: &'static str,
        /// The driver's code; a code that is newer than the bindings remains a number.
        result: vk::Result,
        /// The object of the call.
        object: String,
        /// The device's name.
        device: String,
    },

    /// The driver reports that this object cannot be exported.
    #[error("{object} cannot be exported as {handle_type} on {device}: {reason}")]
    #[non_exhaustive]
    NotExportable {
        /// The object that should be exported.
        object: String,
        /// The handle type as text.
        handle_type: &'static str,
        /// The device's name.
        device: String,
        /// The driver's reason, and what to do.
        reason: String,
    },

    /// The calling thread already holds the queue's lock, inside
    /// [`Queue::with`](crate::Queue::with) of this queue or of another one with the same
    /// [`QueueLock`](crate::QueueLock), and would deadlock.
    #[error("{queue} is already locked by this thread; submit outside of `Queue::with`")]
    #[non_exhaustive]
    QueueHeld {
        /// The queue.
        queue: String,
    },

    /// The queue belongs to a device that was adopted with
    /// [`only_engine_submits`](crate::AdoptInfo::only_engine_submits). Nothing was submitted.
    #[error(
        "{queue}: only the engine of {device} submits to it (`AdoptInfo::only_engine_submits`); let the engine submit the \
         commands, with what `Exchange::record_initial`, `RenderTurn::lend` and `Exchange::flush_parts` return, or use \
         an adapter of the engine, such as `bridge_wgpu::Exchange`"
    )]
    #[non_exhaustive]
    OnlyEngineSubmits {
        /// The queue.
        queue: String,
        /// The device's name.
        device: String,
    },

    /// An invalid argument.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that should be created or used.
        object: String,
        /// A description of the problem.
        reason: String,
    },

    /// The driver does not support this image.
    #[error("{object}: {device} does not support such an image of {format:?}: {reason}")]
    #[non_exhaustive]
    UnsupportedImage {
        /// The image that should be created.
        object: String,
        /// The image's format.
        format: vk::Format,
        /// The device's name.
        device: String,
        /// The requested values, and which change would help.
        reason: String,
    },

    /// The size exceeds the device's limit for one object.
    #[error("{object}: {size} bytes requested, but {device} allows at most {limit} ({limit_name}); split it")]
    #[non_exhaustive]
    TooLarge {
        /// The object that should be created.
        object: String,
        /// The requested size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
        /// The name of the limit in the Vulkan specification.
        limit_name: &'static str,
        /// The device's name.
        device: String,
    },

    /// The driver is out of memory for an allocation.
    #[error(
        "vkAllocateMemory failed: {result:?} ({}) [{object}, {device}]: {size} bytes requested from memory heap {heap}, which has \
         {heap_size}{}{}; ask for less, or use fewer slots",
        .result.as_raw(), describe_free(*.free), describe_max_allocation_size(*.size, *.max_allocation_size)
    )]
    #[non_exhaustive]
    OutOfMemory {
        /// The object that should be created.
        object: String,
        /// The requested size in bytes.
        size: u64,
        /// The index of the heap.
        heap: u32,
        /// The size of the heap in bytes.
        heap_size: u64,
        /// The bytes of the heap that the process may still allocate, as estimated by the driver;
        /// `None` without `VK_EXT_memory_budget`.
        free: Option<u64>,
        /// The largest allocation that the driver guarantees not to reject by size
        /// (`maxMemoryAllocationSize`).
        max_allocation_size: u64,
        /// The driver's code.
        result: vk::Result,
        /// The device's name.
        device: String,
    },

    /// A host wait timed out.
    #[error("waited {waited:?} for {object} to reach {value}, last value seen {last_seen} [{device}]")]
    #[non_exhaustive]
    Timeout {
        /// The semaphore.
        object: String,
        /// The awaited value.
        value: u64,
        /// The value at the end of the wait.
        last_seen: u64,
        /// Duration of the wait.
        waited: std::time::Duration,
        /// The device's name.
        device: String,
    },

    /// A call of the operating system failed.
    #[error("{call} failed: {detail} [{object}]")]
    #[non_exhaustive]
    System {
        /// The name of the call.
        call: &'static str,
        /// The system's error code, if any.
        code: Option<i32>,
        /// The system's message, with the code.
        detail: String,
        /// The object of the call.
        object: String,
    },

    /// Text that is not valid PTX.
    #[error("PTX{}: {reason}", if *.line == 0 { String::new() } else { format!(", line {line}") })]
    #[non_exhaustive]
    Ptx {
        /// The line number, starting at 1; 0 if the problem concerns the whole text.
        line: u32,
        /// A description of the problem.
        reason: String,
    },

    /// A module has no kernel with the requested name.
    #[error("{module} has no kernel \"{kernel}\"; it has {}", or_none(entries))]
    #[non_exhaustive]
    NoKernel {
        /// The module.
        module: String,
        /// The requested name.
        kernel: String,
        /// The names of the module's kernels.
        entries: Vec<String>,
    },

    /// A kernel that would hang a Vulkan queue without the device being reported as lost.
    #[error(
        "{kernel} has {refusal}, which hangs or fails in a Vulkan queue; remove it, or launch the kernel on a CUDA stream"
    )]
    #[non_exhaustive]
    RefusedKernel {
        /// The kernel and its module.
        kernel: String,
        /// The problem, and its location.
        refusal: PtxRefusal,
    },

    /// A launch that the driver would accept, but that would hang, lose the device or be silently
    /// skipped.
    #[error("launch of {kernel}: {reason}")]
    #[non_exhaustive]
    Launch {
        /// The kernel and its module.
        kernel: String,
        /// A description of the problem, and what to do.
        reason: String,
    },

    /// Commands did not complete within the limit of a host wait.
    #[error(
        "{object} did not finish within {waited:?}; what they use must stay alive: the device keeps it forever [{device}]"
    )]
    #[non_exhaustive]
    Unfinished {
        /// The commands.
        object: String,
        /// Duration of the wait.
        waited: std::time::Duration,
        /// The device's name.
        device: String,
    },
}

impl Error {
    /// Returns `true` if the Vulkan device is lost: no call on it will succeed again, and waits on
    /// it may never end.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, Self::Vulkan { result: vk::Result::ERROR_DEVICE_LOST, .. })
    }

    /// Returns `true` if the driver is out of host or device memory, for an allocation or in any
    /// other call.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } => true,
            Self::Vulkan { result, .. } => {
                matches!(*result, vk::Result::ERROR_OUT_OF_HOST_MEMORY | vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)
            }
            _ => false,
        }
    }

    /// Returns `true` if commands that [`BlockingCommands`](crate::BlockingCommands) or
    /// [`ExportDevice::run_once`](crate::ExportDevice::run_once) submitted may still be running,
    /// because waiting for them failed or timed out. For any other error, nothing was submitted, or
    /// the device is lost and nothing runs on it.
    pub fn may_still_run(&self) -> bool {
        match self {
            Self::Unfinished { .. } => true,
            Self::Vulkan { call: "vkWaitForFences", .. } => !self.is_device_lost(),
            _ => false,
        }
    }

    /// Returns an [`InvalidArgument`](Self::InvalidArgument).
    pub(crate) fn invalid(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { object: object.into(), reason: reason.into() }
    }

    /// Returns a closure for `map_err` that describes a failed operating-system call on `object`.
    #[cfg(windows)]
    pub(crate) fn system(call: &'static str, object: &str) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let object = object.to_owned();
        move |error| Self::System { call, code: error.raw_os_error(), detail: error.to_string(), object }
    }
}

#[cfg(test)]
mod tests;
