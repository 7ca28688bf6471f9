//! What has to hold before the crates can be published: each packs and builds from its package, and licences are allowed.

use std::fs::File;

use anyhow::{Context, Result};

use crate::shell;

/// The published crates, in the order in which they depend on each other.
pub(crate) const PACKAGES: &[&str] = &["vk-export", "cuda-import", "vk-cuda-bridge"];

/// Packs the crates together and builds each from its package, against the others' packages: nothing of it needs to be on
/// crates.io.
pub(crate) fn package() -> Result<()> {
    let mut command = shell::cargo();
    // In a working tree with changes it has to work, too. Nothing is published from here.
    command.args(["package", "--allow-dirty"]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    // In the workspace's folder and with its profile, which a package does not bring along: what they have in common is
    // not built again.
    command.env("CARGO_TARGET_DIR", shell::target_dir());
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "false");
    shell::run(&mut command)
}

/// Every dependency's licence is one that `deny.toml` allows: cargo-deny says so where it is installed, and this program
/// where it is not. Installing it would build 400 crates.
pub(crate) fn licences() -> Result<()> {
    if shell::on_path("cargo-deny").is_some() {
        return shell::run(shell::cargo().args(["deny", "check"]));
    }
    println!("licences: cargo-deny is not installed: its bans, advisories and sources are not checked");
    let folder = shell::target_dir().join("ci");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("metadata.json");
    let mut metadata = shell::cargo();
    metadata.args(["metadata", "--format-version=1"]);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Folder under `crates/` by package.
    fn folder(package: &str) -> std::path::PathBuf {
        let name = if package == "vk-cuda-bridge" { "bridge" } else { package };
        shell::root().join("crates").join(name)
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
            assert!(!manifest.contains("vk-local"), "{package} depends on a package that is not published");
        }
    }
}
