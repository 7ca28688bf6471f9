//! A worker that computes with CUDA, whose renderer ends behind each message that crosses: it is
//! told, nothing of it waits, and nothing is left with the driver.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::assert_clean;
use crate::common::renderer::{Exports, LIMIT, Renderer, connect};
use bridge_worker::bridge_ipc::{Direction, Error as Ipc, Listener, Message};
use bridge_worker::{Buffer, Error, Worker};
use cuda_import::report;
use driver_double::Double;

const NAME: &str = "ends::a_renderer_that_ends_behind_any_message_leaves_nothing_behind";
const DRAWS: &str = "ends::a_renderer_that_draws_and_ends_behind_any_message_leaves_nothing_behind";
const LEFT: &str = "ends::what_a_renderer_owes_that_dies_after_its_exchange_was_left_is_signaled";
/// Set for the renderer's process: after how many messages it stops, where it listens, its GPU and
/// the paths of its descriptors.
const RENDERER: &str = "WORKER_TEST_RENDERER";

#[test]
fn a_renderer_that_ends_behind_any_message_leaves_nothing_behind() {
    let frames = ["Ready", "Free", "Free", "Publish", "Free", "Publish"];
    each_message(NAME, Direction::WorkerWrites, &frames);
}

#[test]
fn a_renderer_that_draws_and_ends_behind_any_message_leaves_nothing_behind() {
    let frames = ["Ready", "Publish", "Publish", "Free", "Free", "Publish", "Free"];
    each_message(DRAWS, Direction::RendererWrites, &frames);
}

/// Ends a renderer in step behind each message; `frames` are those behind the offer.
fn each_message(name: &str, direction: Direction, frames: &[&str]) {
    if let Ok(told) = std::env::var(RENDERER) {
        return render(&told, direction);
    }
    let Some(double) = Double::in_child(name) else { return };
    let mut kinds = Vec::new();
    for last in 1.. {
        let Some(kind) = outlive(&double, name, direction, last) else { break };
        kinds.push(kind);
    }
    let dialogue = ["Hello", "Hello", "Offer", "Resource", "Resource", "Timeline", "Timeline"];
    assert_eq!(kinds, [&dialogue[..], frames].concat());
}

/// The process of a renderer: in step, whose commands with the slots never end.
fn render(told: &str, direction: Direction) {
    let mut told = told.split(',');
    let last = told.next().unwrap().parse().unwrap();
    let (path, gpu) = (PathBuf::from(told.next().unwrap()), told.next().unwrap().parse().unwrap());
    let open = |path| OwnedFd::from(File::options().read(true).write(true).open(path).unwrap());
    let descriptors: Vec<OwnedFd> = told.map(open).collect();
    let listener = Listener::bind(path).unwrap();
    let descriptors: Vec<_> = descriptors.iter().collect();
    let mut renderer = Renderer::offer_stopping(last, direction, &listener, gpu, true, &descriptors);
    assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
    if direction == Direction::RendererWrites {
        let publish = |slot: u32, frame, value| Message::Publish { exchange: 1, slot, frame, value };
        (0..2).for_each(|frame| renderer.send(publish(frame as u32, frame, frame + 1)));
        // The first comes back though it is not drawn.
        assert!(matches!(renderer.receive(), Message::Free { slot: 0, value: 1, .. }));
        assert!(matches!(renderer.receive(), Message::Free { slot: 1, value: 2, .. }));
        renderer.send(publish(0, 2, 5));
        renderer.receive();
    } else {
        (0..2).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
        let Message::Publish { slot, .. } = renderer.receive() else { panic!() };
        renderer.send(Message::Free { exchange: 1, slot, value: 5 });
        renderer.receive();
    }
    println!("\n@over");
    std::thread::sleep(Duration::from_secs(60));
}

/// Ends a renderer behind its `last` message, and gives the kind of that; `None` where all was
/// said before.
fn outlive(double: &Double, name: &str, direction: Direction, last: u32) -> Option<String> {
    let exports = Exports::new(double);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let ended = end(start(name, last, &path, &exports));
    let error = live(&path, direction, || ended.is_finished()).unwrap_err();
    // The last of them where it was reaped before it was met.
    let is_told = matches!(
        error,
        Error::PeerLost { .. } | Error::Closed { .. } | Error::Connection(Ipc::Closed { .. } | Ipc::System { .. })
    );
    assert!(is_told, "behind message {last}: {error}");
    let kind = ended.join().unwrap();
    drop(exports);
    assert_clean(double);
    kind
}

/// Starts a renderer that stops behind its `last` message.
fn start(name: &str, last: u32, path: &Path, exports: &Exports) -> Child {
    let gpu = report().unwrap().devices[0].uuid;
    let own = format!("/proc/{}/fd", std::process::id());
    let mut told = vec![last.to_string(), path.display().to_string(), gpu.to_string()];
    told.extend(exports.all().iter().map(|descriptor| format!("{own}/{}", descriptor.as_raw_fd())));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(RENDERER, told.join(","))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Ends a process that has stopped, or has said all.
fn end(mut child: Child) -> JoinHandle<Option<String>> {
    std::thread::spawn(move || {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("@there ") || line == "@over").expect("it has ended itself");
        child.kill().unwrap();
        child.wait().unwrap();
        line.strip_prefix("@there ").map(str::to_owned)
    })
}

/// The life of a worker, up to the end of its renderer.
fn live(path: &Path, direction: Direction, has_ended: impl Fn() -> bool) -> Result<(), Error> {
    let worker = meet(path, has_ended)?;
    if direction == Direction::RendererWrites {
        let mut reader = worker.exchange_reader::<Buffer<f32>>("x")?;
        loop {
            reader.next(LIMIT)?.into_iter().try_for_each(|turn| turn.finish())?;
        }
    }
    let mut exchange = worker.exchange::<Buffer<f32>>("x")?;
    loop {
        exchange.begin()?.finish()?;
    }
}

/// Connects to a renderer that has been started and may have ended.
fn meet(path: &Path, has_ended: impl Fn() -> bool) -> Result<Worker, Error> {
    let start = Instant::now();
    loop {
        match connect(path) {
            // Nobody listens so far.
            Err(Error::Connection(Ipc::System { .. })) if start.elapsed() < LIMIT && !has_ended() => {
                std::thread::sleep(Duration::from_millis(1));
            }
            met => return met,
        }
    }
}

/// A stream that still waits for the renderer when its exchange is left is leaked, and goes on once
/// the renderer is dead.
#[test]
fn what_a_renderer_owes_that_dies_after_its_exchange_was_left_is_signaled() {
    if let Ok(told) = std::env::var(RENDERER) {
        return render(&told, Direction::WorkerWrites);
    }
    let Some(double) = Double::in_child(LEFT) else { return };
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut renderer = start(LEFT, u32::MAX, &path, &exports);
    let worker = meet(&path, || false).unwrap();
    let mut exchange = worker.exchange::<Buffer<f32>>("x").unwrap();
    // The third waits for what the renderer has announced.
    (0..3).for_each(|_| exchange.begin().unwrap().finish().unwrap());
    drop((exchange, worker));
    assert_eq!((double.value(exports.computed.1), double.value(exports.rendered.1)), (2, 0), "the renderer lives");
    renderer.kill().unwrap();
    double.until("the stream to go on", |double| double.value(exports.computed.1) == 3);
    assert_eq!(double.value(exports.rendered.1), 5);
    renderer.wait().unwrap();
    assert_eq!(double.findings(), []);
}
