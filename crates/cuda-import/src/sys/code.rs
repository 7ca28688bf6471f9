//! The driver's result codes as numbers, so that unknown codes are preserved.

use std::fmt;

use super::error_name;

/// A `CUresult`, as the driver returned it.
///
/// Displays as `CUDA_ERROR_INVALID_VALUE (1)`, or as `unknown code 4711`.
#[doc(alias = "CUresult")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DriverCode(pub u32);

impl DriverCode {
    /// Returns the driver's name of the code. The codes that this crate explains have a name even
    /// if no driver is loaded.
    pub fn name(self) -> Option<&'static str> {
        let listed = EXPLAINED.iter().find(|entry| entry.code == self.0);
        listed.map(|entry| entry.name).or_else(|| error_name(self.0))
    }

    /// Returns `true` if the context is lost: every later call in it fails with the same error,
    /// until the process ends or, if the context is not the primary one, the context is destroyed.
    ///
    /// These are the codes for which cuda.h says "leaves the process in an inconsistent state" or
    /// "the context cannot be used anymore", and those of uncorrectable hardware errors.
    pub fn is_context_lost(self) -> bool {
        matches!(self.0, 4 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721 | 810 | 911)
    }

    /// Returns advice about this code as a result of `call`, if any.
    pub(crate) fn advice(self, call: &str) -> Option<&'static str> {
        let of_call = CALL_ADVICE.iter().find(|(name, codes, _)| *name == call && codes.contains(&self.0));
        let of_code = EXPLAINED.iter().find(|entry| entry.code == self.0).and_then(|entry| entry.advice);
        of_call.map(|(_, _, advice)| *advice).or(of_code)
    }
}

impl fmt::Display for DriverCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "unknown code {}", self.0),
        }
    }
}

struct Explained {
    code: u32,
    name: &'static str,
    advice: Option<&'static str>,
}

const fn explained(code: u32, name: &'static str, advice: &'static str) -> Explained {
    Explained { code, name, advice: Some(advice) }
}

const LOST: &str = "the CUDA context is lost: an earlier kernel or copy failed (compute-sanitizer finds which); \
    release everything and start the process again";

const FORKED: &str = "this process was probably forked after CUDA was initialized, which the driver does not support: \
    start the process with `exec` (`spawn` or `forkserver` in Python), or fork before the first use of CUDA";

const CAPTURE: &str = "a stream that is being captured cannot be synchronized or queried, and its thread cannot make \
    blocking calls to allocate or free memory: do that before the capture";

const ISOLATION: &str = "captured work may not wait for work outside the capture. cudarc tracks the use of a \
    CudaSlice with events, which adds such waits: call CudaContext::disable_event_tracking before the slices are \
    made";

