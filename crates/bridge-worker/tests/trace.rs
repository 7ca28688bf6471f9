//! Test of the trace of a worker. There is only one, because the trace is process-wide.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod scripted;

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Direction, Listener, Message};
use bridge_worker::{Buffer, Error, Worker, WorkerInfo, trace_off, trace_to};
use test_support::Sink;

use scripted::{LIMIT, Renderer, both, floats};

/// The environment variable that makes this program a renderer, which is killed.
const PATH: &str = "BRIDGE_WORKER_TEST_SOCKET";
/// Set for such a renderer that closes its socket before it is killed.
const HANGS_UP: &str = "BRIDGE_WORKER_TEST_HANGS_UP";

/// Returns the events that `run` traces: each event with its object, slot, frame, value and peer.
fn traced(run: impl FnOnce()) -> Vec<String> {
    let sink = Sink::default();
    trace_to(sink.clone());
    run();
    trace_off();
    let text = sink.text();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let own = u64::from(std::process::id());
    lines
        .map(|line| {
            assert_eq!((&line["side"], line["pid"].as_u64()), (&"host".into(), Some(own)), "{line}");
            let field = |name: &str| line.get(name).map(|value| format!(" {name} {value}")).unwrap_or_default();
            let (event, object) = (line["event"].as_str().unwrap(), line["object"].as_str().unwrap());
            let peer = if line["peer"] == own { " peer" } else { "" };
            format!("{event} {object}{}{}{}{peer}", field("slot"), field("frame"), field("value"))
        })
        .collect()
}

#[test]
fn frames_and_ends_are_traced() {
    if let Some(path) = std::env::var_os(PATH) {
        return live(path.into(), std::env::var_os(HANGS_UP).is_some());
    }
    frames_that_are_written();
    frames_that_are_read();
    the_end_of_the_renderer();
    the_end_of_a_renderer_after_that_of_its_socket();
}

fn frames_that_are_written() {
    let told = traced(|| {
        both(
            |listener| {
                let mut renderer = Renderer::accept(listener);
                renderer.offer(1, "x", &[floats(4)]);
                renderer.receive();
                renderer.send(Message::Free { exchange: 1, slot: 1, value: 0 });
                renderer.receive();
                renderer.send(Message::Close { exchange: 1 });
                renderer.receive();
            },
            |worker| {
                let mut writer = worker.latest::<Buffer<u32>>("x").unwrap();
                writer.begin().unwrap().skip().unwrap();
                writer.begin().unwrap().publish().unwrap();
                assert!(matches!(writer.begin(), Err(Error::Closed { .. })));
                assert!(matches!(writer.begin(), Err(Error::Closed { .. })), "again");
            },
        );
    });
    let expected = [
        "connect renderer peer",
        "offer x peer",
        "begin x slot 1 frame 0",
        "skip x slot 1 frame 0",
        "begin x slot 1 frame 0",
        "publish x slot 1 frame 0 value 1",
        "close x peer",
    ];
    assert_eq!(told, expected);
}

fn frames_that_are_read() {
    let told = traced(|| {
        both(
            |listener| {
                let mut renderer = Renderer::accept(listener);
                renderer.offer_in(Direction::RendererWrites, 1, "x", &[floats(4)]);
                renderer.receive();
                for (slot, frame) in [(0, 5), (1, 6)] {
                    renderer.send(Message::Publish { exchange: 1, slot, frame, value: frame });
                }
                // The Free of the first slot, and the Close.
                renderer.receive();
                renderer.receive();
            },
            |worker| {
                let mut reader = worker.latest_reader::<Buffer<u32>>("x").unwrap();
                let start = Instant::now();
                while reader.newest().unwrap().is_none_or(|turn| turn.frame() < 6) {
                    assert!(start.elapsed() < LIMIT);
                }
            },
        );
    });
    let (first, both) = (&told[2], [&told[..2], &told[3..]].concat());
    // The first frame was taken, or superseded before that.
    if first == "take x slot 0 frame 5 value 5" {
        let expected = [
            "connect renderer peer",
            "offer x peer",
            "take x slot 1 frame 6 value 6",
            "free x slot 0 value 0",
            "close x peer",
        ];
        assert_eq!(both, expected);
    } else {
        let expected = ["connect renderer peer", "offer x peer", "take x slot 1 frame 6 value 6", "close x peer"];
        assert_eq!((first.as_str(), both), ("free x slot 0 value 0", expected.map(str::to_owned).to_vec()));
    }
}

/// Runs a renderer, in a separate process. If it `hangs_up`, it is in step, and closes its socket
/// after the first frame was announced.
fn live(path: PathBuf, hangs_up: bool) {
    let listener = Listener::bind(path).unwrap();
    let mut renderer = Renderer::accept_with(&listener, hangs_up);
    renderer.offer(1, "x", &[floats(4)]);
    renderer.receive();
    if hangs_up {
        renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
        renderer.receive();
        let socket = UnixStream::from(renderer.connection.as_fd().try_clone_to_owned().unwrap());
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        println!("\nhas hung up");
    }
    std::thread::sleep(Duration::from_secs(60));
}

/// Starts such a renderer, which listens at `path`.
fn start(path: &Path, envs: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "frames_and_ends_are_traced"]).env(PATH, path);
    command.envs(envs.iter().copied()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Connects to a renderer as soon as it listens.
fn connect_to(path: &Path) -> Worker {
    let info = WorkerInfo { backend: Some(Backend::Host), timeout: LIMIT, trust: true, ..Default::default() };
    let start = Instant::now();
    loop {
        match Worker::connect_with(path, &info) {
            Ok(worker) => return worker,
            Err(_) if start.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn the_end_of_the_renderer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut child = start(&path, &[]);
    let told = traced(|| {
        let worker = connect_to(&path);
        let mut writer = worker.latest::<Buffer<f32>>("x").unwrap();
        child.kill().unwrap();
        for _ in 0..2 {
            assert!(matches!(writer.begin(), Err(Error::PeerLost { .. })));
        }
    });
    child.wait().unwrap();
    assert_eq!(told, ["connect renderer", "offer x", "lost x"]);
}

/// A turn that is dropped after the renderer's socket was closed does not wait for the end of its
/// process, and records no end. The next call does.
fn the_end_of_a_renderer_after_that_of_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut child = start(&path, &[(HANGS_UP, "1")]);
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = traced(|| {
        let worker = connect_to(&path);
        let mut writer = worker.exchange::<Buffer<f32>>("x").unwrap();
        let mut turn = writer.begin().unwrap();
        turn.announce().unwrap();
        assert!(said.any(|line| line == "has hung up"));
        drop(turn);
        child.kill().unwrap();
        assert!(matches!(writer.begin(), Err(Error::PeerLost { .. })));
    });
    child.wait().unwrap();
    let expected =
        ["connect renderer", "offer x", "begin x slot 0 frame 0", "publish x slot 0 frame 0 value 1", "lost x"];
    assert_eq!(told, expected);
}
