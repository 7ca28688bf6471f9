//! The skips that are expected where there is no GPU, compared with those that happened: a test
//! that silently stops to run there fails the run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::tally::Skip;
use crate::shell;

/// Difference of the skips of a run from the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// They happened and are not listed.
    unlisted: Vec<String>,
    /// They are listed and did not happen.
    absent: Vec<String>,
}

/// The committed list.
pub(super) fn path() -> PathBuf {
    shell::root().join("tests/skips.txt")
}

/// The committed list for the tests on the driver double of the package in a folder.
pub(super) fn path_of_double(package: &Path) -> PathBuf {
    package.join("skips_double.txt")
}

/// The lines of the list at `path`, without comments.
pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read the expected skips in {}", path.display()))
}

/// Whether the list is for this machine: it runs Linux and has no GPU, neither one of NVIDIA's nor
/// one that renders.
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
    // `dxg` is the GPU of a Windows host.
    has(devices, &["nvidia", "dxg"]) || has(&devices.join("dri"), &["renderD"])
}

impl Difference {
    /// Compares. `everything` says that all tests were run: only then a listed skip that did not
    /// happen says anything.
    pub(super) fn of<'a>(list: &str, skips: impl Iterator<Item = &'a Skip>, everything: bool) -> Self {
        let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let listed: BTreeSet<String> = lines.map(str::to_owned).collect();
        let happened: BTreeSet<String> = skips.map(Skip::to_string).collect();
        let absent = if everything { listed.difference(&happened).cloned().collect() } else { Vec::new() };
        Self { unlisted: happened.difference(&listed).cloned().collect(), absent }
    }

    /// Whether the run fails for it.
    pub(super) fn is_failure(&self) -> bool {
        !self.unlisted.is_empty()
    }

    /// Returns the message for the user; empty if there is nothing to say.
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
    fn what_is_not_listed_fails_and_what_did_not_happen_is_told() {
        let happened = [skip("p/a", "one", ""), skip("p/b", "one", "")];
        let difference = Difference::of(LIST, happened.iter(), true);
        assert!(difference.is_failure());
        let text = difference.report(Path::new("list"));
        assert!(text.contains("not in list") && text.contains("\np/b one\n"), "{text}");
        assert!(text.contains("\np/a two: on a transfer queue\n") && !text.contains("p/a one"), "{text}");
    }

    #[test]
    fn a_part_of_the_tests_tells_nothing_of_the_others() {
        let difference = Difference::of(LIST, [skip("p/a", "one", "")].iter(), false);
        assert_eq!(difference, Difference::default());
        assert_eq!(difference.report(Path::new("list")), "");
        let whole = Difference::of(LIST, [skip("p/a", "one", "")].iter(), true);
        assert!(!whole.is_failure() && whole != Difference::default());
    }

    #[test]
    fn gpus_are_seen_by_their_files() {
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
    fn the_committed_lists_are_in_order_and_say_nothing_twice() {
        let packages = ["tests", "adapters/bridge-wgpu"].map(|folder| path_of_double(&shell::root().join(folder)));
        for path in packages.into_iter().chain([path()]) {
            let list = read(&path).unwrap();
            let lines: Vec<_> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
            assert!(!lines.is_empty() && lines.is_sorted_by(|a, b| a < b), "sort {}", path.display());
        }
    }
}
