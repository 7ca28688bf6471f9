//! `cargo xtask test`: runs every test that this machine can run, and lists the skipped tests with
//! reasons at the end.

mod double;
mod each;
mod expected;
mod mutants;
mod programs;
mod tally;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};

use self::expected::Difference;
use self::tally::Tally;
use crate::screen::VirtualScreen;
use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::shell;

pub(crate) use double::{Package, Program, part, run as on_the_double, run_adapter, unit_tests, whole};
pub(crate) use mutants::run as mutants;
pub(crate) use programs::{TestProgram, build};

/// Environment variable with the file to which a test that cannot run appends its program, test,
/// case and reason, separated by tabs.
pub(crate) const SKIP_LOG: &str = "BRIDGE_SKIP_LOG";

/// Sets up the machine, runs `cargo test --workspace` with `arguments` appended, and reports.
/// Returns `false` if a test failed.
///
/// Without arguments and without a GPU that tests would have to share, several programs run at a
/// time.
pub(crate) fn run(arguments: &[OsString]) -> Result<bool> {
    if let Err(error) = setup::run(Scope::Tests, Consent::from_environment()) {
        eprintln!("test: {error:#}\ntest: going on; the tests that need it will be skipped");
    }
    let screen = if setup::has_screen() { None } else { VirtualScreen::start().map_err(print_error).ok() };

    let log = shell::target_dir().join("skips.log");
    fs::create_dir_all(shell::target_dir())?;
    fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;

    let layer = setup::layer_path();
    let prepare = |command: &mut Command| {
        command.env(SKIP_LOG, &log);
        if let Some(path) = &layer {
            command.env("VK_LAYER_PATH", path);
        }
        if let Some(screen) = &screen {
            command.env("DISPLAY", screen.display());
        }
    };
    let (tally, passed) = if arguments.is_empty() && expected::applies() {
        let mut tally = Tally::default();
        let passed = programs::run(prepare, &mut tally)?;
        tally.take_log(&read_log(&log)?);
        crate::console::line(format_args!("\n{tally}"))?;
        (tally, passed)
    } else {
        let mut command = shell::cargo_in_user_dir("test");
        if !selects_package(arguments) {
            command.arg("--workspace");
        }
        command.arg("--no-fail-fast").args(arguments);
        prepare(&mut command);
        tally(&mut command, &log)?
    };
    // Selected tests may leave listed skips out, but must not add skips that are not listed.
    if !expected::applies() {
        return Ok(passed);
    }
    let path = expected::path();
    let difference = Difference::of(&expected::read(&path)?, tally.skips(), arguments.is_empty());
    eprint!("{}", difference.report(&path));
    Ok(passed && !difference.is_failure())
}

/// Runs the `cargo test` command of a package that is not in this workspace. Fails if a test fails,
/// or, on a machine without a GPU, if a skip is not in the package's list.
pub(crate) fn run_listed(command: &mut Command, package: &Package) -> Result<()> {
    let folder = shell::target_dir().join("ci").join(package.name);
    let log = folder.join("skips.log");
    fs::create_dir_all(&folder)?;
    fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    let (tally, passed) = tally(command.env(SKIP_LOG, &log), &log)?;
    ensure!(passed, "`{}` failed", shell::command_line(command));
    if !expected::applies() {
        return Ok(());
    }
    let list = expected::path_of(&package.folder);
    let difference = Difference::of(&expected::read(&list)?, tally.skips(), true);
    eprint!("{}", difference.report(&list));
    ensure!(!difference.is_failure(), "skips that are not in {}", list.display());
    Ok(())
}

/// Reports that a step has run nothing, with what is missing: an error if this system can have it,
/// otherwise a line on the console.
pub(crate) fn nothing_ran(reason: &str, can_have_it: bool) -> Result<()> {
    ensure!(!can_have_it, "{reason}");
    crate::console::line(reason)
}

/// Runs a `cargo test` command that selects exactly the tests `names`. Fails if one of them fails,
/// is skipped, or does not exist.
pub(crate) fn run_named(command: &mut Command, names: &[&str]) -> Result<()> {
    let log = shell::target_dir().join("named_skips.log");
    fs::create_dir_all(shell::target_dir())?;
    fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    let (tally, passed) = tally(command.args(names).env(SKIP_LOG, &log), &log)?;
    ensure!(passed, "`{}` failed", shell::command_line(command));
    check_all_ran(&tally, names)
}

