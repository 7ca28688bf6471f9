//! Programs that must not compile, in `crates/bridge/tests/compile_fail`, each with its expected
//! errors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{api, kernels, shell};

/// Compiles each program against the crate and compares the errors with the file next to it; with
/// `update`, writes that file instead.
pub(crate) fn run(update: bool) -> Result<()> {
    api::require_compiler()?;
    let package = shell::root().join("crates/bridge");
    let library = library(&package)?;
    let cases = cases(&package.join("tests/compile_fail"))?;
    let mut wrong = Vec::new();
    for case in &cases {
        let errors = errors_of(case, &package, &library)?;
        let expected = case.with_extension("stderr");
        if update {
            fs::write(&expected, &errors).with_context(|| format!("cannot write {}", expected.display()))?;
        } else if let Some(place) = kernels::difference(&fs::read_to_string(&expected).unwrap_or_default(), &errors) {
            eprintln!("misuse: {} is not what the compiler says\n{place}", expected.display());
            wrong.push(case.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    crate::console::line(format_args!("misuse: {} programs do not compile", cases.len()))?;
    if !wrong.is_empty() {
        bail!("other errors than expected in {}; `cargo xtask misuse --update` writes what they are", wrong.join(", "));
    }
    Ok(())
}

/// Checks the crate and returns the path of its metadata. The features are those of the step
/// `features`, which has already checked it.
fn library(package: &Path) -> Result<PathBuf> {
    let mut check = shell::cargo();
    check.args(["check", "--lib", "--no-default-features", "--features", "cuda-12000", "--message-format=json"]);
    check.arg("--manifest-path").arg(package.join("Cargo.toml")).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = check.output().with_context(|| format!("cannot start `{}`", shell::command_line(&check)))?;
    ensure!(output.status.success(), "`{}` failed: {}", shell::command_line(&check), output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    path_in(&messages).context("cargo does not say where the crate's metadata is")
}

/// Returns the path of the metadata in cargo's messages, which are one JSON object per line.
fn path_in(messages: &str) -> Option<PathBuf> {
    let is_it = |text: &&str| text.ends_with(".rmeta") && text.contains("libbridge-");
    let text = messages.split('"').rev().find(is_it)?;
    Some(text.replace(r"\\", r"\").into())
}

/// Returns the programs in a folder, sorted by name.
fn cases(folder: &Path) -> Result<Vec<PathBuf>> {
    let cases = kernels::with_extension(folder, "rs")?;
    ensure!(!cases.is_empty(), "no program in {}", folder.display());
    Ok(cases)
}

/// Returns one line for each error: its location, code and message.
fn errors_of(case: &Path, package: &Path, library: &Path) -> Result<String> {
    let mut rustc = Command::new("rustc");
    let dependencies = library.parent().context("the crate's metadata is in no folder")?;
    rustc.current_dir(package).args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--error-format=short"]);
    rustc.args(["--color=never", "--cap-lints=allow", "--out-dir"]).arg(shell::target_dir().join("ci"));
    rustc.arg("-L").arg(joined("dependency=", dependencies)).arg("--extern").arg(joined("bridge=", library));
    rustc.arg(case.strip_prefix(package)?);
    let output = rustc.output().with_context(|| format!("cannot start `{}`", shell::command_line(&rustc)))?;
    if output.status.success() {
        return Ok("it compiles\n".to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).replace('\\', "/");
    Ok(said.lines().filter(|line| line.contains(": error")).map(|line| format!("{line}\n")).collect())
}

fn joined(start: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(start);
    word.push(path);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_is_found_in_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","filenames":["/t/deps/libash-1.rmeta"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"bridge"},"filenames":["C:\\t\\libbridge-2.rmeta"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(path_in(messages).unwrap(), Path::new(r"C:\t\libbridge-2.rmeta"));
        assert_eq!(path_in("{}"), None);
    }

    #[test]
    fn every_program_has_its_errors_in_a_file() {
        for case in cases(&shell::root().join("crates/bridge/tests/compile_fail")).unwrap() {
            let errors = fs::read_to_string(case.with_extension("stderr")).unwrap();
            let name = format!("tests/compile_fail/{}", case.file_name().unwrap().to_string_lossy());
            assert!(!errors.is_empty() && errors.lines().all(|line| line.starts_with(&name)), "{errors}");
        }
    }
}
