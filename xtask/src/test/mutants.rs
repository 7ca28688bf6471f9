//! `cargo xtask mutants`: mutants of what calls a device, which unit tests cannot catch, run on the
//! driver double one after the other (docs/testing.md, "Mutation testing").

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::double::{Built, PROGRAMS, Place, Program, Ran, whole, why_not};
use super::each::each;
use crate::shell;

/// Programs of the step `double` that make frames of every kind.
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

/// It brings the double with it, and breaks rules on purpose.
const DOUBLED: Program = whole("doubled");

/// Files of the bridge whose mutants are run if none is named.
const FILES: &[&str] = &["exchange/state.rs", "exchange/order.rs", "handoff.rs", "timeline/mod.rs"];

/// A program that a mutant has hung is ended after so many seconds.
const LIMIT: u64 = 60;

/// Runs the mutants of the files that have one of `only` in their names, or all. The report is
/// written to `target/mutants.txt`.
pub(crate) fn run(files: &[String], only: &[String]) -> Result<()> {
    if let Some(reason) = why_not() {
        bail!("nothing is tested: {reason}");
    }
    let mut mutants = list(files)?;
    mutants.retain(|mutant| only.is_empty() || only.iter().any(|word| mutant.name.contains(word)));
    ensure!(!mutants.is_empty(), "no mutant has such a name");
    let of_step = PROGRAMS.iter().filter(|program| CATCHERS.contains(&program.name));
    let programs: Vec<_> = of_step.chain([&DOUBLED]).collect();
    let control = outcome(&programs)?;
    ensure!(control == Outcome::Survives, "without a mutant: {control}");
    let report = shell::target_dir().join("mutants.txt");
    fs::write(&report, "")?;
    for mutant in &mutants {
        let applied = Applied::new(mutant)?;
        let outcome = outcome(&programs)?;
        drop(applied);
        let line = format!("{outcome}\t{}\n", mutant.name);
        print!("{line}");
        fs::OpenOptions::new().append(true).open(&report)?.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// A change of one file.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    name: String,
    file: PathBuf,
    diff: String,
}

/// What `cargo mutants` makes of the files.
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

/// A line with the name of a mutant, then its diff.
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

/// A changed file, which is as it was once this is dropped, unless somebody has changed it too.
struct Applied<'m> {
    file: &'m Path,
    before: String,
    mutated: String,
}

impl<'m> Applied<'m> {
    fn new(mutant: &'m Mutant) -> Result<Self> {
        let Mutant { name, file, diff } = mutant;
        let before = fs::read_to_string(shell::root().join(file))?;
        let mut git = Command::new("git");
        git.args(["apply", "-p0", "--unidiff-zero", "-"]).current_dir(shell::root()).stdin(Stdio::piped());
        let mut child = git.spawn().context("cannot start `git`")?;
        child.stdin.take().context("`git` takes no input")?.write_all(diff.as_bytes())?;
        ensure!(child.wait()?.success(), "the file has changed since it was listed: {name}");
        let mutated = fs::read_to_string(shell::root().join(file))?;
        Ok(Self { file, before, mutated })
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        let path = shell::root().join(self.file);
        let restored = match fs::read_to_string(&path) {
            Ok(now) if now == self.mutated => fs::write(&path, &self.before),
            Ok(_) => Err(io::Error::other("it was changed meanwhile")),
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            eprintln!("mutants: {} still has a mutant in it: {error}", self.file.display());
        }
    }
}

/// What became of a mutant.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    DoesNotBuild,
    Survives,
    /// By a program.
    Caught(&'static str),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoesNotBuild => f.write_str("does not build"),
            Self::Survives => f.write_str("survives"),
            Self::Caught(by) => write!(f, "caught by {by}"),
        }
    }
}

/// Builds and runs the programs, until one of them fails or breaks a rule of the driver's.
fn outcome(programs: &[&'static Program]) -> Result<Outcome> {
    let Ok(built) = Built::new(programs, Stdio::null()) else { return Ok(Outcome::DoesNotBuild) };
    let place = Place::new(&shell::target_dir().join("mutated"), &built.double)?;
    let mut caught = None;
    let take = |program: &&'static Program, ran: Result<Ran>| {
        let Ran { output, findings, .. } = ran?;
        let breaks_rules = !findings.is_empty() && program.name != DOUBLED.name;
        if !output.status.success() || breaks_rules {
            caught = caught.or(Some(program.name));
            bail!("caught");
        }
        Ok(())
    };
    let ran = each(programs, |program| place.run(program, &built, Some(LIMIT)), take);
    match caught {
        Some(by) => Ok(Outcome::Caught(by)),
        None => ran.map(|()| Outcome::Survives),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn every_catcher_is_a_program_of_the_step() {
        for name in CATCHERS {
            assert!(PROGRAMS.iter().any(|program| program.name == *name), "{name}");
        }
    }
}
