//! The licenses of the dependencies, and their texts in the wheel of the Python package.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// The license files of the wheel. The last one has the texts of the crates that it links, and is
/// not in the repository.
const IN_WHEEL: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE", LINKED];
const LINKED: &str = "LICENSE-THIRD-PARTY";

/// Runs a command of `xtask-checks` that takes a file, with the output of `cargo metadata` for
/// these targets as standard input.
pub(crate) fn with_metadata(manifest: &Path, targets: &[&str], word: &str, argument: &Path) -> Result<()> {
    let folder = shell::target_dir().join("ci");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Steps of continuous integration run in parallel.
    let file = folder.join(format!("{word}.json"));
    let mut metadata = shell::cargo();
    metadata.args(["metadata", "--format-version=1", "--manifest-path"]).arg(manifest);
    for target in targets {
        metadata.args(["--filter-platform", target]);
    }
    metadata.stdout(File::create(&file).with_context(|| format!("cannot write {}", file.display()))?);
    shell::run(&mut metadata)?;
    let mut checks = shell::cargo();
    checks.args(["run", "--quiet", "--package", "xtask-checks", "--", word]).arg(argument);
    checks.stdin(File::open(&file).with_context(|| format!("cannot read {}", file.display()))?);
    let status = checks.status().with_context(|| format!("cannot start `{}`", shell::command_line(&checks)))?;
    ensure!(status.success(), "`{}` failed: {status}", shell::command_line(&checks));
    Ok(())
}

/// Writes the license texts of the crates that the Python package in `folder` links to a file next
/// to its own licenses, from where maturin puts them into the wheel.
pub(crate) fn write_linked(folder: &Path) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    with_metadata(&folder.join("Cargo.toml"), &[&target], "notices", &folder.join(LINKED))
}

/// Fails if the wheel lacks a license file.
pub(crate) fn check_wheel(python: &Path, wheel: &Path) -> Result<()> {
    let mut list = Command::new(python);
    let listed = list.args(["-m", "zipfile", "--list"]).arg(wheel).stderr(Stdio::inherit()).output();
    let listed = listed.with_context(|| format!("cannot start `{}`", shell::command_line(&list)))?;
    ensure!(listed.status.success(), "`{}` failed: {}", shell::command_line(&list), listed.status);
    let missing = missing(&String::from_utf8_lossy(&listed.stdout));
    if !missing.is_empty() {
        bail!("{} lacks the license files {}", wheel.display(), missing.join(", "));
    }
    Ok(())
}

/// Returns the license files that are not in a wheel whose list of files this is.
fn missing(listed: &str) -> Vec<&'static str> {
    let is_listed = |file: &str| {
        let path = format!(".dist-info/licenses/{file}");
        listed.lines().filter_map(|line| line.split_whitespace().next()).any(|name| name.ends_with(&path))
    };
    IN_WHEEL.iter().copied().filter(|file| !is_listed(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn license_files_count_only_in_their_folder() {
        let listed = "File Name                                   Modified             Size\n\
                      vkview/__init__.py                   2026-11-30 00:00:00          900\n\
                      vkview-0.1.0.dist-info/licenses/LICENSE-MIT     2026-11-30 00:00:00         1100\n\
                      vkview/LICENSE-APACHE                2026-11-30 00:00:00        11000\n";
        assert_eq!(missing(listed), ["LICENSE-APACHE", "LICENSE-THIRD-PARTY"]);
        assert_eq!(missing(""), IN_WHEEL);
    }

    #[test]
    fn a_list_that_fails_is_not_an_empty_wheel() {
        let failed = check_wheel(Path::new("false"), Path::new("no.whl")).unwrap_err().to_string();
        assert!(failed.starts_with("`false -m zipfile --list no.whl` failed: "), "{failed}");
    }

    #[test]
    fn the_python_package_has_the_licenses_of_the_repository() {
        for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let read = |path: &str| fs::read_to_string(shell::root().join(path).join(file)).unwrap();
            assert_eq!(read("python"), read(""), "{file}");
        }
    }
}
