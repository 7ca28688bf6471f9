//! Linting and documentation on top of the build of `cargo test`.
//!
//! `cargo clippy` and `cargo doc` check every dependency first, and no build uses the results: a
//! workspace whose tests are built needs hundreds of crates twice. Here cargo is given this program
//! as its compiler and as its rustdoc. It calls clippy on each target of the workspace with the
//! arguments, and therefore the dependencies, of the build, and then the real compiler. For doc
//! tests, it also builds the docs: libraries with examples in their docs are documented. Programs
//! are linted as tests, unless cargo builds them for another reason. If only few programs of a
//! workspace are run, only those are built; for the others, only clippy is called.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::shell;

/// Environment variable that makes this program act as rustdoc and as the compiler of workspace
/// packages.
pub(crate) const TOOLS_VARIABLE: &str = "XTASK_AS_TOOLS";
/// Environment variable with the only programs to build: `PACKAGE/TARGET`, or `PACKAGE/` for all
/// programs of a package. Docs are then built but not tested.
const BUILT: &str = "XTASK_BUILT";

/// Makes `cargo build` and `cargo test` fail on clippy's warnings about the workspace, and `cargo
/// test` also on those of rustdoc.
pub(crate) fn with_lints(command: &mut Command) -> Result<()> {
    // cargo keeps build outputs apart by the path of the wrapper.
    let own = shell::own_copy()?;
    command.env(TOOLS_VARIABLE, "1").env("RUSTC_WORKSPACE_WRAPPER", &own).env("RUSTDOC", &own);
    Ok(())
}

/// Like [`with_lints`], but only builds the programs in `built`; the others are empty files.
pub(crate) fn with_lints_alone(command: &mut Command, built: &[String]) -> Result<()> {
    with_lints(command)?;
    let built = built.join(" ");
    // Otherwise cargo would take the empty files for built programs.
    command.env("RUSTC_WORKSPACE_WRAPPER", shell::own_copy_in(&wrapper_folder(&built))?).env(BUILT, built);
    Ok(())
}

/// Returns the name of the folder of the wrapper that builds these programs. It changes with the
/// list, so that a program that is added to it is built in place of its empty file.
fn wrapper_folder(built: &str) -> String {
    let mut hasher = DefaultHasher::new();
    built.hash(&mut hasher);
    format!("alone-{:016x}", hasher.finish())
}

/// Is the compiler if that is named before the arguments, as cargo does for a wrapper, and rustdoc
/// if not.
pub(crate) fn run_as_tool() -> Result<ExitCode> {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    match words.split_first() {
        Some((compiler, arguments)) if !starts_with(compiler, "-") => run_as_compiler(compiler, arguments),
        _ => run_as_documenter(&words),
    }
}

