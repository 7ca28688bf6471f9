//! Processes of a user that bind the same path do so one at a time.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, lstat, open, unlink};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::{Error, Result};

/// Limit on how long another process may be binding the same path.
const LOCK_LIMIT: Duration = Duration::from_secs(1);

/// A lock on a path at which a socket is bound: on a file beside it, `.NAME.vk-cuda-bridge` for a
/// socket NAME. No other user can open that file. Dropping the lock removes it; a file that a
/// killed process left behind is used and removed by the next one.
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
            // Whoever had the lock before may have removed the file: then another one counts.
            let locked = fstat(&file).map_err(|error| failed("fstat", &path, error))?;
            if lstat(&path).is_ok_and(|stat| identity(&stat) == identity(&locked)) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

/// The path of the lock of a socket. No other program's files are called so: the file is removed.
pub(super) fn path_of(socket: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(socket.file_name().unwrap_or_default());
    name.push(".vk-cuda-bridge");
    socket.with_file_name(name)
}

impl Drop for BindLock {
    fn drop(&mut self) {
        // While it is locked: nobody else has locked this file.
        let _ = unlink(&self.path);
    }
}

/// Opens or makes the file, which is this user's alone. Nothing that another user has put in its
/// place is waited for.
fn open_lock(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let not_ours = || Error::NotOurs { path: path.to_owned() };
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
        // A link, a socket, a folder, a file of another user.
        Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::ACCESS => not_ours(),
        error => failed("open", path, error),
    })?;
    let stat = fstat(&file).map_err(|error| failed("fstat", path, error))?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file && stat.st_uid == geteuid().as_raw() { Ok(file) } else { Err(not_ours()) }
}

/// Device and inode of a file.
#[allow(clippy::useless_conversion, reason = "their width differs between architectures")]
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev.into(), stat.st_ino.into())
}

fn failed(call: &'static str, path: &Path, error: Errno) -> Error {
    Error::System { call, object: path.display().to_string(), source: error.into() }
}
