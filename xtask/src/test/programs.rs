//! Runs all test programs of the workspace, several at a time: many of them wait for a device, a
//! process or a clock while a processor is idle. `cargo test` runs one after another.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::each::each;
use super::tally::Tally;
use crate::shell;

/// The targets that run longest. They start first, because a long program that started last would
/// run alone.
const LONGEST: &[&str] =
    &["remote", "bridge", "faults", "ipc", "calls", "images", "churn", "doubled", "contents", "latest", "cuda"];

/// A test program that cargo has built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    pub(crate) file: PathBuf,
    pub(crate) package: String,
    pub(crate) target: String,
    /// The folder of its package, in which the program runs, as with cargo.
    folder: PathBuf,
}

/// Does the same as `cargo test --workspace --no-fail-fast`. `prepare` is applied to each command
/// that runs tests. Returns `false` if a test failed.
pub(super) fn run(prepare: impl Fn(&mut Command) + Sync, tally: &mut Tally) -> Result<bool> {
    let mut command = cargo_of_all();
    command.args(["test", "--workspace"]);
    let mut programs = build(command)?;
    programs.sort_by_key(|program| LONGEST.iter().position(|name| *name == program.target).unwrap_or(LONGEST.len()));
    let mut failed = Vec::new();
    each(
        &programs,
        |program| start(program, &prepare),
        |program, ran| {
            let (output, time) = ran?;
            crate::console::line(format_args!(
                "     Ran {} of {} in {:.1} s",
                program.file.display(),
                program.package,
                time.as_secs_f64()
            ))?;
            let said = String::from_utf8_lossy(&output.stdout);
            crate::console::print(&said)?;
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            said.lines().for_each(|line| tally.take_line(line));
            if !output.status.success() {
                failed.push(format!("{} of {}: {}", program.target, program.package, output.status));
            }
            Ok(())
        },
    )?;
    let mut documents = cargo_of_all();
    documents.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    prepare(&mut documents);
    if !super::stream(&mut documents, tally)?.success() {
        failed.push("examples in the documentation".to_owned());
    }
    failed.iter().for_each(|program| eprintln!("test: failed: {program}"));
    Ok(failed.is_empty())
}

/// Returns a cargo command that builds all programs without incremental compilation, unless the
/// user has chosen: its files take gigabytes, and help only those who edit and build again.
fn cargo_of_all() -> Command {
    const INCREMENTAL: &str = "CARGO_INCREMENTAL";
    let mut command = shell::cargo();
    if std::env::var_os(INCREMENTAL).is_none() {
        command.env(INCREMENTAL, "0");
    }
    command
}

/// Builds the programs that `command`, a `cargo test`, would run.
pub(crate) fn build(mut command: Command) -> Result<Vec<TestProgram>> {
    command.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
    ensure!(output.status.success(), "`{}` failed: {}", shell::command_line(&command), output.status);
    let programs = built(&String::from_utf8_lossy(&output.stdout))?;
    if programs.is_empty() {
        bail!("`{}` names no test program", shell::command_line(&command));
    }
    Ok(programs)
}

/// Reads cargo's messages, one JSON object per line.
fn built(messages: &str) -> Result<Vec<TestProgram>> {
    // cargo also builds programs that tests start, which are not tests themselves.
    let programs =
        messages.lines().filter(|line| is_test(line)).filter_map(|line| Some((line, text(line, "executable")?)));
    programs
        .map(|(line, file)| {
            let read = || {
                let folder = Path::new(text(line, "manifest_path")?).parent()?;
                let package = package(text(line, "package_id")?, folder)?;
                // The first `name` is the target's: the package's name has another key.
                let target = text(line, "name")?;
                Some(TestProgram {
                    file: file.into(),
                    package: package.to_owned(),
                    target: target.to_owned(),
                    folder: folder.to_owned(),
                })
            };
            read().with_context(|| format!("cannot read what cargo says of {file}"))
        })
        .collect()
}

/// Returns `true` if the line reports a built test program. Reads the profile, because the `test`
/// key of the target only says whether it may have tests.
fn is_test(line: &str) -> bool {
    let profile = line.split_once(r#""profile":{"#).and_then(|(_, rest)| rest.split('}').next());
    profile.is_some_and(|profile| profile.contains(r#""test":true"#))
}

/// Returns the string value of a key.
fn text<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(r#""{key}":""#))?;
    rest.split('"').next()
}

/// Returns the name in `path+file:///FOLDER#NAME@VERSION`; in `path+file:///FOLDER#VERSION`, the
/// folder has the package's name.
fn package<'a>(id: &'a str, folder: &'a Path) -> Option<&'a str> {
    let (_, name) = id.rsplit_once('#')?;
    match name.split_once('@') {
        Some((name, _version)) => Some(name),
        None => folder.file_name().and_then(OsStr::to_str),
    }
}

impl TestProgram {
    /// Prepares a command to start the program as cargo would.
    pub(crate) fn prepare(&self, command: &mut Command) {
        shell::remove_package_variables(command);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.env("CARGO_PKG_NAME", &self.package);
    }
}

/// Runs a program as cargo would.
fn start(program: &TestProgram, prepare: &impl Fn(&mut Command)) -> Result<(Output, Duration)> {
    let mut command = Command::new(&program.file);
    program.prepare(&mut command);
    prepare(&mut command);
    // Printed before the run, so that the log shows which programs started and never ended.
    eprintln!("     Running {}", program.file.display());
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
    Ok((output, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, target: &str, test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/{id}","manifest_path":"/w/one/Cargo.toml","target":{{"kind":["test"],"name":"{target}","src_path":"/w/one/a.rs","test":true}},"profile":{{"opt_level":"1","test":{test}}},"features":[],"filenames":["/t/a-1"],"executable":{executable},"fresh":true}}"#
        )
    }

    #[test]
    fn test_programs_are_read_from_cargos_messages() {
        let messages = [
            message("one#0.1.0", "a", true, r#""/t/a-1""#),
            message("one#other@0.1.0", "b", true, r#""/t/b-2""#),
            message("one#0.1.0", "started-by-tests", false, r#""/t/c""#),
            message("one#0.1.0", "library", true, "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let program = |file: &str, package: &str, target: &str| TestProgram {
            file: file.into(),
            package: package.into(),
            target: target.into(),
            folder: "/w/one".into(),
        };
        let expected = [program("/t/a-1", "one", "a"), program("/t/b-2", "other", "b")];
        assert_eq!(built(&messages.join("\n")).unwrap(), expected);
    }
}
