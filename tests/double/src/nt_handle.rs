//! Operating system handles: sections that contain a number, followed by memory.
//!
//! All functions take raw numbers, because the double checks what happened to the handles.
//!
//! Unsafe because a number need not be open.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{BorrowedHandle, FromRawHandle, IntoRawHandle, OwnedHandle};
use std::ptr::{null, without_provenance_mut};
use std::sync::atomic::{AtomicIsize, Ordering};

use windows_sys::Win32::Foundation::{GetHandleInformation, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, OpenFileMappingW,
    PAGE_READWRITE, UnmapViewOfFile,
};

use crate::abi::Handle;

/// The number of a handle. Not a pointer, so that it is `Send`.
pub(crate) type Raw = isize;
pub(crate) type Owned = OwnedHandle;

const MAGIC: [u8; 16] = *b"driver-double/1\n";
/// Size of the header in bytes; the memory follows it. The header contains the magic, the number,
/// and the size of the memory.
const HEADER: u64 = 4096;

/// The highest number of a handle created here.
static HIGHEST: AtomicIsize = AtomicIsize::new(0);

/// Creates a handle that contains `number` and `size` zeroed bytes of memory.
pub(crate) fn create(number: u64, size: u64) -> io::Result<Raw> {
    make_named(number, size, null())
}

/// Like [`create`], under a name that is null or NUL-terminated.
pub(crate) fn make_named(number: u64, size: u64, name: *const u16) -> io::Result<Raw> {
    let end = HEADER.checked_add(size).ok_or(io::ErrorKind::FileTooLarge)?;
    let (high, low) = ((end >> 32) as u32, end as u32);
    // SAFETY: memory of the page file; the name is null or valid.
    let raw = unsafe { CreateFileMappingW(INVALID_HANDLE_VALUE, null(), PAGE_READWRITE, high, low, name) };
    if raw.is_null() {
        return Err(io::Error::last_os_error());
    }
    let raw = raw.addr().cast_signed();
    HIGHEST.fetch_max(raw, Ordering::Relaxed);
    let header = [&MAGIC[..], &number.to_le_bytes(), &size.to_le_bytes()].concat();
    View::new(raw, header.len())?.write(0, &header);
    Ok(raw)
}

/// Returns the driver's own handle to the object passed to an import, by handle or, if that is
/// null, by name.
pub(crate) fn take(given: &Handle) -> io::Result<Raw> {
    let taken = if given.handle == 0 {
        // SAFETY: a NUL ends the name (cuda.h: "a NULL-terminated array of UTF-16 characters").
        let raw = unsafe { OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, 0, given.name) };
        if raw.is_null() {
            return Err(io::Error::last_os_error());
        }
        raw.addr().cast_signed()
    } else {
        let handle = borrow(given.handle).ok_or(CLOSED)?;
        handle.try_clone_to_owned()?.into_raw_handle().addr().cast_signed()
    };
    HIGHEST.fetch_max(taken, Ordering::Relaxed);
    Ok(taken)
}

/// Returns the number that [`create`] stored, or `None` for other handles and for closed numbers.
pub(crate) fn number(raw: Raw) -> Option<u64> {
    header(raw).map(|(number, _)| number)
}

fn header(raw: Raw) -> Option<(u64, u64)> {
    let header = View::new(raw, 32).ok()?.read(0, 32);
    let (magic, rest) = header.split_at(16);
    let (number, size) = rest.split_at(8);
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
    (magic == MAGIC).then_some((word(number)?, word(size)?))
}

/// Closes a handle. Returns `false` if it is already closed.
pub(crate) fn close(raw: Raw) -> bool {
    let open = borrow(raw).is_some();
    if open {
        // SAFETY: the number is open, and the caller took over its ownership.
        drop(unsafe { OwnedHandle::from_raw_handle(handle(raw)) });
    }
    open
}

/// Returns the handles of the double that are open in this process, each with its number. Handles
/// are multiples of four, and low numbers are assigned first, so a duplicate is at most a little
/// above the handles created here.
pub(crate) fn open() -> Vec<(Raw, u64)> {
    let end = HIGHEST.load(Ordering::Relaxed) + 4 * 64;
    (4..end).step_by(4).filter_map(|raw| Some((raw, number(raw)?))).collect()
}

/// Fails: NT handles are never imported as descriptors.
pub(crate) fn duplicate(_: Raw) -> io::Result<Raw> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads from the memory of a handle.
pub(crate) fn read(raw: Raw, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let view = memory(raw, offset, len)?;
    Ok(view.read((HEADER + offset) as usize, len))
}

/// Writes to the memory of a handle.
pub(crate) fn write(raw: Raw, offset: u64, bytes: &[u8]) -> io::Result<()> {
    memory(raw, offset, bytes.len())?.write((HEADER + offset) as usize, bytes);
    Ok(())
}

/// Returns a view of the whole section, if it has `len` bytes at `offset`.
fn memory(raw: Raw, offset: u64, len: usize) -> io::Result<View> {
    let (_, size) = header(raw).ok_or(CLOSED)?;
    let inside = offset.checked_add(len as u64).is_some_and(|end| end <= size);
    if !inside {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    View::new(raw, (HEADER + size) as usize)
}

/// Converts a handle of the double to an owned one.
pub(crate) fn own(raw: Raw) -> Option<Owned> {
    borrow(raw)?;
    // SAFETY: it is open, and the caller got it from `create`.
    Some(unsafe { OwnedHandle::from_raw_handle(handle(raw)) })
}

const CLOSED: io::ErrorKind = io::ErrorKind::NotFound;

fn handle(raw: Raw) -> *mut c_void {
    without_provenance_mut(raw.cast_unsigned())
}

fn borrow<'a>(raw: Raw) -> Option<BorrowedHandle<'a>> {
    let mut flags = 0;
    // SAFETY: a number that is not an open handle is an error, and `flags` is valid for the result.
    let open = raw > 0 && unsafe { GetHandleInformation(handle(raw), &mut flags) } != 0;
    // SAFETY: open just now. If it has another owner by now, the calls made with it fail or change
    // nothing.
    open.then(|| unsafe { BorrowedHandle::borrow_raw(handle(raw)) })
}

/// A mapped view of the first bytes of a section.
struct View {
    address: MEMORY_MAPPED_VIEW_ADDRESS,
    len: usize,
}

impl View {
    /// Maps a view. Fails if the handle is not a section, or if the section is smaller.
    fn new(raw: Raw, len: usize) -> io::Result<Self> {
        // SAFETY: a handle of another kind, or a number that is not an open handle, is an error.
        let address = unsafe { MapViewOfFile(handle(raw), FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, len) };
        if address.Value.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self { address, len }) }
    }

    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let from = self.place(offset, len);
        // SAFETY: `place` has checked that `len` bytes are in the view.
        unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
        bytes
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.place(offset, bytes.len());
        // SAFETY: `place` has checked that the bytes fit in the view.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn place(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "{len} bytes at {offset} of {}", self.len);
        // SAFETY: inside the view.
        unsafe { self.address.Value.cast::<u8>().add(offset) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing points into it anymore.
        unsafe { UnmapViewOfFile(self.address) };
    }
}
