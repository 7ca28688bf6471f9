//! Test programs, and the files that cargo has built for them.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// A test program.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Tests whose names contain one of these are skipped.
    pub(super) without: &'static [&'static str],
    /// If `true`, these are the unit tests of the library with this name.
    is_library: bool,
    /// The numbers of queues that the double reports, if it adds some.
    pub(super) queues: Option<&'static str>,
}

impl Program {
    /// Runs the program with these numbers of queues of the double's families, as in
    /// `DRIVER_DOUBLE_QUEUES`.
    pub(crate) const fn on_queues(self, queues: &'static str) -> Self {
        Self { queues: Some(queues), ..self }
    }

    /// Returns the program's name, which differs from that of the same program on other queues.
    pub(super) fn title(&self) -> String {
        self.queues.map_or_else(|| self.name.to_owned(), |queues| format!("{} on queues {queues}", self.name))
    }
}

pub(crate) const fn whole(name: &'static str) -> Program {
    part(name, &[])
}

pub(crate) const fn part(name: &'static str, without: &'static [&'static str]) -> Program {
    Program { name, without, is_library: false, queues: None }
}

pub(crate) const fn unit_tests(library: &'static str) -> Program {
    Program { name: library, without: &[], is_library: true, queues: None }
}

/// A package with tests.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) folder: PathBuf,
}

impl Package {
    /// Returns `bridge-tests` in the workspace at `root`.
    pub(in crate::test) fn of_workspace(root: &Path) -> Self {
        Self { name: "bridge-tests", folder: root.join("tests") }
    }
}

/// The output of a cargo build.
pub(in crate::test) struct Built {
    pub(in crate::test) double: PathBuf,
    /// The executables, in folders that cargo chooses and with a hash after their names.
    programs: Vec<PathBuf>,
    /// The package in whose folder the programs run.
    pub(super) package: Package,
}

impl Built {
    /// Builds programs of `package` with the `cargo test` arguments that its tests were built with
    /// before.
    pub(super) fn new<P: Borrow<Program>>(programs: &[P], test: Command, package: Package) -> Result<Self> {
        let mut command = Self::command(programs, test);
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
        ensure!(output.status.success(), "`{}` failed: {}", shell::command_line(&command), output.status);
        Self::of(&String::from_utf8_lossy(&output.stdout), package)
    }

    /// Returns a command that builds the programs and prints what it has built.
    pub(in crate::test) fn command<P: Borrow<Program>>(programs: &[P], mut test: Command) -> Command {
        test.args(["--no-run", "--message-format=json-render-diagnostics"]);
        for program in programs.iter().map(Borrow::borrow) {
            match program.is_library {
                true => test.arg("--lib"),
                false => test.args(["--test", program.name]),
            };
        }
        test.stdin(Stdio::null());
        test
    }

    /// Reads cargo's messages, one JSON object per line.
    pub(in crate::test) fn of(messages: &str, package: Package) -> Result<Self> {
        let mut double = None;
        let mut programs = Vec::new();
        let manifest = format!(r#""manifest_path":"{}""#, package.folder.join("Cargo.toml").display());
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
        Ok(Self { double, programs, package })
    }

    pub(super) fn program(&self, name: &str) -> Result<&Path> {
        let is_it = |path: &&PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.rsplit_once('-').is_some_and(|(before, _)| before == name)
        };
        self.programs.iter().find(is_it).map(PathBuf::as_path).with_context(|| format!("cargo has not built `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_are_built_beside_programs() {
        let command = Built::command(&[whole("lives"), unit_tests("bridge_wgpu")], Command::new("cargo"));
        let arguments: Vec<_> = command.get_args().skip(2).collect();
        assert_eq!(arguments, ["--test", "lives", "--lib"]);
    }

    #[test]
    fn built_packages_are_read_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","filenames":["/t/deps/libdriver_double.so","/t/deps/libdriver_double.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/fuzz/Cargo.toml","executable":"/t/latest-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","executable":"/t/latest-2"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","executable":null}"#,
        );
        let package = || Package::of_workspace(Path::new("/w"));
        let built = Built::of(messages, package()).unwrap();
        assert_eq!(built.double, Path::new("/t/deps/libdriver_double.so"));
        assert_eq!(built.program("latest").unwrap(), Path::new("/t/latest-2"));
        assert!(built.program("late").is_err());
        assert!(Built::of("", package()).is_err());
    }
}
