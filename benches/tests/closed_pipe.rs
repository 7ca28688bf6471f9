//! Standard output that is closed or full.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fs;
use std::process::{Command, Output, Stdio};

fn run(stdout: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bridge-bench")).args(["--list"]).stdout(stdout).output().unwrap()
}

#[test]
fn a_list_survives_a_closed_pipe_and_reports_a_full_disk() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    let error = String::from_utf8_lossy(&closed.stderr);
    assert!(closed.status.success() && error.is_empty(), "{error}");
    let full = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    let error = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(1) && error.contains("cannot write to standard output"), "{error}");
}
