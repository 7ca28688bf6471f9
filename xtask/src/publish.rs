//! Checks before the crates can be published: each packs and builds from its package, and
//! licences are allowed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell;

/// The published crates, in the order in which they depend on each other.
pub(crate) const PACKAGES: &[&str] = &[
    "vk-export",
    "vk-local",
    "cuda-import",
    "vk-cuda-bridge-ipc",
    "vk-cuda-bridge-worker",
    "vk-cuda-bridge",
    "vk-cuda-bridge-view",
];

/// Packs the crates together and builds each from its package, against the others' packages:
/// nothing of it needs to be on crates.io.
pub(crate) fn package() -> Result<()> {
    let mut command = shell::cargo();
    // In a working tree with changes it has to work, too. Nothing is published from here.
    command.args(["package", "--allow-dirty"]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    fs::create_dir_all(shell::target_dir())
        .with_context(|| format!("cannot make {}", shell::target_dir().display()))?;
    let folder = tempfile::Builder::new().prefix("package-").tempdir_in(shell::target_dir())?;
    command.env("CARGO_TARGET_DIR", fresh_name_of_target(folder.path())?);
    // The workspace's profile, which a package does not bring along: what is equal is not built
    // again.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "false");
    shell::run(&mut command)
}

/// The target folder under a name that it never had.
///
/// Symptom: the crates of an earlier run are built. Cause: cargo takes what a registry holds for
/// unchanging, and the registry is here a folder beside the packages, known by its path. Solution:
/// another path each time, which leads to the same folder, so that the dependencies in it serve
/// again. Remove when cargo tells two contents of a package apart.
fn fresh_name_of_target(folder: &Path) -> Result<PathBuf> {
    #[cfg(unix)]
    {
        let link = folder.join("target");
        std::os::unix::fs::symlink(shell::target_dir(), &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
        Ok(link)
    }
    // Links need a privilege elsewhere; a fresh folder builds the dependencies once more.
    #[cfg(not(unix))]
    Ok(folder.to_owned())
}

/// Every dependency's licence is one that `deny.toml` allows: cargo-deny says so where it is
/// installed, and this program where it is not. Installing it would build 400 crates.
pub(crate) fn licences() -> Result<()> {
    if shell::on_path("cargo-deny").is_some() {
        return shell::run(shell::cargo().args(["deny", "check"]));
    }
    println!("licences: cargo-deny is not installed: its bans, advisories and sources are not checked");
    licences_of(&shell::root().join("Cargo.toml"))
}

/// The dependencies of a workspace have licences that `deny.toml` allows.
pub(crate) fn licences_of(manifest: &Path) -> Result<()> {
    let folder = shell::target_dir().join("ci");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("metadata.json");
    let mut metadata = shell::cargo();
    metadata.args(["metadata", "--format-version=1", "--manifest-path"]).arg(manifest);
    for target in ["x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc"] {
        metadata.args(["--filter-platform", target]);
    }
    metadata.stdout(File::create(&file).with_context(|| format!("cannot write {}", file.display()))?);
    shell::run(&mut metadata)?;
    let mut checks = shell::cargo();
    checks.args(["run", "--quiet", "--package", "xtask-checks", "--", "licences", "deny.toml"]);
    checks.stdin(File::open(&file).with_context(|| format!("cannot read {}", file.display()))?);
    let status = checks.status().with_context(|| format!("cannot start `{}`", shell::shown(&checks)))?;
    anyhow::ensure!(status.success(), "`{}` failed: {status}", shell::shown(&checks));
    Ok(())
}

/// Writes the figures of the published results into the documents, or checks that they are there.
pub(crate) fn tables(check: bool) -> Result<()> {
    let mut checks = shell::cargo();
    checks.args(["run", "--quiet", "--package", "xtask-checks", "--", "tables"]);
    if check {
        checks.arg("--check");
    }
    shell::run(&mut checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folder under `crates/` by package.
    fn folder(package: &str) -> std::path::PathBuf {
        shell::root().join("crates").join(package.strip_prefix("vk-cuda-").unwrap_or(package))
    }

    #[cfg(unix)]
    #[test]
    fn a_fresh_name_leads_to_the_target_folder() {
        let folder = tempfile::tempdir().unwrap();
        let name = fresh_name_of_target(folder.path()).unwrap();
        assert!(name.starts_with(folder.path()));
        assert_eq!(fs::read_link(&name).unwrap(), shell::target_dir());
    }

    #[test]
    fn each_published_crate_brings_the_licences_a_readme_and_what_docs_rs_needs() {
        for package in PACKAGES {
            let read = |file: &str| fs::read_to_string(folder(package).join(file)).unwrap();
            for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
                assert_eq!(read(licence), fs::read_to_string(shell::root().join(licence)).unwrap(), "{package}");
            }
            assert!(read("README.md").contains(&format!("cargo add {package}")), "{package}");
            let manifest = read("Cargo.toml");
            for text in ["readme = \"README.md\"", "[package.metadata.docs.rs]", "x86_64-pc-windows-msvc", "docsrs"] {
                assert!(manifest.contains(text), "{package}: {text}");
            }
            assert!(!manifest.contains("publish = false"), "{package}");
        }
    }
}
