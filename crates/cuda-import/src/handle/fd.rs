//! Imports of file descriptors.
//!
//! # A workaround
//! Symptom: a failed import aborts the program, or closes a descriptor that another thread has just
//! opened. Cause: cuda.h says that the driver owns the descriptor "when the handle is imported
//! successfully". A driver for CUDA 13.0 also closes it on failure if `cuImportExternalMemory` has
//! already inspected it (any code except `CUDA_ERROR_INVALID_VALUE`), while
//! `cuImportExternalSemaphore` leaves it open. Closing it here as well would be a second close.
//! Solution: keep a duplicate, and after a failure close the number only if it still refers to the
//! same open file. Remove when: no supported driver closes a descriptor that it rejects.
//!
//! Contains unsafe code because it inspects a descriptor that the driver may have closed.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use super::ImportHandle;
use crate::error::{Error, Object, Result};
use crate::sys::{CallResult, RawHandle};

/// Lends the raw handle to `import` and closes the descriptor unless the driver owns or has closed
/// it.
///
/// # Errors
/// [`Error::NoDescriptor`] if the process has no free descriptor for the duplicate, in which case
/// nothing was imported; otherwise those of `import`.
pub(crate) fn import_with<T>(
    handle: ImportHandle,
    object: &Object<'_>,
    device: &str,
    import: impl FnOnce(RawHandle) -> CallResult<T>,
) -> Result<T> {
    let ImportHandle::Fd(fd) = handle;
    let duplicate = fd.try_clone().map_err(|source| Error::NoDescriptor { object: object.to_string(), source })?;
    let imported = import(RawHandle::Fd(fd.as_raw_fd()));
    if imported.is_ok() || !is_same_file(fd.as_raw_fd(), &duplicate) {
        let _owned_or_closed_by_driver = fd.into_raw_fd();
    }
    imported.map_err(|error| error.at(object, device))
}

/// Returns `true` if the number `fd`, which may be closed or belong to another thread by now,
/// refers to the same open file as `known`.
///
/// Inodes cannot distinguish them: all descriptors of GPU memory come from one device node. Status
/// flags belong to the open file, so a flag that is flipped through one descriptor is visible
/// through the other. Opaque descriptors are not read or written, so the flag has no effect on
/// them. Returns `false` if this cannot be determined: leaking a descriptor is better than closing
/// an unrelated one.
fn is_same_file(fd: RawFd, known: &OwnedFd) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    // SAFETY: the number is not -1, because it came from an OwnedFd. If it is closed or has another
    // owner by now, F_GETFL returns EBADF or reads the flags of that file, and changes nothing.
    let suspect = unsafe { BorrowedFd::borrow_raw(fd) };
    let Ok(before) = fcntl_getfl(known) else { return false };
    let flipped = before ^ OFlags::NONBLOCK;
    let shows = |flags: OFlags| fcntl_getfl(suspect).is_ok_and(|seen| seen == flags);
    let same = shows(before) && fcntl_setfl(known, flipped).is_ok() && shows(flipped);
    let _ = fcntl_setfl(known, before);
    same
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::CallError;
    use std::os::fd::FromRawFd;

    const REFUSED: CallError = CallError { call: "cuImportExternalMemory", code: 999 };

    fn import_with<T>(fd: OwnedFd, import: impl FnOnce(RawFd) -> CallResult<T>) -> Result<T> {
        super::import_with(fd.into(), &Object("memory", "m"), "GPU", |RawHandle::Fd(raw)| import(raw))
    }

    fn assert_refused(result: Result<()>) {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("(999) [memory \"m\", GPU]"), "{text}");
    }

    /// Returns one end of a pipe to give away, and the other end to test whether the first is open:
    /// writing fails once the first end and all its duplicates are closed, even if its number is
    /// reused.
    fn pipe() -> (OwnedFd, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        (OwnedFd::from(reader), writer)
    }

    fn is_open(mut writer: &std::io::PipeWriter) -> bool {
        use std::io::Write;
        writer.write(b"x").is_ok()
    }

    #[test]
    fn a_refused_descriptor_is_closed() {
        let (fd, other_end) = pipe();
        assert_refused(import_with(fd, |_| Err(REFUSED)));
        assert!(!is_open(&other_end));
    }

    #[test]
    fn an_accepted_descriptor_stays_open_for_its_new_owner() {
        let (fd, other_end) = pipe();
        let number = fd.as_raw_fd();
        assert_eq!(import_with(fd, Ok).unwrap(), number);
        assert!(is_open(&other_end));
        // SAFETY: `import_with` released the descriptor, and this test is its only owner.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        assert!(!is_open(&other_end));
    }

    #[test]
    fn a_descriptor_that_the_driver_closed_is_not_closed_again() {
        let (fd, other_end) = pipe();
        let number = fd.as_raw_fd();
        let (stranger, strangers_other_end) = pipe();
        let refused = import_with(fd, |raw| {
            // The driver closes the number, and another thread's file reuses it. dup2 does both at
            // once.
            // SAFETY: `import_with` still considers itself the owner of the number; the test checks
            // that it does not close it.
            let mut taken = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(raw) });
            rustix::io::dup2(&stranger, &mut taken).unwrap();
            Err(REFUSED)
        });
        assert_refused(refused);
        assert!(!is_open(&other_end));
        drop(stranger);
        assert!(is_open(&strangers_other_end), "the stranger's descriptor was closed");
        // SAFETY: the number refers to the stranger's file now, and this test is its only owner.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        assert!(!is_open(&strangers_other_end));
    }

    #[test]
    fn same_file_is_distinguished_from_another_on_the_same_inode() {
        let open = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (one, two) = (open(), open());
        let duplicate = one.try_clone().unwrap();
        assert!(is_same_file(duplicate.as_raw_fd(), &one));
        assert!(!is_same_file(two.as_raw_fd(), &one));
        assert!(!is_same_file(1_000_000, &one));
        let flags = rustix::fs::fcntl_getfl(&one).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "the flag is put back");
    }
}