/// Like [`run_named`], with a command for each test, all at the same time. The output of each is
/// printed when it has ended, and only the errors of a failed one.
pub(crate) fn run_named_in_parallel(commands: Vec<(Command, &str)>) -> Result<()> {
    let folder = shell::target_dir().join("named_skips");
    fs::create_dir_all(&folder)?;
    let count = commands.len();
    let run = |index: usize, mut command: Command, name: &str| {
        let log = folder.join(index.to_string());
        fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
        let output = command.arg(name).env(SKIP_LOG, &log).stdin(Stdio::null()).output()?;
        let mut tally = Tally::default();
        String::from_utf8_lossy(&output.stdout).lines().for_each(|line| tally.take_line(line));
        tally.take_log(&read_log(&log)?);
        std::io::stdout().write_all(&output.stdout)?;
        if !output.status.success() {
            std::io::stderr().write_all(&output.stderr)?;
        }
        ensure!(output.status.success(), "{name} failed");
        check_all_ran(&tally, &[name])
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let numbered = commands.into_iter().enumerate();
        let start = |(index, (command, name))| scope.spawn(move || run(index, command, name));
        let running: Vec<_> = numbered.map(start).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or_else(|_| bail!("a thread has panicked"))).collect()
    });
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    crate::console::line(format_args!("\n{count} passed"))
}

/// Fails unless all of these tests have passed without being skipped.
fn check_all_ran(tally: &Tally, names: &[&str]) -> Result<()> {
    ensure!(
        tally.passed == names.len(),
        "{} of {} tests ran; the others are skipped, for the reason above, or do not exist: {}",
        tally.passed,
        names.len(),
        names.join(", ")
    );
    Ok(())
}

/// Runs the commands, whose tests append to `log` when they skip, and prints the totals. Returns
/// `false` if a test failed.
pub(crate) fn count(commands: impl IntoIterator<Item = Command>, log: &Path) -> Result<bool> {
    let mut tally = Tally::default();
    let mut passed = true;
    for mut command in commands {
        let status = stream(&mut command, &mut tally)?;
        if !status.success() {
            eprintln!("test: `{}`: {status}", shell::command_line(&command));
            passed = false;
        }
    }
    tally.take_log(&read_log(log)?);
    crate::console::line(format_args!("\n{tally}"))?;
    Ok(passed)
}

/// Runs a command, and prints and returns the totals of its tests.
fn tally(command: &mut Command, log: &Path) -> Result<(Tally, bool)> {
    let mut tally = Tally::default();
    let status = stream(command, &mut tally)?;
    tally.take_log(&read_log(log)?);
    crate::console::line(format_args!("\n{tally}"))?;
    if !status.success() && tally.failed == 0 {
        eprintln!("test: `{}` failed outside of a test: {status}", shell::command_line(command));
    }
    Ok((tally, status.success()))
}

fn print_error(error: anyhow::Error) {
    eprintln!("test: {error:#}; no window tests");
}

/// Returns `true` if the caller chose packages to test; `--workspace` would override the choice.
fn selects_package(arguments: &[OsString]) -> bool {
    let before_dashes = arguments.iter().take_while(|argument| *argument != "--");
    before_dashes.map(|argument| argument.to_string_lossy()).any(|argument| {
        argument == "--package"
            || argument.starts_with("--package=")
            || (argument.starts_with("-p") && !argument.starts_with("--"))
    })
}

/// Runs the command, passing its output through line by line and reading the results from it.
fn stream(command: &mut Command, tally: &mut Tally) -> Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::command_line(command)))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn a_step_that_runs_nothing_fails_where_it_could_run() {
        let error = nothing_ran("there is no Xvfb", true).unwrap_err();
        assert_eq!(error.to_string(), "there is no Xvfb");
        nothing_ran("there is no Xvfb", false).unwrap();
    }

    #[test]
    fn a_named_test_that_is_skipped_or_missing_fails() {
        let names = ["matrix::one", "matrix::two"];
        let after = |result: &str, log: &str| {
            let mut tally = Tally::default();
            tally.take_line(result);
            tally.take_log(log);
            check_all_ran(&tally, &names).map_err(|error| error.to_string())
        };
        after("test result: ok. 2 passed; 0 failed; 0 ignored", "").unwrap();
        let skipped = "p/remote\tmatrix::two\t\tno CUDA driver\n";
        let skipped = after("test result: ok. 2 passed; 0 failed; 0 ignored", skipped).unwrap_err();
        assert!(skipped.starts_with("1 of 2 tests ran") && skipped.ends_with("matrix::one, matrix::two"), "{skipped}");
        after("test result: ok. 1 passed; 0 failed; 0 ignored", "").unwrap_err();
        after("", "").unwrap_err();
    }

    #[test]
    fn a_named_package_replaces_the_workspace() {
        assert!(selects_package(&words("-p bridge")));
        assert!(selects_package(&words("--release -pbridge")));
        assert!(selects_package(&words("--package=bridge")));
        assert!(!selects_package(&words("--release --profile ci")));
        assert!(!selects_package(&words("-- -p")));
    }
}
