//! Output files that are whole or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file that takes its name only when it is complete. Until then it is `.NAME.part`; dropped before
/// [`commit`](Self::commit) it is deleted, and whatever had the name before stays.
pub struct AtomicFile {
    writer: Option<BufWriter<File>>,
    part: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins the file `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".part");
        let part = path.with_file_name(name);
        let file = File::create(&part).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer: Some(BufWriter::with_capacity(1 << 18, file)), part, path: path.to_owned() })
    }

    /// Gives the file its name.
    pub fn commit(mut self) -> Result<()> {
        let written = self.writer.take().map_or(Ok(()), |mut writer| writer.flush());
        written
            .and_then(|()| fs::rename(&self.part, &self.path))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().map_or(Err(io::ErrorKind::BrokenPipe.into()), |writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.flush())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the part has gone already. Elsewhere nobody is left who could use the error.
        drop(self.writer.take());
        let _ = fs::remove_file(&self.part);
    }
}

/// Makes the folder `path`, proves that it can be written to, and takes away what an earlier run of `program` left
/// there, so that its frames are not mistaken for those of this run. Without a `summary.json` of that program nothing
/// is deleted.
pub fn prepare_folder(path: &Path, program: &str) -> Result<()> {
    let cannot = || format!("cannot write to the output folder {}; choose another with --out", path.display());
    fs::create_dir_all(path).with_context(cannot)?;
    drop(AtomicFile::create(&path.join("summary.json")).with_context(cannot)?);
    if !is_from(path, program) {
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        if is_output(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).with_context(|| format!("cannot delete {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn is_from(folder: &Path, program: &str) -> bool {
    fs::read(folder.join("summary.json"))
        .ok()
        .and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok())
        .is_some_and(|summary| summary["program"] == program)
}

fn is_output(name: &str) -> bool {
    let number = name.strip_prefix("frame_").and_then(|rest| rest.strip_suffix(".png"));
    let frame = number.is_some_and(|digits| digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit()));
    frame || ["animation.gif", "summary.json"].contains(&name) || (name.starts_with('.') && name.ends_with(".part"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_leaves_nothing_and_spares_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn only_an_earlier_run_of_the_same_program_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let mut names: Vec<_> =
                fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        for name in ["frame_0001.png", "frame_of_mind.png", "animation.gif"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        prepare_folder(folder.path(), "particles").unwrap();
        assert_eq!(names(), ["animation.gif", "frame_0001.png", "frame_of_mind.png"]);
        fs::write(folder.path().join("summary.json"), r#"{"program":"particles"}"#).unwrap();
        prepare_folder(folder.path(), "particles").unwrap();
        assert_eq!(names(), ["frame_of_mind.png"]);
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let folder = file.join("out");
        let error = format!("{:#}", prepare_folder(&folder, "particles").unwrap_err());
        assert!(error.contains(&folder.display().to_string()) && error.contains("--out"), "{error}");
    }
}
