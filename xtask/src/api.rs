//! `cargo xtask api`: the public API of the published crates as text, in `docs/api/`.
//!
//! rustdoc's JSON is unstable: stable rustdoc writes it only with `RUSTC_BOOTSTRAP`, and its format
//! changes between releases. cargo is given this program as its rustdoc, which sets the variable
//! for the real rustdoc only: set for cargo itself, it would make build scripts probe for nightly
//! features and rebuild half of the graph.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::documented::DOCUMENTED;
use crate::{kernels, shell};

/// The release whose rustdoc JSON the pinned `public-api` reads. Update both together.
const COMPILER: &str = "1.95";
/// Environment variable that makes this program act as the rustdoc that it names.
pub(crate) const RUSTDOC_VARIABLE: &str = "XTASK_AS_RUSTDOC";

/// Pairs of package and library name.
const CRATES: &[(&str, &str)] = &[
    ("vk-export", "vk_export"),
    ("vk-local", "vk_local"),
    ("cuda-import", "cuda_import"),
    ("vk-cuda-bridge-ipc", "bridge_ipc"),
    ("vk-cuda-bridge-trace", "bridge_trace"),
    ("vk-cuda-bridge-worker", "bridge_worker"),
    ("vk-cuda-bridge", "bridge"),
    ("vk-cuda-bridge-view", "bridge_view"),
];

/// Compares the API text of every published crate with the committed text; with `update`, writes
/// the committed text instead.
pub(crate) fn run(update: bool) -> Result<()> {
    require_compiler()?;
    write_json()?;
    let folder = shell::root().join("docs/api");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut changed = Vec::new();
    for (package, library) in CRATES {
        let text = text(library)?;
        let file = folder.join(format!("{package}.txt"));
        if update {
            fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
            crate::console::line(format_args!("api: docs/api/{package}.txt ({} lines)", text.lines().count()))?;
            continue;
        }
        match kernels::difference(&fs::read_to_string(&file).unwrap_or_default(), &text) {
            None => crate::console::line(format_args!("api: docs/api/{package}.txt is up to date"))?,
            Some(place) => {
                eprintln!("api: the public API of {package} is not docs/api/{package}.txt\n{place}");
                changed.push(*package);
            }
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    bail!(
        "the public API of {} changed; if it was meant to, run `cargo xtask api --update`, read the difference and \
         commit it",
        changed.join(", ")
    );
}

/// Checks that the compiler is the one that the committed texts are from: the output of another one
/// differs.
pub(crate) fn require_compiler() -> Result<()> {
    let output = Command::new("rustc").arg("--version").current_dir(shell::root()).output().ok();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    ensure!(
        is_release(&version),
        "the public API and the errors of misuse are compared with the texts of rustc {COMPILER}, and this is {:?}; install that \
         release (`rustup toolchain install {COMPILER}.0`) and set RUSTUP_TOOLCHAIN={COMPILER}.0",
        version.trim()
    );
    Ok(())
}

fn is_release(version: &str) -> bool {
    version.starts_with(&format!("rustc {COMPILER}."))
}

/// Writes the JSON of everything that is documented, with the features of the whole workspace, for
/// which `clippy` and `docs` have already checked the dependencies.
fn write_json() -> Result<()> {
    let mut doc = shell::cargo();
    doc.args(["doc", "--quiet"]).args(DOCUMENTED.split_whitespace());
    doc.env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json --cap-lints=allow");
    doc.env("RUSTDOC", own_path()?).env(RUSTDOC_VARIABLE, "rustdoc");
    shell::run(&mut doc)
}

fn text(library: &str) -> Result<String> {
    let json = shell::target_dir().join(format!("doc/{library}.json"));
    let mut checks = shell::cargo();
    checks.args(["run", "--quiet", "--package", "xtask-checks", "--", "api"]).arg(&json);
    let output = checks.output().with_context(|| format!("cannot start `{}`", shell::command_line(&checks)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shell::command_line(&checks), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("the text is not UTF-8")
}

fn own_path() -> Result<PathBuf> {
    std::env::current_exe().context("this program's own path is unknown")
}

/// Acts as rustdoc: starts the real one with this program's arguments and `RUSTC_BOOTSTRAP`.
pub(crate) fn run_as_rustdoc(real: &Path) -> Result<ExitCode> {
    let mut command = Command::new(real);
    command.args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").env_remove(RUSTDOC_VARIABLE);
    shell::become_command(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_of_the_json_format_is_accepted() {
        assert!(is_release("rustc 1.95.0 (59807616e 2026-04-14)\n"));
        assert!(!is_release("rustc 1.96.0 (x)\n") && !is_release("rustc 1.9.0\n") && !is_release(""));
    }

    #[test]
    fn the_toolchain_file_names_that_release() {
        let text = fs::read_to_string(shell::root().join("rust-toolchain.toml")).unwrap();
        assert!(text.contains(&format!("channel = \"{COMPILER}.0\"")), "{text}");
    }

    /// Error variants are `#[non_exhaustive]`, so that adding a field to one is not a breaking
    /// change.
    #[test]
    fn error_variants_with_fields_are_non_exhaustive() {
        for (package, _) in CRATES {
            let text = fs::read_to_string(shell::root().join(format!("docs/api/{package}.txt"))).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let variants = lines.iter().filter_map(|line| {
                let (path, _) = line.strip_prefix("pub ")?.split_once(": ")?;
                let (variant, _field) = path.rsplit_once("::")?;
                variant.contains("::Error::").then_some(variant)
            });
            let variants: std::collections::BTreeSet<&str> = variants.collect();
            // The trace crate has no errors.
            let has_errors = *package != "vk-cuda-bridge-trace";
            assert_eq!(!variants.is_empty(), has_errors, "{package}: the errors in the text");
            for variant in variants {
                let marked = format!("#[non_exhaustive] pub {variant}");
                assert!(lines.contains(&marked.as_str()), "{package}: {variant} is not #[non_exhaustive]");
            }
        }
    }

    #[test]
    fn every_published_crate_is_listed() {
        for (package, _) in CRATES {
            let folder = package.strip_prefix("vk-cuda-").unwrap_or(package);
            let manifest = fs::read_to_string(shell::root().join("crates").join(folder).join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{package}\"")), "{package}");
        }
    }
}
