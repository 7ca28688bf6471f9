//! Problems of a machine, and what to do about them.

mod nvidia;
mod processes;
mod sandbox;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::vulkan::is_zero;
use super::{Cuda, Side, System, Trial, Unpaired, Vulkan, VulkanDevice};

pub(super) use processes::advise as of_processes;

/// A problem, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Description of the problem.
    pub problem: String,
    /// The advice.
    pub action: String,
}

fn advice(problem: impl Into<String>, action: impl Into<String>) -> Option<Advice> {
    Some(Advice { problem: problem.into(), action: action.into() })
}

/// Returns all advice. The likeliest cause of the other problems comes first.
pub(super) fn advise(
    system: &System,
    vulkan: &Vulkan,
    cuda: &Cuda,
    unpaired: &[Unpaired],
    trials: &[Trial],
) -> Vec<Advice> {
    let mut all = Vec::new();
    all.extend(wsl(system));
    all.extend(closed_files(system, trials));
    all.extend(withheld_files(system, trials));
    all.extend(zero_uuids(vulkan, cuda));
    all.extend(context_switch_timeout(system, trials));
    all.extend(no_vulkan(system, vulkan));
    if !system.wsl {
        all.extend(nvidia::unlisted_gpu(system, vulkan, cuda));
        all.extend(nvidia::no_cuda(system, vulkan, cuda));
    }
    all.extend(nvidia::old_driver(system, cuda));
    all.extend(nvidia::split_gpu(cuda, trials));
    all.extend(hidden_device(system, vulkan, cuda, unpaired));
    all.extend(nvidia::device_gaps(system, vulkan));
    all.extend(failed_trials(system, trials));
    all.extend(software_only(vulkan));
    all
}

fn wsl(system: &System) -> Option<Advice> {
    if !system.wsl {
        return None;
    }
    advice(
        "WSL cannot share memory between CUDA and Vulkan: CUDA is NVIDIA's there, and Vulkan is Mesa's, over \
         Direct3D or on the processor",
        "run under Windows itself or under Linux on the machine itself; within WSL the CPU backend works",
    )
}

/// Files that this user may not open. Where a pair works, it needs none of them.
fn closed_files(system: &System, trials: &[Trial]) -> Option<Advice> {
    let closed: Vec<_> = system.device_files.iter().filter(|file| file.closed).map(|file| file.path.as_str()).collect();
    if closed.is_empty() || cuda_works(trials) {
        return None;
    }
    advice(
        format!("this user may not open {}", closed.join(", ")),
        "join the group that owns the file (`ls -l`; often `sudo usermod -aG video,render $USER`) and log in again",
    )
}

/// Returns advice about device files that a device cgroup excludes. If a pair works, they belong to
/// GPUs of other users.
fn withheld_files(system: &System, trials: &[Trial]) -> Option<Advice> {
    let withheld = system.device_files.iter().filter(|file| file.withheld).map(|file| file.path.as_str());
    let withheld: Vec<_> = withheld.collect();
    if withheld.is_empty() || cuda_works(trials) {
        return None;
    }
    advice(
        format!("{} not given to this job or container", is_or_are(&withheld)),
        "ask for the GPU where the job or container is started: the scheduler's option (Slurm's `--gres=gpu:1`), `--gpus all` \
         or `--device`; no group or mode of the file changes it",
    )
}

/// Whether frames have crossed between CUDA and Vulkan.
fn cuda_works(trials: &[Trial]) -> bool {
    trials.iter().any(|trial| trial.backend == "cuda" && trial.passed())
}

fn is_or_are(names: &[&str]) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

