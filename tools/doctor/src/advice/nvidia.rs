//! Advice about NVIDIA GPUs that Vulkan or CUDA cannot use.

use super::{Advice, advice, cuda_works, limits, sandbox};
use crate::cuda::{Cuda, CudaProblemKind};
use crate::system::{System, major};
use crate::trial::Trial;
use crate::vulkan::{Vulkan, VulkanDevice};

/// The oldest driver version that the kernels run on: their PTX has version 8.0.
const OLDEST_DRIVER: u32 = 525;
/// The CUDA version of that driver.
const OLDEST_CUDA: u32 = 12;

/// The driver's error code in a forked child of a process that had initialized CUDA.
const NOT_INITIALIZED: u32 = 3;

const TOOLKIT: &str = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit";

/// Returns advice about an NVIDIA GPU that Vulkan does not list through NVIDIA's own driver.
pub(super) fn unlisted_gpu(system: &System, vulkan: &Vulkan, cuda: &Cuda) -> Option<Advice> {
    let here = system.has_nvidia() || !cuda.devices.is_empty();
    if !here || vulkan.loader.is_none() || vulkan.devices.iter().any(VulkanDevice::is_nvidias_own) {
        return None;
    }
    if system.windows {
        return advice(
            GPU_NOT_LISTED,
            format!("{INSTALL_ON_WINDOWS}; a remote desktop or a virtual machine may hide the GPU"),
        );
    }
    if is_out_of_reach(system) && cuda.devices.is_empty() {
        return no_module(system);
    }
    let drivers: Vec<_> = vulkan.drivers.iter().filter(|driver| driver.is_nvidia()).collect();
    // If there are several, the best one counts: the loader needs only one that loads.
    let broken = drivers.iter().map(|driver| driver.problem.as_deref()).min().flatten();
    if let (None, Some(advice)) = (limits(system), sandbox::advise(system, GPU_NOT_LISTED)) {
        return Some(advice);
    }
    match (broken, limits(system)) {
        (Some(why), _) => does_not_load(system, why),
        (None, Some(limits)) => {
            advice(format!("{GPU_NOT_LISTED}; its loader is limited by {limits}"), "unset that, and try again")
        }
        (None, None) if drivers.is_empty() => no_manifest(system),
        (None, None) => finds_no_gpu(system, vulkan),
    }
}

/// One package contains everything.
const INSTALL_ON_WINDOWS: &str = "install NVIDIA's driver, 525 or newer, which brings Vulkan and CUDA (nvcuda.dll)";

const GPU_NOT_LISTED: &str = "NVIDIA's GPU is here, but Vulkan does not list it";

/// Returns `true` if no driver can access the GPU: it has no kernel module, or was not passed to
/// the container, whose `/proc` shows the host's module nevertheless.
fn is_out_of_reach(system: &System) -> bool {
    !system.has_device_file("/dev/nvidiactl") && (system.nvidia_module.is_none() || system.container.is_some())
}

/// Returns `true` if the driver's graphics part was already requested for the container.
fn requests_graphics(system: &System) -> bool {
    let asked = system.variable("NVIDIA_DRIVER_CAPABILITIES").unwrap_or_default();
    asked.split(',').any(|word| matches!(word.trim(), "all" | "graphics"))
}

/// Returns `true` if the compute part was requested for the container.
fn requests_compute(system: &System) -> bool {
    let asked = system.variable("NVIDIA_DRIVER_CAPABILITIES").unwrap_or_default();
    asked.split(',').any(|word| matches!(word.trim(), "all" | "compute"))
}

/// The remaining advice if everything was requested for the container.
const REGENERATE: &str = "the variable is right, so what the container is given is not: on the host, check that the \
    driver's Vulkan part is installed (nvidia_icd.json in /usr/share/vulkan/icd.d or /etc/vulkan/icd.d), update \
    NVIDIA's container toolkit, and generate its CDI specification again (`sudo nvidia-ctk cdi generate \
    --output=/etc/cdi/nvidia.yaml`); for a try, mount what is missing with `-v`";

