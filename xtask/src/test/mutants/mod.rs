//! `cargo xtask mutants`: runs mutants of code that calls a device, which unit tests cannot catch,
//! on the driver double one after another (docs/testing.md, "Mutation testing").

mod copy;
mod outcome;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use self::copy::Copy;
use self::outcome::{Outcome, error_in};
use super::double::{Built, PROGRAMS, Package, Place, Program, Ran, unavailable_reason, whole, workspace_tests};
use super::each::each;
use crate::shell;

/// The programs of the step `double` that make frames of every kind.
const CATCHERS: &[&str] = &[
    "turns",
    "exchange",
    "peers",
    "graphs",
    "pool",
    "grow",
    "render_first",
    "lost_device",
    "latest",
    "latest_joined",
    "leases",
    "observe",
    "pacing",
];

/// This program contains its own double, and breaks rules on purpose.
const DOUBLED: Program = whole("doubled");

/// The files of the bridge whose mutants run by default.
const FILES: &[&str] = &[
    "exchange/state.rs",
    "exchange/shared_ledger.rs",
    "exchange/order.rs",
    "exchange/lost.rs",
    "compute/import.rs",
    "timeline/mod.rs",
];

/// The time limit in seconds after which a hanging program is ended.
const LIMIT: u64 = 60;

/// Runs the mutants of `files` whose names contain one of `only` (all if empty) with the programs
/// `with` (the defaults if empty). Writes the report to `target/mutants.txt`.
pub(crate) fn run(files: &[String], only: &[String], with: &[String]) -> Result<()> {
    if let Some(reason) = unavailable_reason() {
        bail!("nothing is tested: {reason}");
    }
    let mut mutants = list(files)?;
    mutants.retain(|mutant| only.is_empty() || only.iter().any(|word| mutant.name.contains(word)));
    ensure!(!mutants.is_empty(), "no mutant has such a name");
    let programs = programs(with)?;
    let copy = Copy::new(&shell::target_dir().join("mutants"))?;
    let control = outcome(&programs, &copy, None)?;
    ensure!(control == Outcome::Survives, "without a mutant: {control}");
    let report = shell::target_dir().join("mutants.txt");
    fs::write(&report, "")?;
    for mutant in &mutants {
        let applied = copy.apply(mutant)?;
        let outcome = outcome(&programs, &copy, Some(&mutant.file))?;
        drop(applied);
        let line = format!("{outcome}\t{}\n", mutant.name);
        crate::console::print(&line)?;
        fs::OpenOptions::new().append(true).open(&report)?.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// Returns the programs with these names, or [`CATCHERS`] and [`DOUBLED`] if none is named.
fn programs(names: &[String]) -> Result<Vec<&'static Program>> {
    let all = || PROGRAMS.iter().chain([&DOUBLED]);
    if names.is_empty() {
        return Ok(all().filter(|program| [CATCHERS, &[DOUBLED.name]].concat().contains(&program.name)).collect());
    }
    let find = |name: &String| all().find(|program| program.name == name);
    names
        .iter()
        .map(|name| find(name).with_context(|| format!("`{name}` is no program of the step `double`")))
        .collect()
}

/// A change to one file.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    name: String,
    file: PathBuf,
    diff: String,
}

