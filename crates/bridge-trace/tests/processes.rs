//! Tests of several processes that write their traces to one file.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bridge_trace::{Event, EventKind, Side, event, init};
use serde_json::Value;

const LINES: usize = 2000;
/// The environment variable that makes this program the other process.
const OTHER: &str = "BRIDGE_TEST_TRACES";
/// Its value for one that writes this to its standard error as well.
const TELLS: &str = "of the program";

/// Not a test: the other process, if the variable is set.
#[test]
fn the_other_process() {
    if std::env::var_os(OTHER).is_none() {
        return;
    }
    let tells = std::env::var_os(OTHER).is_some_and(|value| value == TELLS);
    if tells {
        // Ends the line that the test harness may have begun with the name of this test.
        writeln!(io::stderr()).unwrap();
    }
    init();
    // Long enough for cut or mixed lines to be noticed.
    let name = "x".repeat(200);
    let write = |value: u64| event(Event::new(EventKind::Signal, Side::Host, &name).value(value));
    (0..LINES as u64 / 2).for_each(write);
    if tells {
        writeln!(io::stderr(), "{TELLS}").unwrap();
    }
    (LINES as u64 / 2..LINES as u64).for_each(write);
}

fn start(trace: &Path) -> Child {
    command(trace, Command::new(std::env::current_exe().unwrap())).spawn().unwrap()
}

/// As the other process. The program ends with the path of this one, or with what starts it.
fn command(trace: &Path, mut program: Command) -> Command {
    program.args(["--exact", "the_other_process"]).env(OTHER, "1").env(bridge_trace::VARIABLE, trace);
    program.stdin(Stdio::null()).stdout(Stdio::null());
    program
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

/// A file that a stream is redirected to is written through the stream, under any name.
#[test]
fn file_of_a_redirected_stream_is_not_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    for trace in [Path::new("/dev/stderr"), Path::new("/dev/stdout"), Path::new("/dev/fd/2"), &file] {
        std::fs::write(&file, "").unwrap();
        // Not appended to: the position is the stream's.
        let mut stream = File::options().write(true).open(&file).unwrap();
        stream.write_all(b"of the shell\n").unwrap();
        let mut other = command(trace, Command::new(std::env::current_exe().unwrap()));
        other.env(OTHER, TELLS).stdout(stream.try_clone().unwrap()).stderr(stream);
        assert!(other.status().unwrap().success());
        let text = std::fs::read_to_string(&file).unwrap();
        let values = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let values: Vec<_> = values.map(|line| number(&line, "value")).collect();
        assert!(values.iter().copied().eq(0..LINES as u64), "{}: {} lines", trace.display(), values.len());
        let others = ["of the shell", TELLS].map(|words| text.lines().filter(|line| *line == words).count());
        assert_eq!(others, [1, 1], "{}", trace.display());
    }
}

/// A limit of the file's size stands for a full disk.
#[test]
fn line_cut_by_a_full_disk_does_not_join_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (trace, _file) = kept(folder.path());
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 63; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    assert!(command(&trace, limited).status().unwrap().success());
    let cut = std::fs::read(&trace).unwrap();
    let mut other = start(&trace);
    assert!(other.wait().unwrap().success());
    let text = std::fs::read_to_string(&trace).unwrap();
    let values = text.lines().map(serde_json::from_str::<Value>);
    let (whole, torn): (Vec<_>, Vec<_>) = values.partition(Result::is_ok);
    let of_other = whole.into_iter().flatten().filter(|line| number(line, "pid") == u64::from(other.id()));
    assert_eq!(of_other.count(), LINES, "after {} bytes", cut.len());
    // None if a line ends exactly at the limit.
    assert!(torn.len() <= 1, "{torn:?}");
}
