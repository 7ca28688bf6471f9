//! Standard output that is closed or full.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::process::Command;

#[test]
fn a_list_survives_a_closed_pipe_and_reports_a_full_disk() {
    test_support::check_closed_and_full_output(|stdout| {
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(["ci", "--list"]).stdout(stdout).output().unwrap()
    });
}
