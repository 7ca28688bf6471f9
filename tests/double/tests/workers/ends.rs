//! A worker that computes with CUDA, whose renderer ends after each message of the protocol: it
//! reports the end, does not hang, and leaves nothing with the driver.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::assert_clean;
use crate::common::renderer::{Exports, LIMIT, Renderer, connect};
use bridge_worker::bridge_ipc::{Direction, Error as Ipc, Listener, Message};
use bridge_worker::{Buffer, Error, Worker};
use cuda_import::report;
use driver_double::Double;

const NAME: &str = "ends::a_renderer_that_ends_after_any_message_leaves_nothing";
const DRAWS: &str = "ends::a_drawing_renderer_that_ends_after_any_message_leaves_nothing";
const LEFT: &str = "ends::pending_values_of_a_renderer_that_dies_after_the_exchange_are_signaled";
const DROPS: &str = "ends::an_exchange_is_dropped_while_the_logger_of_its_thread_waits";
const WAITS: &str = "ends::a_logger_may_wait_for_a_call_that_uses_the_same_exchange";
/// `CUDA_ERROR_OUT_OF_MEMORY`
const NO_MEMORY: u32 = 2;
/// Environment variable of the renderer process: the number of messages after which it stops, its
/// socket path, its GPU and the paths of its descriptors.
pub(crate) const RENDERER: &str = "WORKER_TEST_RENDERER";

#[test]
fn a_renderer_that_ends_after_any_message_leaves_nothing() {
    let frames = ["Ready", "Free", "Free", "Publish", "Free", "Publish"];
    each_message(NAME, Direction::WorkerWrites, &frames);
}

#[test]
fn a_drawing_renderer_that_ends_after_any_message_leaves_nothing() {
    let frames = ["Ready", "Publish", "Publish", "Free", "Free", "Publish", "Free"];
    each_message(DRAWS, Direction::RendererWrites, &frames);
}

/// Ends a renderer in step after each message; `frames` are the messages after the offer.
fn each_message(name: &str, direction: Direction, frames: &[&str]) {
    if let Ok(arguments) = std::env::var(RENDERER) {
        return render(&arguments, direction);
    }
    end_after_each(name, 0, frames, |path, has_ended| run_worker(path, direction, has_ended));
}

/// Runs a worker with `run` for each message, with a renderer that ends after it and whose timeline
/// has reached `rendered` before.
pub(crate) fn end_after_each(
    name: &str,
    rendered: u64,
    frames: &[&str],
    run: impl Fn(&Path, &dyn Fn() -> bool) -> Result<(), Error>,
) {
    let Some(double) = Double::in_child(name) else { return };
    let mut kinds = Vec::new();
    for last in 1.. {
        let Some(kind) = end_after(&double, name, (last, rendered), &run) else { break };
        kinds.push(kind);
    }
    let dialogue = ["Hello", "Hello", "Offer", "Resource", "Resource", "Timeline", "Timeline"];
    assert_eq!(kinds, [&dialogue[..], frames].concat());
}

/// Offers an exchange in the renderer process, once a worker has connected.
pub(crate) fn offer(arguments: &str, direction: Direction, trust: bool) -> Renderer {
    let mut arguments = arguments.split(',');
    let last = arguments.next().unwrap().parse().unwrap();
    let (path, gpu) = (PathBuf::from(arguments.next().unwrap()), arguments.next().unwrap().parse().unwrap());
    let open = |path| OwnedFd::from(File::options().read(true).write(true).open(path).unwrap());
    let descriptors: Vec<OwnedFd> = arguments.map(open).collect();
    let listener = Listener::bind(path).unwrap();
    let descriptors: Vec<_> = descriptors.iter().collect();
    let mut renderer = Renderer::offer_stopping(last, direction, &listener, gpu, trust, &descriptors);
    assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
    renderer
}

