//! `cargo xtask bench`: build the benchmark and become it.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::shell;

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
    let mut command = program(shell::cargo_here("run"), &["--release"]);
    command.args(arguments);
    shell::become_command(command)
}

/// That it works, and that the frame path allocates nothing: few samples, without CUDA, validation
/// on.
pub(crate) fn check() -> Result<()> {
    let mut command = shell::cargo();
    command.arg("run");
    let mut command = program(command, &[]);
    command.args(["--quick", "--backend", "host", "--validate", "--out"]).arg(shell::target_dir().join("ci/bench"));
    if let Some(path) = setup::layer_path() {
        command.env("VK_LAYER_PATH", path);
    }
    shell::run(&mut command)
}

fn program(mut command: Command, options: &[&str]) -> Command {
    command.args(options).args(["--package", "bridge-bench", "--"]);
    command
}
