//! The process to which an object belongs. A forked child only has a copy of the object.
#![allow(unsafe_code)] // Maps a page.

use std::ffi::c_void;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

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
/// (`MADV_WIPEONFORK`). Null until the page is mapped, and [`NO_PAGE`] if that is not possible.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());

static NO_PAGE: AtomicU32 = AtomicU32::new(0);

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
        page = choose();
    }
    // SAFETY: the page is `NO_PAGE`, or a mapping of zeros that is large enough, is never unmapped,
    // and is only used as this atomic number.
    let page = unsafe { &*page };
    (!ptr::eq(page, &NO_PAGE)).then_some(page)
}

/// Sets [`PAGE`], once for all threads and forked children. Takes no lock, which a forked child
/// could find locked.
#[cold]
fn choose() -> *mut AtomicU32 {
    let mapped = map();
    let page = mapped.map_or((&raw const NO_PAGE).cast_mut(), <*mut c_void>::cast);
    let Err(other) = PAGE.compare_exchange(null_mut(), page, Ordering::AcqRel, Ordering::Acquire) else {
        return page;
    };
    // Another thread has chosen meanwhile.
    mapped.into_iter().for_each(unmap);
    other
}

/// Maps the page, if the kernel supports it.
fn map() -> Option<*mut c_void> {
    // SAFETY: a new private mapping at an address that the kernel chooses.
    let mapped = unsafe { mmap_anonymous(null_mut(), LEN, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    let page = mapped.ok()?;
    // Emulators that ignore all advice, also -1, which is invalid, do not wipe the page.
    // SAFETY: the mapping above; an invalid advice has no effect.
    let ignores = unsafe { libc::madvise(page, LEN, -1) } == 0;
    // SAFETY: as above; the advice takes effect in forked children only.
    let wipes = unsafe { libc::madvise(page, LEN, libc::MADV_WIPEONFORK) } == 0;
    if wipes && !ignores {
        return Some(page);
    }
    unmap(page);
    None
}

fn unmap(page: *mut c_void) {
    // SAFETY: a mapping of `map` that nothing uses.
    let _ = unsafe { munmap(page, LEN) };
}
