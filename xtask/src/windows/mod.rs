//! `cargo xtask windows`: checks for Windows on a machine that runs Linux.
//!
//! All code is checked, linted and documented for MSVC, which needs no linker. Then tests, the
//! doctor and the demo are built with MinGW and run under Wine: either all tests or only those that
//! can fail only on Windows, because the others behave as on Linux. No driver under Wine exports
//! memory: the driver double replaces `nvcuda.dll`, and the CPU backend needs no export.

mod tools;
mod wine;

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::documented::DOCUMENTED;
use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::{shell, test};
use tools::Tools;
use wine::Wine;

/// The target that is checked, linted and documented, but not linked.
const CHECKED: &str = "x86_64-pc-windows-msvc";

/// All packages that are built to be run: with other packages, cargo would select other features of
/// the dependencies and build them again.
const PACKAGES: &str = "-p vk-export -p cuda-import -p vk-cuda-bridge-trace -p vk-cuda-bridge -p bridge-examples -p doctor \
                        -p driver-double -p bridge-tests";

/// Test programs outside the crates that can fail only on Windows: those of the double, which acts
/// as `nvcuda.dll` and counts handles, and those on a device that export, name and select devices,
/// and one that transfers frames with the CPU backend.
const DIFFERENT: &[&str] = &[
    // driver-double
    "blocking",
    "captures",
    "current",
    "faults",
    "faults_images",
    "findings",
    "findings_images",
    "frames",
    "guards",
    "lifetimes",
    "loggers",
    "lost",
    "machines",
    "modules",
    "nt",
    "order",
    "read_backs",
    "streams",
    // bridge-tests
    "devices",
    "exchange",
    "export",
    "images_export",
];

/// Bookkeeping without system calls: the exhaustive exploration of the schedules of a small
/// exchange.
const EXPLORATION: &str = "exchange::latest::ledger";

/// Tests inside the crates. The other tests of `bridge-examples` and `doctor` start Linux programs.
const INSIDE: &str = "-p vk-export -p cuda-import -p vk-cuda-bridge-trace -p vk-cuda-bridge -p vk-cuda-bridge-view -p bridge-examples -p doctor --lib";
/// Packages that consist of tests.
const BESIDE: &str = "-p driver-double -p bridge-tests";

/// No optimization: it takes longer than it saves, because Wine itself is slow.
const QUICK_TO_BUILD: &str = "--config profile.dev.opt-level=0 --config profile.dev.debug=false";

/// A small demo, because the frames are drawn in software; the demo checks its own picture.
const DEMO: &str = "--backend host --frames 4 --particles 20000 --size 320x180 --slots 2";

/// Installs the missing tools.
pub(crate) fn set_up(consent: Consent) -> Result<()> {
    Tools::set_up(CHECKED, consent).map(drop)
}

/// Runs the steps, and stops at the first failure. Under Wine, runs the tests that can fail only on
/// Windows, or all tests with `all`.
pub(crate) fn run(consent: Consent, all: bool) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("this is for Linux, where Windows has to be imitated; on Windows run `cargo xtask test`");
    }
    let tools = timed("tools", || {
        let tools = Tools::set_up(CHECKED, consent)?;
        // Wine uses the screen and the software driver of Linux.
        setup::run(Scope::Tests, consent)?;
        Ok(tools)
    })?;
    timed("clippy", || {
        let mut clippy = tools.cargo("clippy", CHECKED);
        shell::run(clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    timed("docs", || {
        let mut doc = tools.cargo("doc", CHECKED);
        shell::run(doc.args(DOCUMENTED.split_whitespace()).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    let wine = timed("wine", || Wine::start(&tools))?;
    timed("tests", || tests(&tools, &wine, all))?;
    timed("programs", || programs(&tools, &wine))
}

fn timed<T>(step: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("-- windows: {step}");
    let start = Instant::now();
    let result = work();
    println!("-- windows: {step}: {:.1} s", start.elapsed().as_secs_f64());
    result
}

fn tests(tools: &Tools, wine: &Wine, all: bool) -> Result<()> {
    if all {
        let test = |words: &&str| test(tools, wine, &words.split_whitespace().collect::<Vec<_>>());
        return [INSIDE, BESIDE].iter().try_for_each(test);
    }
    let programs = DIFFERENT.iter().flat_map(|name| ["--test", name]);
    let words = PACKAGES.split_whitespace().chain(["--lib"]).chain(programs).chain(["--", "--skip", EXPLORATION]);
    test(tools, wine, &words.collect::<Vec<_>>())
}

fn test(tools: &Tools, wine: &Wine, words: &[&str]) -> Result<()> {
    let log = tools.folder().join("skips.log");
    std::fs::write(&log, "")?;
    let mut command = quick(tools.cargo("test", tools.run_target()))?;
    command.arg("--no-fail-fast").args(words);
    wine.prepare(&mut command);
    command.env(tools.runner_variable(), wine.program()).env(test::SKIP_LOG, Wine::path(&log));
    if !test::count(&mut command, &log)? {
        bail!("tests failed under Wine: `{}`", shell::shown(&command));
    }
    Ok(())
}

fn quick(mut command: Command) -> Result<Command> {
    command.args(QUICK_TO_BUILD.split_whitespace());
    let path = shell::root().join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for name in optimized(&manifest) {
        command.args(["--config", &format!("profile.dev.package.{name}.opt-level=0")]);
    }
    Ok(command)
}

/// Returns the packages that a manifest optimizes by name in the profile `dev`.
fn optimized(manifest: &str) -> Vec<&str> {
    let section = manifest.lines().skip_while(|line| *line != "[profile.dev.package]").skip(1);
    let section = section.take_while(|line| !line.starts_with('['));
    section.filter_map(|line| Some(line.split_once(".opt-level")?.0)).collect()
}

/// Checks that the doctor finds Vulkan but no CUDA, and that the demo draws into memory and into a
/// window.
fn programs(tools: &Tools, wine: &Wine) -> Result<()> {
    let mut build = quick(tools.cargo("build", tools.run_target()))?;
    shell::run(build.args(PACKAGES.split_whitespace()).args(["--example", "particles", "--bin", "doctor"]))?;
    let debug = tools.target_dir().join(tools.run_target()).join("debug");
    let folder = debug.join("examples");

    let output = wine.command(&debug.join("doctor.exe")).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    for expected in ["no CUDA driver: nvcuda.dll was not found", "ok: the CPU and Vulkan", "only the CPU backend works"]
    {
        // The doctor wraps its lines at spaces.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !words(&said).contains(expected) {
            bail!("the doctor under Wine does not say {expected:?} ({})", output.status);
        }
    }

    let out = tools.folder().join("demo");
    let demo = || {
        let mut demo = wine.command(&folder.join("particles.exe"));
        demo.args(DEMO.split_whitespace());
        demo
    };
    shell::run(demo().arg("--out").arg(Wine::path(&out)))?;
    shell::run(demo().arg("--window"))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn what_is_optimized_is_read_from_the_manifest() {
        let manifest = std::fs::read_to_string(shell::root().join("Cargo.toml")).unwrap();
        let names = optimized(&manifest);
        assert!(names.contains(&"vk-cuda-bridge") && names.contains(&"bridge-examples"), "{names:?}");
        assert_eq!(names.len(), manifest.matches(".opt-level = 1").count(), "{names:?}");
        assert!(optimized("[profile.dev.package]\n\"*\".debug = false\n[profile.release]\nx.opt-level = 1").is_empty());
    }
}
