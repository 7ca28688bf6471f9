//! `cargo xtask bench`: builds the benchmark and replaces this process with it.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::{programs, shell};

/// Options with which the benchmark measures nothing.
const HARMLESS: &[&str] =
    &["--help", "-h", "--list", "--render-table", "--render-plots", "--publish-from", "--version", "-V"];

/// Runs the benchmark, after making sure that Vulkan is available. Results go to `bench` in cargo's
/// target folder, or to the folder in `--out`; with `--publish` also to `benches/results`.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    if !arguments.iter().any(|argument| HARMLESS.iter().any(|harmless| argument == harmless)) {
        setup::run(Scope::Headless, Consent::from_environment())?;
    }
    eprintln!("bench: building it with its dependencies (release); the first time that takes minutes");
    let mut command = shell::cargo_in_user_dir("run");
    command.args(["--release", "--package", "bridge-bench", "--"]).args(arguments);
    shell::become_command(command)
}

/// Checks that the benchmark works and that the frame path allocates nothing: few samples, without
/// CUDA, with validation.
pub(crate) fn check() -> Result<()> {
    // Building the example too makes cargo select the features of dev-dependencies, as when it
    // built the tests, so that nothing is built again.
    shell::run(shell::cargo().args(["build", "--bin", "bridge-bench", "--example", "particles"]))?;
    let mut command = programs::built("bridge-bench");
    command.args(["--quick", "--backend", "host", "--validate", "--out"]).arg(shell::target_dir().join("ci/bench"));
    shell::run(&mut command)
}
