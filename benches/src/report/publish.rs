//! Publication of results in the repository, from which BENCHMARKS.md and the README take their
//! figures. Only the results of a full run with CUDA, of a known commit, can be published.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::provenance::{Sources, root};
use super::{FILE, Outcome, Results, plots};
use crate::cases;
use crate::options::Profile;

/// The folder of published results, relative to the root of the workspace.
const FOLDER: &str = "benches/results";

/// Writes the results and the plots to the folder of published results; returns the path of the
/// results file.
pub(crate) fn publish(results: &Results) -> Result<PathBuf> {
    let root = root()?;
    check(results, &Sources::look(Some(&root)))?;
    let folder = root.join(FOLDER);
    write(results, &folder)?;
    Ok(folder.join(FILE))
}

fn write(results: &Results, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    results.write(folder)?;
    plots::write(results, folder)
}

/// Checks that the results can be published; `here` describes the tree that they would be written
/// to.
fn check(results: &Results, here: &Sources) -> Result<()> {
    let machine = &results.machine;
    let full = Profile::FULL.name;
    ensure!(results.profile == full, "the profile is \"{}\"; only \"{full}\" is published", results.profile);
    ensure!(machine.backend == "cuda", "{} computed; only runs with CUDA are published", machine.backend);
    match machine.sources.clean {
        // Measured on a copy without git, which was given its commit in the environment: it must be
        // the commit of this tree.
        None if here.clean == Some(true) && here.commit == machine.sources.commit => {}
        _ => machine.sources.require_clean()?,
    }
    for case in cases::all(&Profile::FULL) {
        let of_case =
            |name: &str| name.strip_prefix(&case.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        ensure!(results.rows.iter().any(|row| of_case(&row.name)), "case {} was not run", case.name);
    }
    for row in &results.rows {
        ensure!(!matches!(row.outcome, Outcome::Failed { .. }), "{} failed; nothing is published then", row.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::tests::results;
    use crate::report::{Outcome, Row};

    /// Returns results with a row of every case.
    fn complete() -> Results {
        let mut results = results();
        let row = results.rows.remove(0);
        results.rows =
            cases::all(&Profile::FULL).into_iter().map(|case| Row { name: case.name, ..row.clone() }).collect();
        results.machine.sources = Sources { commit: "abc".into(), clean: Some(true) };
        results
    }

    fn refused(change: impl FnOnce(&mut Results)) -> String {
        let mut results = complete();
        change(&mut results);
        check(&results, &Sources { commit: "def".into(), clean: Some(true) }).unwrap_err().to_string()
    }

    #[test]
    fn only_full_runs_with_cuda_of_a_clean_tree_are_published() {
        check(&complete(), &Sources::default()).unwrap();
        assert!(refused(|results| results.profile = "quick".into()).contains("\"quick\""));
        assert!(refused(|results| results.machine.backend = "host".into()).contains("host computed"));
        assert!(refused(|results| results.machine.sources.clean = Some(false)).contains("differs from commit abc"));
        assert!(refused(|results| results.machine.sources.clean = None).contains("does not know its commit"));
        assert!(refused(|results| drop(results.rows.remove(3))).contains("was not run"));
        let failed = refused(|results| results.rows[5].outcome = Outcome::Failed { error: "no".into() });
        assert!(failed.contains("failed"), "{failed}");
    }

    #[test]
    fn a_copy_without_git_is_published_from_the_given_commit() {
        let mut results = complete();
        results.machine.sources.clean = None;
        check(&results, &Sources { commit: "abc".into(), clean: Some(true) }).unwrap();
        check(&results, &Sources { commit: "abc".into(), clean: Some(false) }).unwrap_err();
    }

    #[test]
    fn the_file_and_the_pictures_are_written() {
        let folder = tempfile::tempdir().unwrap();
        write(&complete(), &folder.path().join("new")).unwrap();
        let read = Results::read(&folder.path().join("new").join(FILE)).unwrap();
        assert_eq!(read.machine.sources.commit, "abc");
    }
}