fn no_module(system: &System) -> Option<Advice> {
    if let Some(advice) = sandbox::advise(system, "an NVIDIA GPU is on the bus, but out of reach") {
        return Some(advice);
    }
    if system.container.is_some() {
        return advice(
            "an NVIDIA GPU is on the bus, but the container was started without it: there is no /dev/nvidiactl",
            format!("start it with `--gpus all -e NVIDIA_DRIVER_CAPABILITIES=all` and NVIDIA's toolkit, {TOOLKIT}"),
        );
    }
    advice(
        "an NVIDIA GPU is on the bus, but its kernel module is not loaded",
        format!("install NVIDIA's driver, {OLDEST_DRIVER} or newer; if it is, `sudo modprobe nvidia` says more"),
    )
}

fn no_manifest(system: &System) -> Option<Advice> {
    if system.container.is_some() && requests_graphics(system) {
        return advice(
            format!("{GPU_NOT_LISTED}: the container was asked for graphics, and still has no manifest of the driver"),
            REGENERATE,
        );
    }
    if system.container.is_some() {
        let now = system.variable("NVIDIA_DRIVER_CAPABILITIES");
        let now = now.map_or_else(|| "not set".to_owned(), |value| format!("\"{value}\""));
        return advice(
            format!(
                "{GPU_NOT_LISTED}: the container has no manifest of its driver (NVIDIA_DRIVER_CAPABILITIES is {now})"
            ),
            "start it with `-e NVIDIA_DRIVER_CAPABILITIES=all`: `graphics` brings Vulkan, `compute` CUDA",
        );
    }
    advice(
        format!("{GPU_NOT_LISTED}: there is no manifest of its driver (nvidia_icd.json)"),
        "install the driver's Vulkan part, of exactly the kernel module's version: Debian `nvidia-vulkan-icd`, \
         Ubuntu `libnvidia-gl-NNN`, else NVIDIA's installer without `--no-opengl-files`",
    )
}

fn does_not_load(system: &System, why: &str) -> Option<Advice> {
    let action = if why.contains("libXext") || why.contains("libX11") {
        "install the X11 libraries that it is linked with, also on a machine without a screen: \
         `apt install libxext6`, `dnf install libXext`"
    } else if system.container.is_some() && requests_graphics(system) {
        REGENERATE
    } else if system.container.is_some() {
        "start the container with `-e NVIDIA_DRIVER_CAPABILITIES=all`; what is still missing comes from the image's own \
         packages"
    } else {
        "install the package that holds that library, or the driver again"
    };
    advice(format!("{GPU_NOT_LISTED}: its driver does not load: {why}"), action)
}

/// Returns the meaning of the failed call, if any.
fn failed_call_meaning(vulkan: &Vulkan) -> Option<String> {
    let failed = vulkan.failed_calls.iter().find(|failed| failed.code.contains(NOT_STARTED))?;
    Some(format!("{} says {}: {}", failed.call, failed.code, meaning(failed.call)))
}

/// The error code of a driver that could not continue, for any reason.
pub(super) const NOT_STARTED: &str = "INITIALIZATION_FAILED";

/// Returns the likeliest reason for that code, by the call that returned it.
pub(super) fn meaning(call: &str) -> &'static str {
    match call {
        "vkCreateInstance" => {
            "the driver gave up before it looked for GPUs: a library that it loads by itself, or the screen"
        }
        "vkEnumeratePhysicalDevices" => {
            "the driver started, and reached no GPU: a device file, the screen, or the versions"
        }
        "vkCreateDevice" => {
            "the GPU was found and could not be opened: in use exclusively by another process, out of memory, or faulty"
        }
        _ => "the driver could not continue",
    }
}

