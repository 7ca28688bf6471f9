//! `cargo xtask ci --step double`: tests that need a device and CUDA, on the driver double as both
//! of them (docs/testing.md, "CUDA without a GPU").

use std::borrow::Borrow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::each::each;
use super::expected::{self, Difference};
use super::tally::Tally;
use super::{SKIP_LOG, read_log};
use crate::{setup, shell};

/// A test program of the package `bridge-tests`.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// Tests whose names contain one of these are left out.
    without: &'static [&'static str],
}

pub(super) const fn whole(name: &'static str) -> Program {
    Program { name, without: &[] }
}

const fn part(name: &'static str, without: &'static [&'static str]) -> Program {
    Program { name, without }
}

/// Those in which CUDA has a part and that the double can run, the longest first. What they leave
/// out are kernels without a twin in it, what CUDA has no part in, and what takes seconds for the
/// number of its frames; every program, the tests of the CPU's backend ([`HOST`]).
pub(super) const PROGRAMS: &[Program] = &[
    part("peers", &["hidden::"]),
    part("latest", &["a_thousand_come_and_go"]),
    part("images", &["every_mip_chain", "textures_are_what_a_reference_computes"]),
    part("view", &["handles::", "refused::", "own_images::", "window::"]),
    whole("exchange"),
    whole("turns"),
    part("graphs", &["values_rise_over_a_thousand_frames"]),
    whole("faults"),
    whole("grow"),
    whole("pool"),
    whole("observe"),
    whole("latest_joined"),
    whole("hostile"),
    whole("render_first"),
    whole("pacing"),
    whole("flush"),
    whole("lost_device"),
    whole("grow_faults"),
    whole("adopt"),
    whole("embedding"),
    whole("run_once"),
    part("doc_examples", &["kernel"]),
    whole("leases"),
    whole("schedules"),
    whole("allocations"),
    whole("export"),
    whole("dedicated_only"),
    whole("pairs"),
    whole("barriers"),
    whole("latest_engine"),
];

/// The module of tests that `cargo xtask test` has run as well as they can be.
const HOST: &str = "on_host";

/// What the double finds and is no fault of the crates: its kind and how the text begins.
const KNOWN: &[(&str, &str)] = &[
    // cudarc leaves its context current on the thread. Where that context is destroyed since, the
    // next call of the bridge's that restores what was current restores it.
    ("use-after-destroy", "cuCtxSetCurrent: context "),
];

/// Names the file to which the double appends what it finds.
const FINDINGS: &str = "DRIVER_DOUBLE_FINDINGS";
/// Names the Vulkan driver that the double builds on.
const BELOW: &str = "DRIVER_DOUBLE_VULKAN";
const LAVAPIPE: &str = "libvulkan_lvp.so";

/// Runs the programs, several at a time. Fails for a test that fails, a finding, and a skip that is
/// not in the list.
pub(crate) fn run() -> Result<()> {
    if let Some(reason) = why_not() {
        bail!("nothing is tested: {reason}");
    }
    let built = Built::new(PROGRAMS, shell::cargo(), &shell::root())?;
    let folder = shell::target_dir().join("doubled");
    let place = Place::new(&folder, &built.double)?;
    fs::write(place.skips(), "")?;
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    each(
        PROGRAMS,
        |program| place.run(program, &built, &[HOST], None),
        |program, ran| {
            let Ran { output, time, findings } = ran?;
            println!("== {} {:.1} s", program.name, time.as_secs_f64());
            let said = String::from_utf8_lossy(&output.stdout);
            print!("{said}");
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            said.lines().for_each(|line| tally.take_line(line));
            let reasons = [
                (!output.status.success()).then(|| format!("failed: {}", output.status)),
                has_run_nothing(&said).then(|| "has run no test".to_owned()),
                (!findings.is_empty()).then(|| format!("broke rules of the driver's:\n{}", findings.join("\n"))),
            ];
            wrong.extend(reasons.into_iter().flatten().map(|reason| format!("{} {reason}", program.name)));
            Ok(())
        },
    )?;
    tally.take_log(&read_log(&place.skips())?);
    println!("\n{tally}");
    let list = expected::path_of_double();
    let difference = Difference::of(&expected::read(&list)?, tally.skips(), true);
    eprint!("{}", difference.report(&list));
    ensure!(wrong.is_empty(), "on the driver double, {}", wrong.join("\n"));
    ensure!(!difference.is_failure(), "skips on the driver double that are not in {}", list.display());
    Ok(())
}

/// Why nothing can be run here.
pub(super) fn why_not() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("the driver double is a Vulkan driver on Linux only".to_owned());
    }
    let below = std::env::var(BELOW).unwrap_or_else(|_| LAVAPIPE.to_owned());
    (!setup::opens(&below)).then(|| {
        format!("there is no {below}, a software Vulkan driver (Debian, Ubuntu: `apt install mesa-vulkan-drivers`)")
    })
}