/// The renderer process: in step, with commands on the slots that never end.
fn render(arguments: &str, direction: Direction) {
    let mut renderer = offer(arguments, direction, true);
    if direction == Direction::RendererWrites {
        let publish = |slot: u32, frame, value| Message::Publish { exchange: 1, slot, frame, value };
        (0..2).for_each(|frame| renderer.send(publish(frame as u32, frame, frame + 1)));
        // The first slot is returned before it is drawn.
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

/// Ends a renderer after its `last` message and returns the kind of that message, or `None` if
/// there were fewer messages.
fn end_after(
    double: &Double,
    name: &str,
    (last, rendered): (u32, u64),
    run: impl Fn(&Path, &dyn Fn() -> bool) -> Result<(), Error>,
) -> Option<String> {
    let exports = Exports::new(double);
    if rendered > 0 {
        double.signal(exports.rendered.1, rendered);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let ended = end(start(name, last, &path, &exports));
    let error = run(&path, &|| ended.is_finished()).unwrap_err();
    // The last variant occurs if the renderer was reaped before the worker connected.
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

/// Starts a renderer that stops after its `last` message.
pub(crate) fn start(name: &str, last: u32, path: &Path, exports: &Exports) -> Child {
    let gpu = report().unwrap().devices[0].uuid;
    let own = format!("/proc/{}/fd", std::process::id());
    let mut arguments = vec![last.to_string(), path.display().to_string(), gpu.to_string()];
    arguments.extend(exports.all().iter().map(|descriptor| format!("{own}/{}", descriptor.as_raw_fd())));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(RENDERER, arguments.join(","))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a process that has stopped or finished.
pub(crate) fn end(mut child: Child) -> JoinHandle<Option<String>> {
    std::thread::spawn(move || {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("@there ") || line == "@over").expect("it has ended itself");
        child.kill().unwrap();
        child.wait().unwrap();
        line.strip_prefix("@there ").map(str::to_owned)
    })
}

/// Runs a worker until the end of its renderer.
fn run_worker(path: &Path, direction: Direction, has_ended: impl Fn() -> bool) -> Result<(), Error> {
    let worker = connect_to_renderer(path, has_ended)?;
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

/// Connects to a renderer that was started and may have ended.
pub(crate) fn connect_to_renderer(path: &Path, has_ended: impl Fn() -> bool) -> Result<Worker, Error> {
    let start = Instant::now();
    loop {
        match connect(path) {
            // The renderer does not listen yet.
            Err(Error::Connection(Ipc::System { .. })) if start.elapsed() < LIMIT && !has_ended() => {
                std::thread::sleep(Duration::from_millis(1));
            }
            met => return met,
        }
    }
}

/// A stream that still waits for the renderer when its exchange is dropped is leaked, and continues
/// once the renderer is dead.
#[test]
fn pending_values_of_a_renderer_that_dies_after_the_exchange_are_signaled() {
    if let Ok(arguments) = std::env::var(RENDERER) {
        return render(&arguments, Direction::WorkerWrites);
    }
    let Some(double) = Double::in_child(LEFT) else { return };
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut renderer = start(LEFT, u32::MAX, &path, &exports);
    let worker = connect_to_renderer(&path, || false).unwrap();
    let mut exchange = worker.exchange::<Buffer<f32>>("x").unwrap();
    // The third frame waits for a value that the renderer has announced.
    (0..3).for_each(|_| exchange.begin().unwrap().finish().unwrap());
    drop((exchange, worker));
    assert_eq!((double.value(exports.computed.1), double.value(exports.rendered.1)), (2, 0), "the renderer lives");
    renderer.kill().unwrap();
    double.wait_until("the stream to go on", |double| double.value(exports.computed.1) == 3);
    assert_eq!(double.value(exports.rendered.1), 5);
    renderer.wait().unwrap();
    assert_eq!(double.findings(), []);
}

/// Set while the thread that signals in the renderer's place logs.
static LOGS: AtomicBool = AtomicBool::new(false);
/// Set once the program's call has returned.
static RETURNED: AtomicBool = AtomicBool::new(false);
/// Set if it did not return while the thread logged.
static HUNG: AtomicBool = AtomicBool::new(false);

/// A logger that waits for the program, as one does that needs a lock of the program's.
struct WaitingLogger;

impl log::Log for WaitingLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        if std::thread::current().name() != Some("bridge-worker") {
            return;
        }
        LOGS.store(true, Ordering::SeqCst);
        let start = Instant::now();
        while !RETURNED.load(Ordering::SeqCst) {
            if start.elapsed() >= LIMIT / 2 {
                return HUNG.store(true, Ordering::SeqCst);
            }
            std::thread::yield_now();
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_logger_may_wait_for_a_call_that_uses_the_same_exchange() {
    if let Ok(arguments) = std::env::var(RENDERER) {
        return render(&arguments, Direction::WorkerWrites);
    }
    let Some(double) = Double::in_child(WAITS) else { return };
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut renderer = start(WAITS, u32::MAX, &path, &exports);
    let worker = connect_to_renderer(&path, || false).unwrap();
    let mut exchange = worker.exchange::<Buffer<f32>>("x").unwrap();
    // The third frame waits for a value that the renderer has announced.
    (0..3).for_each(|_| exchange.begin().unwrap().finish().unwrap());
    log::set_logger(&WaitingLogger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    double.fail_named("cuSignalExternalSemaphoresAsync", u64::MAX, NO_MEMORY);
    renderer.kill().unwrap();
    renderer.wait().unwrap();
    double.wait_until("the failure to be logged", |_| LOGS.load(Ordering::SeqCst));
    let error = exchange.begin().unwrap_err();
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    RETURNED.store(true, Ordering::SeqCst);
    double.disarm();
    double.wait_until("the stream to go on", |double| double.value(exports.computed.1) == 3);
    drop((exchange, worker));
    assert!(!HUNG.load(Ordering::SeqCst), "the call waited for the logger");
    assert_eq!(double.findings(), []);
}

#[test]
fn an_exchange_is_dropped_while_the_logger_of_its_thread_waits() {
    if let Ok(arguments) = std::env::var(RENDERER) {
        return render(&arguments, Direction::WorkerWrites);
    }
    let Some(double) = Double::in_child(DROPS) else { return };
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut renderer = start(DROPS, u32::MAX, &path, &exports);
    let worker = connect_to_renderer(&path, || false).unwrap();
    let mut exchange = worker.exchange::<Buffer<f32>>("x").unwrap();
    // The third frame waits for a value that the renderer has announced.
    (0..3).for_each(|_| exchange.begin().unwrap().finish().unwrap());
    log::set_logger(&WaitingLogger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    renderer.kill().unwrap();
    renderer.wait().unwrap();
    double.wait_until("the signal to be logged", |_| LOGS.load(Ordering::SeqCst));
    double.wait_until("the stream to go on", |double| double.value(exports.computed.1) == 3);
    drop((exchange, worker));
    RETURNED.store(true, Ordering::SeqCst);
    assert!(!HUNG.load(Ordering::SeqCst), "the drop waited for the logger");
    drop(exports);
    assert_clean(&double);
}
