//! Renderers that end after each message: `cargo xtask kill-matrix --rounds N`. The renderer
//! follows a script and stops there; the worker is this process.

use std::path::Path;
use std::time::{Duration, Instant};

use bridge_ipc::Role;
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Error as Ipc;
use bridge_worker::{Buffer, Error as WorkerError, Image, Work, Worker as ScriptedWorker, WorkerInfo};
use rustix::process::Signal;

use crate::dialogue::{DIALOGUES, Dialogue, End, Scripted};
use crate::matrix_messages::{each_message, end_in_background, message_kinds};
use crate::{renderer, step_worker};

/// All messages between a scripted renderer and this worker.
const OF_RENDERERS: [&str; 18] = [
    "hears Bye",
    "hears Close",
    "hears Done",
    "hears Free",
    "hears Hello",
    "hears Publish",
    "hears Ready",
    "hears Refused",
    "hears Torn",
    "says Bye",
    "says Close",
    "says Free",
    "says Hello",
    "says Offer",
    "says Publish",
    "says Refused",
    "says Resource",
    "says Torn",
];

#[test]
fn the_end_of_a_renderer_after_each_message_is_survived() {
    let rows = each_message("renderer", &DIALOGUES, end_renderer);
    assert_eq!(message_kinds(&rows), OF_RENDERERS, "messages behind which a renderer was ended");
}

/// Ends the renderer; returns the time from its end to the report of it, and from the start of the
/// next renderer's process to the end of its dialogue.
fn end_renderer(dialogue: Dialogue, last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut process = Scripted::start(Role::Renderer, dialogue, last, &path);
    process.wait_until_listening();
    let ending = end_in_background(process, signal);
    let error = run_worker(dialogue, &path);
    let reported = Instant::now();
    // The renderer has ended, or has reported its end; the worker itself refuses another type.
    let expected = match &error {
        WorkerError::PeerLost { .. } | WorkerError::Closed { .. } | WorkerError::Connection(Ipc::Closed { .. }) => true,
        // The renderer was reaped before this process opened its pidfd: before its first message it
        // does not wait for the worker, and if it declines, it never does.
        WorkerError::Connection(Ipc::System { call, .. }) => {
            (last == 1 || dialogue == Dialogue::Declines) && (call.contains("pidfd") || call.contains("PIDFD"))
        }
        WorkerError::Mismatch { .. } => dialogue == Dialogue::Refuses,
        _ => false,
    };
    assert!(expected, "{dialogue:?}, behind message {last}: {error}");
    let end = ending.join().unwrap();
    let start = Instant::now();
    let mut next = Scripted::start(Role::Renderer, dialogue, u32::MAX, &path);
    next.wait_until_listening();
    run_worker(dialogue, &path);
    assert!(next.end(Signal::KILL).message.is_none());
    let took = [reported.saturating_duration_since(end.at), start.elapsed()];
    (end, took)
}

/// Runs a worker in this process with a renderer; returns the error with which the connection ends.
fn run_worker(dialogue: Dialogue, path: &Path) -> WorkerError {
    match dialogue {
        Dialogue::Writes => connect(path).and_then(|worker| {
            let mut writer = worker.latest("remote")?;
            loop {
                renderer::write(&mut writer)?;
            }
        }),
        Dialogue::Reads => connect(path).and_then(|worker| {
            let mut reader = worker.latest_reader::<Buffer<u32>>("remote")?;
            loop {
                reader.wait_for_newer(Rig::LONG)?;
                reader.newest()?;
            }
        }),
        Dialogue::ReadsInStep => connect(path).and_then(|worker| {
            let mut reader = worker.exchange_reader::<Buffer<u32>>("steps")?;
            loop {
                if let Some(turn) = reader.next(Rig::LONG)? {
                    turn.finish()?;
                }
            }
        }),
        Dialogue::InStep => connect(path).and_then(|worker| {
            let mut exchange = worker.exchange::<Buffer<u32>>("steps")?;
            loop {
                let mut turn = exchange.begin()?;
                let Work::Host(mut host) = turn.work() else { panic!("it computes with CUDA") };
                host.resources.write_from(0, &[7])?;
                if turn.frame() == 1 {
                    turn.announce()?;
                    turn.skip()?;
                } else {
                    turn.finish()?;
                }
            }
        }),
        Dialogue::Refuses | Dialogue::Declines => connect(path)
            .and_then(|worker| worker.latest::<Image<f32>>("remote").map(drop))
            .and_then(|()| unreachable!()),
    }
    .unwrap_or_else(|error: WorkerError| error)
}

fn connect(path: &Path) -> Result<ScriptedWorker, WorkerError> {
    let info = WorkerInfo { timeout: Rig::LONG * 2, ..step_worker::info(bridge_ipc::Backend::Host) };
    ScriptedWorker::connect_with(path, &info)
}
