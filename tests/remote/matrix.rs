//! Each state of a worker combined with each signal: `cargo xtask kill-matrix --rounds N`.

use std::time::{Duration, Instant};

use bridge_worker::bridge_ipc::Backend;
use rustix::process::Signal;

use crate::bounds;
use crate::cuda_worker as cuda;
use crate::renderer::{self, Renderer};
use crate::scene::Scene;
use crate::shown::Shown;
use crate::worker::{Habit, Worker};

const STATES: [(&str, Habit); 5] = [
    ("running", Habit::Runs),
    ("half of a frame written", Habit::StopsMidFrame),
    ("idle", Habit::Idles),
    ("exchange taken, nothing written", Habit::NeverWrites),
    ("frame published", Habit::StopsBehindPublish),
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
        "{:34} {:12} {:>7} {:>12} {:>18}",
        "state of the process", "signal", "rounds", "told within", "next within"
    );
    for (state, habit) in STATES {
        for (name, signal) in SIGNALS {
            let (mut told, mut next) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..rounds {
                let (one, other) = survive(habit, signal);
                (told, next) = (told.max(one), next.max(other));
            }
            println!("{state:34} {name:12} {rounds:7} {told:12.1?} {next:18.1?}");
        }
    }
    for (state, frames) in [("renderer, nothing written", 0), ("renderer, reading", 20)] {
        for (name, signal) in SIGNALS {
            let (mut told, mut next) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..rounds {
                let (one, other) = outlive(frames, signal);
                (told, next) = (told.max(one), next.max(other));
            }
            println!("{state:34} {name:12} {rounds:7} {told:12.1?} {next:18.1?}");
        }
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
    for (state, habit) in
        [("running", cuda::Habit::Runs), ("idle", cuda::Habit::Idles), ("in a kernel", cuda::Habit::Hangs)]
    {
        for (name, signal) in SIGNALS {
            let mut most = [Duration::ZERO; 3];
            for _ in 0..rounds {
                let took = shown.survive(habit, signal);
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
fn survive(habit: Habit, signal: Signal) -> (Duration, Duration) {
    let mut scene = Scene::new();
    let (mut worker, mut reader) = scene.with(habit, 1);
    worker.is_there();
    worker.signal(signal);
    if signal == Signal::STOP {
        // A stopped process is not dead.
        std::thread::sleep(Duration::from_millis(30));
        scene.read(&mut reader);
        reader.check_worker().unwrap();
    }
    worker.kill();
    let (_, told) = scene.lost(&mut reader);
    scene.assert_settled(&mut reader, habit);
    let start = Instant::now();
    let _next = Worker::start(&scene.path(), Habit::Runs, 2);
    let remote = scene.accept();
    let accepted = Instant::now();
    reader.reconnect(remote).unwrap();
    scene.read_until(&mut reader, 2 << 20);
    bounds::next_frame_came(Backend::Host, start, accepted);
    let next = start.elapsed();
    reader.close().unwrap();
    (told, next)
}

/// The same for a worker in this process whose renderer ends after a number of frames: returns the
/// time to the report of it, and to the first frame of the next renderer.
fn outlive(frames: usize, signal: Signal) -> (Duration, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = Renderer::start(&path);
    let (_worker, mut writer) = renderer::connect(&path);
    (0..frames).for_each(|_| renderer::write(&mut writer).unwrap());
    renderer.signal(signal);
    if signal == Signal::STOP {
        std::thread::sleep(Duration::from_millis(30));
    }
    renderer.kill();
    let told = renderer::lost(&mut writer);
    let start = Instant::now();
    let _next = Renderer::start(&path);
    let (_worker, mut writer) = renderer::connect(&path);
    renderer::write(&mut writer).unwrap();
    (told, start.elapsed())
}
