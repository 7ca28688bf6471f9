//! Rust for Windows, a linker for it, and Wine; installed if missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::consent::Consent;
use crate::setup::install;
use crate::setup::packages::Need;
use crate::shell;

/// The path of Wine's 64-bit loader on Debian, which does not put it on `PATH`.
const WINE_OF_DEBIAN: &str = "/usr/lib/wine/wine64";
/// The folder of the programs from Debian packages; those of rustup precede it on `PATH`.
const DEBIAN: &str = "/usr/bin";

/// The tools that build and run programs for Windows.
pub(super) struct Tools {
    rust: Rust,
    wine: PathBuf,
}

/// The compiler to use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rust {
    /// The active compiler, with the standard library for Windows from rustup.
    Own,
    /// Debian's compiler, which builds the standard library from source.
    Debian,
}

impl Tools {
    /// Looks for the tools and installs those that are missing. The error contains the command to
    /// run.
    pub(super) fn set_up(consent: Consent) -> Result<Self> {
        let rust = rust(consent)?;
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

    /// Returns the command `cargo COMMAND --target TARGET`.
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

    /// Returns cargo's target folder. Each compiler has its own: sharing a folder would rebuild
    /// everything at each change of compiler.
    pub(super) fn target_dir(&self) -> PathBuf {
        match self.rust {
            Rust::Own => shell::target_dir(),
            Rust::Debian => self.folder().join("debian"),
        }
    }

    /// Returns the folder for other files: Wine's folder, logs, pictures.
    pub(super) fn folder(&self) -> PathBuf {
        shell::target_dir().join("windows")
    }

    /// Returns the target that is linked with MinGW and run.
    pub(super) fn run_target(&self) -> &'static str {
        self.rust.run_target()
    }

    pub(super) fn wine(&self) -> &Path {
        &self.wine
    }
}

impl Rust {
    /// Returns the target to run. A standard library built from source is built for an older
    /// Windows, which requires less of Wine.
    fn run_target(self) -> &'static str {
        match self {
            Self::Own => "x86_64-pc-windows-gnu",
            Self::Debian => "x86_64-win7-windows-gnu",
        }
    }
}

/// Returns the C compiler for Windows.
pub(super) fn compiler() -> &'static str {
    "x86_64-w64-mingw32-gcc"
}

fn wine() -> Option<PathBuf> {
    let of_debian = Some(PathBuf::from(WINE_OF_DEBIAN)).filter(|path| path.is_file());
    shell::on_path("wine64").or(of_debian).or_else(|| shell::on_path("wine"))
}

fn rust(consent: Consent) -> Result<Rust> {
    let target = Rust::Own.run_target();
    if has_target(target) {
        return Ok(Rust::Own);
    }
    let Err(error) = add_target(target, consent) else { return Ok(Rust::Own) };
    if !has_debians_rust() {
        if shell::on_path("apt-get").is_none() {
            return Err(error);
        }
        eprintln!("setup: {error:#}\nsetup: taking Debian's Rust instead");
        install::install(&[Need::DebianRust], &[], consent).context(format!("{error:#}"))?;
    }
    Ok(Rust::Debian)
}

/// Returns `true` if the active toolchain has the target's standard library.
fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let found = rustc.current_dir(shell::root()).args(["--print", "target-libdir", "--target", target]).output();
    found.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn add_target(target: &str, consent: Consent) -> Result<()> {
    let typed = format!("rustup target add {target}");
    if shell::on_path("rustup").is_none() {
        bail!("Rust for Windows is not here, and neither is rustup, which brings it with `{typed}`: https://rustup.rs");
    }
    if consent != Consent::Forbidden {
        eprintln!("setup: the command: {typed}");
    }
    consent.confirm(&typed)?;
    let mut rustup = Command::new("rustup");
    rustup.current_dir(shell::root()).args(["target", "add", target]);
    shell::run(&mut rustup).context("rustup does not provide Rust for Windows")
}

fn has_debians_rust() -> bool {
    ["cargo", "rustc", "cargo-clippy"].iter().all(|program| Path::new(DEBIAN).join(program).is_file())
        && shell::succeeds(debians_cargo().args(["-Zbuild-std", "--version"]))
}

/// Returns Debian's cargo, with Debian's programs first and without rustup's variables. A stable
/// compiler builds its standard library only with `RUSTC_BOOTSTRAP`.
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
