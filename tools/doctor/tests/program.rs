#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! The doctor as a user runs it.

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_printed_is_an_error_of_its_own() {
    use std::fs;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    // Beside the test, where the two were taken to another machine.
    let beside = std::env::current_exe().unwrap().with_file_name("doctor");
    let built = PathBuf::from(env!("CARGO_BIN_EXE_doctor"));
    let doctor = if built.exists() { built } else { beside };
    for arguments in [&["--json"][..], &[]] {
        let run = |stdout: Stdio| Command::new(&doctor).args(arguments).stdout(stdout).output().unwrap();
        let output = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(74) && error.contains("standard output"), "{arguments:?}: {error}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code <= 2) && !error.contains("panicked"), "{error}");
    }
}
