//! The number of system handles that this process has open.

/// Returns the number of open file descriptors of this process.
///
/// # Panics
/// Panics if `/proc` is not mounted.
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used)] // If they cannot be counted, the test fails.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the number of open handles of this process.
///
/// # Panics
/// Panics if Windows does not report the count.
#[cfg(windows)]
#[allow(unsafe_code)] // Queries a count from Windows.
pub fn open_descriptors() -> usize {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

    let mut count = 0;
    // SAFETY: returns a pseudo handle, which needs no closing.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: the handle is that of this process, and `count` is valid memory for the result.
    assert_ne!(unsafe { GetProcessHandleCount(process, &mut count) }, 0, "GetProcessHandleCount failed");
    count as usize
}
