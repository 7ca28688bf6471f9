//! `cargo xtask test`: every test this machine can run, and at the end what was skipped and why.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use crate::screen::VirtualScreen;
use crate::setup::{self, Scope};
use crate::shell;

/// The file a test appends `name<TAB>reason` to when it cannot run here.
pub(crate) const SKIP_LOG: &str = "BRIDGE_SKIP_LOG";

/// What a run of the tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Reason by the test's name.
    skipped: BTreeMap<String, String>,
}

/// Sets up, runs `cargo test --workspace` with `arguments` behind it, and reports. False if a test failed.
pub(crate) fn run(arguments: &[OsString]) -> Result<bool> {
    if let Err(error) = setup::run(Scope::Tests, true) {
        eprintln!("test: {error:#}\ntest: going on; the tests that need it will be skipped");
    }
    let screen = if setup::has_screen() { None } else { VirtualScreen::start().map_err(say).ok() };

    let log = shell::target_dir().join("skips.log");
    fs::create_dir_all(shell::target_dir())?;
    fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;

    let mut command = shell::cargo();
    command.arg("test");
    if !names_a_package(arguments) {
        command.arg("--workspace");
    }
    command.arg("--no-fail-fast").args(arguments).env(SKIP_LOG, &log);
    if let Some(path) = setup::layer_path() {
        command.env("VK_LAYER_PATH", path);
    }
    if let Some(screen) = &screen {
        command.env("DISPLAY", screen.display());
    }
    count(&mut command, &log)
}

/// Runs tests that append to `log` when they skip, and says what they came to. False if one failed.
pub(crate) fn count(command: &mut Command, log: &Path) -> Result<bool> {
    let mut tally = Tally::default();
    let status = stream(command, &mut tally)?;
    tally.take_log(&read_log(log)?);
    println!("\n{tally}");
    if !status.success() && tally.failed == 0 {
        eprintln!("test: `{}` failed outside of a test: {status}", shell::shown(command));
    }
    Ok(status.success())
}

fn say(error: anyhow::Error) {
    eprintln!("test: {error:#}; no window tests");
}

/// Whether the caller chose what to test; then `--workspace` would override the choice.
fn names_a_package(arguments: &[OsString]) -> bool {
    let before_dashes = arguments.iter().take_while(|argument| *argument != "--");
    before_dashes.map(|argument| argument.to_string_lossy()).any(|argument| {
        argument == "--package"
            || argument.starts_with("--package=")
            || (argument.starts_with("-p") && !argument.starts_with("--"))
    })
}

/// Runs the command, passing its output on line by line and reading the results in it.
fn stream(command: &mut Command, tally: &mut Tally) -> Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::shown(command)))?;
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            std::io::stdout().write_all(&line)?;
            tally.take_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    Ok(child.wait()?)
}

fn read_log(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What a test of this package does when it cannot run here.
#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
pub(crate) fn skip(name: &str, reason: &str) {
    eprintln!("SKIP {name}: {reason}");
    if let Some(path) = std::env::var_os(SKIP_LOG) {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        log.write_all(format!("{name}\t{reason}\n").as_bytes()).unwrap();
    }
}

impl Tally {
    /// Takes what libtest prints: `test NAME ... ignored, REASON` and `test result: ok. 3 passed; 0 failed; …`.
    fn take_line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("test result: ") {
            for part in counts.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(what)) = (words.next(), words.next()) else {
                    continue;
                };
                let Ok(number) = number.parse::<usize>() else {
                    continue;
                };
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    _ => {}
                }
            }
        } else if let Some((name, reason)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored"))
        {
            let reason = reason.strip_prefix(", ").unwrap_or("marked `ignore`");
            self.skipped.insert(name.to_owned(), reason.to_owned());
        }
    }

    /// Takes the skip log. To libtest those tests passed: they are not counted twice.
    fn take_log(&mut self, log: &str) {
        for line in log.lines().filter(|line| !line.trim().is_empty()) {
            let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            if self.skipped.insert(name.to_owned(), reason.to_owned()).is_none() {
                self.passed = self.passed.saturating_sub(1);
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut by_reason = BTreeMap::<&str, Vec<&str>>::new();
        for (name, reason) in &self.skipped {
            by_reason.entry(reason).or_default().push(name);
        }
        for (reason, tests) in by_reason {
            writeln!(f, "skipped {}: {reason}", tests.len())?;
            for test in tests {
                writeln!(f, "    {test}")?;
            }
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn results_of_all_binaries_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test timeline::rises ... ok",
            "test gpu::soak ... ignored, takes an hour",
            "test src/lib.rs - (line 3) ... ignored",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s\n",
        ] {
            tally.take_line(line);
        }
        assert_eq!((tally.passed, tally.failed), (5, 1));
        assert_eq!(tally.skipped["gpu::soak"], "takes an hour");
        assert_eq!(tally.skipped["src/lib.rs - (line 3)"], "marked `ignore`");
    }

    #[test]
    fn a_skip_is_counted_once_and_not_as_passed() {
        let mut tally = Tally { passed: 4, ..Tally::default() };
        tally.take_log("a::one\tno CUDA driver\na::one\tno CUDA driver\nb::two\tno CUDA driver\n\nc::three\n");
        assert_eq!(tally.passed, 1);
        assert_eq!(
            tally.to_string(),
            "skipped 2: no CUDA driver\n    a::one\n    b::two\nskipped 1: no reason given\n    c::three\n\
             1 passed, 0 failed, 3 skipped"
        );
    }

    #[test]
    fn a_named_package_replaces_the_workspace() {
        assert!(names_a_package(&words("-p bridge")));
        assert!(names_a_package(&words("--release -pbridge")));
        assert!(names_a_package(&words("--package=bridge")));
        assert!(!names_a_package(&words("--release --profile ci")));
        assert!(!names_a_package(&words("-- -p")));
    }
}
