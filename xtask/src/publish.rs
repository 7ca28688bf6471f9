//! Checks before publishing: each crate packs and compiles from its package, and the licenses are
//! allowed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::licenses;
use crate::shell;

/// The version of all packages of the workspace, including this one.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The published crates in dependency order.
pub(crate) const PACKAGES: &[&str] = &[
    "vk-export",
    "vk-local",
    "cuda-import",
    "vk-cuda-bridge-ipc",
    "vk-cuda-bridge-trace",
    "vk-cuda-bridge-worker",
    "vk-cuda-bridge",
    "vk-cuda-bridge-view",
];

/// Packs the crates together and checks the packages against each other, so that none of them needs
/// to be on crates.io.
///
/// Checking is enough: the tests build the same sources, and a package can only lack a file, a
/// dependency or a feature. cargo's own verification would build the crates again, and some of them
/// several times.
pub(crate) fn package() -> Result<()> {
    let mut pack = shell::cargo();
    // Packing must also work in a working tree with changes. Nothing is published from here.
    pack.args(["package", "--allow-dirty", "--no-verify"]);
    pack.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    shell::run(&mut pack)?;

    let folder = shell::target_dir().join("ci/package");
    unpack(&folder)?;
    let mut check = shell::cargo();
    // Quiet, because the profile also names packages that only tests use.
    check.args(["check", "--quiet", "--workspace", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    check.env("CARGO_TARGET_DIR", shell::target_dir());
    shell::run(&mut check)?;
    crate::console::line(format_args!("package: {} packages compile: {}", PACKAGES.len(), PACKAGES.join(", ")))?;
    Ok(())
}

/// Creates a workspace of the packages in an empty folder, with the locked versions of this
/// workspace.
fn unpack(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for package in PACKAGES {
        let file = shell::target_dir().join(format!("package/{package}-{VERSION}.crate"));
        // All files in a package have the same date: if tar kept it, cargo would see no change.
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--gzip", "--touch", "--file"]).arg(file).arg("--directory").arg(folder);
        shell::run(&mut tar)?;
    }
    let locked = shell::root().join("Cargo.lock");
    fs::copy(&locked, folder.join("Cargo.lock")).with_context(|| format!("cannot copy {}", locked.display()))?;
    let root = fs::read_to_string(shell::root().join("Cargo.toml")).context("cannot read the workspace's manifest")?;
    // With the same profile, cargo does not check the dependencies again.
    let manifest = manifest() + profile(&root).context("the workspace has no profile `dev`")?;
    fs::write(folder.join("Cargo.toml"), manifest).context("cannot write the manifest of the packages")
}

/// Returns the part of a workspace manifest that configures the profile `dev`.
fn profile(manifest: &str) -> Option<&str> {
    let start = manifest.find("[profile.dev]")?;
    let profile = &manifest[start..];
    Some(profile.find("[profile.release]").map_or(profile, |end| &profile[..end]))
}

/// Returns the manifest of a workspace that patches crates.io, so that each package finds the
/// others.
fn manifest() -> String {
    let members: Vec<_> = PACKAGES.iter().map(|package| format!("\"{package}-{VERSION}\"")).collect();
    let mut text = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n[patch.crates-io]\n", members.join(", "));
    for package in PACKAGES {
        text += &format!("{package} = {{ path = \"{package}-{VERSION}\" }}\n");
    }
    text
}

/// The workspaces other than that of the crates.
const WORKSPACES: &[&str] = &["adapters/bridge-wgpu", "adapters/bevy-vk-cuda", "examples/vulkano", "python"];

/// Checks that `deny.toml` allows the license of every dependency. cargo-deny checks the main
/// workspace if it is installed; otherwise, and for the other workspaces, this program does.
/// Installing cargo-deny would build 400 crates.
pub(crate) fn licenses() -> Result<()> {
    if shell::on_path("cargo-deny").is_some() {
        shell::run(shell::cargo().args(["deny", "check"]))?;
    } else {
        crate::console::line(format_args!(
            "licenses: cargo-deny is not installed: its bans, advisories and sources are not checked"
        ))?;
        licenses_of(&shell::root().join("Cargo.toml"))?;
    }
    WORKSPACES.iter().try_for_each(|folder| licenses_of(&shell::root().join(folder).join("Cargo.toml")))
}

/// Checks that `deny.toml` allows the licenses of a workspace's dependencies.
fn licenses_of(manifest: &Path) -> Result<()> {
    let targets = ["x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc"];
    licenses::with_metadata(manifest, &targets, "licenses", Path::new("deny.toml"))
}

/// Fails if files of a package, or folders of a crate, import each other in a cycle.
pub(crate) fn cycles() -> Result<()> {
    shell::run(shell::cargo().args(["run", "--quiet", "--package", "xtask-checks", "--", "cycles"]))
}

/// Writes the figures of the published results into the documents, or checks that they are up to
/// date.
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
    use std::collections::BTreeSet;

    use super::*;

    /// Returns the folder of a package under `crates/`.
    fn folder(package: &str) -> std::path::PathBuf {
        shell::root().join("crates").join(package.strip_prefix("vk-cuda-").unwrap_or(package))
    }

    #[test]
    fn the_profile_ends_where_the_next_begins() {
        let manifest = "[workspace]\n[profile.dev]\na = 1\n[profile.dev.package]\nb = 2\n[profile.release]\nc = 3\n";
        assert_eq!(profile(manifest), Some("[profile.dev]\na = 1\n[profile.dev.package]\nb = 2\n"));
        assert_eq!(profile("[workspace]\n"), None);
    }

    #[test]
    fn each_published_crate_has_licenses_a_readme_and_docs_rs_metadata() {
        for package in PACKAGES {
            let read = |file: &str| fs::read_to_string(folder(package).join(file)).unwrap();
            for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
                assert_eq!(read(license), fs::read_to_string(shell::root().join(license)).unwrap(), "{package}");
            }
            assert!(read("README.md").contains(&format!("cargo add {package}")), "{package}");
            let manifest = read("Cargo.toml");
            for text in ["readme = \"README.md\"", "[package.metadata.docs.rs]", "x86_64-pc-windows-msvc", "docsrs"] {
                assert!(manifest.contains(text), "{package}: {text}");
            }
            assert!(!manifest.contains("publish = false"), "{package}");
        }
    }

    /// Returns the features that a manifest lists under `key` (`default` or `features`) in a table.
    fn features(manifest: &str, table: &str, key: &str) -> Option<BTreeSet<String>> {
        let lines =
            manifest.lines().skip_while(|line| *line != table).skip(1).take_while(|line| !line.starts_with('['));
        let list = lines.filter_map(|line| line.split_once(" = ")).find(|(name, _)| *name == key)?.1;
        let list = list.strip_prefix('[')?.strip_suffix(']')?;
        Some(
            list.split(',')
                .map(|name| name.trim().trim_matches('"').to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        )
    }

    /// docs.rs builds `features` in place of the defaults: items of a default feature that is
    /// missing there have no page.
    #[test]
    fn docs_rs_builds_the_default_features() {
        for package in PACKAGES {
            let text = fs::read_to_string(folder(package).join("Cargo.toml")).unwrap();
            let table = "[package.metadata.docs.rs]";
            if text.contains("no-default-features = true") {
                let shown = features(&text, table, "features");
                assert!(shown.is_some(), "{package}");
                assert_eq!(shown, features(&text, "[features]", "default"), "{package}");
            }
        }
    }

    #[test]
    fn features_end_with_their_table() {
        let manifest = "[features]\ndefault = [\"a\", \"b\"]\na = []\n[package.metadata.docs.rs]\nfeatures = [\"a\"]\n";
        let named = |table, key| features(manifest, table, key).map(Vec::from_iter);
        assert_eq!(named("[features]", "default"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(named("[features]", "a"), Some(Vec::new()));
        assert_eq!(named("[features]", "features"), None);
        assert_eq!(named("[package.metadata.docs.rs]", "features"), Some(vec!["a".to_owned()]));
    }
}
