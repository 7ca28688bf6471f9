//! Linting and documentation on top of the build of `cargo test`.
//!
//! `cargo clippy` and `cargo doc` check every dependency first, and no build can use the results: a
//! workspace whose tests are built needs hundreds of crates twice. Instead, cargo is given this
//! program as its compiler and rustdoc. For each target of the workspace, this program calls clippy
//! with the arguments, and therefore the dependencies, of the build, and then the real compiler.
//! Before rustdoc tests the examples in the docs, it builds the docs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::shell;

/// Environment variable that makes this program act as rustdoc and as the compiler of workspace
/// packages.
pub(crate) const AS_TOOLS: &str = "XTASK_AS_TOOLS";

/// Makes `cargo build` and `cargo test` fail on clippy's warnings about the workspace, and `cargo
/// test` also on those of rustdoc.
pub(crate) fn with_lints(command: &mut Command) -> Result<()> {
    // cargo keeps build outputs apart by the path of the wrapper.
    let own = shell::own_copy()?;
    command.env(AS_TOOLS, "1").env("RUSTC_WORKSPACE_WRAPPER", &own).env("RUSTDOC", &own);
    Ok(())
}

/// Acts as the compiler if the first argument names it, as cargo does for a wrapper, and as rustdoc
/// otherwise.
pub(crate) fn be_tool() -> Result<ExitCode> {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    match words.split_first() {
        Some((compiler, arguments)) if !starts(compiler, "-") => be_compiler(compiler, arguments),
        _ => be_documenter(&words),
    }
}

fn be_compiler(compiler: &OsStr, arguments: &[OsString]) -> Result<ExitCode> {
    // cargo also calls the wrapper to query the compiler's version and targets.
    if arguments.iter().any(|word| starts(word, "--emit=")) {
        let folder = tempfile::tempdir()?;
        let mut clippy = Command::new("clippy-driver");
        clippy.arg(compiler).args(lint_arguments(arguments, folder.path().as_os_str()));
        if !clippy.status().context("cannot start clippy-driver")?.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut real = Command::new(compiler);
    real.args(arguments);
    shell::become_command(real)
}

/// Builds the docs before testing them.
fn be_documenter(arguments: &[OsString]) -> Result<ExitCode> {
    if arguments.iter().any(|word| word == "--test") {
        let folder = tempfile::tempdir()?;
        let mut document = Command::new("rustdoc");
        document.args(document_arguments(arguments, folder.path().as_os_str()));
        shell::run(&mut document)?;
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
            result.push("--emit=metadata".into());
        } else if let Some(kinds) = text.strip_prefix("--json=") {
            let kinds: Vec<_> = kinds.split(',').filter(|kind| kind.starts_with("diagnostic-")).collect();
            result.push(format!("--json={}", kinds.join(",")).into());
        } else if text == "--out-dir" {
            words.next();
            result.extend([word.clone(), folder.to_owned()]);
        } else if text == "-C" && words.as_slice().first().is_some_and(|next| starts(next, "incremental=")) {
            // The incremental folder belongs to the compiler.
            words.next();
        } else {
            result.push(word.clone());
        }
    }
    result.extend(["-D".into(), "warnings".into()]);
    result
}

/// Returns the arguments of rustdoc's test run, changed to write the docs to `folder`.
fn document_arguments(arguments: &[OsString], folder: &OsStr) -> Vec<OsString> {
    let mut result = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--test-run-directory" || word == "--test-args" {
            words.next();
        } else if word != "--test" && !starts(word, "--test-") && word != "--no-run" && word != "--nocapture" {
            result.push(word.clone());
        }
    }
    result.extend(["-D".into(), "warnings".into(), "--out-dir".into(), folder.to_owned()]);
    result
}

fn starts(word: &OsStr, start: &str) -> bool {
    word.to_string_lossy().starts_with(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn clippy_writes_nothing_where_the_compiler_does() {
        let compiler = words(
            "--crate-name a src/lib.rs --json=diagnostic-rendered-ansi,artifacts,future-incompat \
             --emit=dep-info,metadata,link -C opt-level=1 -C incremental=/t/i --out-dir /t/deps --extern b=/t/b.rlib",
        );
        let clippy = words(
            "--crate-name a src/lib.rs --json=diagnostic-rendered-ansi --emit=metadata -C opt-level=1 --out-dir /x \
             --extern b=/t/b.rlib -D warnings",
        );
        assert_eq!(lint_arguments(&compiler, OsStr::new("/x")), clippy);
    }

    #[test]
    fn docs_are_made_of_what_is_tested() {
        let tested = words("--crate-name a --test src/lib.rs --test-run-directory /a --extern b=/t/b.rlib");
        let made = words("--crate-name a src/lib.rs --extern b=/t/b.rlib -D warnings --out-dir /x");
        assert_eq!(document_arguments(&tested, OsStr::new("/x")), made);
    }
}