fn run_as_compiler(compiler: &OsStr, arguments: &[OsString]) -> Result<ExitCode> {
    // cargo also calls the wrapper to query the compiler's version and targets.
    if arguments.iter().any(|word| starts_with(word, "--emit=")) {
        let folder = tempfile::tempdir()?;
        let mut clippy = Command::new("clippy-driver");
        clippy.arg(compiler).args(lint_arguments(arguments, folder.path().as_os_str()));
        if !clippy.status().context("cannot start clippy-driver")?.success() {
            return Ok(ExitCode::FAILURE);
        }
        let built = env::var(BUILT).ok();
        let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
        if !is_built(arguments, &package, built.as_deref()) {
            stand_in(arguments, folder.path())?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut real = Command::new(compiler);
    real.args(arguments);
    shell::become_command(real)
}

/// Returns `true` if the compiler's output is needed, and not only clippy's messages.
fn is_built(arguments: &[OsString], package: &str, built: Option<&str>) -> bool {
    let is_bin = || values(arguments, "--crate-type").any(|kind| kind == "bin");
    let is_program = arguments.iter().any(|word| word == "--test") || is_bin();
    let name = values(arguments, "--crate-name").next().unwrap_or_default();
    let Some(built) = built.filter(|_| is_program && name != "build_script_build") else { return true };
    built.split_whitespace().any(|entry| {
        entry.split_once('/').is_some_and(|(of, target)| of == package && (target.is_empty() || target == name))
    })
}

/// Writes the files that cargo expects: an empty program, and the list of sources, which clippy has
/// written to `folder`.
fn stand_in(arguments: &[OsString], folder: &Path) -> Result<()> {
    let name = values(arguments, "--crate-name").next().context("the crate has no name")?;
    let hash = values(arguments, "-C").find_map(|word| word.strip_prefix("extra-filename=").map(str::to_owned));
    let stem = name + &hash.unwrap_or_default();
    let out = values(arguments, "--out-dir").next().context("cargo names no folder")?;
    let list = format!("{stem}.d");
    fs::copy(folder.join(&list), Path::new(&out).join(&list)).with_context(|| format!("clippy wrote no {list}"))?;
    fs::write(Path::new(&out).join(format!("{stem}.exe")), "").context("cannot write an empty program")
}

/// Returns the values that follow `word`.
fn values<'a>(arguments: &'a [OsString], word: &'a str) -> impl Iterator<Item = String> + 'a {
    let pairs = arguments.iter().zip(arguments.iter().skip(1));
    pairs.filter(move |(before, _)| *before == word).map(|(_, value)| value.to_string_lossy().into_owned())
}

/// Makes the docs before it tests them.
fn run_as_documenter(arguments: &[OsString]) -> Result<ExitCode> {
    if arguments.iter().any(|word| word == "--test") {
        let folder = tempfile::tempdir()?;
        let mut document = Command::new("rustdoc");
        document.args(document_arguments(arguments, folder.path().as_os_str()));
        shell::run(&mut document)?;
        if env::var_os(BUILT).is_some() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut real = Command::new("rustdoc");
    real.args(arguments);
    shell::become_command(real)
}

/// Returns the compiler's arguments adapted for clippy: clippy only writes metadata, to a temporary
/// folder, and reports only diagnostics to cargo.
fn lint_arguments(arguments: &[OsString], folder: &OsStr) -> Vec<OsString> {
    let mut result = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text.starts_with("--emit=") {
            result.push("--emit=dep-info,metadata".into());
        } else if let Some(kinds) = text.strip_prefix("--json=") {
            let kinds: Vec<_> = kinds.split(',').filter(|kind| kind.starts_with("diagnostic-")).collect();
            result.push(format!("--json={}", kinds.join(",")).into());
        } else if text == "--out-dir" {
            words.next();
            result.extend([word.clone(), folder.to_owned()]);
        } else if text == "-C" && words.as_slice().first().is_some_and(|next| starts_with(next, "incremental=")) {
            // The incremental folder belongs to the compiler.
            words.next();
        } else {
            result.push(word.clone());
        }
    }
    result.extend(["-D".into(), "warnings".into()]);
    result
}

/// The arguments of rustdoc's test run whose value is the next argument.
const TEST_ARGUMENTS: &[&str] = &["--test-run-directory", "--test-args", "--test-runtool", "--test-runtool-arg"];

/// Returns the arguments of rustdoc's test run, changed to write the docs to `folder`.
fn document_arguments(arguments: &[OsString], folder: &OsStr) -> Vec<OsString> {
    let mut result = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if TEST_ARGUMENTS.iter().any(|name| word == name) {
            words.next();
        } else if word != "--test" && !starts_with(word, "--test-") && word != "--no-run" && word != "--nocapture" {
            result.push(word.clone());
        }
    }
    result.extend(["-D".into(), "warnings".into(), "--out-dir".into(), folder.to_owned()]);
    result
}

fn starts_with(word: &OsStr, start: &str) -> bool {
    word.to_string_lossy().starts_with(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn clippy_does_not_write_to_the_compilers_folder() {
        let compiler = words(
            "--crate-name a src/lib.rs --json=diagnostic-rendered-ansi,artifacts,future-incompat \
             --emit=dep-info,link -C opt-level=1 -C incremental=/t/i --out-dir /t/deps --extern b=/t/b.rlib",
        );
        let clippy = words(
            "--crate-name a src/lib.rs --json=diagnostic-rendered-ansi --emit=dep-info,metadata -C opt-level=1 --out-dir /x \
             --extern b=/t/b.rlib -D warnings",
        );
        assert_eq!(lint_arguments(&compiler, OsStr::new("/x")), clippy);
    }

    #[test]
    fn programs_that_are_not_run_are_not_built() {
        let is_built = |arguments, package, built| is_built(&words(arguments), package, built);
        let test = "--crate-name some_test tests/some_test.rs --emit=dep-info,link --test";
        assert!(is_built(test, "a", None));
        for (built, expected) in [("a/some_test", true), ("b/x a/", true), ("a/some b/some_test", false), ("", false)] {
            assert_eq!(is_built(test, "a", Some(built)), expected, "{built}");
        }
        assert!(!is_built("--crate-name tool src/main.rs --crate-type bin", "a", Some("")));
        assert!(is_built("--crate-name build_script_build build.rs --crate-type bin", "a", Some("")));
        assert!(is_built("--crate-name a src/lib.rs --crate-type cdylib --crate-type rlib", "a", Some("")));
    }

    #[test]
    fn each_list_of_programs_has_its_own_wrapper() {
        assert_ne!(wrapper_folder("a/x"), wrapper_folder("a/x a/y"));
        assert_eq!(wrapper_folder("a/x"), wrapper_folder("a/x"));
    }

    #[test]
    fn stand_ins_for_programs_are_where_cargo_looks() {
        let [folder, out] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs::write(folder.path().join("a-1f.d"), "the list").unwrap();
        let mut arguments = words("--crate-name a -C opt-level=0 -C extra-filename=-1f --out-dir");
        arguments.push(out.path().into());
        stand_in(&arguments, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("a-1f.d")).unwrap(), "the list");
        assert_eq!(fs::read(out.path().join("a-1f.exe")).unwrap(), b"");
    }

    #[test]
    fn docs_are_built_from_the_tested_arguments() {
        let tested = words("--crate-name a --test src/lib.rs --test-run-directory /a --extern b=/t/b.rlib");
        let made = words("--crate-name a src/lib.rs --extern b=/t/b.rlib -D warnings --out-dir /x");
        assert_eq!(document_arguments(&tested, OsStr::new("/x")), made);
        // cargo passes on the runner of the user's configuration.
        let run = words(
            "--crate-name a --test src/lib.rs --test-runtool wine --test-runtool-arg quiet --test-args=--exact \
             --extern b=/t/b.rlib",
        );
        assert_eq!(document_arguments(&run, OsStr::new("/x")), made);
    }
}
