//! Operating system handles: descriptors of anonymous files that contain a number, followed by
//! memory.
//!
//! All functions take raw numbers, because the double checks what happened to the descriptors.
//!
//! Unsafe because a number need not be open.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::fs::MemfdFlags;

use crate::abi::Handle;

pub(crate) type Raw = std::os::fd::RawFd;
pub(crate) type Owned = OwnedFd;

const MAGIC: [u8; 16] = *b"driver-double/1\n";
const LABEL: &str = "driver-double";
/// Size of the header in bytes; the memory follows it.
pub(crate) const HEADER: u64 = 4096;

/// Creates a descriptor that contains `number` and `size` zeroed bytes of memory.
pub(crate) fn create(number: u64, size: u64) -> io::Result<Raw> {
    let file = rustix::fs::memfd_create(LABEL, MemfdFlags::CLOEXEC)?;
    let end = HEADER.checked_add(size).ok_or(io::ErrorKind::FileTooLarge)?;
    rustix::fs::ftruncate(&file, end)?;
    let header = [MAGIC, u128::from(number).to_le_bytes()].concat();
    write_all(file.as_fd(), &header, 0)?;
    Ok(file.into_raw_fd())
}

/// Returns the number that [`create`] stored, or `None` for other descriptors and for closed
/// numbers.
pub(crate) fn number(raw: Raw) -> Option<u64> {
    let mut header = [0; 32];
    let read = rustix::io::pread(borrow(raw)?, &mut header, 0).ok()?;
    let (magic, number) = header.split_at(16);
    if read < header.len() || magic != MAGIC {
        return None;
    }
    u128::from_le_bytes(number.try_into().ok()?).try_into().ok()
}

/// Returns the descriptor that the driver owns once an import has succeeded: the given one.
pub(crate) fn take(given: &Handle) -> io::Result<Raw> {
    Ok(given.fd)
}

/// Duplicates a descriptor.
pub(crate) fn duplicate(raw: Raw) -> io::Result<Raw> {
    Ok(rustix::io::fcntl_dupfd_cloexec(borrow(raw).ok_or(CLOSED)?, 0)?.into_raw_fd())
}

/// Closes a descriptor. Returns `false` if it is already closed.
pub(crate) fn close(raw: Raw) -> bool {
    let open = borrow(raw).is_some_and(|file| rustix::io::fcntl_getfd(file).is_ok());
    if open {
        // SAFETY: the number is open, and the caller took over its ownership.
        drop(unsafe { OwnedFd::from_raw_fd(raw) });
    }
    open
}

/// Closes a descriptor and opens a file of the double under the same number, as if another thread
/// had just opened one.
pub(crate) fn replace(raw: Raw, number: u64) -> io::Result<()> {
    let made = create(number, 0)?;
    if made == raw {
        return Ok(());
    }
    // SAFETY: as in `close`.
    let mut place = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(raw) });
    // SAFETY: `create` has just returned it, and nothing else knows it.
    let made = unsafe { OwnedFd::from_raw_fd(made) };
    Ok(rustix::io::dup2(made, &mut place)?)
}

/// Returns the descriptors of the double that are open in this process, each with its number.
pub(crate) fn open() -> Vec<(Raw, u64)> {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let ours = folder
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains(LABEL)));
    let raw = ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    raw.filter_map(|raw| Some((raw, number(raw)?))).collect()
}

/// Reads from the memory of a descriptor.
pub(crate) fn read(raw: Raw, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match rustix::io::pread(borrow(raw).ok_or(CLOSED)?, &mut bytes[done..], HEADER + offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(bytes)
}

/// Writes to the memory of a descriptor.
pub(crate) fn write(raw: Raw, offset: u64, bytes: &[u8]) -> io::Result<()> {
    write_all(borrow(raw).ok_or(CLOSED)?, bytes, HEADER + offset)
}

/// Converts a descriptor of the double to an owned one.
pub(crate) fn own(raw: Raw) -> Option<Owned> {
    number(raw)?;
    // SAFETY: it is open, it was created by the double, and the caller got it from `create`.
    Some(unsafe { OwnedFd::from_raw_fd(raw) })
}

const CLOSED: io::ErrorKind = io::ErrorKind::NotFound;

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::pwrite(file, bytes, offset)?;
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

fn borrow<'a>(raw: Raw) -> Option<BorrowedFd<'a>> {
    // SAFETY: not -1. If it is closed, the calls here return an error; if it belongs to something
    // else, its contents do not match the header and it is not modified.
    (raw >= 0).then(|| unsafe { BorrowedFd::borrow_raw(raw) })
}
