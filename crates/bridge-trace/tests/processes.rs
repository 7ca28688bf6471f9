//! Tests of several processes that write their traces to one file.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bridge_trace::{Event, event, init};
use serde_json::Value;

const LINES: usize = 2000;
/// The environment variable that makes this program the other process.
const OTHER: &str = "BRIDGE_TEST_TRACES";

/// Not a test: the other process, if the variable is set.
#[test]
fn the_other_process() {
    if std::env::var_os(OTHER).is_none() {
        return;
    }
    init();
    // Long enough for cut or mixed lines to be noticed.
    let name = "x".repeat(200);
    (0..LINES as u64).for_each(|value| event(Event::new("signal", "host", &name).value(value)));
}

fn start(trace: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_other_process"]).env(OTHER, "1").env(bridge_trace::VARIABLE, trace);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

fn lines(trace: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(trace).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn number(line: &Value, field: &str) -> u64 {
    line[field].as_u64().unwrap()
}

/// Creates an empty file whose contents are kept, because this process holds a shared lock on it.
fn kept(folder: &Path) -> (PathBuf, File) {
    let trace = folder.join("trace");
    let file = File::create(&trace).unwrap();
    file.lock_shared().unwrap();
    (trace, file)
}

#[test]
fn lines_of_several_processes_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (trace, _file) = kept(folder.path());
    let mut processes: Vec<_> = (0..3).map(|_| start(&trace)).collect();
    assert!(processes.iter_mut().all(|process| process.wait().unwrap().success()));
    let lines = lines(&trace);
    for process in &processes {
        let own: Vec<_> = lines.iter().filter(|line| number(line, "pid") == u64::from(process.id())).collect();
        assert!(own.iter().map(|line| number(line, "value")).eq(0..LINES as u64), "{} lines", own.len());
        // The two times differ by a constant.
        let start = |line: &Value| number(line, "ns") - number(line, "us") * 1000;
        assert!(own.iter().all(|line| start(line).abs_diff(start(own[0])) < 1000));
    }
}

/// Sorted by time, the events of two processes are in the order in which they happened.
#[test]
fn the_time_is_common_to_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let (trace, _file) = kept(folder.path());
    let pids: Vec<_> = (0..2)
        .map(|_| {
            let mut process = start(&trace);
            assert!(process.wait().unwrap().success());
            process.id()
        })
        .collect();
    let mut lines = lines(&trace);
    assert_eq!(lines.len(), 2 * LINES);
    lines.sort_by_key(|line| number(line, "ns"));
    let expected: Vec<_> = pids.iter().flat_map(|pid| vec![u64::from(*pid); LINES]).collect();
    assert_eq!(lines.iter().map(|line| number(line, "pid")).collect::<Vec<_>>(), expected);
}
