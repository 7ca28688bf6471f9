//! Checks whether this machine can share memory between CUDA and Vulkan, and explains what to do if
//! not.
//!
//! | file | subject |
//! |---|---|
//! | `xid` | GPU faults in the kernel log |
//! | `layers` | the same check without implicit layers, in another process |
//! | `system` | the machine: container, WSL, kernel module, device files, variables |
//! | `drivers` | the Vulkan drivers that the loader is configured to use, and whether they load |
//! | `vulkan`, `cuda` | information about Vulkan and CUDA |
//! | `pairs` | matching of Vulkan and CUDA devices, and why others have no match |
//! | `trial` | trial: frames shared between CUDA and Vulkan |
//! | `kernel` | trial: a CUDA kernel in a Vulkan queue |
//! | `processes` | trial: frames shared between two processes |
//! | `advice`, `verdict` | conclusions |
//! | `text` | the report as text |

mod advice;
mod cuda;
mod drivers;
mod kernel;
pub mod layers;
mod pairs;
mod processes;
mod system;
mod text;
mod trial;
mod verdict;
mod vulkan;
mod xid;

use bridge::Backend;
use bridge::vk_export::DeviceSelector;
use serde::Serialize;

pub use advice::Advice;
pub use cuda::{Cuda, CudaDevice, CudaProblem, CudaProblemKind};
pub use drivers::DriverManifest;
pub use kernel::KernelTrial;
pub use layers::WithoutLayers;
pub use pairs::{Pair, Side, Unpaired};
#[cfg(target_os = "linux")]
pub use processes::work;
pub use processes::{Direction, Problem, ProcessFailure, ProcessTrial, StartWorker};
pub use system::{DeviceFile, System};
pub use trial::{Failure, Times, Trial};
pub use verdict::{Verdict, Works};
pub use vulkan::{FailedCall, Layer, Vulkan, VulkanDevice};
pub use xid::Xid;

/// The report of the check.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine.
    pub system: System,
    /// The Vulkan side.
    pub vulkan: Vulkan,
    /// The CUDA side.
    pub cuda: Cuda,
    /// Pairs of a Vulkan and a CUDA device that are the same GPU.
    pub pairs: Vec<Pair>,
    /// Devices that only one side has.
    pub unpaired: Vec<Unpaired>,
    /// Trials of sharing frames.
    pub trials: Vec<Trial>,
    /// Trials for each pair of different GPUs, where CUDA computes on another GPU than the drawing
    /// GPU. They do not affect the verdict.
    pub peers: Vec<Trial>,
    /// Trials of CUDA kernels in Vulkan queues, on the devices that support them.
    pub kernels: Vec<KernelTrial>,
    /// Trials with two processes, on Linux, for the devices where sharing within one process works.
    /// They do not affect the verdict.
    pub processes: Vec<ProcessTrial>,
    /// What works without implicit layers, if they may be the cause of a problem.
    pub without_layers: Option<WithoutLayers>,
    /// Problems and what to do about them.
    pub advice: Vec<Advice>,
    /// The overall result.
    pub verdict: Verdict,
}

/// Runs the whole check. Each part is passed to `show` as text as soon as it is known, so that the
/// output shows where a driver crashed or hung. If something is wrong, `again` repeats the check
/// without implicit layers. `worker` starts this program as a worker for the trials with two
/// processes; without it they are skipped.
pub fn examine(
    mut show: impl FnMut(&str),
    again: impl FnOnce() -> Option<WithoutLayers>,
    worker: Option<StartWorker<'_>>,
) -> Report {
    let system = System::collect();
    show(&text::system(&system));
    let vulkan = Vulkan::query(system.nvidia_module.as_deref());
    show(&text::vulkan(&vulkan));
    let cuda = Cuda::query();
    show(&text::cuda(&cuda));
    let (pairs, unpaired) = pairs::find(&system, &vulkan, &cuda);
    show(&text::pairs(&pairs, &unpaired, &vulkan, &cuda));

    show(&text::heading("Trials"));
    let mut trials = Vec::new();
    let mut attempt = |selector, backend| {
        let trial = trial::run(selector, backend);
        show(&text::trial(&trial));
        trials.push(trial);
    };
    for pair in &pairs {
        attempt(DeviceSelector::Index(pair.vulkan), Backend::Cuda);
    }
    if !vulkan.devices.is_empty() {
        attempt(DeviceSelector::Best, Backend::Host);
    }
    if trials.is_empty() {
        show(&text::no_trials());
    }

    let crossed = pairs.iter().flat_map(|pair| cuda.devices.iter().map(move |other| (pair, other)));
    let crossed = crossed.filter(|(pair, other)| other.uuid != pair.uuid && !other.mig);
    let peers: Vec<_> =
        crossed.map(|(pair, other)| trial::run_peer(DeviceSelector::Index(pair.vulkan), other)).collect();
    peers.iter().for_each(|trial| show(&text::trial(trial)));

    let able = vulkan.devices.iter().filter(|device| device.cuda_kernels && device.missing_requirements.is_empty());
    let kernels: Vec<_> = able.map(|device| KernelTrial::run(device.index, &device.name)).collect();
    kernels.iter().for_each(|trial| show(&text::kernel(trial)));

    let processes = worker.map(|worker| try_processes(worker, &vulkan, &cuda, &pairs, &trials, &mut show));
    let processes = processes.unwrap_or_default();

    let works = WithoutLayers::of(vulkan.devices.len(), pairs.len(), &trials);
    let without_layers = layers::are_suspects(&system, &vulkan, &cuda, &works).then(again).flatten();
    let mut advice = advice::advise(&system, &vulkan, &cuda, &unpaired, &trials);
    advice.extend(advice::of_processes(&system, &processes));
    advice.extend(without_layers.as_ref().and_then(|without| without.advice(&works)));
    show(&text::advice(&advice));
    let verdict = Verdict::of(&trials);
    show(&text::verdict(&verdict));
    Report { system, vulkan, cuda, pairs, unpaired, trials, peers, kernels, processes, without_layers, advice, verdict }
}

/// Runs the trials that share frames between this process and workers that it starts.
fn try_processes(
    worker: StartWorker<'_>,
    vulkan: &Vulkan,
    cuda: &Cuda,
    pairs: &[Pair],
    trials: &[Trial],
    show: &mut impl FnMut(&str),
) -> Vec<ProcessTrial> {
    show(&text::heading("Two processes"));
    let candidates = processes::candidates(&vulkan.devices, &cuda.devices, pairs, trials);
    let done = processes::run(&candidates, worker, |trial| show(&text::process(trial)));
    if done.is_empty() {
        show(&text::no_processes());
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_machine_is_examined_to_the_end() {
        let mut text = String::new();
        let report = examine(|part| text.push_str(part), || None, Some(&processes::worker_command));
        let titles = ["System\n", "\nVulkan", "\nCUDA", "\nPairs", "\nTrials", "\nTwo processes", "\nVerdict"];
        let places = titles.map(|title| text.find(title));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["verdict"]["exit_code"], report.verdict.exit_code);
        let able = report.vulkan.devices.iter().filter(|device| device.cuda_kernels).count();
        assert_eq!(report.kernels.len(), able, "{text}");
        assert_eq!(report.trials.is_empty(), report.vulkan.devices.is_empty(), "{text}");
        // Devices that can share within one process can share between two, in both directions.
        let passed = report.trials.iter().filter(|trial| trial.passed()).count();
        let processes = if cfg!(target_os = "linux") { 2 * passed } else { 0 };
        assert_eq!(report.processes.iter().filter(|trial| trial.passed()).count(), processes, "{text}");
    }
}
