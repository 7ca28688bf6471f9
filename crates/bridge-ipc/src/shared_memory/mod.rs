//! CPU memory that two processes map: a sealed memory file.
//!
//! The peer may write the memory at any time, regardless of the protocol. Rust references to its
//! bytes are therefore never created: bytes are copied in and out with atomic loads and stores of
//! whole words. All accesses have the same size, since atomics of different sizes must not race.
//!
//! The seals guarantee that the size cannot change, and all pages are allocated on creation. If the
//! peer may write the memory, two risks remain: it can punch holes in the file, so that an access
//! faults (`SIGBUS`) when the system is out of memory, and a `write` call in progress delays every
//! other `write` of the file. Memory that the peer only reads is sealed against both.

#[cfg(not(target_os = "linux"))]
mod unsupported;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, MemoryProblem, Result};
use crate::handle::OsHandle;

/// A memory file whose size is [sealed].
///
/// [sealed]: https://man7.org/linux/man-pages/man2/memfd_create.2.html
#[derive(Debug)]
pub struct SharedMemory {
    handle: OsHandle,
    name: String,
    len: usize,
}

/// A mapping of a [`SharedMemory`]. Any thread may use it.
///
/// Accesses are not ordered with each other; the exchange determines which side owns the bytes. A
/// read while the peer writes returns any mix of old and new bytes, and has no other effect.
#[derive(Debug)]
pub struct MappedMemory {
    pointer: std::ptr::NonNull<u8>,
    len: usize,
    /// `true` if the mapping is writable, and not read-only.
    is_writable: bool,
}

#[allow(unsafe_code)] // A mapping is owned memory.
mod threads {
    // SAFETY: the value owns the mapping, which is not tied to a thread.
    unsafe impl Send for super::MappedMemory {}
    // SAFETY: all accesses through a shared reference are atomic.
    unsafe impl Sync for super::MappedMemory {}
}

fn size(name: &str, size: u64) -> Result<usize> {
    let most = isize::MAX.unsigned_abs();
    let len = usize::try_from(size).ok().filter(|len| (1..=most).contains(len));
    len.ok_or_else(|| problem(name, MemoryProblem::Size(size)))
}

fn problem(name: &str, problem: MemoryProblem) -> Error {
    Error::Memory { name: name.to_owned(), problem }
}

impl SharedMemory {
    /// Returns the size in bytes.
    #[allow(clippy::len_without_is_empty, reason = "empty memory cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the name that is used in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the descriptor, for sending it to the peer.
    pub fn handle(&self) -> &OsHandle {
        &self.handle
    }
}

impl MappedMemory {
    /// Returns the size in bytes.
    #[allow(clippy::len_without_is_empty, reason = "empty memory cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns a pointer to the first byte, which is valid for the lifetime of the mapping. Another
    /// process may write the memory at any time, so the caller is responsible for any access that
    /// is neither atomic nor volatile. Writing to memory that is mapped [for
    /// reading](SharedMemory::map_read_only) faults.
    pub fn as_ptr(&self) -> *mut u8 {
        self.pointer.as_ptr()
    }