const EXPLAINED: &[Explained] = &[
    Explained { code: 1, name: "CUDA_ERROR_INVALID_VALUE", advice: None },
    explained(
        2,
        "CUDA_ERROR_OUT_OF_MEMORY",
        "the GPU has too little free memory, or the handle comes from another GPU",
    ),
    explained(3, "CUDA_ERROR_NOT_INITIALIZED", FORKED),
    explained(
        34,
        "CUDA_ERROR_STUB_LIBRARY",
        "the libcuda found is the toolkit's link-time stub: take its `stubs` folder \
        out of the library path and install the NVIDIA driver",
    ),
    explained(
        46,
        "CUDA_ERROR_DEVICE_UNAVAILABLE",
        "another process holds the GPU in exclusive mode: `nvidia-smi -c 0` allows sharing",
    ),
    explained(
        100,
        "CUDA_ERROR_NO_DEVICE",
        "the driver is installed but sees no GPU: check `nvidia-smi`, CUDA_VISIBLE_DEVICES, \
        and in a container that it was started with its GPUs (`--gpus all`)",
    ),
    explained(101, "CUDA_ERROR_INVALID_DEVICE", "check CUDA_VISIBLE_DEVICES"),
    explained(102, "CUDA_ERROR_DEVICE_NOT_LICENSED", "the virtual GPU has no license yet"),
    explained(
        304,
        "CUDA_ERROR_OPERATING_SYSTEM",
        "the device nodes may be missing or closed to this user: look at /dev/nvidia*",
    ),
    Explained { code: 400, name: "CUDA_ERROR_INVALID_HANDLE", advice: None },
    explained(700, "CUDA_ERROR_ILLEGAL_ADDRESS", LOST),
    explained(
        702,
        "CUDA_ERROR_LAUNCH_TIMEOUT",
        "a kernel ran longer than the display's watchdog allows; the CUDA context is lost",
    ),
    explained(710, "CUDA_ERROR_ASSERT", LOST),
    explained(714, "CUDA_ERROR_HARDWARE_STACK_ERROR", LOST),
    explained(715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", LOST),
    explained(716, "CUDA_ERROR_MISALIGNED_ADDRESS", LOST),
    explained(717, "CUDA_ERROR_INVALID_ADDRESS_SPACE", LOST),
    explained(718, "CUDA_ERROR_INVALID_PC", LOST),
    explained(719, "CUDA_ERROR_LAUNCH_FAILED", LOST),
    Explained { code: 801, name: "CUDA_ERROR_NOT_SUPPORTED", advice: None },
    explained(
        802,
        "CUDA_ERROR_SYSTEM_NOT_READY",
        "on NVSwitch machines the fabric manager must run: `systemctl status nvidia-fabricmanager`",
    ),
    explained(
        803,
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "libcuda and the kernel module are of different driver versions: reboot \
        after a driver update; in a container use the host's libcuda",
    ),
    explained(
        804,
        "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        "the libcuda found is a forward-compatibility package that this GPU \
        does not support: take the `compat` folder out of the library path",
    ),
    explained(805, "CUDA_ERROR_MPS_CONNECTION_FAILED", "CUDA MPS is configured but its server does not answer"),
    explained(900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", CAPTURE),
    explained(901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", CAPTURE),
    explained(
        904,
        "CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
        "work was captured on another stream, and the lent stream does not wait for its end",
    ),
    explained(905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", ISOLATION),
    Explained { code: 911, name: "CUDA_ERROR_EXTERNAL_DEVICE", advice: Some(LOST) },
    explained(
        999,
        "CUDA_ERROR_UNKNOWN",
        "often the nvidia_uvm kernel module is not loaded, or the machine was suspended: \
        `modprobe nvidia_uvm`, then try again",
    ),
];

/// Advice for codes that have a specific meaning in one call.
const CALL_ADVICE: &[(&str, &[u32], &str)] = &[
    (
        "cuImportExternalMemory",
        &[1, 304, 400, 999],
        "the handle must be newly exported from memory of this GPU, and the size must be that of the allocation",
    ),
    (
        "cuImportExternalMemory",
        &[801],
        "this driver cannot import memory of this kind; WSL 2 and vGPU drivers often cannot",
    ),
    (
        "cuImportExternalSemaphore",
        &[1, 304, 400, 999],
        "the handle must be newly exported from a semaphore of the same kind (binary or timeline) of this GPU",
    ),
    (
        "cuImportExternalSemaphore",
        &[801],
        "this driver cannot import semaphores of this kind; WSL 2 and vGPU drivers often cannot",
    ),
    ("cuExternalMemoryGetMappedBuffer", &[1], "offset + size must lie inside the imported memory"),
    (
        "cuExternalMemoryGetMappedMipmappedArray",
        &[1],
        "the exporting API's image must have the same kind, extent, format, layers and mip levels, and CUDA must \
         support images of this format",
    ),
    ("cuTexObjectCreate", &[1], "the device does not sample images of this format in this way"),
    (
        "cuWaitExternalSemaphoresAsync",
        &[400],
        "streams of a green context cannot use external semaphores: use a plain stream",
    ),
    (
        "cuSignalExternalSemaphoresAsync",
        &[400],
        "streams of a green context cannot use external semaphores: use a plain stream",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_name_and_number() {
        assert_eq!(DriverCode(1).to_string(), "CUDA_ERROR_INVALID_VALUE (1)");
        assert_eq!(DriverCode(4_000_000_000).to_string(), "unknown code 4000000000");
    }

    #[test]
    fn lost_contexts_are_distinguished_from_other_errors() {
        for lost in [700, 702, 710, 714, 716, 719, 911] {
            assert!(DriverCode(lost).is_context_lost(), "{lost}");
        }
        for plain in [0, 1, 2, 100, 400, 600, 701, 713, 720, 801, 999] {
            assert!(!DriverCode(plain).is_context_lost(), "{plain}");
        }
    }

    #[test]
    fn advice_for_a_call_precedes_advice_for_a_code() {
        let import = DriverCode(999).advice("cuImportExternalMemory").unwrap();
        assert!(import.contains("newly exported"), "{import}");
        let init = DriverCode(999).advice("cuInit").unwrap();
        assert!(init.contains("nvidia_uvm"), "{init}");
        assert_eq!(DriverCode(1).advice("cuInit"), None);
    }
}
