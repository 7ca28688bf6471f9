//! One trace of two processes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;
use serde_json::Value;

use crate::renderer::{self, Renderer};

/// The address to which a traced worker connects.
const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_TRACED_WORKER";
const FRAMES: u64 = 20;

/// Runs a traced worker, if this process is one.
pub(crate) fn run_if_child() {
    let Some(path) = std::env::var_os(ADDRESS_VARIABLE) else { return };
    let (_worker, mut writer) = renderer::connect(Path::new(&path), Backend::Host);
    for _ in 0..FRAMES {
        renderer::write(&mut writer).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the complete lines of the file so far.
fn lines(trace: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Both processes write to one file; sorted by time, it shows each frame passing from the worker to
/// the renderer.
#[test]
fn both_processes_write_one_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (path, trace) = (folder.path().join("renderer"), folder.path().join("trace"));
    let _renderer = Renderer::start_with(&path, |program| program.env("BRIDGE_TRACE", &trace));
    let mut worker = Command::new(std::env::current_exe().unwrap());
    worker.args(["--exact", "traced_worker_process", "--nocapture"]);
    worker.env(ADDRESS_VARIABLE, &path).env("BRIDGE_TRACE", &trace).stdout(Stdio::null());
    let mut worker = worker.spawn().unwrap();
    let (pid, start) = (u64::from(worker.id()), Instant::now());
    assert!(worker.wait().unwrap().success());
    let is = |line: &Value, event: &str, of_worker: bool| {
        line["event"] == event && line["object"] == "remote" && (line["pid"] == pid) == of_worker
    };
    // The trace also contains the renderer's drawing, on another thread than the worker's end.
    let is_signal = |line: &Value| line["event"] == "signal" && line["object"] == "remote.rendered";
    let mut all = lines(&trace);
    while !all.iter().any(|line| is(line, "lost", false) || is(line, "close", false)) || !all.iter().any(is_signal) {
        assert!(start.elapsed() < Rig::LONG, "the renderer traces no end, or no drawing");
        std::thread::sleep(Duration::from_millis(5));
        all = lines(&trace);
    }
    all.sort_by_key(|line| line["ns"].as_u64().unwrap());
    let at = |event, of_worker, frame: Option<u64>| {
        let found = all.iter().position(|line| is(line, event, of_worker) && line["frame"].as_u64() == frame);
        found.unwrap_or_else(|| panic!("no {event} of frame {frame:?}, of the worker: {of_worker}"))
    };
    assert!(at("connect", false, None) < at("offer", true, None));
    assert!(at("offer", true, None) < at("offer", false, None));
    for frame in (0..FRAMES).map(Some) {
        assert!(at("begin", true, frame) < at("publish", true, frame), "{frame:?}");
        assert!(at("publish", true, frame) < at("take", false, frame), "{frame:?}");
        let slot = |place: usize| all[place]["slot"].clone();
        assert_eq!(slot(at("publish", true, frame)), slot(at("take", false, frame)));
    }
    assert!(all.iter().any(|line| is(line, "close", true)));
}
