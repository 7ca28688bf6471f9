//! The comparison of skipped tests with the skips that are expected without a GPU: the run fails if
//! a test silently stops running there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::tally::Skip;
use crate::shell;

/// The difference between the skips of a run and the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Skips that happened but are not listed.
    unlisted: Vec<String>,
    /// Skips that are listed but did not happen.
    absent: Vec<String>,
}

/// Returns the path of the committed list.
pub(super) fn path() -> PathBuf {
    path_of(&shell::root().join("tests"))
}

/// Returns the path of the committed list for the package in a folder.
pub(super) fn path_of(package: &Path) -> PathBuf {
    package.join("skips.txt")
}

/// Returns the path of the committed list for the driver double tests of the package in a folder.
pub(super) fn path_of_double(package: &Path) -> PathBuf {
    package.join("skips_double.txt")
}

/// Reads the list at `path`.
pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read the expected skips in {}", path.display()))
}

/// Returns `true` if the list is for this machine: it runs Linux and has no GPU, neither one from
/// NVIDIA nor one with a render node.
pub(super) fn applies() -> bool {
    cfg!(target_os = "linux") && !has_gpu(Path::new("/dev"))
}

fn has_gpu(devices: &Path) -> bool {
    let has = |folder: &Path, names: &[&str]| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|name| {
            let name = name.to_string_lossy();
            names.iter().any(|start| name.starts_with(start))
        })
    };
    // `dxg` is the GPU of the Windows host under WSL.
    has(devices, &["nvidia", "dxg"]) || has(&devices.join("dri"), &["renderD"])
}

impl Difference {
    /// Compares the skips with the list. `everything` means that all tests were run: only then is a
    /// listed skip that did not happen meaningful.
    pub(super) fn of<'a>(list: &str, skips: impl Iterator<Item = &'a Skip>, everything: bool) -> Self {
        let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let listed: BTreeSet<String> = lines.map(str::to_owned).collect();
        let happened: BTreeSet<String> = skips.map(Skip::to_string).collect();
        let absent = if everything { listed.difference(&happened).cloned().collect() } else { Vec::new() };
        Self { unlisted: happened.difference(&listed).cloned().collect(), absent }
    }

    /// Returns `true` if the difference makes the run fail.
    pub(super) fn is_failure(&self) -> bool {
        !self.unlisted.is_empty()
    }

    /// Returns the message for the user; empty if there is nothing to report.
    pub(super) fn report(&self, path: &Path) -> String {
        let mut text = String::new();
        let list = path.display();
        if !self.unlisted.is_empty() {
            text += &format!("test: these were skipped and are not in {list}. Make them run, or add these lines:\n");
            self.unlisted.iter().for_each(|line| text += &format!("{line}\n"));
        }
        if !self.absent.is_empty() {
            text += &format!("test: these are in {list} and were not skipped. If they ran, delete these lines:\n");
            self.absent.iter().for_each(|line| text += &format!("{line}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(program: &str, test: &str, case: &str) -> Skip {
        Skip { program: program.into(), test: test.into(), case: case.into() }
    }

    const LIST: &str = "# why\n\np/a one\np/a two: on a transfer queue\n";

    #[test]
    fn unlisted_skips_fail_and_missing_skips_are_reported() {
        let happened = [skip("p/a", "one", ""), skip("p/b", "one", "")];
        let difference = Difference::of(LIST, happened.iter(), true);
        assert!(difference.is_failure());
        let text = difference.report(Path::new("list"));
        assert!(text.contains("not in list") && text.contains("\np/b one\n"), "{text}");
        assert!(text.contains("\np/a two: on a transfer queue\n") && !text.contains("p/a one"), "{text}");
    }

    #[test]
    fn a_partial_run_reports_nothing_of_other_tests() {
        let difference = Difference::of(LIST, [skip("p/a", "one", "")].iter(), false);
        assert_eq!(difference, Difference::default());
        assert_eq!(difference.report(Path::new("list")), "");
        let whole = Difference::of(LIST, [skip("p/a", "one", "")].iter(), true);
        assert!(!whole.is_failure() && whole != Difference::default());
    }

    #[test]
    fn gpus_are_detected_by_their_files() {
        for (file, gpu) in [("nvidia0", true), ("nvidiactl", true), ("dxg", true), ("dri/renderD128", true)]
            .into_iter()
            .chain([("null", false), ("dri/card0", false)])
        {
            let devices = tempfile::tempdir().unwrap();
            fs::create_dir(devices.path().join("dri")).unwrap();
            fs::write(devices.path().join(file), "").unwrap();
            assert_eq!(has_gpu(devices.path()), gpu, "{file}");
        }
    }

    #[test]
    fn the_committed_lists_are_sorted_and_unique() {
        let packages = ["tests", "adapters/bridge-wgpu", "adapters/bevy-vk-cuda"].map(|name| shell::root().join(name));
        for path in packages.iter().flat_map(|package| [path_of(package), path_of_double(package)]) {
            let list = read(&path).unwrap();
            let lines: Vec<_> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
            assert!(!lines.is_empty() && lines.is_sorted_by(|a, b| a < b), "sort {}", path.display());
        }
    }
}
