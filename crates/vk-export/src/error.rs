//! Errors of the Vulkan side, worded so that the reader can act.

use ash::vk;

use crate::device::requirements::{Requirement, in_words};
use crate::kernel::ptx::refusal::PtxRefusal;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the Vulkan side.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no Vulkan loader on this machine.
    #[error(
        "no Vulkan loader: {detail}; install it (Debian, Ubuntu: `apt install libvulkan1`, Fedora: \
         `dnf install vulkan-loader`)"
    )]
    #[non_exhaustive]
    NoLoader {
        /// Message of the system's dynamic linker.
        detail: String,
    },

    /// The loader works, but no device matches the request.
    #[error("no Vulkan device is suitable: requested {asked}; found: {found}{}", software(found))]
    #[non_exhaustive]
    NoDevice {
        /// The selector, in words.
        asked: String,
        /// Each device that was seen and what speaks against it, or "none".
        found: String,
    },

    /// The device or its set-up lacks something; all of it is listed at once.
    #[error("{device} lacks what {purpose} needs: {}", in_words(missing).join("; "))]
    #[non_exhaustive]
    Missing {
        /// The device's name.
        device: String,
        /// Purpose that the missing items are needed for.
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
        /// The driver's code; one that is newer than the bindings stays a number.
        result: vk::Result,
        /// The object that the call was about.
        object: String,
        /// The device's name.
        device: String,
    },

    /// The driver reports that this object cannot be exported.
    #[error("{object} cannot be exported as {handle_type} on {device}: {reason}")]
    #[non_exhaustive]
    NotExportable {
        /// The object that was to be exported.
        object: String,
        /// The handle type, in words.
        handle_type: &'static str,
        /// The device's name.
        device: String,
        /// Message of the driver, and what to do.
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

    /// An invalid argument.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that was to be made or used.
        object: String,
        /// Description of the problem.
        reason: String,
    },

    /// The driver does not support this image.
    #[error("{object}: {device} does not support such an image of {format:?}: {reason}")]
    #[non_exhaustive]
    UnsupportedImage {
        /// The image that was to be made.
        object: String,
        /// Its format.
        format: vk::Format,
        /// The device's name.
        device: String,
        /// Requested value, and what would do instead.
        reason: String,
    },

    /// More bytes than the device allows in one object.
    #[error("{object}: {size} bytes requested, but {device} allows at most {limit} ({limit_name}); split it")]
    #[non_exhaustive]
    TooLarge {
        /// The object that was to be made.
        object: String,
        /// Bytes asked for.
        size: u64,
        /// Bytes that are possible.
        limit: u64,
        /// The name of the limit in the Vulkan specification.
        limit_name: &'static str,
        /// The device's name.
        device: String,
    },

    /// The driver has no room for an allocation.
    #[error(
        "vkAllocateMemory failed: {result:?} ({}) [{object}, {device}]: {size} bytes requested from memory heap {heap}, which has \
         {heap_size}{}{}; ask for less, or use fewer slots",
        .result.as_raw(), of_which_free(*.free), promise(*.size, *.promised)
    )]
    #[non_exhaustive]
    OutOfMemory {
        /// The object that was to be made.
        object: String,
        /// Bytes asked for.
        size: u64,
        /// The index of the heap.
        heap: u32,
        /// Bytes of the heap.
        heap_size: u64,
        /// Bytes of it that the process may still take, as the driver estimates; `None` without
        /// `VK_EXT_memory_budget`.
        free: Option<u64>,
        /// The largest allocation that the driver promises to try (`maxMemoryAllocationSize`).
        promised: u64,
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
        /// The value waited for.
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
        /// The system's code, where it gave one.
        code: Option<i32>,
        /// Message, with the code.
        detail: String,
        /// The object that the call was about.
        object: String,
    },

    /// Text that is not valid PTX.
    #[error("PTX{}: {reason}", if *.line == 0 { String::new() } else { format!(", line {line}") })]
    #[non_exhaustive]
    Ptx {
        /// The line in the text, from 1; 0 where it is about the whole.
        line: u32,
        /// Description of the problem.
        reason: String,
    },

    /// A module has no kernel of a name.
    #[error("{module} has no kernel \"{kernel}\"; it has {}", or_none(entries))]
    #[non_exhaustive]
    NoKernel {
        /// The module.
        module: String,
        /// The name asked for.
        kernel: String,
        /// The kernels that there are.
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
        /// Problem, and where it is.
        refusal: PtxRefusal,
    },

    /// A launch that the driver would accept, but that would hang, lose the device or be silently
    /// skipped.
    #[error("launch of {kernel}: {reason}")]
    #[non_exhaustive]
    Launch {
        /// The kernel and its module.
        kernel: String,
        /// Description of the problem, and what to do.
        reason: String,
    },

    /// Commands did not finish within the limit of a host wait.
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
    /// Returns `true` if the Vulkan device is lost: nothing on it will work again, and its waits
    /// may never end.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, Self::Vulkan { result: vk::Result::ERROR_DEVICE_LOST, .. })
    }

    /// Returns `true` if commands that [`ExportDevice::run_once`](crate::ExportDevice::run_once)
    /// submitted may still be running, because waiting for them failed or timed out. With any other
    /// error, nothing was submitted, or the device is lost and nothing runs on it.
    pub fn may_still_run(&self) -> bool {
        match self {
            Self::Unfinished { .. } => true,
            Self::Vulkan { call: "vkWaitForFences", .. } => !self.is_device_lost(),
            _ => false,
        }
    }

    /// An [`InvalidArgument`](Self::InvalidArgument).
    pub(crate) fn invalid(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { object: object.into(), reason: reason.into() }
    }

    /// For `map_err`: a failed call of the operating system about `object`.
    #[cfg(windows)]
    pub(crate) fn system(call: &'static str, object: &str) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let object = object.to_owned();
        move |error| Self::System { call, code: error.raw_os_error(), detail: error.to_string(), object }
    }
}