fn finds_no_gpu(system: &System, vulkan: &Vulkan) -> Option<Advice> {
    let told = failed_call_meaning(vulkan).map(|told| format!(" ({told})")).unwrap_or_default();
    if !vulkan.missing_helpers.is_empty() {
        let helpers = vulkan.missing_helpers.join(", ");
        return advice(
            format!("{GPU_NOT_LISTED}: its driver loads, but not the libraries that it needs next: {helpers}{told}"),
            match system.container.is_some() {
                true if requests_graphics(system) => REGENERATE,
                true => "start the container with `-e NVIDIA_DRIVER_CAPABILITIES=all`: `graphics` brings them",
                false => "install the driver again: they are of exactly the kernel module's version",
            },
        );
    }
    if let Some(display) = system.variable("DISPLAY").filter(|display| !display.is_empty()) {
        return advice(
            format!(
                "{GPU_NOT_LISTED}: its driver loads, and then finds no GPU{told}; DISPLAY={display} sends it to a screen first"
            ),
            "if no NVIDIA GPU drives that screen (a virtual one, a forwarded one, none at all), `unset DISPLAY`; or point \
             VK_DRIVER_FILES to a manifest whose library is libEGL_nvidia.so.0, which asks for no screen",
        );
    }
    let files = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-modeset"];
    let absent: Vec<_> = files.into_iter().filter(|file| !system.has_device_file(file)).collect();
    let absent = if absent.is_empty() { String::new() } else { format!("; not here: {}", absent.join(", ")) };
    advice(
        format!("{GPU_NOT_LISTED}: its driver loads, and then finds no GPU{told}{absent}"),
        "in a container, give it the same GPUs for graphics and compute (`--gpus all -e \
         NVIDIA_DRIVER_CAPABILITIES=all`); `VK_LOADER_DEBUG=all cargo xtask doctor` shows what the loader sees, \
         `dmesg | grep NVRM` what the kernel says; library and kernel module must be of one version",
    )
}

/// Returns advice about an NVIDIA GPU that CUDA cannot use.
pub(super) fn no_cuda(system: &System, vulkan: &Vulkan, cuda: &Cuda) -> Option<Advice> {
    let problem = cuda.problem.as_ref()?;
    let own = vulkan.devices.iter().any(VulkanDevice::is_nvidias_own);
    if !own && !system.has_nvidia() {
        return advice(
            "no NVIDIA GPU is visible here, and CUDA runs on no other",
            if sandbox::action(system).is_some() {
                "if the machine has one, give the sandbox access to it; else nothing: the CPU backend does CUDA's part"
            } else if system.container.is_some() {
                "if the machine has one, start the container with `--gpus all -e NVIDIA_DRIVER_CAPABILITIES=all`; else \
                 nothing: the CPU backend does CUDA's part"
            } else {
                "nothing: the CPU backend does CUDA's part"
            },
        );
    }
    if !own && !system.windows && is_out_of_reach(system) {
        // With a loader, `silent` has reported it already.
        return if vulkan.loader.is_none() { no_module(system) } else { None };
    }
    if system.windows && problem.kind != CudaProblemKind::DoesNotStart {
        return advice(format!("CUDA does not run: {}", first_sentence(&problem.text)), INSTALL_ON_WINDOWS);
    }
    let visible = system.variable("CUDA_VISIBLE_DEVICES");
    let action = match (problem.kind, system.container.is_some(), visible) {
        (CudaProblemKind::NoDriver, true, _) if sandbox::action(system).is_some() => {
            sandbox::action(system).unwrap_or_default()
        }
        (CudaProblemKind::DoesNotStart, ..) if problem.code == Some(NOT_INITIALIZED) => "this process was forked \
            (fork, Python's multiprocessing) from one that uses CUDA, and CUDA does not work in such a child: start \
            the child as a new process (`spawn` or `forkserver` in Python), or fork before the first use"
            .to_owned(),
        (CudaProblemKind::NoDriver, true, _) if requests_graphics(system) && requests_compute(system) => {
            format!("libcuda.so.1 did not come into the container: {REGENERATE}")
        }
        (CudaProblemKind::DoesNotStart, _, Some(value)) if problem.code == Some(100) => {
            format!("CUDA_VISIBLE_DEVICES is \"{value}\": unset it")
        }
        (CudaProblemKind::NoDriver, true, _) => {
            "start the container with `-e NVIDIA_DRIVER_CAPABILITIES=all`: `compute` brings libcuda.so.1".to_owned()
        }
        (CudaProblemKind::NoDriver, false, _) => {
            "install the driver's CUDA part: Debian `libcuda1`, Ubuntu `libnvidia-compute-NNN`".to_owned()
        }
        (CudaProblemKind::TooOld, ..) => match new_module(system) {
            Some(module) => format!("{module}: {OTHER_LIBCUDA}"),
            None => format!("install NVIDIA's driver {OLDEST_DRIVER} or newer"),
        },
        (CudaProblemKind::DoesNotStart, ..) => "do what the driver's code suggests, above".to_owned(),
    };
    advice(format!("CUDA does not run: {}", first_sentence(&problem.text)), action)
}