    /// Copies `bytes` to `offset`. Returns `false` and copies nothing if the range is outside the
    /// memory, or if the memory is mapped for reading.
    #[must_use = "nothing is copied outside of the memory"]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.is_writable {
            return false;
        }
        let Some(place) = self.place(offset, bytes.len()) else { return false };
        let (head, rest) = bytes.split_at(place.head);
        let (whole, tail) = rest.as_chunks::<WORD>();
        if let Some(first) = place.first {
            store_part(first, place.skip, head);
        }
        let (words, last) = place.rest.split_at(whole.len());
        words.iter().zip(whole).for_each(|(word, bytes)| word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed));
        last.iter().for_each(|word| store_part(word, 0, tail));
        true
    }

    /// Copies from `offset` into `bytes`. Returns `false` and copies nothing if the range is
    /// outside the memory.
    #[must_use = "nothing is copied from outside of the memory"]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let Some(place) = self.place(offset, bytes.len()) else { return false };
        let (head, rest) = bytes.split_at_mut(place.head);
        let (whole, tail) = rest.as_chunks_mut::<WORD>();
        if let Some(first) = place.first {
            load_part(first, place.skip, head);
        }
        let (words, last) = place.rest.split_at(whole.len());
        words.iter().zip(whole).for_each(|(word, bytes)| *bytes = word.load(Ordering::Relaxed).to_ne_bytes());
        last.iter().for_each(|word| load_part(word, 0, tail));
        true
    }

    /// Returns the words that contain `len` bytes at `offset`, or `None` if the range is outside
    /// the memory.
    fn place(&self, offset: usize, len: usize) -> Option<Place<'_>> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len)?;
        let (first, skip) = (offset / WORD, offset % WORD);
        let count = if len == 0 { 0 } else { end.div_ceil(WORD) - first };
        let start = self.as_ptr().wrapping_add(first * WORD).cast::<AtomicU64>();
        #[allow(unsafe_code)]
        // SAFETY: the words are inside the mapping, which lives as long as `self` and consists of
        // whole pages, and thus of whole words. Every access by this process is atomic and of a
        // word, except through `as_ptr`, which leaves that to its caller.
        let words = unsafe { std::slice::from_raw_parts(start, count) };
        let (first, rest) = match words.split_first() {
            Some((first, rest)) if skip > 0 => (Some(first), rest),
            _ => (None, words),
        };
        let head = if first.is_some() { len.min(WORD - skip) } else { 0 };
        Some(Place { first, skip, head, rest })
    }
}

/// Position of a range of bytes within the words that hold it.
struct Place<'a> {
    /// The word that contains the first byte, if the range does not start at a word boundary.
    first: Option<&'a AtomicU64>,
    /// Number of bytes of that word before the range, and `head`: number of its bytes in the range.
    skip: usize,
    head: usize,
    rest: &'a [AtomicU64],
}

/// Size of every access in bytes.
const WORD: usize = size_of::<u64>();

fn store_part(word: &AtomicU64, skip: usize, bytes: &[u8]) {
    let merge = |old: u64| {
        let mut all = old.to_ne_bytes();
        all[skip..skip + bytes.len()].copy_from_slice(bytes);
        Some(u64::from_ne_bytes(all))
    };
    // `merge` always returns `Some`, so this cannot fail.
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, merge);
}

fn load_part(word: &AtomicU64, skip: usize, bytes: &mut [u8]) {
    bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()[skip..skip + bytes.len()]);
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // Maps memory.
mod linux {
    use rustix::fs::{
        FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs,
        memfd_create,
    };
    use rustix::io::Errno;
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    use super::{MappedMemory, SharedMemory, problem, size};
    use crate::allocation::allocate;
    use crate::error::{Error, MemoryProblem, Result};
    use crate::handle::OsHandle;
    use crate::seals::{seal_error, with_noexec};

    /// `TMPFS_MAGIC`: the file system of memory files without huge pages.
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

    impl SharedMemory {
        /// Creates a memory file of `bytes` zero bytes.
        ///
        /// # Errors
        /// [`Error::Memory`] if `bytes` is 0 or too large, [`Error::System`] if a call fails.
        pub fn new(name: &str, bytes: u64) -> Result<Self> {
            let made = Self::unsealed(name, bytes)?;
            made.seal(SEALS)?;
            Ok(made)
        }

        /// Creates a memory file of `bytes` zero bytes that the peer can only read. The returned
        /// mapping is the only one that can ever write it.
        ///
        /// # Errors
        /// As [`new`](Self::new).
        pub fn new_read_only(name: &str, bytes: u64) -> Result<(Self, MappedMemory)> {
            let made = Self::unsealed(name, bytes)?;
            let mapped = made.map()?;
            // The seal does not affect existing mappings.
            made.seal(SEALS.union(SealFlags::FUTURE_WRITE))?;
            Ok((made, mapped))
        }

