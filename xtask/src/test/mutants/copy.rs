//! A copy of the working tree in which mutants are built, so that an interrupted run leaves none in
//! the tree, and the tree may be edited during the run.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::Mutant;
use crate::shell;

/// A copy of the files of the working tree, with a separate target folder.
pub(super) struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Copies the tree into `folder`, or updates an earlier copy. Unchanged files keep their
    /// modification time, so that cargo does not rebuild them.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let copy = Self { root: folder.join("tree"), target: folder.join("target") };
        let files = list_files(&shell::root())?;
        fs::create_dir_all(&copy.root)?;
        remove_unlisted(&copy.root, &copy.root, &files)?;
        for file in &files {
            copy_if_changed(&shell::root().join(file), &copy.root.join(file))?;
        }
        Ok(copy)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a cargo command in the copy, without optimization: two mutants share most of the
    /// bridge, and optimizing it would take longer than running the programs.
    pub(super) fn cargo(&self) -> Command {
        let mut command = shell::cargo();
        command.args(["--config", "profile.dev.package.vk-cuda-bridge.opt-level=0"]);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "1");
        command
    }

    /// Applies a mutant to the copy. Dropping the returned value restores the file.
    pub(super) fn apply(&self, mutant: &Mutant) -> Result<Applied> {
        let path = self.root.join(&mutant.file);
        let before = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let applied = Applied { path, before };
        let mut git = Command::new("git");
        git.args(["apply", "-p0", "--unidiff-zero", "-"]).current_dir(&self.root);
        // The copy is not a repository itself, and the repository of the tree ignores its files.
        git.env("GIT_CEILING_DIRECTORIES", self.root.parent().unwrap_or(&self.root));
        let mut child = git.stdin(Stdio::piped()).spawn().context("cannot start `git`")?;
        child.stdin.take().context("`git` takes no input")?.write_all(mutant.diff.as_bytes())?;
        let fits = child.wait()?.success() && fs::read(&applied.path)? != applied.before;
        ensure!(fits, "the file has changed since it was listed: {}", mutant.name);
        Ok(applied)
    }
}

/// A mutant in the copy; reverted on drop.
pub(super) struct Applied {
    path: PathBuf,
    before: Vec<u8>,
}

impl Drop for Applied {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            eprintln!("mutants: {} still has a mutant in it: {error}", self.path.display());
        }
    }
}

/// Returns the files that git tracks or would add, relative to `root`.
fn list_files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.stderr(Stdio::inherit()).output().context("cannot start `git`")?;
    ensure!(output.status.success(), "`{}` failed: {}", shell::command_line(&git), output.status);
    let listed = String::from_utf8(output.stdout).context("a file's name is not text")?;
    let files = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // git lists a deleted file until the deletion is committed.
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

/// Copies a file unless `to` has the same content.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    match fs::read(to) {
        Ok(before) if before == content => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(to.parent().unwrap_or(to))?,
    }
    // `fs::copy` also copies the permissions.
    fs::copy(from, to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}

/// Removes the files in `folder` that are not in `files`, whose paths are relative to `root`.
fn remove_unlisted(root: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_unlisted(root, &path, files)?;
        } else if !files.contains(path.strip_prefix(root)?) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant() -> Mutant {
        Mutant {
            name: "lib.rs:1:1: replace a with b".to_owned(),
            file: "src/lib.rs".into(),
            diff: "--- src/lib.rs\n+++ src/lib.rs\n@@ -1,2 +1,2 @@\n-a\n+b\n c\n".to_owned(),
        }
    }

    fn copy(folder: &Path) -> Copy {
        let copy = Copy { root: folder.join("tree"), target: folder.join("target") };
        fs::create_dir_all(copy.root.join("src")).unwrap();
        fs::write(copy.root.join("src/lib.rs"), "a\nc\n").unwrap();
        copy
    }

    #[test]
    fn a_mutant_is_in_the_copy_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let copy = copy(folder.path());
        let read = || fs::read_to_string(copy.root().join("src/lib.rs")).unwrap();
        let applied = copy.apply(&mutant()).unwrap();
        assert_eq!(read(), "b\nc\n");
        drop(applied);
        assert_eq!(read(), "a\nc\n");
        fs::write(copy.root().join("src/lib.rs"), "other\n").unwrap();
        assert!(copy.apply(&mutant()).is_err());
        assert_eq!(read(), "other\n");
    }

    /// The copy is in a folder that git ignores.
    #[test]
    fn a_mutant_is_applied_inside_another_repository() {
        let target = shell::target_dir();
        fs::create_dir_all(&target).unwrap();
        let folder = tempfile::tempdir_in(target).unwrap();
        let copy = copy(folder.path());
        let _applied = copy.apply(&mutant()).unwrap();
        assert_eq!(fs::read_to_string(copy.root().join("src/lib.rs")).unwrap(), "b\nc\n");
    }

    #[test]
    fn leftovers_of_an_interrupted_run_are_reset_to_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("tree/xtask");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("Cargo.toml"), "mutant").unwrap();
        fs::write(left.join("no_such_file.rs"), "mutant").unwrap();
        let copy = Copy::new(folder.path()).unwrap();
        assert!(!left.join("no_such_file.rs").exists());
        let manifest = copy.root().join("xtask/Cargo.toml");
        assert_eq!(fs::read(&manifest).unwrap(), fs::read(shell::root().join("xtask/Cargo.toml")).unwrap());
        let time = || fs::metadata(&manifest).unwrap().modified().unwrap();
        let before = time();
        Copy::new(folder.path()).unwrap();
        assert_eq!(time(), before, "it is written only if it differs");
        assert!(!copy.root().join("target").exists());
    }
}
