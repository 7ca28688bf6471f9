//! `cargo xtask demo` and `cargo xtask doctor`: build a program of the workspace and replace this
//! process with it.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::shell;

/// Runs the particle demo, after making sure that Vulkan is available.
pub(crate) fn demo(arguments: Vec<OsString>) -> Result<ExitCode> {
    let asks = |name: &str| arguments.iter().any(|argument| argument == name);
    if !asks("--help") && !asks("-h") {
        setup::run(if asks("--window") { Scope::Window } else { Scope::Headless }, Consent::from_environment())?;
    }
    shell::become_command(release(&["--package", "bridge-examples", "--example", "particles"], &arguments))
}

/// Runs the machine check. It installs nothing, because its purpose is to report problems.
pub(crate) fn doctor(arguments: Vec<OsString>) -> Result<ExitCode> {
    if let Some(advice) = setup::advice_without_loader() {
        eprintln!("doctor: no Vulkan loader on this machine. `cargo xtask setup` installs one; by hand:\n    {advice}");
    }
    shell::become_command(release(&["--package", "doctor"], &arguments))
}

/// Returns the command for a program that cargo has built with the profile `dev`, given its path in
/// that profile's folder. The command runs in the root of the workspace, with a current validation
/// layer if there is one.
pub(crate) fn built(path: &str) -> Command {
    let program = shell::target_dir().join("debug").join(format!("{path}{}", env::consts::EXE_SUFFIX));
    let mut command = Command::new(program);
    command.current_dir(shell::root());
    if let Some(path) = setup::layer_path() {
        command.env("VK_LAYER_PATH", path);
    }
    command
}

fn release(program: &[&str], arguments: &[OsString]) -> Command {
    let name = program.last().unwrap_or(&"");
    eprintln!("{name}: building it with its dependencies (release); the first time that takes minutes");
    let mut command = shell::cargo_in_user_dir("run");
    command.arg("--release").args(program).arg("--").args(arguments);
    command
}