        fn unsealed(name: &str, bytes: u64) -> Result<Self> {
            let len = size(name, bytes)?;
            let failed = failed::<Errno>(name, len);
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let made = with_noexec(|seal| memfd_create("vk-cuda-bridge", flags | seal));
            let handle = made.map_err(|error| failed("memfd_create", error))?;
            // Pages that are not allocated here would be allocated on first access, where a failure
            // can only be reported by a signal.
            let allocated = allocate(bytes, |start, len| fallocate(&handle, FallocateFlags::empty(), start, len));
            allocated.map_err(|error| failed("fallocate", error))?;
            Ok(Self { handle, name: name.to_owned(), len })
        }

        fn seal(&self, seals: SealFlags) -> Result<()> {
            let sealed = fcntl_add_seals(&self.handle, seals);
            sealed.map_err(|error| failed(&self.name, self.len)("fcntl(F_ADD_SEALS)", seal_error(seals, error)))
        }

        /// Wraps a descriptor from a peer, which has announced `bytes` bytes. The descriptor is
        /// closed on an error.
        ///
        /// # Errors
        /// [`Error::Memory`] if the descriptor is not a memory file, or if its size is not sealed
        /// or not `bytes`.
        pub fn from_peer(name: &str, handle: OsHandle, bytes: u64) -> Result<Self> {
            let len = size(name, bytes)?;
            // With huge pages, the length of a mapping would differ from that of the file.
            if fstatfs(&handle).is_ok_and(|system| system.f_type != TMPFS) {
                return Err(problem(name, MemoryProblem::NotMemory));
            }
            let seals = fcntl_get_seals(&handle).map_err(|_| problem(name, MemoryProblem::NotMemory))?;
            if !seals.contains(SEALS) {
                return Err(problem(name, MemoryProblem::NotSealed));
            }
            // Queried after the seals were checked, so the size cannot change any more.
            let stat = fstat(&handle).map_err(|_| problem(name, MemoryProblem::NotMemory))?;
            let got = u64::try_from(stat.st_size).unwrap_or(0);
            if got != bytes {
                return Err(problem(name, MemoryProblem::WrongSize { expected: bytes, got }));
            }
            Ok(Self { handle, name: name.to_owned(), len })
        }

        /// Maps the whole file for reading and writing.
        ///
        /// # Errors
        /// [`Error::System`] if the call fails, for example because the file is sealed against
        /// writing.
        pub fn map(&self) -> Result<MappedMemory> {
            self.map_as(ProtFlags::READ | ProtFlags::WRITE)
        }

        /// Maps the whole file for reading only.
        ///
        /// # Errors
        /// [`Error::System`] if the call fails.
        pub fn map_read_only(&self) -> Result<MappedMemory> {
            self.map_as(ProtFlags::READ)
        }

        fn map_as(&self, access: ProtFlags) -> Result<MappedMemory> {
            // SAFETY: this is a new mapping at an address that the system chooses.
            let mapped = unsafe { mmap(std::ptr::null_mut(), self.len, access, MapFlags::SHARED, &self.handle, 0) };
            let pointer = mapped.map_err(|error| failed(&self.name, self.len)("mmap", error))?;
            let is_writable = access.contains(ProtFlags::WRITE);
            match std::ptr::NonNull::new(pointer.cast()) {
                Some(pointer) => Ok(MappedMemory { pointer, len: self.len, is_writable }),
                None => Err(problem(&self.name, MemoryProblem::Size(self.len as u64))),
            }
        }
    }

    fn failed<E: Into<std::io::Error>>(name: &str, bytes: usize) -> impl Fn(&'static str, E) -> Error {
        move |call, error| {
            let object = format!("shared memory \"{name}\" of {bytes} bytes");
            Error::System { call, object, source: error.into() }
        }
    }

    impl Drop for MappedMemory {
        fn drop(&mut self) {
            // SAFETY: mapped by `map_as` with this length, and not used afterwards: all uses borrow
            // from `self`. An error would mean that it was not mapped.
            let _ = unsafe { munmap(self.as_ptr().cast(), self.len) };
        }
    }
}
