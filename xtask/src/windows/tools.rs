//! Rust for Windows, a linker for it, and Wine: found, or installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::packages::{self, Manager, Need};
use crate::shell;

/// Linked with MinGW, to be run.
const RUN: &str = "x86_64-pc-windows-gnu";
/// Debian puts Wine's 64-bit loader here alone, other systems on the path.
const WINE_OF_DEBIAN: &str = "/usr/lib/wine/wine64";

/// What builds and runs for Windows.
pub(super) struct Tools {
    wine: PathBuf,
}

impl Tools {
    /// Looks, and installs what is not there. In the error: what to type.
    pub(super) fn set_up(checked: &str, install: bool) -> Result<Self> {
        let missing: Vec<_> = [checked, RUN].into_iter().filter(|target| !has_target(target)).collect();
        if !missing.is_empty() {
            add_targets(&missing, install)?;
        }
        let mut needs = Vec::new();
        if shell::on_path(compiler()).is_none() {
            needs.push(Need::MinGw);
        }
        if wine().is_none() {
            needs.push(Need::Wine);
        }
        if !needs.is_empty() {
            Manager::install(&needs, install)?;
        }
        let wine = wine().context("the packages went in, but there is neither `wine64` nor `wine`")?;
        Ok(Self { wine })
    }

    /// `cargo COMMAND --target TARGET`.
    pub(super) fn cargo(&self, command: &str, target: &str) -> Command {
        let mut cargo = shell::cargo();
        cargo.args([command, "--target", target]);
        cargo
    }

    /// For what is not cargo's: Wine's folder, logs, pictures.
    pub(super) fn folder(&self) -> PathBuf {
        shell::target_dir().join("windows")
    }

    pub(super) fn run_target(&self) -> &'static str {
        RUN
    }

    /// What cargo takes the program from that runs its tests.
    pub(super) fn runner_variable(&self) -> String {
        format!("CARGO_TARGET_{}_RUNNER", RUN.to_uppercase().replace('-', "_"))
    }

    pub(super) fn wine(&self) -> &Path {
        &self.wine
    }
}

/// C for Windows.
pub(super) fn compiler() -> &'static str {
    "x86_64-w64-mingw32-gcc"
}

fn wine() -> Option<PathBuf> {
    let of_debian = Some(PathBuf::from(WINE_OF_DEBIAN)).filter(|path| path.is_file());
    shell::on_path("wine64").or(of_debian).or_else(|| shell::on_path("wine"))
}

/// Whether the toolchain in force has the target's standard library.
fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let found = rustc.current_dir(shell::root()).args(["--print", "target-libdir", "--target", target]).output();
    found.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn add_targets(targets: &[&str], install: bool) -> Result<()> {
    let typed = format!("rustup target add {}", targets.join(" "));
    if shell::on_path("rustup").is_none() {
        bail!(
            "Rust for {} is missing, and so is rustup; install it from https://rustup.rs and run `{typed}`",
            targets.join(", ")
        );
    }
    if !(install && packages::may_install()) {
        bail!("installing is turned off; run this, then try again:\n    {typed}");
    }
    eprintln!("setup: {typed}");
    let mut rustup = Command::new("rustup");
    rustup.current_dir(shell::root()).args(["target", "add"]).args(targets);
    shell::run(&mut rustup)
        .with_context(|| format!("Rust for Windows is not here; run this, then try again:\n    {typed}"))
}
