//! `cargo xtask windows`: checks for Windows on a machine that runs Linux.
//!
//! The workspace is compiled and linted for Windows with MinGW. Libraries with examples in their
//! docs are also documented, and programs are linted as tests. No code depends on the difference to
//! MSVC, for which all dependencies would have to be checked again. Tests, the doctor and the demo
//! are linked and run under Wine: either all tests or only those that can fail only on Windows,
//! because the others behave as on Linux. No driver under Wine exports memory: the driver double
//! replaces `nvcuda.dll`, and the CPU backend needs no export.

mod tools;
mod wine;

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::test::TestProgram;
use crate::{lint, shell, test};
use tools::Tools;
use wine::Wine;

/// Tests inside the crates, by package and library. The other tests of `bridge-examples` and
/// `doctor` start Linux programs.
const UNIT_TESTS: &[(&str, &str)] = &[
    ("vk-export", "vk_export"),
    ("cuda-import", "cuda_import"),
    ("vk-cuda-bridge-trace", "bridge_trace"),
    ("vk-cuda-bridge", "bridge"),
    ("vk-cuda-bridge-view", "bridge_view"),
    ("bridge-examples", "bridge_examples"),
    ("doctor", "doctor"),
    ("driver-double", "driver_double"),
    ("bridge-tests", "bridge_tests"),
];

/// Packages that consist of tests.
const TEST_PACKAGES: &[&str] = &["driver-double", "bridge-tests"];

/// Test programs outside the crates that can fail only on Windows, by package and target: those of
/// the double, which acts as `nvcuda.dll` and counts handles, and those on a device that export,
/// name and select devices, and one that transfers frames with the CPU backend.
const WINDOWS_SPECIFIC: &[(&str, &str)] = &[
    ("driver-double", "calls"),
    ("driver-double", "faults"),
    ("driver-double", "findings"),
    ("bridge-tests", "devices"),
    ("bridge-tests", "exchange"),
    ("bridge-tests", "export"),
    ("bridge-tests", "images_export"),
];

/// Bookkeeping without system calls: the exhaustive exploration of the schedules of a small
/// exchange.
const EXPLORATION: &str = "exchange::latest::ledger";

/// Programs that run in addition to the tests, by package and target.
const PROGRAMS: &[(&str, &str)] = &[("bridge-examples", "particles"), ("doctor", "doctor")];

/// No optimization: it takes longer than it saves, because Wine itself is slow.
const QUICK_TO_BUILD: &str = "--config profile.dev.opt-level=0 --config profile.dev.debug=false";

/// A small demo, because the frames are drawn in software; the demo checks its own picture.
const DEMO: &str = "--backend host --frames 4 --particles 20000 --size 320x180 --slots 2";

/// Installs the missing tools.
pub(crate) fn set_up(consent: Consent) -> Result<()> {
    Tools::set_up(consent).map(drop)
}

/// Runs the steps, and stops at the first failure. Under Wine, runs the tests that can fail only on
/// Windows, or all tests with `all`.
pub(crate) fn run(consent: Consent, all: bool) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("this is for Linux, where Windows has to be imitated; on Windows run `cargo xtask test`");
    }
    let tools = timed("tools", || {
        let tools = Tools::set_up(consent)?;
        // Wine uses the screen and the software driver of Linux.
        setup::run(Scope::Tests, consent)?;
        Ok(tools)
    })?;
    let built = timed("build", || test::build(cargo(&tools, "test", all)?))?;
    timed("docs", || shell::run(cargo(&tools, "test", all)?.arg("--doc")))?;
    let wine = timed("wine", || Wine::start(&tools))?;
    timed("tests", || tests(&tools, &wine, &built, all))?;
    timed("programs", || programs(&tools, &wine, all))
}

fn timed<T>(step: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    crate::console::line(format_args!("-- windows: {step}"))?;
    let start = Instant::now();
    let result = work();
    crate::console::line(format_args!("-- windows: {step}: {:.1} s", start.elapsed().as_secs_f64()))?;
    result
}

