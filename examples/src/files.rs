//! Output files that are either complete or absent.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};

use crate::console::count;

/// A file that gets its name only when it is complete. Until then its name is `.NAME.part`. If it
/// is dropped before [`commit`](Self::commit), it is deleted, and an earlier file of the same name
/// remains.
pub struct AtomicFile {
    writer: Option<BufWriter<File>>,
    part: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates the temporary file for `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".part");
        let part = path.with_file_name(name);
        let file = File::create(&part).map_err(|error| cannot_write(path, error))?;
        Ok(Self { writer: Some(BufWriter::with_capacity(1 << 18, file)), part, path: path.to_owned() })
    }

    /// Renames the file to its final name.
    pub fn commit(mut self) -> Result<()> {
        let written = self.writer.take().map_or(Ok(()), |mut writer| writer.flush());
        written.and_then(|()| fs::rename(&self.part, &self.path)).map_err(|error| cannot_write(&self.path, error))
    }
}

impl AtomicFile {
    fn finish_with(mut self, text: &str) -> Result<()> {
        self.write_all(text.as_bytes()).map_err(|error| cannot_write(&self.path, error))?;
        self.commit()
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
        // After a commit the temporary file no longer exists. In other cases the error cannot be
        // reported.
        drop(self.writer.take());
        let _ = fs::remove_file(&self.part);
    }
}

/// Returns the error for a failed write of `path`, with a remedy if the disk is full.
pub fn cannot_write(path: &Path, error: impl Into<Error>) -> Error {
    let error = error.into();
    let io_error = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<png::EncodingError>() {
        // This error is not in the `source` chain.
        Some(png::EncodingError::IoError(error)) => Some(error.kind()),
        _ => cause.downcast_ref::<io::Error>().map(io::Error::kind),
    };
    let full = error
        .chain()
        .filter_map(io_error)
        .any(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded));
    let remedy = if full { ": the disk is full; make room, or choose another folder with --out" } else { "" };
    error.context(format!("cannot write {}{remedy}", path.display()))
}

/// Creates the folder `path`, checks that it is writable, and deletes the output of an earlier run
/// of `program`, so that its frames are not mistaken for those of this run. Deletes nothing if
/// there is no `summary.json` of that program. Writes a `summary.json` with the state `unfinished`,
/// which remains until the run writes its own and so marks a run that ended early.
///
/// # Errors
/// The error names the folder and says that another can be chosen.
pub fn prepare_folder(path: &Path, program: &str) -> Result<()> {
    if path.exists() && !path.is_dir() {
        bail!("--out {}: that is a file, not a folder; choose another with --out", path.display());
    }
    let cannot = || format!("cannot write to the output folder {}; choose another with --out", path.display());
    fs::create_dir_all(path).with_context(cannot)?;
    let unfinished = AtomicFile::create(&path.join("summary.json")).with_context(cannot)?;
    let own = is_from(path, program);
    let mut foreign = 0_u64;
    for entry in fs::read_dir(path).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if own && is_output(&name) && name != ".summary.json.part" {
            fs::remove_file(entry.path()).with_context(|| format!("cannot delete {}", entry.path().display()))?;
        }
        foreign += u64::from(!own && is_frame(&name));
    }
    if foreign > 0 {
        let folder = path.display();
        log::warn!("{} in {folder} of something other than {program}: not deleted", count(foreign, "frame"));
    }
    unfinished.finish_with(&format!("{{\"program\": \"{program}\", \"state\": \"unfinished\"}}\n")).with_context(cannot)
}

fn is_from(folder: &Path, program: &str) -> bool {
    fs::read(folder.join("summary.json"))
        .ok()
        .and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok())
        .is_some_and(|summary| summary["program"] == program)
}

fn is_frame(name: &str) -> bool {
    let number = name.strip_prefix("frame_").and_then(|rest| rest.strip_suffix(".png"));
    number.is_some_and(|digits| digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_output(name: &str) -> bool {
    is_frame(name)
        || ["animation.gif", "summary.json"].contains(&name)
        || (name.starts_with('.') && name.ends_with(".part"))
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
        assert_eq!(names(), ["animation.gif", "frame_0001.png", "frame_of_mind.png", "summary.json"]);
        prepare_folder(folder.path(), "texture").unwrap();
        assert_eq!(names().len(), 4, "another program's");
        fs::write(folder.path().join("summary.json"), r#"{"program":"particles"}"#).unwrap();
        prepare_folder(folder.path(), "particles").unwrap();
        assert_eq!(names(), ["frame_of_mind.png", "summary.json"]);
    }

    #[test]
    fn a_run_that_was_cut_off_is_cleared_too() {
        let folder = tempfile::tempdir().unwrap();
        prepare_folder(folder.path(), "particles").unwrap();
        let frame = folder.path().join("frame_0007.png");
        fs::write(&frame, "x").unwrap();
        prepare_folder(folder.path(), "particles").unwrap();
        assert!(!frame.exists());
    }

    #[test]
    fn a_full_disk_and_a_file_in_the_way_are_named_with_the_remedy() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        let errors: [Error; 3] =
            [full().into(), png::EncodingError::IoError(full()).into(), gif::EncodingError::Io(full()).into()];
        for full in errors {
            let error = format!("{:#}", cannot_write(Path::new("out/frame_0001.png"), full));
            assert!(error.contains("out/frame_0001.png: the disk is full") && error.contains("--out"), "{error}");
        }
        let error = format!("{:#}", cannot_write(Path::new("a"), io::Error::from(ErrorKind::PermissionDenied)));
        assert!(!error.contains("full"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = format!("{:#}", prepare_folder(file.path(), "particles").unwrap_err());
        assert!(error.contains("that is a file, not a folder") && error.contains("--out"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let folder = file.join("out");
        let error = format!("{:#}", prepare_folder(&folder, "particles").unwrap_err());
        assert!(error.contains(&folder.display().to_string()) && error.contains("--out"), "{error}");
    }
}
