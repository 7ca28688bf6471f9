//! Trials of sharing frames between two processes: this process draws, and a worker that it starts
//! computes.
//!
//! | file | subject |
//! |---|---|
//! | `renderer` | this process's side, in both directions |
//! | `worker` | the worker's side |
//! | `task` | the worker's task, passed in an environment variable |
//! | `child` | the worker process: starting it, reading its outcome, ending it |
//! | `contents` | contents of the frames |
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

/// Returns the command that starts this program as a worker. This module adds the task to its
/// environment.
pub type StartWorker<'a> = &'a dyn Fn() -> io::Result<Command>;

/// Returns the command that starts the test program as a worker: see `tests::worker_process`.
#[cfg(test)]
pub(super) fn worker_command() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "processes::tests::worker_process", "--nocapture", "--test-threads=1"]);
    Ok(command)
}

/// The result of sharing frames between two processes, in one direction and with one backend.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessTrial {
    /// Backend that the worker computes with: `cuda` or `host`.
    pub backend: String,
    /// Side that writes the frames.
    pub direction: Direction,
    /// Name of the Vulkan device.
    pub device: String,
    /// Number of frames that arrived with correct contents.
    pub frames: u32,
    /// Bytes per frame.
    pub bytes: u64,
    /// The failure, if the trial failed.
    pub failure: Option<ProcessFailure>,
    /// Time from starting the worker process until it has opened the exchange, in milliseconds.
    pub start_ms: Option<f64>,
    /// Time from then until the worker's first frame was read and checked, in milliseconds. If
    /// Vulkan writes, until the worker has checked the last frame.
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
    /// Returns `true` if all frames arrived with correct contents.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// A device and a backend to try in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is tried there"))]
pub(super) struct Candidate {
    /// Index of the Vulkan device.
    index: usize,
    name: String,
    cuda: bool,
    /// `true` if the device is hidden from CUDA.
    hidden: bool,
}

/// Returns the candidates: devices and backends that passed within one process, and CUDA for GPUs
/// that are hidden from CUDA if another GPU is visible. Such a worker fails, and its error says
/// what to do.
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

/// Tries all candidates in both directions.
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

/// Does nothing: sharing between two processes is only implemented on Linux.
#[cfg(not(target_os = "linux"))]
pub(super) fn run(_: &[Candidate], _: StartWorker<'_>, _: impl FnMut(&ProcessTrial)) -> Vec<ProcessTrial> {
    Vec::new()
}