/// Returns the mutants that `cargo mutants` lists for the files.
fn list(files: &[String]) -> Result<Vec<Mutant>> {
    let mut command = shell::cargo();
    command.args(["mutants", "--list", "--diff", "-p", "vk-cuda-bridge"]);
    let named = files.iter().map(String::as_str);
    let all = if files.is_empty() { FILES } else { &[] };
    for file in named.chain(all.iter().copied()) {
        command.arg("--file").arg(format!("crates/bridge/src/{file}"));
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let advice = "`cargo mutants` lists no mutants; `cargo install cargo-mutants` installs it";
    ensure!(output.status.success(), advice);
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Parses a list in which each mutant is a line with its name followed by its diff.
fn parse(listed: &str) -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut before = "";
    for line in listed.lines() {
        let last = mutants.last_mut();
        if let Some(file) = line.strip_prefix("--- ").filter(|file| before.starts_with(&format!("{file}:"))) {
            mutants.push(Mutant {
                name: before.to_owned(),
                file: file.into(),
                diff: format!("--- {file}\n+++ {file}\n"),
            });
        } else if let Some(mutant) = last
            && [" ", "+", "-", "@"].iter().any(|begins| line.starts_with(begins))
            && !line.starts_with("+++ ")
        {
            mutant.diff.push_str(line);
            mutant.diff.push('\n');
        }
        before = line;
    }
    mutants
}

/// Builds and runs the programs in the copy until a test fails or a program breaks a rule of the
/// driver.
fn outcome(programs: &[&'static Program], copy: &Copy, file: Option<&Path>) -> Result<Outcome> {
    let mut command = Built::command(programs, workspace_tests(copy.cargo()));
    let output = command.output().with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let error = file.and_then(|file| error_in(file, &said));
        return error
            .map(Outcome::Unviable)
            .with_context(|| format!("no mutant is at fault, but cargo fails:\n{said}"));
    }
    let built = Built::of(&String::from_utf8_lossy(&output.stdout), Package::of_workspace(copy.root()))?;
    let place = Place::new(&shell::target_dir().join("mutated"), &built.double)?;
    let mut ended: Option<Outcome> = None;
    let take = |program: &&'static Program, ran: Result<Ran>| {
        let Ran { output, findings, .. } = ran?;
        let breaks_rules = !findings.is_empty() && program.name != DOUBLED.name;
        if let Some(outcome) = Outcome::of(program.name, output.status, breaks_rules)
            && ended.as_ref().is_none_or(|before| outcome.is_more_informative_than(before))
        {
            ended = Some(outcome);
        }
        // If one program hangs, another may still fail.
        let is_caught = ended.as_ref().is_some_and(|outcome| !matches!(outcome, Outcome::Hangs(_)));
        ensure!(!is_caught, "caught");
        Ok(())
    };
    let ran = each(programs, |program| place.run(program, &built, &[], Some(LIMIT)), take);
    match ended {
        Some(outcome) => Ok(outcome),
        None => ran.map(|()| Outcome::Survives),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_exists() {
        let folder = shell::root().join("crates/bridge/src");
        FILES.iter().for_each(|file| assert!(folder.join(file).exists(), "{file}"));
    }

    #[test]
    fn mutants_are_read_with_their_diffs() {
        let listed = "a/b.rs:2:5: replace f -> bool with true\n--- a/b.rs\n+++ replace f -> bool with true\n@@ -1,3 +1,3 @@\n \
                      fn f() {\n-    false\n+    true\n }\n\na/b.rs:3:5: replace + with -\n--- a/b.rs\n+++ replace + with -\n@@ x\n";
        let mutants = parse(listed);
        assert_eq!(mutants.len(), 2);
        assert_eq!(
            (mutants[0].name.as_str(), mutants[0].file.as_path()),
            ("a/b.rs:2:5: replace f -> bool with true", Path::new("a/b.rs"))
        );
        assert_eq!(mutants[0].diff, "--- a/b.rs\n+++ a/b.rs\n@@ -1,3 +1,3 @@\n fn f() {\n-    false\n+    true\n }\n");
        assert_eq!(mutants[1].diff, "--- a/b.rs\n+++ a/b.rs\n@@ x\n");
    }

    #[test]
    fn programs_are_chosen_by_name() {
        let names = |programs: Vec<&Program>| programs.iter().map(|program| program.name).collect::<Vec<_>>();
        assert_eq!(names(programs(&["pacing".to_owned(), "doubled".to_owned()]).unwrap()), ["pacing", "doubled"]);
        assert_eq!(programs(&[]).unwrap().len(), CATCHERS.len() + 1);
        assert!(programs(&["pace".to_owned()]).is_err());
    }

    #[test]
    fn every_catcher_is_a_program_of_the_step() {
        for name in CATCHERS {
            assert!(PROGRAMS.iter().any(|program| program.name == *name), "{name}");
        }
    }
}
