//! Each state of a reading worker combined with each signal: `cargo xtask kill-matrix --rounds N`.

use std::time::Duration;

use bridge_tests::compute;
use bridge_worker::bridge_ipc::Backend;

use crate::matrix::{SIGNALS, rounds};
use crate::matrix_renderers::{end_drawing_renderer, end_renderers};
use crate::painter::Painter;
use crate::reading::Behavior;

const STATES: [(&str, Behavior); 5] = [
    ("reading", Behavior::Reads),
    ("exchange taken, nothing read", Behavior::NeverReads),
    ("holding a frame", Behavior::Holds),
    ("waiting for a frame", Behavior::Waits),
    ("frame given back, others unread", Behavior::StopsAfterFree),
];

/// After each state of the worker's process, the renderer draws, and another worker receives
/// frames.
#[test]
fn each_state_of_a_reader_is_survived() {
    let mut painter = Painter::new();
    end_workers(&mut painter, Backend::Host, &STATES, "reads");
    for (state, frames) in [("renderer, nothing read", 0), ("renderer, drawing", 20)] {
        end_renderers(state, |signal| end_drawing_renderer(Backend::Host, frames, Duration::ZERO, signal));
    }
}

/// The same for workers that compute with CUDA.
#[test]
fn each_state_of_a_reader_with_cuda_is_survived() {
    let mut painter = Painter::new();
    if compute(painter.scene.rig.device(), bridge::Backend::Cuda).is_none() {
        return;
    }
    let states = STATES.into_iter().filter(|(_, behavior)| *behavior != Behavior::StopsAfterFree);
    let states: Vec<_> = states.chain([("in a kernel", Behavior::Hangs)]).collect();
    end_workers(&mut painter, Backend::Cuda, &states, "reads, with CUDA");
}

fn end_workers(painter: &mut Painter, backend: Backend, states: &[(&str, Behavior)], what: &str) {
    let state = format!("state of a process that {what}");
    println!(
        "{state:34} {:12} {:>7} {:>12} {:>12} {:>18}",
        "signal", "rounds", "lost within", "dead within", "next within"
    );
    for (state, behavior) in states {
        for (name, signal) in SIGNALS {
            let mut most = [Duration::ZERO; 3];
            for _ in 0..rounds() {
                let took = painter.end_worker(backend, *behavior, signal);
                most.iter_mut().zip(took).for_each(|(most, took)| *most = took.max(*most));
            }
            let [lost, dead, next] = most;
            println!("{state:34} {name:12} {:7} {lost:12.1?} {dead:12.1?} {next:18.1?}", rounds());
        }
    }
}