/// Returns a note if the kernel module is new enough, so that a library must be too old.
fn new_module(system: &System) -> Option<String> {
    let module = system.nvidia_module.as_deref()?;
    (major(module)? >= OLDEST_DRIVER).then(|| format!("the kernel module's version, {module}, is new enough"))
}

/// Advice about a libcuda that is older than the kernel module.
const OTHER_LIBCUDA: &str = "the library that is found is of another version: take the folder with it out of LD_LIBRARY_PATH \
    (a toolkit's stubs or compatibility package), or install the driver's CUDA part again";

/// Returns advice about a driver that starts, but is too old for the kernels.
pub(super) fn old_driver(system: &System, cuda: &Cuda) -> Option<Advice> {
    let version = cuda.version.as_deref()?;
    if major(version)? >= OLDEST_CUDA {
        return None;
    }
    let module = system.nvidia_module.as_ref().map(|version| format!(", driver {version}")).unwrap_or_default();
    advice(
        format!("the driver is too old: it supports CUDA {version}{module}"),
        match new_module(system) {
            Some(module) => format!("{module}: {OTHER_LIBCUDA}"),
            None => format!("install {OLDEST_DRIVER} or newer: the kernels need that; timelines alone need 460"),
        },
    )
}

pub(super) fn split_gpu(cuda: &Cuda, trials: &[Trial]) -> Option<Advice> {
    if cuda_works(trials) {
        return None;
    }
    cuda.devices.iter().find(|device| device.mig).and_then(|device| {
        advice(
            format!("the GPU is split by MIG ({}), and Vulkan does not share with an instance", device.name),
            "turn MIG off (`sudo nvidia-smi -mig 0`, it ends what runs there), or use a GPU that is whole",
        )
    })
}

/// Returns advice about an NVIDIA device whose driver lacks required features.
pub(super) fn device_gaps(system: &System, vulkan: &Vulkan) -> Option<Advice> {
    let lacks = |device: &&VulkanDevice| {
        device.is_nvidias_own()
            && !(device.missing_requirements.is_empty()
                && device.missing_for_export.is_empty()
                && device.exports_buffers
                && device.exports_timelines)
    };
    let device = vulkan.devices.iter().find(lacks)?;
    let gaps: Vec<_> =
        device.missing_requirements.iter().chain(&device.missing_for_export).map(String::as_str).collect();
    let gaps = if gaps.is_empty() { "buffers or timelines that can be exported".to_owned() } else { gaps.join("; ") };
    advice(
        format!("{} lacks {gaps} (driver {})", device.name, device.driver),
        match new_module(system) {
            Some(module) => format!(
                "{module}: a layer may hide it (try VK_LOADER_LAYERS_DISABLE=~implicit~), or the driver's Vulkan part is of \
                 another version: install the driver again, of one version"
            ),
            None => format!("install NVIDIA's driver {OLDEST_DRIVER} or newer"),
        },
    )
}

fn first_sentence(text: &str) -> &str {
    text.split(". ").next().unwrap_or(text)
}