fn of_which_free(free: Option<u64>) -> String {
    free.map_or(String::new(), |free| format!(", {free} of them free"))
}

fn promise(size: u64, promised: u64) -> String {
    if size <= promised {
        return String::new();
    }
    format!("; this exceeds maxMemoryAllocationSize ({promised} bytes), which the driver may still allow")
}

fn software(found: &str) -> &'static str {
    match found {
        "none" => {
            "; a machine without a GPU can use a software driver (Debian, Ubuntu: `apt install mesa-vulkan-drivers`)"
        }
        _ => "",
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn advice(call: &str, result: vk::Result) -> &'static str {
    match (call, result) {
        (_, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY) => "; the GPU is full: ask for less, or use fewer slots",
        (_, vk::Result::ERROR_TOO_MANY_OBJECTS) => {
            "; the process holds too many allocations or descriptors: share fewer, larger buffers or raise `ulimit -n`"
        }
        (_, vk::Result::ERROR_DEVICE_LOST) => {
            "; the GPU reset: an earlier submission faulted or ran too long, recreate the device"
        }
        (_, vk::Result::ERROR_INCOMPATIBLE_DRIVER) => {
            "; the loader found no driver that it can load: install one (Debian, Ubuntu: `apt install mesa-vulkan-drivers`, or NVIDIA's \
             driver; in a container, start it with the GPU's graphics capability); `VK_LOADER_DEBUG=all` shows why"
        }
        ("vkCreateInstance" | "vkEnumeratePhysicalDevices", vk::Result::ERROR_INITIALIZATION_FAILED) => {
            "; a driver failed to initialize (in a container it may lack libXext6 or the GPU's device files); `VK_LOADER_DEBUG=all` \
             shows which"
        }
        ("vkCreateDevice", vk::Result::ERROR_INITIALIZATION_FAILED) => {
            "; the driver lists the GPU but cannot use it: another process may hold it exclusively, or it needs a reset; see \
             the kernel's log (`dmesg`)"
        }
        ("vkCreateCuModuleNVX", vk::Result::ERROR_INITIALIZATION_FAILED) => {
            "; the driver refuses the PTX, and the extension gives no log of its compiler: its .version may be newer than the driver, \
             its .target newer than the GPU, or the text is broken: `ptxas` or a load on a CUDA stream says what"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
