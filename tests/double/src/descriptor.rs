//! The operating system's handles: descriptors of anonymous files that carry a number, and the
//! memory behind it.
//!
//! Everything here takes numbers, because the point is to see what has become of them.
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
/// In bytes; the memory follows.
pub(crate) const HEADER: u64 = 4096;

/// A fresh descriptor that carries `number`, with `size` bytes of zeros behind it.
pub(crate) fn create(number: u64, size: u64) -> io::Result<Raw> {
    let file = rustix::fs::memfd_create(LABEL, MemfdFlags::CLOEXEC)?;
    let end = HEADER.checked_add(size).ok_or(io::ErrorKind::FileTooLarge)?;
    rustix::fs::ftruncate(&file, end)?;
    let header = [MAGIC, u128::from(number).to_le_bytes()].concat();
    write_all(file.as_fd(), &header, 0)?;
    Ok(file.into_raw_fd())
}

/// What [`create`] put into it; None for all others, and for a number that is closed.
pub(crate) fn number(raw: Raw) -> Option<u64> {
    let mut header = [0; 32];
    let read = rustix::io::pread(borrow(raw)?, &mut header, 0).ok()?;
    let (magic, number) = header.split_at(16);
    if read < header.len() || magic != MAGIC {
        return None;
    }
    u128::from_le_bytes(number.try_into().ok()?).try_into().ok()
}

/// What the driver owns once an import has succeeded: the descriptor itself.
pub(crate) fn take(given: &Handle) -> io::Result<Raw> {
    Ok(given.fd)
}

/// Another descriptor of the same.
pub(crate) fn duplicate(raw: Raw) -> io::Result<Raw> {
    Ok(rustix::io::fcntl_dupfd_cloexec(borrow(raw).ok_or(CLOSED)?, 0)?.into_raw_fd())
}

/// Closes it; false if it is closed already.
pub(crate) fn close(raw: Raw) -> bool {
    let open = borrow(raw).is_some_and(|file| rustix::io::fcntl_getfd(file).is_ok());
    if open {
        // SAFETY: the number is open, and the caller took it over from whoever had it.
        drop(unsafe { OwnedFd::from_raw_fd(raw) });
    }
    open
}

/// Closes it and puts another file of ours in its place, as if another thread had opened one at
/// that moment.
pub(crate) fn replace(raw: Raw, number: u64) -> io::Result<()> {
    let made = create(number, 0)?;
    if made == raw {
        return Ok(());
    }
    // SAFETY: as in `close`.
    let mut place = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(raw) });
    // SAFETY: `create` has just returned it, and nobody else knows it.
    let made = unsafe { OwnedFd::from_raw_fd(made) };
    Ok(rustix::io::dup2(made, &mut place)?)
}

/// Those of ours that are open in this process, with the number each carries.
pub(crate) fn open() -> Vec<(Raw, u64)> {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let ours = folder
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains(LABEL)));
    let raw = ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    raw.filter_map(|raw| Some((raw, number(raw)?))).collect()
}

/// From the memory behind it.
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

/// To the memory behind it.
pub(crate) fn write(raw: Raw, offset: u64, bytes: &[u8]) -> io::Result<()> {
    write_all(borrow(raw).ok_or(CLOSED)?, bytes, HEADER + offset)
}

/// Hands a descriptor out.
pub(crate) fn own(raw: Raw) -> Option<Owned> {
    number(raw)?;
    // SAFETY: it is open, it is one of ours, and the caller has it from `create`.
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
    // SAFETY: not -1. Should it be closed, the calls here say so; should it have another owner,
    // they read what does not match the header and leave it alone.
    (raw >= 0).then(|| unsafe { BorrowedFd::borrow_raw(raw) })
}