/// Returns the environment variables that limit the loader to some drivers.
fn limits(system: &System) -> Option<String> {
    let names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE"];
    let found: Vec<_> =
        names.iter().filter_map(|name| system.variable(name).map(|value| format!("{name}={value}"))).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

fn no_vulkan(system: &System, vulkan: &Vulkan) -> Option<Advice> {
    if system.windows && vulkan.devices.is_empty() && limits(system).is_none() {
        return advice(
            "Vulkan lists no device: no driver is installed that runs here",
            "install the GPU's own driver, which brings Vulkan and its loader (vulkan-1.dll)",
        );
    }
    if vulkan.loader.is_none() {
        return advice(
            "there is no Vulkan loader",
            "`cargo xtask setup` installs one; by hand: `apt install libvulkan1 mesa-vulkan-drivers`, \
             `dnf install vulkan-loader mesa-vulkan-drivers`",
        );
    }
    if !vulkan.devices.is_empty() {
        return None;
    }
    if let Some(limits) = limits(system) {
        return advice(
            format!("Vulkan lists no device, and its loader is limited by {limits}"),
            "unset that, or point it to the manifest of a driver that loads",
        );
    }
    advice(
        "Vulkan lists no device: no driver is installed that runs here",
        "install the GPU's own driver; `cargo xtask setup` installs a software driver, with which all but CUDA works",
    )
}

/// Returns advice about UUIDs that are all zeros, since devices are paired by UUID.
fn zero_uuids(vulkan: &Vulkan, cuda: &Cuda) -> Option<Advice> {
    let vulkan = vulkan.devices.iter().filter(|device| !device.is_software() && device.is_anonymous());
    let cuda = cuda.devices.iter().filter(|device| is_zero(&device.uuid));
    let names: Vec<_> =
        vulkan.map(|d| format!("Vulkan's {}", d.name)).chain(cuda.map(|d| format!("CUDA's {}", d.name))).collect();
    if names.is_empty() {
        return None;
    }
    advice(
        format!(
            "the UUID of {} is all zeros: a layer, or a container's library between program and driver, hides it",
            names.join(", ")
        ),
        "without a UUID the GPUs of CUDA and Vulkan cannot be matched: take that library away (what LD_PRELOAD, \
         /etc/ld.so.preload and LD_LIBRARY_PATH bring in, GPU-sharing plug-ins of Kubernetes above all), or update \
         it",
    )
}

/// Returns advice about a known class of faults: a context switch on the GPU timed out.
fn context_switch_timeout(system: &System, trials: &[Trial]) -> Option<Advice> {
    const CONTEXT_SWITCH_TIMEOUT: u32 = 109;
    let xid = system.xids.iter().find(|xid| xid.number == CONTEXT_SWITCH_TIMEOUT)?;
    let driver = system.nvidia_module.as_deref().unwrap_or("unknown");
    advice(
        format!(
            "the kernel's log has Xid 109, a context switch that timed out, {} (driver {driver}): {}",
            if xid.times == 1 { "once".to_owned() } else { format!("{} times", xid.times) },
            xid.last
        ),
        format!(
            "{}reset the GPU or restart the machine: the state outlives the process. If no kernel of yours faulted before it \
             (Xid 31), it is a fault of the driver, reported of several: try the newest of its branch and another branch \
             (github.com/NVIDIA/open-gpu-kernel-modules, issues 1080, 1146 and 1243)",
            if cuda_works(trials) { "nothing: CUDA works now; if it returns, " } else { "" }
        ),
    )
}

/// Returns advice if CUDA and Vulkan see different GPUs.
fn hidden_device(system: &System, vulkan: &Vulkan, cuda: &Cuda, unpaired: &[Unpaired]) -> Option<Advice> {
    let value = system.variable("CUDA_VISIBLE_DEVICES")?;
    let is_alone = |side, index| unpaired.iter().any(|device| device.side == side && device.index == index);
    let hidden = vulkan.devices.iter().find(|d| d.is_nvidias_own() && is_alone(Side::Vulkan, d.index))?;
    cuda.devices.iter().find(|device| !device.mig && is_alone(Side::Cuda, device.ordinal))?;
    advice(
        format!("CUDA and Vulkan see different GPUs: CUDA_VISIBLE_DEVICES={value} hides {} from CUDA", hidden.name),
        "unset it, or choose by UUID as listed above",
    )
}

fn failed_trials(system: &System, trials: &[Trial]) -> Vec<Advice> {
    let log = match system.windows {
        true => "the Event Viewer (System, source nvlddmkm) what the driver saw",
        false => "`dmesg | grep -e NVRM -e Xid` what the kernel saw",
    };
    let screen = system.variable("DISPLAY").filter(|display| !display.is_empty());
    // The same code has a different meaning in each call.
    let told = |error: &str| {
        let calls = ["vkCreateInstance", "vkEnumeratePhysicalDevices", "vkCreateDevice"];
        let call = calls.into_iter().find(|call| error.contains(call) && error.contains(nvidia::NOT_STARTED))?;
        let screen = screen.map(|display| format!("; try it with `unset DISPLAY` (now {display})")).unwrap_or_default();
        Some(format!("{call}: {}{screen}. ", nvidia::meaning(call)))
    };
    let failed = trials.iter().filter_map(|trial| Some((trial, trial.failure.as_ref()?)));
    failed
        .filter_map(|(trial, failure)| {
            advice(
                format!("the {} trial on {} failed while {}", trial.backend, trial.device, failure.step),
                format!(
                    "{}the message above says why; RUST_LOG=debug shows every step of it, and {log}",
                    told(&failure.error).unwrap_or_default()
                ),
            )
        })
        .collect()
}

fn software_only(vulkan: &Vulkan) -> Option<Advice> {
    if vulkan.devices.is_empty() || !vulkan.devices.iter().all(VulkanDevice::is_software) {
        return None;
    }
    advice(
        "Vulkan has only a software driver: it draws on the processor",
        "nothing for the tests and small demos; for speed install the driver of the machine's GPU",
    )
}
