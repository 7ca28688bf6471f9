//! The process to which an object belongs. A forked child only has a copy of the object.
#![allow(unsafe_code)] // Maps a page.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::error::{Error, Result};

/// The process that created an object. A forked child has a copy of the object, but must not use
/// what both processes share, such as a socket.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pid: u32,
    mark: u32,
}

impl Owner {
    /// Returns this process.
    pub fn current() -> Self {
        Self { pid: std::process::id(), mark: mark() }
    }

    /// Returns `true` in a process that was forked from the owner, directly or not. Makes no system
    /// call, except for the first call in a process and before Linux 4.14.
    pub fn is_forked(self) -> bool {
        self.mark != mark()
    }

    /// Checks that this process is the owner.
    ///
    /// # Errors
    /// [`Error::Forked`] for the `object` otherwise.
    pub fn check(self, object: impl FnOnce() -> String) -> Result<()> {
        if self.is_forked() {
            return Err(Error::Forked { object: object(), owner: self.pid });
        }
        Ok(())
    }
}

/// The number of processes, from the first one with a mark to this one, that were forked one from
/// another and have a mark. In a forked child, it is the number of the parent until the child has a
/// mark.
static MARKS: AtomicU32 = AtomicU32::new(0);

/// The mark of this process, on a page that the kernel fills with zeros in a forked child
/// (`MADV_WIPEONFORK`). Null until the page is mapped.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());

/// Whether the kernel does not support such a page.
static HAS_NO_PAGE: AtomicBool = AtomicBool::new(false);

/// Size of the mapping, which the kernel rounds up to a page.
const LEN: usize = size_of::<AtomicU32>();

/// Returns a number that differs from that of each process from which this one was forked.
fn mark() -> u32 {
    let Some(own) = page() else { return std::process::id() };
    match own.load(Ordering::Relaxed) {
        0 => {
            let next = MARKS.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have set the mark meanwhile.
            let set = own.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
            set.map_or_else(|other| other, |_| next)
        }
        own => own,
    }
}

fn page() -> Option<&'static AtomicU32> {
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        if HAS_NO_PAGE.load(Ordering::Relaxed) {
            return None;
        }
        page = map();
    }
    // SAFETY: the page is null, or a mapping of zeros that is large enough, is never unmapped, and
    // is only used as this atomic number.
    unsafe { page.as_ref() }
}

/// Maps the page; returns null if the kernel does not support it. Takes no lock, which a forked
/// child could find locked.
#[cold]
fn map() -> *mut AtomicU32 {
    // SAFETY: a new private mapping at an address that the kernel chooses.
    let mapped = unsafe { mmap_anonymous(null_mut(), LEN, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    let Ok(page) = mapped else {
        HAS_NO_PAGE.store(true, Ordering::Relaxed);
        return null_mut();
    };
    // Emulators that ignore all advice, also -1, which is invalid, do not wipe the page.
    // SAFETY: the mapping above; an invalid advice has no effect.
    let ignores = unsafe { libc::madvise(page, LEN, -1) } == 0;
    // SAFETY: as above; the advice takes effect in forked children only.
    let wipes = unsafe { libc::madvise(page, LEN, libc::MADV_WIPEONFORK) } == 0;
    let kept = if ignores || !wipes {
        HAS_NO_PAGE.store(true, Ordering::Relaxed);
        null_mut()
    } else {
        match PAGE.compare_exchange(null_mut(), page.cast(), Ordering::Release, Ordering::Acquire) {
            Ok(_) => return page.cast(),
            // Another thread has mapped it meanwhile.
            Err(other) => other,
        }
    };
    // SAFETY: the mapping above, which nothing else has.
    let _ = unsafe { munmap(page, LEN) };
    kept
}