/// What cargo has built.
pub(super) struct Built {
    pub(super) double: PathBuf,
    /// The programs, in folders of cargo's and with a hash behind their names.
    programs: Vec<PathBuf>,
    /// The folder of their package, in which they run.
    package: PathBuf,
}

impl Built {
    /// Of the workspace at `root`, where `cargo` is. With the features of the whole workspace, with
    /// which `cargo test --workspace` has built it.
    pub(super) fn new<P: Borrow<Program>>(programs: &[P], cargo: Command, root: &Path) -> Result<Self> {
        let mut command = Self::command(programs, cargo);
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start `{}`", shell::shown(&command)))?;
        ensure!(output.status.success(), "`{}` failed: {}", shell::shown(&command), output.status);
        Self::of(&String::from_utf8_lossy(&output.stdout), &package(root))
    }

    /// What builds the programs and says on its output what it has built.
    pub(super) fn command<P: Borrow<Program>>(programs: &[P], mut cargo: Command) -> Command {
        cargo.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
        programs.iter().for_each(|program| _ = cargo.args(["--test", program.borrow().name]));
        cargo.stdin(Stdio::null());
        cargo
    }

    /// Reads cargo's messages, one JSON object a line.
    pub(super) fn of(messages: &str, package: &Path) -> Result<Self> {
        let mut double = None;
        let mut programs = Vec::new();
        let manifest = format!(r#""manifest_path":"{}""#, package.join("Cargo.toml").display());
        for line in messages.lines().filter(|line| line.contains(r#""compiler-artifact""#)) {
            if let Some(path) = line.split('"').find(|text| text.ends_with("/libdriver_double.so")) {
                double = Some(path.into());
            } else if line.contains(&manifest)
                && let Some((_, path)) = line.split_once(r#""executable":""#)
            {
                programs.extend(path.split('"').next().map(PathBuf::from));
            }
        }
        let double = double.context("cargo does not say where the driver double is")?;
        Ok(Self { double, programs, package: package.to_owned() })
    }

    fn program(&self, name: &str) -> Result<&Path> {
        let is_it = |path: &&PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.rsplit_once('-').is_some_and(|(before, _)| before == name)
        };
        self.programs.iter().find(is_it).map(PathBuf::as_path).with_context(|| format!("cargo has not built `{name}`"))
    }
}

/// The package of the programs.
pub(super) fn package(root: &Path) -> PathBuf {
    root.join("tests")
}

/// How a program ended.
pub(super) struct Ran {
    pub(super) output: Output,
    time: Duration,
    /// Those that are not known.
    pub(super) findings: Vec<String>,
}

/// The folder in which the loaders find the double.
pub(super) struct Place {
    folder: PathBuf,
}

impl Place {
    /// Makes it anew.
    pub(super) fn new(folder: &Path, double: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        #[cfg(unix)]
        for name in ["libcuda.so", "libcuda.so.1"] {
            std::os::unix::fs::symlink(double, folder.join(name)).context("cannot link to the driver double")?;
        }
        let icd = format!(r#"{{ "library_path": {:?}, "api_version": "1.3.0" }}"#, double.display().to_string());
        let manifest = format!(r#"{{ "file_format_version": "1.0.0", "ICD": {icd} }}"#);
        fs::write(folder.join("icd.json"), manifest)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn skips(&self) -> PathBuf {
        self.folder.join("skips.log")
    }

    /// Runs a program without the tests that have one of `without` in their names, for so many
    /// seconds at most.
    pub(super) fn run(&self, program: &Program, built: &Built, without: &[&str], limit: Option<u64>) -> Result<Ran> {
        let findings = self.folder.join(format!("{}.findings", program.name));
        let path = built.program(program.name)?;
        let mut command = match limit {
            Some(seconds) => limited(path, seconds),
            None => Command::new(path),
        };
        // As cargo starts it.
        let package = &built.package;
        command.current_dir(package).env("CARGO_MANIFEST_DIR", package).env("CARGO_PKG_NAME", "bridge-tests");
        for word in program.without.iter().chain(without) {
            command.args(["--skip", word]);
        }
        let own = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let libraries = std::iter::once(self.folder.clone()).chain(std::env::split_paths(&own));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
        for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(name, self.folder.join("icd.json"));
        }
        if let Some(path) = setup::layer_path() {
            command.env("VK_LAYER_PATH", path);
        }
        command.env(SKIP_LOG, self.skips()).env(FINDINGS, &findings);
        // They are about a real GPU.
        command.env_remove("REQUIRE_GPU").env_remove("BRIDGE_TEST_GPU_FAULTS");
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start `{}`", shell::shown(&command)))?;
        let findings = if findings.exists() { unknown(&read_log(&findings)?) } else { Vec::new() };
        Ok(Ran { output, time: start.elapsed(), findings })
    }
}

/// The program, ended after so many seconds.
fn limited(program: &Path, seconds: u64) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after", "5", &seconds.to_string()]).arg(program);
    command
}

/// The findings that are not known, one a line.
fn unknown(log: &str) -> Vec<String> {
    let is_known = |line: &str| {
        let (kind, text) = line.split_once('\t').unwrap_or((line, ""));
        KNOWN.iter().any(|(known, begins)| kind == *known && text.starts_with(begins))
    };
    log.lines().filter(|line| !is_known(line)).map(str::to_owned).collect()
}

/// Whether all that was asked for was left out, or is not there any more.
fn has_run_nothing(said: &str) -> bool {
    !said.lines().any(|line| line.starts_with("running ") && !line.starts_with("running 0 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_one_of_the_package() {
        let manifest = fs::read_to_string(package(&shell::root()).join("Cargo.toml")).unwrap();
        for program in PROGRAMS {
            let line = format!("name = \"{}\"\n", program.name);
            assert_eq!(manifest.matches(&line).count(), 1, "{}", program.name);
        }
    }

    #[test]
    fn what_was_built_is_read_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","filenames":["/t/deps/libdriver_double.so","/t/deps/libdriver_double.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/fuzz/Cargo.toml","executable":"/t/latest-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","executable":"/t/latest-2"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","executable":null}"#,
        );
        let built = Built::of(messages, Path::new("/w/tests")).unwrap();
        assert_eq!(built.double, Path::new("/t/deps/libdriver_double.so"));
        assert_eq!(built.program("latest").unwrap(), Path::new("/t/latest-2"));
        assert!(built.program("late").is_err());
        assert!(Built::of("", Path::new("/w/tests")).is_err());
    }

    #[test]
    fn a_finding_that_is_not_known_is_told() {
        let log = "use-after-destroy\tcuCtxSetCurrent: context 0xd0 was destroyed\n\
                   use-after-destroy\tcuMemFree_v2: mapping 0xd0 was destroyed\nhang\tcuCtxSetCurrent: context 0xd0\n";
        assert_eq!(unknown(log), log.lines().skip(1).collect::<Vec<_>>());
    }

    #[test]
    fn a_program_without_a_test_is_seen() {
        assert!(has_run_nothing("\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed"));
        assert!(has_run_nothing(""));
        assert!(!has_run_nothing("\nrunning 1 test\n"));
    }
}
