//! Each state of a worker in step combined with each signal, while the queue waits for its frame.

use std::time::Duration;

use bridge_tests::compute;
use bridge_worker::bridge_ipc::Backend;

use crate::matrix::{SIGNALS, rounds};
use crate::step_painter::StepPainter;
use crate::step_worker::Behavior;
use crate::steps::Stepping;
use crate::{renderer_draws, renderer_steps, step_reader};

const STATES: [(&str, Behavior); 4] = [
    ("in step, running", Behavior::Runs),
    ("in step, idle", Behavior::Idles),
    ("in step, a frame owed", Behavior::HasFrameDue),
    ("in step, a frame owed, not taken", Behavior::HasTwoFramesDue),
];

/// The queue continues after each state of the worker, and another worker can take its place.
#[test]
fn each_state_in_step_is_survived() {
    end_workers(&mut Stepping::new());
    end_renderers(Backend::Host);
}

/// The same for workers that compute with CUDA.
#[test]
fn each_state_in_step_with_cuda_is_survived() {
    if let Some(mut stepping) = Stepping::with_cuda() {
        end_workers(&mut stepping);
        // Keeps the context of this process between two connections.
        let _compute = compute(stepping.scene.rig.device(), bridge::Backend::Cuda);
        end_renderers(Backend::Cuda);
    }
}

/// The states of workers that read in step.
const READERS: [(&str, step_reader::Behavior); 4] = [
    ("in step, reading", step_reader::Behavior::Reads),
    ("in step, a frame held", step_reader::Behavior::Holds),
    ("in step, all slots held", step_reader::Behavior::Idles),
    ("in step, a slot owed", step_reader::Behavior::HasFrameDue),
];

/// The same for reading workers and their renderers.
#[test]
fn each_state_of_a_reader_in_step_is_survived() {
    end_readers(&mut StepPainter::new(), Backend::Host);
    end_drawing_renderers(Backend::Host);
}

/// The same for workers that read with CUDA.
#[test]
fn each_state_of_a_reader_in_step_with_cuda_is_survived() {
    if let Some(mut painter) = StepPainter::with_cuda() {
        end_readers(&mut painter, Backend::Cuda);
        let _compute = compute(painter.scene.rig.device(), bridge::Backend::Cuda);
        end_drawing_renderers(Backend::Cuda);
    }
}

fn end_readers(painter: &mut StepPainter, backend: Backend) {
    for (state, behavior) in READERS {
        // On the CPU no frame is owed, and all slots are equivalent.
        let on_the_cpu = matches!(behavior, step_reader::Behavior::Reads | step_reader::Behavior::Holds);
        if backend == Backend::Cuda || on_the_cpu {
            for_each_signal(state, |signal| painter.end_worker(behavior, signal));
        }
    }
}

fn end_drawing_renderers(backend: Backend) {
    for (state, behavior) in [
        ("renderer in step, drawing", renderer_draws::Behavior::Draws),
        ("renderer in step, nothing drawn", renderer_draws::Behavior::Idles),
        ("renderer in step, queue stalled", renderer_draws::Behavior::Stalls),
    ] {
        // On the CPU no stream waits for the renderer; the other states have their own tests.
        if backend == Backend::Host && behavior != renderer_draws::Behavior::Draws {
            continue;
        }
        for_each_signal(state, |signal| {
            let ([reported, next], _) = renderer_draws::end_renderer(backend, behavior, signal);
            [Duration::ZERO, reported, next]
        });
    }
}

fn for_each_signal(state: &str, mut case: impl FnMut(rustix::process::Signal) -> [Duration; 3]) {
    let rounds = rounds();
    for (name, signal) in SIGNALS {
        let mut most = [Duration::ZERO; 3];
        for _ in 0..rounds {
            most.iter_mut().zip(case(signal)).for_each(|(most, took)| *most = took.max(*most));
        }
        let [on, reported, next] = most;
        println!("{state:34} {name:12} {rounds:7} {on:14.1?} {reported:12.1?} {next:18.1?}");
    }
}

/// The states of renderers, and whether the worker has announced a frame that it does not finish.
const RENDERERS: [(&str, renderer_steps::Behavior, bool); 4] = [
    ("renderer in step, reading", renderer_steps::Behavior::Reads, false),
    ("renderer in step, a frame owed", renderer_steps::Behavior::Reads, true),
    ("renderer in step, slots kept", renderer_steps::Behavior::Keeps, false),
    // On the CPU no stream waits for the renderer.
    ("renderer in step, queue stalled", renderer_steps::Behavior::Stalls, false),
];

/// A worker is notified of the end of its renderer, and connects to another renderer.
fn end_renderers(backend: Backend) {
    let on_the_cpu = backend == Backend::Host;
    for (state, behavior, announced) in RENDERERS {
        if on_the_cpu && behavior == renderer_steps::Behavior::Stalls {
            continue;
        }
        for (name, signal) in SIGNALS {
            let mut most = [Duration::ZERO; 2];
            for _ in 0..rounds() {
                let (took, _) = renderer_steps::end_renderer(backend, behavior, announced, signal);
                most.iter_mut().zip(took).for_each(|(most, took)| *most = took.max(*most));
            }
            let [reported, next] = most;
            println!("{state:34} {name:12} {:7} {:14} {reported:12.1?} {next:18.1?}", rounds(), "");
        }
    }
}

fn end_workers(stepping: &mut Stepping) {
    println!(
        "{:34} {:12} {:>7} {:>14} {:>12} {:>18}",
        "state of the process", "signal", "rounds", "queue goes on", "told within", "next within"
    );
    for (state, behavior) in STATES {
        for_each_signal(state, |signal| stepping.end_worker(behavior, signal));
    }
}
