//! Each state of a worker in step combined with each signal, while the queue waits for its frame.

use std::time::Duration;

use bridge_worker::bridge_ipc::Backend;

use crate::matrix::{SIGNALS, rounds};
use crate::step_painter::StepPainter;
use crate::step_worker::Habit;
use crate::steps::Stepping;
use crate::{renderer_draws, renderer_steps, step_reader};

const STATES: [(&str, Habit); 4] = [
    ("in step, running", Habit::Runs),
    ("in step, idle", Habit::Idles),
    ("in step, a frame owed", Habit::Owes),
    ("in step, a frame owed, not taken", Habit::OwesTwo),
];

/// The queue continues after each state of the worker, and another worker can take its place.
#[test]
fn each_state_in_step_is_survived() {
    survive(&mut Stepping::new());
    outlive(Backend::Host);
}

/// The same for workers that compute with CUDA.
#[test]
fn each_state_in_step_with_cuda_is_survived() {
    if let Some(mut stepping) = Stepping::with_cuda() {
        survive(&mut stepping);
        outlive(Backend::Cuda);
    }
}

/// The states of workers that read in step.
const READERS: [(&str, step_reader::Habit); 4] = [
    ("in step, reading", step_reader::Habit::Reads),
    ("in step, a frame held", step_reader::Habit::Holds),
    ("in step, all slots held", step_reader::Habit::Idles),
    ("in step, a slot owed", step_reader::Habit::Owes),
];

/// The same for reading workers and their renderers.
#[test]
fn each_state_of_a_reader_in_step_is_survived() {
    survive_reading(&mut StepPainter::new(), Backend::Host);
    outlive_drawing(Backend::Host);
}

/// The same for workers that read with CUDA.
#[test]
fn each_state_of_a_reader_in_step_with_cuda_is_survived() {
    if let Some(mut painter) = StepPainter::with_cuda() {
        survive_reading(&mut painter, Backend::Cuda);
        outlive_drawing(Backend::Cuda);
    }
}

fn survive_reading(painter: &mut StepPainter, backend: Backend) {
    for (state, habit) in READERS {
        // On the CPU no frame is owed, and all slots are equivalent.
        let on_the_cpu = matches!(habit, step_reader::Habit::Reads | step_reader::Habit::Holds);
        if backend == Backend::Cuda || on_the_cpu {
            for_each_signal(state, |signal| painter.survive(habit, signal));
        }
    }
}

fn outlive_drawing(backend: Backend) {
    for (state, habit) in [
        ("renderer in step, drawing", renderer_draws::Habit::Draws),
        ("renderer in step, nothing drawn", renderer_draws::Habit::Idles),
        ("renderer in step, queue stalled", renderer_draws::Habit::Stalls),
    ] {
        // On the CPU no stream waits for the renderer; the other states have their own tests.
        if backend == Backend::Host && habit != renderer_draws::Habit::Draws {
            continue;
        }
        for_each_signal(state, |signal| {
            let ([told, next], _) = renderer_draws::outlive(backend, habit, signal);
            [Duration::ZERO, told, next]
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
        let [on, told, next] = most;
        println!("{state:34} {name:12} {rounds:7} {on:14.1?} {told:12.1?} {next:18.1?}");
    }
}

/// The states of renderers, and whether the worker has announced a frame that it does not finish.
const RENDERERS: [(&str, renderer_steps::Habit, bool); 4] = [
    ("renderer in step, reading", renderer_steps::Habit::Reads, false),
    ("renderer in step, a frame owed", renderer_steps::Habit::Reads, true),
    ("renderer in step, slots kept", renderer_steps::Habit::Keeps, false),
    // On the CPU no stream waits for the renderer.
    ("renderer in step, queue stalled", renderer_steps::Habit::Stalls, false),
];

/// A worker is notified of the end of its renderer, and connects to another renderer.
fn outlive(backend: Backend) {
    let on_the_cpu = backend == Backend::Host;
    for (state, habit, announced) in RENDERERS {
        if on_the_cpu && habit == renderer_steps::Habit::Stalls {
            continue;
        }
        for (name, signal) in SIGNALS {
            let mut most = [Duration::ZERO; 2];
            for _ in 0..rounds() {
                let (took, _) = renderer_steps::outlive(backend, habit, announced, signal);
                most.iter_mut().zip(took).for_each(|(most, took)| *most = took.max(*most));
            }
            let [told, next] = most;
            println!("{state:34} {name:12} {:7} {:14} {told:12.1?} {next:18.1?}", rounds(), "");
        }
    }
}

fn survive(stepping: &mut Stepping) {
    println!(
        "{:34} {:12} {:>7} {:>14} {:>12} {:>18}",
        "state of the process", "signal", "rounds", "queue goes on", "told within", "next within"
    );
    for (state, habit) in STATES {
        for_each_signal(state, |signal| stepping.survive(habit, signal));
    }
}
