//! Test of the trace of a worker. There is only one, because the trace is process-wide.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod scripted;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge_ipc::{Direction, Listener, Message};
use bridge_worker::{Buffer, Error, trace_off, trace_to};

use scripted::{LIMIT, Renderer, both, connect, floats};

/// The environment variable that makes this program a renderer, which is killed.
const PATH: &str = "BRIDGE_WORKER_TEST_SOCKET";

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the events that `run` traces: each event with its object, slot, frame, value and peer.
fn traced(run: impl FnOnce()) -> Vec<String> {
    let sink = Sink::default();
    trace_to(sink.clone());
    run();
    trace_off();
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
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
        return live(path.into());
    }
    frames_that_are_written();
    frames_that_are_read();
    the_end_of_the_renderer();
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
            "free x slot 0 value 0",
            "take x slot 1 frame 6 value 6",
            "close x peer",
        ];
        assert_eq!(both, expected);
    } else {
        let expected = ["connect renderer peer", "offer x peer", "take x slot 1 frame 6 value 6", "close x peer"];
        assert_eq!((first.as_str(), both), ("free x slot 0 value 0", expected.map(str::to_owned).to_vec()));
    }
}

/// Runs a renderer, in a separate process.
fn live(path: PathBuf) {
    let listener = Listener::bind(path).unwrap();
    let mut renderer = Renderer::accept(&listener);
    renderer.offer(1, "x", &[floats(4)]);
    renderer.receive();
    std::thread::sleep(Duration::from_secs(60));
}

fn the_end_of_the_renderer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(["--exact", "frames_and_ends_are_traced"]).env(PATH, &path).spawn().unwrap();
    let told = traced(|| {
        let start = Instant::now();
        let worker = loop {
            match connect(&path, LIMIT) {
                Ok(worker) => break worker,
                Err(_) if start.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => panic!("{error}"),
            }
        };
        let mut writer = worker.latest::<Buffer<f32>>("x").unwrap();
        child.kill().unwrap();
        for _ in 0..2 {
            assert!(matches!(writer.begin(), Err(Error::PeerLost { .. })));
        }
    });
    child.wait().unwrap();
    assert_eq!(told, ["connect renderer", "offer x", "lost x"]);
}
