//! A lock that serializes the processes of a user that bind the same path.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, lstat, open, unlink};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::{Error, Result};

/// Maximum time to wait for another process that is binding the same path.
const LOCK_LIMIT: Duration = Duration::from_secs(1);

/// A lock for binding a socket at a path. It locks a file `.NAME.vk-cuda-bridge` next to a socket
/// NAME, which no other user can open. Dropping the lock removes the file; the next process uses
/// and removes a file that a killed process left.
#[derive(Debug)]
pub(super) struct BindLock {
    path: PathBuf,
    _file: OwnedFd,
}

impl BindLock {
    pub(super) fn new(socket: &Path) -> Result<Self> {
        let path = path_of(socket);
        let start = Instant::now();
        loop {
            let file = open_lock(&path)?;
            loop {
                match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => break,
                    Err(Errno::INTR) => {}
                    Err(Errno::WOULDBLOCK) if start.elapsed() < LOCK_LIMIT => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(error) => return Err(failed("flock", &path, error)),
                }
            }
            // The previous owner of the lock may have removed the file. Then the lock has no
            // effect, and the loop opens a new file.
            let locked = fstat(&file).map_err(|error| failed("fstat", &path, error))?;
            if lstat(&path).is_ok_and(|stat| identity(&stat) == identity(&locked)) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

/// Returns the path of a socket's lock file. The name must be unique to this crate, because the
/// file is removed.
pub(super) fn path_of(socket: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(socket.file_name().unwrap_or_default());
    name.push(".vk-cuda-bridge");
    socket.with_file_name(name)
}

impl Drop for BindLock {
    fn drop(&mut self) {
        // Removed while still locked, so no other process holds a lock on this file.
        let _ = unlink(&self.path);
    }
}

/// Opens or creates the lock file, which only this user can access. Does not block on a file of
/// another kind at the path.
fn open_lock(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let not_ours = || Error::NotOurs { path: path.to_owned() };
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
        // A symbolic link, a socket, a directory, or a file of another user.
        Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::ACCESS => not_ours(),
        error => failed("open", path, error),
    })?;
    let stat = fstat(&file).map_err(|error| failed("fstat", path, error))?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file && stat.st_uid == geteuid().as_raw() { Ok(file) } else { Err(not_ours()) }
}

/// Returns the device and inode of a file.
#[allow(clippy::useless_conversion, reason = "their width differs between architectures")]
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev.into(), stat.st_ino.into())
}

fn failed(call: &'static str, path: &Path, error: Errno) -> Error {
    Error::System { call, object: path.display().to_string(), source: error.into() }
}
