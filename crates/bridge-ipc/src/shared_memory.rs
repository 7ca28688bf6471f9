//! Memory of the CPU that two processes map: a sealed memory file.
//!
//! The peer may write it at any time, whatever the protocol says, so no reference to its bytes is ever made: they are copied in
//! and out with atomic loads and stores, which are defined whatever another process does. Its size cannot change, which the
//! seals guarantee, so that no access faults.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::error::{Error, MemoryProblem};
use crate::transport::OsHandle;

/// A memory file whose size is sealed.
#[derive(Debug)]
pub struct SharedMemory {
    handle: OsHandle,
    name: String,
    len: usize,
}

/// A mapping of a [`SharedMemory`]. Any thread may use it.
///
/// Nothing orders two accesses: the exchange says whose the bytes are. What is read while the peer writes is any mix of old and
/// new bytes, and nothing worse.
#[derive(Debug)]
pub struct MappedMemory {
    pointer: std::ptr::NonNull<u8>,
    len: usize,
}

#[allow(unsafe_code)] // A mapping is owned memory.
mod threads {
    // SAFETY: the mapping belongs to the value and not to a thread.
    unsafe impl Send for super::MappedMemory {}
    // SAFETY: all access through a shared reference is atomic.
    unsafe impl Sync for super::MappedMemory {}
}

fn size(name: &str, size: u64) -> Result<usize, Error> {
    let most = isize::MAX.unsigned_abs();
    let len = usize::try_from(size).ok().filter(|len| (1..=most).contains(len));
    len.ok_or_else(|| problem(name, MemoryProblem::Size(size)))
}

fn problem(name: &str, problem: MemoryProblem) -> Error {
    Error::Memory { name: name.to_owned(), problem }
}

impl SharedMemory {
    /// In bytes.
    #[allow(clippy::len_without_is_empty, reason = "empty memory cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// For errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor, to be sent.
    pub fn handle(&self) -> &OsHandle {
        &self.handle
    }
}

impl MappedMemory {
    /// In bytes.
    #[allow(clippy::len_without_is_empty, reason = "empty memory cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first byte. Valid as long as the mapping; another process may write there at any time, so that reading or writing it
    /// other than by atomic or volatile access is the caller's to answer for.
    pub fn as_ptr(&self) -> *mut u8 {
        self.pointer.as_ptr()
    }

    /// Copies `bytes` to `offset`. Returns false, and copies nothing, where they do not lie inside.
    #[must_use = "nothing is copied outside of the memory"]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.place(offset, bytes.len()) else { return false };
        let (head, words, tail) = split(place);
        let (first, rest) = bytes.split_at(head.len());
        let (middle, last) = rest.split_at(words.len() * 8);
        store_bytes(head, first);
        for (word, bytes) in words.iter().zip(middle.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        store_bytes(tail, last);
        true
    }

    /// Copies from `offset` into `bytes`. Returns false, and copies nothing, where they do not lie inside.
    #[must_use = "nothing is copied from outside of the memory"]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let Some(place) = self.place(offset, bytes.len()) else { return false };
        let (head, words, tail) = split(place);
        let (first, rest) = bytes.split_at_mut(head.len());
        let (middle, last) = rest.split_at_mut(words.len() * 8);
        load_bytes(head, first);
        for (word, bytes) in words.iter().zip(middle.as_chunks_mut::<8>().0) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        load_bytes(tail, last);
        true
    }

    fn place(&self, offset: usize, len: usize) -> Option<&[AtomicU8]> {
        offset.checked_add(len).filter(|end| *end <= self.len)?;
        // SAFETY: inside of the mapping, which lives as long as `self`; every access by this process is atomic, and the
        // pointer is not written through by others of it but as `as_ptr` says.
        #[allow(unsafe_code)]
        Some(unsafe { std::slice::from_raw_parts(self.as_ptr().wrapping_add(offset).cast::<AtomicU8>(), len) })
    }
}

fn split(bytes: &[AtomicU8]) -> (&[AtomicU8], &[AtomicU64], &[AtomicU8]) {
    // SAFETY: eight atomic bytes at the alignment of an atomic word are one: any bits are valid for both.
    #[allow(unsafe_code)]
    unsafe {
        bytes.align_to()
    }
}

