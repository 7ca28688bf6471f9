//! A worker in another process, and a renderer that outlives it: shown frames are complete and
//! never go backwards, and nothing waits for a process that has ended.
#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod bounds;
#[cfg(target_os = "linux")]
mod cuda;
#[cfg(target_os = "linux")]
mod cuda_worker;
#[cfg(target_os = "linux")]
mod death;
#[cfg(target_os = "linux")]
mod dialogue;
#[cfg(target_os = "linux")]
mod dialogue_memory;
#[cfg(target_os = "linux")]
mod dialogue_renders;
#[cfg(target_os = "linux")]
mod drawn;
#[cfg(target_os = "linux")]
mod drawn_cuda;
#[cfg(target_os = "linux")]
mod drawn_hostile;
#[cfg(target_os = "linux")]
mod drawn_lost;
#[cfg(target_os = "linux")]
mod ending;
#[cfg(target_os = "linux")]
mod frames;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod matrix;
#[cfg(target_os = "linux")]
mod matrix_messages;
#[cfg(target_os = "linux")]
mod matrix_messages_cuda;
#[cfg(target_os = "linux")]
mod matrix_messages_renderers;
#[cfg(target_os = "linux")]
mod matrix_reads;
#[cfg(target_os = "linux")]
mod matrix_renderers;
#[cfg(target_os = "linux")]
mod matrix_steps;
#[cfg(target_os = "linux")]
mod painter;
#[cfg(target_os = "linux")]
mod reading;
#[cfg(target_os = "linux")]
mod renderer;
#[cfg(target_os = "linux")]
mod renderer_draws;
#[cfg(target_os = "linux")]
mod renderer_steps;
#[cfg(target_os = "linux")]
mod scene;
#[cfg(target_os = "linux")]
mod shown;
#[cfg(target_os = "linux")]
mod standby;
#[cfg(target_os = "linux")]
mod step;
#[cfg(target_os = "linux")]
mod step_cuda;
#[cfg(target_os = "linux")]
mod step_drawn;
#[cfg(target_os = "linux")]
mod step_drawn_cuda;
#[cfg(target_os = "linux")]
mod step_false_signal;
#[cfg(target_os = "linux")]
mod step_images;
#[cfg(target_os = "linux")]
mod step_last;
#[cfg(target_os = "linux")]
mod step_painter;
#[cfg(target_os = "linux")]
mod step_reader;
#[cfg(target_os = "linux")]
mod step_worker;
#[cfg(target_os = "linux")]
mod steps;
#[cfg(target_os = "linux")]
mod traced;
#[cfg(target_os = "linux")]
mod worker;

/// Not a test: runs the worker's process, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn worker_process() {
    worker::run_if_child();
}

/// Not a test: runs a worker that computes with CUDA, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn worker_process_with_cuda() {
    cuda_worker::run_if_child();
}

/// Not a test: runs a worker that reads, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn reading_worker_process() {
    reading::run_if_child();
}

/// Not a test: runs a worker in step, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn worker_process_in_step() {
    step_worker::run_if_child();
}

/// Not a test: runs a worker that reads in step, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn reading_worker_process_in_step() {
    step_reader::run_if_child();
}

/// Not a test: runs a worker that lies, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn lying_worker_process() {
    step_false_signal::run_if_child();
}

/// Not a test: runs a worker that is traced, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn traced_worker_process() {
    traced::run_if_child();
}

/// Not a test: runs the renderer's process, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn renderer_process() {
    renderer::run_if_child();
}

/// Not a test: runs a renderer in step, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn renderer_process_in_step() {
    renderer_steps::run_if_child();
}

/// Not a test: runs a renderer that draws in step, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn drawing_renderer_process_in_step() {
    renderer_draws::run_if_child();
}

/// Not a test: runs one side of a dialogue, if the environment requests it.
#[test]
#[cfg(target_os = "linux")]
fn dialogue_process() {
    dialogue::run_if_child();
}
