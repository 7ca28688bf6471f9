//! How many handles of the system this process has open.

/// The number of open file descriptors of this process.
///
/// # Panics
/// Where `/proc` is not mounted.
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used)] // What cannot be counted fails the test that asks.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The number of open handles of this process.
///
/// # Panics
/// When Windows does not tell.
#[cfg(windows)]
#[allow(unsafe_code)] // Windows is asked for a count.
pub fn open_descriptors() -> usize {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

    let mut count = 0;
    // SAFETY: returns a pseudo handle, which needs no closing.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: the handle is this process', and `count` is a place for the result.
    assert_ne!(unsafe { GetProcessHandleCount(process, &mut count) }, 0, "GetProcessHandleCount failed");
    count as usize
}