/// Returns `cargo COMMAND` on the workspace, with lints. It only builds programs that are run.
fn cargo(tools: &Tools, command: &str, all: bool) -> Result<Command> {
    let named = |(package, target): &(&str, &str)| format!("{package}/{target}");
    let mut built: Vec<_> = UNIT_TESTS.iter().chain(PROGRAMS).map(named).collect();
    if all {
        built.extend(TEST_PACKAGES.iter().map(|package| format!("{package}/")));
    } else {
        built.extend(WINDOWS_SPECIFIC.iter().map(named));
    }
    let mut command = without_optimization(tools.cargo(command, tools.run_target()))?;
    lint::with_lints_alone(&mut command, &built)?;
    command.arg("--workspace");
    Ok(command)
}

fn is_run(program: (&str, &str), all: bool) -> bool {
    UNIT_TESTS.contains(&program)
        || if all { TEST_PACKAGES.contains(&program.0) } else { WINDOWS_SPECIFIC.contains(&program) }
}

/// Fails if a program of the lists is not among the programs, given by package and target.
fn check_lists(found: &[(&str, &str)]) -> Result<()> {
    let listed = UNIT_TESTS.iter().chain(WINDOWS_SPECIFIC);
    let missing: Vec<_> = listed.filter(|program| !found.contains(program)).collect();
    ensure!(missing.is_empty(), "cargo has not built {missing:?}");
    Ok(())
}

fn name(program: &TestProgram) -> (&str, &str) {
    (&program.package, &program.target)
}

fn tests(tools: &Tools, wine: &Wine, built: &[TestProgram], all: bool) -> Result<()> {
    let log = tools.folder().join("skips.log");
    std::fs::write(&log, "")?;
    check_lists(&built.iter().map(name).collect::<Vec<_>>())?;
    let programs = built.iter().filter(|program| is_run(name(program), all));
    let commands = programs.map(|program| {
        let mut command = wine.command(&program.file);
        program.prepare(&mut command);
        if !all {
            command.args(["--skip", EXPLORATION]);
        }
        command.env(test::SKIP_LOG, Wine::path(&log));
        command
    });
    if !test::count(commands, &log)? {
        bail!("tests failed under Wine");
    }
    Ok(())
}

fn without_optimization(mut command: Command) -> Result<Command> {
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
fn programs(tools: &Tools, wine: &Wine, all: bool) -> Result<()> {
    shell::run(cargo(tools, "build", all)?.args(["--example", "particles", "--bin", "doctor"]))?;
    let debug = tools.target_dir().join(tools.run_target()).join("debug");
    let folder = debug.join("examples");

    let output = wine.command(&debug.join("doctor.exe")).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    crate::console::line(format_args!("{said}"))?;
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

    /// `bridge-tests` and `driver-double` both have a test program `faults`.
    #[test]
    fn a_program_is_chosen_by_package_and_target() {
        for (program, quick, all) in [
            (("driver-double", "faults"), true, true),
            (("bridge-tests", "faults"), false, true),
            (("vk-export", "vk_export"), true, true),
            (("vk-export", "export"), false, false),
        ] {
            assert_eq!([is_run(program, false), is_run(program, true)], [quick, all], "{program:?}");
        }
    }

    #[test]
    fn each_listed_program_must_be_built() {
        let mut built: Vec<_> = UNIT_TESTS.iter().chain(WINDOWS_SPECIFIC).copied().collect();
        check_lists(&built).unwrap();
        *built.last_mut().unwrap() = ("driver-double", "images_export");
        let missing = check_lists(&built).unwrap_err().to_string();
        assert!(missing.contains(r#"("bridge-tests", "images_export")"#), "{missing}");
    }

    #[test]
    fn optimized_packages_are_read_from_the_manifest() {
        let manifest = std::fs::read_to_string(shell::root().join("Cargo.toml")).unwrap();
        let names = optimized(&manifest);
        assert!(names.contains(&"vk-cuda-bridge") && names.contains(&"bridge-examples"), "{names:?}");
        assert_eq!(names.len(), manifest.matches(".opt-level = 1").count(), "{names:?}");
        assert!(optimized("[profile.dev.package]\n\"*\".debug = false\n[profile.release]\nx.opt-level = 1").is_empty());
    }
}
