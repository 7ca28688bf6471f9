//! The destination of the trace, as named by the environment variable.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
#[cfg(unix)]
use std::{
    fs::{File, TryLockError},
    os::fd::AsFd,
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

#[cfg(unix)]
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
#[cfg(unix)]
use rustix::io::Errno;

/// Returns the destination that the variable names, if any.
///
/// # Errors
/// The error of opening a file that cannot be written to, or of a stream that is closed.
pub(crate) fn from_variable(value: impl AsRef<OsStr>) -> io::Result<Option<Box<dyn Write + Send>>> {
    let value = value.as_ref();
    match value.to_str() {
        Some("" | "0") => Ok(None),
        // Opening these names would truncate a file that the stream is redirected to.
        Some("1" | "stderr" | "/dev/stderr") => stream_sink(io::stderr()).map(Some),
        Some("/dev/stdout") => stream_sink(io::stdout()).map(Some),
        // File names need not be text.
        _ => open(Path::new(value)).map(Some),
    }
}

/// Opens a file to which several processes may write their traces: each line is appended by one
/// call, and thus stays whole. The contents of an earlier run are discarded. A lock detects them:
/// every process that writes to the file holds a shared one.
///
/// If one of the process's own streams is redirected to the file, the trace is written through that
/// stream, and the contents are kept.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    let file = open_at_once(path)?;
    if is_file_of(&file, io::stderr()) {
        return stream_sink(io::stderr());
    }
    if is_file_of(&file, io::stdout()) {
        return stream_sink(io::stdout());
    }
    if file.try_lock().is_ok() {
        // Not every writable file has a length.
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            file.set_len(0)?;
        }
        file.unlock()?;
    }
    hold(&file);
    Ok(Box::new(Lines(file)))
}

/// Returns a sink that writes to a stream of this process without the stream's lock in Rust, which
/// the program may hold while it waits for the thread that writes the trace.
///
/// A file that the stream is redirected to is appended to from now on, also by the program's own
/// output: at its own position, the stream would overwrite the lines of other processes. The lock
/// that keeps the file from being truncated belongs to the stream, and lasts until it is closed.
#[cfg(unix)]
fn stream_sink(stream: impl AsFd) -> io::Result<Box<dyn Write + Send>> {
    let file = File::from(stream.as_fd().try_clone_to_owned()?);
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::APPEND)?;
        hold(&file);
    }
    Ok(Box::new(file))
}

/// Whether the stream is redirected to this file.
#[cfg(unix)]
fn is_file_of(file: &File, stream: impl AsFd) -> bool {
    use std::os::unix::fs::MetadataExt;
    let stream = stream.as_fd().try_clone_to_owned().map(File::from);
    let (Ok(of), Ok(file)) = (stream.and_then(|stream| stream.metadata()), file.metadata()) else { return false };
    file.is_file() && (of.dev(), of.ino()) == (file.dev(), file.ino())
}

/// A file that lines are appended to, by other processes as well.
#[cfg(unix)]
struct Lines(File);

#[cfg(unix)]
impl Lines {
    /// Ends a line of which only a part was written, as on a disk that is full: its last byte
    /// becomes the end, which needs no more space. What others append next is a line of its own.
    fn cut(&mut self) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        // Where the last write of this file has ended.
        let end = io::Seek::stream_position(&mut self.0)?;
        fcntl_setfl(&self.0, OFlags::empty())?;
        self.0.write_all_at(b"\n", end.saturating_sub(1))
    }
}

#[cfg(unix)]
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            let error = match self.0.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    rest = &rest[written..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if rest.len() < line.len() {
                // Pipes have no place to go back to.
                let _ = self.cut();
            }
            return Err(error);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Opens the file without blocking: a pipe without a reader is an error, instead of an endless
/// wait.
#[cfg(unix)]
fn open_at_once(path: &Path) -> io::Result<File> {
    let flag = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().create(true).append(true).custom_flags(flag).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => {
            io::Error::other(format!("{error}: no process has this pipe open for reading; start the reader first"))
        }
        _ => error,
    })?;
    // Writes wait for the reader.
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

/// Takes the shared lock. Another process holds the exclusive lock only for a moment. If locks are
/// not available, as on some file systems, the trace is written without one.
#[cfg(unix)]
fn hold(file: &File) {
    for _ in 0..100 {
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            Ok(()) | Err(TryLockError::Error(_)) => return,
        }
    }
}

#[cfg(not(unix))]
fn stream_sink(stream: impl Write + Send + 'static) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(stream))
}

/// File locks of this system would keep all processes from writing, including this one.
#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(OpenOptions::new().create(true).write(true).truncate(true).open(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variable_disables_the_trace_and_missing_folder_is_an_error() {
        assert!(from_variable("").unwrap().is_none() && from_variable("0").unwrap().is_none());
        assert!(from_variable("1").unwrap().is_some() && from_variable("stderr").unwrap().is_some());
        assert!(from_variable("/no/such/folder/trace").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn stale_file_is_replaced_and_file_in_use_is_shared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        std::fs::write(&path, "of yesterday\n").unwrap();
        let open = || from_variable(path.to_str().unwrap()).unwrap().unwrap();
        let mut first = open();
        first.write_all(b"one\n").unwrap();
        let mut second = open();
        second.write_all(b"two\n").unwrap();
        first.write_all(b"three\n").unwrap();
        // The process that opened the file first ends, and another one opens it.
        drop(first);
        let mut third = open();
        third.write_all(b"four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\nfour\n");
        drop((second, third));
        drop(open());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    /// A program may hold the lock of a stream while it waits for a thread that traces.
    #[cfg(unix)]
    #[test]
    fn stream_is_written_without_its_lock() {
        let _locks = (io::stderr().lock(), io::stdout().lock());
        for value in ["1", "/dev/stderr", "/dev/stdout"] {
            let mut sink = from_variable(value).unwrap().unwrap();
            // On another thread, which would wait for the lock without end.
            std::thread::spawn(move || sink.write(b"").unwrap()).join().unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn file_of_a_redirected_stream_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        // The position is the stream's, as after `>log` in a shell.
        let mut stream = File::create(&path).unwrap();
        stream.write_all(b"of the shell\n").unwrap();
        let mut trace = stream_sink(&stream).unwrap();
        let mut other = from_variable(&path).unwrap().unwrap();
        other.write_all(b"other\n").unwrap();
        trace.write_all(b"trace\n").unwrap();
        stream.write_all(b"program\n").unwrap();
        other.write_all(b"other\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of the shell\nother\ntrace\nprogram\nother\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_name_may_be_invalid_unicode() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OsStr::from_bytes(b"trace\xff"));
        from_variable(&path).unwrap().unwrap().write_all(b"line\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"line\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pipe_without_reader_and_folder_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert!(from_variable(folder.path().to_str().unwrap()).is_err());
        let path = folder.path().join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let open = || from_variable(path.to_str().unwrap());
        let error = open().err().unwrap();
        assert!(error.to_string().contains("start the reader first"), "{error}");

        let mut reader =
            OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&path).unwrap();
        // More than a pipe holds: the line is not cut if the reader is slow.
        let line = vec![b'x'; 1 << 18];
        let mut sink = open().unwrap().unwrap();
        let writer = std::thread::spawn(move || sink.write_all(&line));
        fcntl_setfl(&reader, OFlags::empty()).unwrap();
        let mut got = Vec::new();
        io::Read::read_to_end(&mut reader, &mut got).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(got.len(), 1 << 18);
    }
}
