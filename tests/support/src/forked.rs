//! Processes that tests fork.
#![allow(unsafe_code)] // Forks.

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn alarm(seconds: u32) -> u32;
    fn _exit(status: i32) -> !;
}

/// Runs `run` in a forked child, and waits for its end.
///
/// # Panics
/// If `run` panics or takes longer than 20 seconds.
pub fn in_a_child(run: impl FnOnce()) {
    // SAFETY: `fork` in a process with several threads: the child has only this one, so it must not
    // need a lock that another thread may have held. Those of the allocator are free (glibc, musl),
    // and `run` takes no others.
    let child = unsafe { fork() };
    if child == 0 {
        // SAFETY: `alarm` has no requirements; the child handles no signals, so this one ends it.
        unsafe { alarm(20) };
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        // SAFETY: `_exit` may be called at any time; no destructor of the parent's runs.
        unsafe { _exit(i32::from(ran.is_err())) }
    }
    let mut status = 0;
    // SAFETY: `waitpid`: `status` is a place for an int.
    let waited = unsafe { waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}
