//! Rust for Windows, a linker for it, and Wine: found, or installed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::consent::Consent;
use crate::setup::install;
use crate::setup::packages::Need;
use crate::shell;

/// Debian puts Wine's 64-bit loader here alone, other systems on the path.
const WINE_OF_DEBIAN: &str = "/usr/lib/wine/wine64";
/// Where Debian's packages put their programs; rustup's come before them on the path.
const DEBIAN: &str = "/usr/bin";

/// Tools that build and run for Windows.
pub(super) struct Tools {
    rust: Rust,
    wine: PathBuf,
}

/// Which compiler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rust {
    /// The one in force, with the standard library for Windows from rustup.
    Own,
    /// Debian's, which has the library's source and builds it along.
    Debian,
}

impl Tools {
    /// Looks, and installs what is not there. In the error: what to type.
    pub(super) fn set_up(checked: &str, consent: Consent) -> Result<Self> {
        let rust = rust(checked, consent)?;
        let mut needs = Vec::new();
        if shell::on_path(compiler()).is_none() {
            needs.push(Need::MinGw);
        }
        if wine().is_none() {
            needs.push(Need::Wine);
        }
        if !needs.is_empty() {
            install::install(&needs, &[], consent)?;
        }
        let wine = wine().context("the packages were installed, but there is neither `wine64` nor `wine`")?;
        Ok(Self { rust, wine })
    }

    /// `cargo COMMAND --target TARGET`.
    pub(super) fn cargo(&self, command: &str, target: &str) -> Command {
        let mut cargo = match self.rust {
            Rust::Own => shell::cargo(),
            Rust::Debian => debians_cargo(),
        };
        cargo.env("CARGO_TARGET_DIR", self.target_dir()).arg(command);
        if self.rust == Rust::Debian {
            cargo.arg("-Zbuild-std");
        }
        cargo.args(["--target", target]);
        cargo
    }

    /// Where cargo puts what it builds. Two compilers in one folder would build everything anew,
    /// each time.
    pub(super) fn target_dir(&self) -> PathBuf {
        match self.rust {
            Rust::Own => shell::target_dir(),
            Rust::Debian => self.folder().join("debian"),
        }
    }

    /// For what is not cargo's: Wine's folder, logs, pictures.
    pub(super) fn folder(&self) -> PathBuf {
        shell::target_dir().join("windows")
    }

    /// What is linked with MinGW, to be run.
    pub(super) fn run_target(&self) -> &'static str {
        self.rust.run_target()
    }

    /// What cargo takes the program from that runs its tests.
    pub(super) fn runner_variable(&self) -> String {
        format!("CARGO_TARGET_{}_RUNNER", self.run_target().to_uppercase().replace('-', "_"))
    }

    pub(super) fn wine(&self) -> &Path {
        &self.wine
    }
}

impl Rust {
    /// A library that is built along is built for an older Windows, which asks less of Wine.
    fn run_target(self) -> &'static str {
        match self {
            Self::Own => "x86_64-pc-windows-gnu",
            Self::Debian => "x86_64-win7-windows-gnu",
        }
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

fn rust(checked: &str, consent: Consent) -> Result<Rust> {
    let targets = [checked, Rust::Own.run_target()];
    let missing: Vec<_> = targets.into_iter().filter(|target| !has_target(target)).collect();
    if missing.is_empty() {
        return Ok(Rust::Own);
    }
    let Err(error) = add_targets(&missing, consent) else { return Ok(Rust::Own) };
    if !has_debians_rust() {
        if shell::on_path("apt-get").is_none() {
            return Err(error);
        }
        eprintln!("setup: {error:#}\nsetup: taking Debian's Rust instead");
        install::install(&[Need::DebianRust], &[], consent).context(format!("{error:#}"))?;
    }
    Ok(Rust::Debian)
}

/// Whether the toolchain in force has the target's standard library.
fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let found = rustc.current_dir(shell::root()).args(["--print", "target-libdir", "--target", target]).output();
    found.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn add_targets(targets: &[&str], consent: Consent) -> Result<()> {
    let typed = format!("rustup target add {}", targets.join(" "));
    if shell::on_path("rustup").is_none() {
        bail!("Rust for Windows is not here, and neither is rustup, which brings it with `{typed}`: https://rustup.rs");
    }
    if consent != Consent::Forbidden {
        eprintln!("setup: the command: {typed}");
    }
    consent.confirm(&typed)?;
    let mut rustup = Command::new("rustup");
    rustup.current_dir(shell::root()).args(["target", "add"]).args(targets);
    shell::run(&mut rustup).context("rustup does not provide Rust for Windows")
}

fn has_debians_rust() -> bool {
    ["cargo", "rustc", "cargo-clippy"].iter().all(|program| Path::new(DEBIAN).join(program).is_file())
        && shell::succeeds(debians_cargo().args(["-Zbuild-std", "--version"]))
}

/// Debian's programs first, and nothing of rustup's. A stable compiler builds its own library only
/// if told that it may.
fn debians_cargo() -> Command {
    let mut cargo = shell::cargo_at(&Path::new(DEBIAN).join("cargo"));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(PathBuf::from(DEBIAN)).chain(env::split_paths(&path));
    if let Ok(path) = env::join_paths(path) {
        cargo.env("PATH", path);
    }
    for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC"] {
        cargo.env_remove(name);
    }
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo
}