fn store_bytes(place: &[AtomicU8], bytes: &[u8]) {
    place.iter().zip(bytes).for_each(|(place, byte)| place.store(*byte, Ordering::Relaxed));
}

fn load_bytes(place: &[AtomicU8], bytes: &mut [u8]) {
    place.iter().zip(bytes).for_each(|(place, byte)| *byte = place.load(Ordering::Relaxed));
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // Maps memory.
mod linux {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    use super::{MappedMemory, SharedMemory, problem, size};
    use crate::error::{Error, MemoryProblem};
    use crate::transport::OsHandle;

    const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

    impl SharedMemory {
        /// Makes `bytes` bytes of zeros.
        ///
        /// # Errors
        /// [`Error::Memory`] for no bytes or too many, [`Error::System`] where the system refuses.
        pub fn new(name: &str, bytes: u64) -> Result<Self, Error> {
            let len = size(name, bytes)?;
            let object = || format!("shared memory \"{name}\" of {bytes} bytes");
            let failed =
                |call| move |error: rustix::io::Errno| Error::System { call, object: object(), source: error.into() };
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let handle = memfd_create("vk-cuda-bridge", flags).map_err(failed("memfd_create"))?;
            ftruncate(&handle, bytes).map_err(failed("ftruncate"))?;
            fcntl_add_seals(&handle, SEALS).map_err(failed("fcntl(F_ADD_SEALS)"))?;
            Ok(Self { handle, name: name.to_owned(), len })
        }

        /// Takes a descriptor that a peer sent, of `bytes` bytes as it says. It is closed on an error.
        ///
        /// # Errors
        /// [`Error::Memory`] for one that is no memory file, whose size is not sealed, or is not `bytes`.
        pub fn from_peer(name: &str, handle: OsHandle, bytes: u64) -> Result<Self, Error> {
            let len = size(name, bytes)?;
            let seals = fcntl_get_seals(&handle).map_err(|_| problem(name, MemoryProblem::NotMemory))?;
            if !seals.contains(SEALS) {
                return Err(problem(name, MemoryProblem::NotSealed));
            }
            // Asked behind the seals: it stays so.
            let stat = fstat(&handle).map_err(|_| problem(name, MemoryProblem::NotMemory))?;
            let got = u64::try_from(stat.st_size).unwrap_or(0);
            if got != bytes {
                return Err(problem(name, MemoryProblem::WrongSize { expected: bytes, got }));
            }
            Ok(Self { handle, name: name.to_owned(), len })
        }

        /// Maps all of it, for reading and writing.
        ///
        /// # Errors
        /// [`Error::System`] where the system refuses, as for a file that is sealed against writing.
        pub fn map(&self) -> Result<MappedMemory, Error> {
            let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
            // SAFETY: a new mapping, at an address that the system chooses.
            let mapped = unsafe { mmap(std::ptr::null_mut(), self.len, prot, flags, &self.handle, 0) };
            let pointer = mapped.map_err(|error| Error::System {
                call: "mmap",
                object: format!("shared memory \"{}\" of {} bytes", self.name, self.len),
                source: error.into(),
            })?;
            match std::ptr::NonNull::new(pointer.cast()) {
                Some(pointer) => Ok(MappedMemory { pointer, len: self.len }),
                None => Err(problem(&self.name, MemoryProblem::Size(self.len as u64))),
            }
        }
    }

    impl Drop for MappedMemory {
        fn drop(&mut self) {
            // SAFETY: mapped by `map` with this length, and not used afterwards: everything lent borrows from `self`. An error
            // would mean that it was not mapped.
            let _ = unsafe { munmap(self.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl SharedMemory {
    /// Not available on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn new(name: &str, bytes: u64) -> Result<Self, Error> {
        let _checked = size(name, bytes)?;
        Err(Error::Unsupported { what: "memory of two processes" })
    }

    /// Not available on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn from_peer(name: &str, _handle: OsHandle, bytes: u64) -> Result<Self, Error> {
        if bytes == 0 {
            return Err(problem(name, MemoryProblem::NotMemory));
        }
        Err(Error::Unsupported { what: "memory of two processes" })
    }

    /// Not available on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn map(&self) -> Result<MappedMemory, Error> {
        Err(Error::Unsupported { what: "memory of two processes" })
    }
}
