//! Frames that cross between two processes: this one draws, and a worker that it starts computes.
//!
//! | file | subject |
//! |---|---|
//! | `renderer` | this process's side, in both directions |
//! | `worker` | the other process's side |
//! | `task` | what the other process is told |
//! | `child` | the other process: started, listened to, ended |
//! | `contents` | the words of a frame |
//! | `problem` | kinds of failures |

use std::io;
use std::process::Command;

use serde::Serialize;

use super::{CudaDevice, Pair, Trial, VulkanDevice};
pub use problem::{Problem, ProcessFailure};

mod problem;

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod contents;
#[cfg(target_os = "linux")]
mod renderer;
#[cfg(target_os = "linux")]
mod task;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
pub use worker::work;

/// How to start this program as a worker. The environment of the command is completed here.
pub type StartWorker<'a> = &'a dyn Fn() -> io::Result<Command>;

/// The test program as a worker: see `tests::the_other_process`.
#[cfg(test)]
pub(super) fn other_process() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "processes::tests::the_other_process", "--nocapture", "--test-threads=1"]);
    Ok(command)
}

/// The outcome of frames between two processes, in one direction and on one backend.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessTrial {
    /// Backend that the worker computes with: `cuda` or `host`.
    pub backend: String,
    /// Side that writes the frames.
    pub direction: Direction,
    /// Name of the Vulkan device.
    pub device: String,
    /// Frames whose every word was right.
    pub frames: u32,
    /// Bytes in each.
    pub bytes: u64,
    /// Where and why it ended, if before its time.
    pub failure: Option<ProcessFailure>,
    /// From the start of the worker's process until it had taken the exchange, in milliseconds.
    pub start_ms: Option<f64>,
    /// From then on until its first frame had arrived and was seen to be whole, in milliseconds.
    /// Where Vulkan writes, until the last one had.
    pub frames_ms: Option<f64>,
}

/// Side that writes the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The worker writes, and Vulkan reads.
    WorkerWrites,
    /// Vulkan writes, and the worker reads.
    WorkerReads,
}

impl ProcessTrial {
    /// Whether every frame crossed whole.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// A device and a backend on which both directions are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is tried there"))]
pub(super) struct Candidate {
    /// Index of the Vulkan device.
    index: usize,
    name: String,
    cuda: bool,
    /// CUDA does not show it.
    hidden: bool,
}

/// What is tried: what has passed within one process, and CUDA on a GPU that CUDA is not shown,
/// where it is shown another one. Such a worker is refused, and its words say what to do.
pub(super) fn candidates(
    vulkan: &[VulkanDevice],
    cuda: &[CudaDevice],
    pairs: &[Pair],
    trials: &[Trial],
) -> Vec<Candidate> {
    let candidate = |device: &VulkanDevice, cuda, hidden| {
        let (index, name) = (device.index, device.name.clone());
        Candidate { index, name, cuda, hidden }
    };
    let passed = trials.iter().filter(|trial| trial.passed()).filter_map(|trial| {
        let device = vulkan.iter().find(|device| Some(&device.uuid) == trial.uuid.as_ref())?;
        Some(candidate(device, trial.backend == "cuda", false))
    });
    let others = cuda.iter().any(|device| !device.mig && device.timeline_semaphores);
    let hidden = vulkan.iter().filter(|device| {
        let is_paired = pairs.iter().any(|pair| pair.vulkan == device.index);
        others && !is_paired && device.is_nvidias_own() && device.exports_buffers && device.exports_timelines
    });
    passed.chain(hidden.map(|device| candidate(device, true, true))).collect()
}

/// Tries all of them in both directions; nothing where there is no other process.
#[cfg(target_os = "linux")]
pub(super) fn run(
    candidates: &[Candidate],
    start: StartWorker<'_>,
    mut show: impl FnMut(&ProcessTrial),
) -> Vec<ProcessTrial> {
    let mut trials = Vec::new();
    for candidate in candidates {
        for direction in [Direction::WorkerWrites, Direction::WorkerReads] {
            let trial = renderer::run(candidate, direction, start, renderer::LIMIT);
            show(&trial);
            trials.push(trial);
        }
    }
    trials
}

/// Two processes are written for Linux only.
#[cfg(not(target_os = "linux"))]
pub(super) fn run(_: &[Candidate], _: StartWorker<'_>, _: impl FnMut(&ProcessTrial)) -> Vec<ProcessTrial> {
    Vec::new()
}
