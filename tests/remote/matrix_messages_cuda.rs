//! Workers that compute with CUDA and end after each message: `cargo xtask kill-matrix --backend
//! cuda --rounds N`. The worker follows a script and stops there, with the work that it has
//! enqueued until then; the renderer is the real implementation.

use std::time::{Duration, Instant};

use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;
use rustix::process::Signal;

use crate::cuda_worker;
use crate::dialogue::{DIALOGUES, Dialogue, End, Scripted};
use crate::matrix_messages::{
    accepted_exchange, accepted_worker, draw_for, each_message, end_in_background, message_kinds, paint_for, step_for,
};
use crate::painter::Painter;
use crate::scene::Scene;
use crate::shown::Shown;
use crate::step_painter::StepPainter;
use crate::steps::Stepping;

/// All messages between workers with CUDA and this renderer, which does not withdraw frames. No
/// message reports that a frame is done.
const OF_WORKERS: [&str; 16] = [
    "hears Bye",
    "hears Close",
    "hears Free",
    "hears Hello",
    "hears Offer",
    "hears Publish",
    "hears Resource",
    "hears Timeline",
    "says Bye",
    "says Close",
    "says Free",
    "says Hello",
    "says Publish",
    "says Ready",
    "says Refused",
    "says Torn",
];

#[test]
fn the_end_of_a_cuda_worker_after_each_message_is_survived() {
    // Skipped if CUDA and Vulkan share no GPU.
    if Shown::new().is_none() {
        return;
    }
    let rows = each_message("worker with CUDA", &DIALOGUES, |dialogue, last, signal| match dialogue {
        Dialogue::InStep => {
            let stepping = Stepping::for_cuda(Scene::new());
            let process = Scripted::start_with_cuda(dialogue, last, &stepping.scene.path());
            step_for(stepping, process, signal)
        }
        Dialogue::Reads => {
            let painter = Painter::new();
            let process = Scripted::start_with_cuda(dialogue, last, &painter.scene.path());
            paint_for(painter, Backend::Cuda, process, signal)
        }
        Dialogue::ReadsInStep => {
            let painter = StepPainter::for_cuda(Scene::new());
            let process = Scripted::start_with_cuda(dialogue, last, &painter.scene.path());
            draw_for(painter, process, signal)
        }
        Dialogue::Writes | Dialogue::Refuses | Dialogue::Declines => end_writing_worker(dialogue, last, signal),
    });
    assert_eq!(message_kinds(&rows), OF_WORKERS, "messages behind which a worker was ended");
}

/// Returns the time from the worker's end to the report of it, and from the start of the next
/// worker's process to a frame.
fn end_writing_worker(dialogue: Dialogue, last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let mut shown = Shown::of(Scene::new());
    let ending = end_in_background(Scripted::start_with_cuda(dialogue, last, &shown.scene.path()), signal);
    let remote = accepted_worker(shown.scene.listener.accept(shown.scene.rig.device(), Rig::LONG));
    let mut reader = remote.and_then(|remote| accepted_exchange(remote.latest(&Scene::info(), Scene::spec())));
    if let Some(reader) = &mut reader {
        shown.lost(reader);
        shown.read(reader);
    }
    let reported = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let _next = cuda_worker::next(&shown.scene.path(), 2);
    let remote = shown.scene.accept();
    let mut reader = match reader {
        Some(mut reader) => {
            reader.reconnect(remote).unwrap();
            reader
        }
        None => remote.latest(&Scene::info(), Scene::spec()).unwrap(),
    };
    shown.read_until(&mut reader, 2 << 20);
    let next = start.elapsed();
    // Only complete frames were shown, and none was older than the previous one.
    shown.assert_right();
    reader.close().unwrap();
    let took = [reported.saturating_duration_since(end.at), next];
    (end, took)
}
