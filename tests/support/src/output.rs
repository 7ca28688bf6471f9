//! Programs whose standard output is closed or full.

use std::process::{Output, Stdio};

/// Checks that a program succeeds without a message if its standard output is closed, and exits
/// with 1 and an error if it is full. `run` runs the program with this standard output.
///
/// # Panics
/// Panics if it does not, or if `/dev/full` cannot be opened.
#[allow(clippy::unwrap_used)] // Without a pipe and a full device, there is nothing to test.
pub fn check_closed_and_full_output(run: impl Fn(Stdio) -> Output) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    let error = String::from_utf8_lossy(&closed.stderr);
    assert!(closed.status.success() && error.is_empty(), "{error}");
    let full = run(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    let error = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(1) && error.contains("cannot write to standard output"), "{error}");
}
