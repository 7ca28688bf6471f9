//! Each state of a worker combined with each signal: `cargo xtask kill-matrix --rounds N`.

use std::time::{Duration, Instant};

use bridge_worker::bridge_ipc::Backend;
use rustix::process::Signal;

use crate::bounds;
use crate::cuda_worker as cuda;
use crate::matrix_renderers::{end_renderer, end_renderers};
use crate::scene::Scene;
use crate::shown::Shown;
use crate::worker::{Behavior, Worker};

const STATES: [(&str, Behavior); 5] = [
    ("running", Behavior::Runs),
    ("half of a frame written", Behavior::StopsMidFrame),
    ("idle", Behavior::Idles),
    ("exchange taken, nothing written", Behavior::NeverWrites),
    ("frame published", Behavior::StopsAfterPublish),
];

pub(crate) const SIGNALS: [(&str, Signal); 4] =
    [("KILL", Signal::KILL), ("SEGV", Signal::SEGV), ("TERM", Signal::TERM), ("STOP, KILL", Signal::STOP)];

/// Returns the number of rounds per case; 1 if the environment does not set it.
pub(crate) fn rounds() -> u32 {
    std::env::var("BRIDGE_KILL_ROUNDS").ok().map_or(1, |rounds| rounds.parse().unwrap())
}

/// After each combination of a state of the worker's process and a signal, the renderer draws and
/// accepts another worker.
#[test]
fn each_state_and_each_signal_is_survived() {
    let rounds = rounds();
    println!(
        "{:34} {:12} {:>7} {:12} {:>12} {:>18}",
        "state of the process", "signal", "rounds", "", "told within", "next within"
    );
    for (state, behavior) in STATES {
        for (name, signal) in SIGNALS {
            let (mut reported, mut next) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..rounds {
                let (one, other) = end_worker(behavior, signal);
                (reported, next) = (reported.max(one), next.max(other));
            }
            println!("{state:34} {name:12} {rounds:7} {:12} {reported:12.1?} {next:18.1?}", "");
        }
    }
    for (state, frames) in [("renderer, nothing written", 0), ("renderer, reading", 20)] {
        end_renderers(state, |signal| end_renderer(Backend::Host, frames, Duration::ZERO, signal));
    }
}

/// The same for workers that compute with CUDA.
#[test]
fn each_state_with_cuda_and_each_signal_is_survived() {
    let Some(mut shown) = Shown::new() else { return };
    let rounds = rounds();
    println!(
        "{:34} {:12} {:>7} {:>12} {:>12} {:>18}",
        "state of the process, with CUDA", "signal", "rounds", "lost within", "dead within", "next within"
    );
    for (state, behavior) in
        [("running", cuda::Behavior::Runs), ("idle", cuda::Behavior::Idles), ("in a kernel", cuda::Behavior::Hangs)]
    {
        for (name, signal) in SIGNALS {
            let mut most = [Duration::ZERO; 3];
            for _ in 0..rounds {
                let took = shown.end_worker(behavior, signal);
                most.iter_mut().zip(took).for_each(|(most, took)| *most = took.max(*most));
            }
            let [lost, dead, next] = most;
            println!("{state:34} {name:12} {rounds:7} {lost:12.1?} {dead:12.1?} {next:18.1?}");
        }
    }
    shown.assert_right();
}

/// Returns the time from the end of the process to the report of it, and from the start of the next
/// worker's process to its first frame.
fn end_worker(behavior: Behavior, signal: Signal) -> (Duration, Duration) {
    let mut scene = Scene::new();
    let (mut worker, mut reader) = scene.with(behavior, 1);
    worker.wait_for_state();
    worker.signal(signal);
    if signal == Signal::STOP {
        // A stopped process is not dead.
        std::thread::sleep(Duration::from_millis(30));
        scene.read(&mut reader);
        reader.check_worker().unwrap();
    }
    worker.kill();
    let (_, reported) = scene.lost(&mut reader);
    scene.assert_settled(&mut reader, behavior);
    let start = Instant::now();
    let _next = Worker::start(&scene.path(), Behavior::Runs, 2);
    let remote = scene.accept();
    let accepted = Instant::now();
    reader.reconnect(remote).unwrap();
    bounds::check_frame(accepted.elapsed());
    scene.read_until(&mut reader, 2 << 20);
    bounds::check_next_frame(Backend::Host, start, accepted);
    let next = start.elapsed();
    reader.close().unwrap();
    (reported, next)
}
