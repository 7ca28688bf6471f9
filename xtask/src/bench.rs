//! `cargo xtask bench`: build the benchmark and become it.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::{programs, shell};

/// Options with which it measures nothing.
const HARMLESS: &[&str] =
    &["--help", "-h", "--list", "--render-table", "--render-plots", "--publish-from", "--version", "-V"];

/// The benchmark, after making sure that Vulkan is there. Results go to `bench` in cargo's target
/// folder, or where `--out` says; with `--publish` also to `benches/results`.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    if !arguments.iter().any(|argument| HARMLESS.iter().any(|harmless| argument == harmless)) {
        setup::run(Scope::Headless, Consent::of_environment())?;
    }
    eprintln!("bench: building it with its dependencies (release); the first time that takes minutes");
    let mut command = shell::cargo_here("run");
    command.args(["--release", "--package", "bridge-bench", "--"]).args(arguments);
    shell::become_command(command)
}

/// That it works, and that the frame path allocates nothing: few samples, without CUDA, validation
/// on.
pub(crate) fn check() -> Result<()> {
    // The example makes cargo count in what only tests need, as it did when it built the tests:
    // nothing is built again.
    shell::run(shell::cargo().args(["build", "--bin", "bridge-bench", "--example", "particles"]))?;
    let mut command = programs::built("bridge-bench");
    command.args(["--quick", "--backend", "host", "--validate", "--out"]).arg(shell::target_dir().join("ci/bench"));
    shell::run(&mut command)
}
