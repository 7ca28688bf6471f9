//! `cargo xtask demo` and `cargo xtask doctor`: build a program and become it.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::shell;

/// The particle demo, after making sure that Vulkan is there.
pub(crate) fn demo(arguments: Vec<OsString>) -> Result<ExitCode> {
    let asks = |name: &str| arguments.iter().any(|argument| argument == name);
    if !asks("--help") && !asks("-h") {
        setup::run(if asks("--window") { Scope::Window } else { Scope::Headless }, Consent::of_environment())?;
    }
    shell::become_command(release(&["--package", "bridge-examples", "--example", "particles"], &arguments))
}

/// The machine check. It installs nothing: it is there to say what is wrong.
pub(crate) fn doctor(arguments: Vec<OsString>) -> Result<ExitCode> {
    if let Some(advice) = setup::advice_without_loader() {
        eprintln!("doctor: no Vulkan loader on this machine. `cargo xtask setup` installs one; by hand:\n    {advice}");
    }
    shell::become_command(release(&["--package", "doctor"], &arguments))
}

fn release(program: &[&str], arguments: &[OsString]) -> Command {
    let name = program.last().unwrap_or(&"");
    eprintln!("{name}: building it with its dependencies (release); the first time that takes minutes");
    let mut command = shell::cargo_here("run");
    command.arg("--release").args(program).arg("--").args(arguments);
    command
}
