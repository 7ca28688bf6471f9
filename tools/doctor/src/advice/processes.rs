//! Advice if sharing between two processes fails, although it works within one.

use super::{Advice, advice};
use crate::processes::{Problem, ProcessTrial};
use crate::system::System;

/// Returns advice about the failed trials, once per kind of failure.
pub(crate) fn advise(system: &System, trials: &[ProcessTrial]) -> Vec<Advice> {
    let mut told = Vec::new();
    let mut all = Vec::new();
    for failure in trials.iter().filter_map(|trial| trial.failure.as_ref()) {
        if !told.contains(&failure.problem) {
            told.push(failure.problem);
            let problem = format!("two processes: {} while {}", description(failure.problem), failure.step);
            all.extend(advice(problem, action(system, failure.problem)));
        }
    }
    all
}

fn description(problem: Problem) -> &'static str {
    match problem {
        Problem::Folder => "no socket could be made",
        Problem::NoProcess => "this program could not be started again",
        Problem::Memory => "no memory file could be made",
        Problem::Identity => "one process could not identify the other",
        Problem::HiddenGpu => "CUDA does not show the worker the GPU that draws",
        Problem::Timeout => "nothing happened in time",
        Problem::Ended => "the worker's process ended",
        Problem::Contents => "a frame had wrong contents",
        Problem::Other => "something failed",
    }
}

fn action(system: &System, problem: Problem) -> String {
    match problem {
        Problem::Folder => "set TMPDIR to a folder that this user can write to, on a file system with sockets and with a short path \
            (the path of a socket has 107 bytes at most); programs listen in a folder of the user's, such as $XDG_RUNTIME_DIR"
            .to_owned(),
        Problem::NoProcess => {
            "let this user start processes here (`ulimit -u`, the container's limit of pids), and mount /proc".to_owned()
        }
        Problem::Memory => "allow memfd_create and fallocate in the sandbox's or container's seccomp profile, and give it memory: the \
            limits of its cgroup and of files (`ulimit -f`) count for memory files; where fcntl(F_ADD_SEALS) failed, use a kernel with \
            F_SEAL_FUTURE_WRITE (Linux 5.1 or newer, not a sandbox's own), or let the worker write"
            .to_owned(),
        Problem::Identity => "run both processes as one user and in one pid namespace (containers: `--pid=host`, or both in one), on a \
            kernel with pidfds (5.3 or newer), which the seccomp profile allows (pidfd_open)"
            .to_owned(),
        Problem::HiddenGpu => {
            let now = system.variable("CUDA_VISIBLE_DEVICES").map(|value| format!(" (now {value})")).unwrap_or_default();
            format!(
                "let the worker's process see both GPUs with CUDA_VISIBLE_DEVICES{now}, and choose the one that computes by \
                 `WorkerInfo::device`"
            )
        }
        Problem::Timeout => "see where it waits: `RUST_LOG=debug` shows each step; a debugger, a loaded machine, or a driver that starts \
            slowly (`nvidia-persistenced` keeps it started) may take that long"
            .to_owned(),
        Problem::Ended => "the message above has the signal or the code; the worker's own messages are above it, and \
            `dmesg` shows whether a process was killed for lack of memory"
            .to_owned(),
        Problem::Contents => "try another version of the driver, and report it with the output of `--json`: memory or order between the \
            processes is broken"
            .to_owned(),
        Problem::Other => "the message above says why; RUST_LOG=debug shows every step of it".to_owned(),
    }
}
