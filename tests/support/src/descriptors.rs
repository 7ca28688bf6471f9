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

/// Returns the number of open handles of this process, which are multiples of four below 65536.
/// `GetProcessHandleCount` always returns 0 in Wine 8.
#[cfg(windows)]
#[allow(unsafe_code)] // Queries handles of Windows.
pub fn open_descriptors() -> usize {
    use std::ptr::without_provenance_mut;
    use windows_sys::Win32::Foundation::GetHandleInformation;

    let is_open = |handle: &usize| {
        let mut flags = 0;
        // SAFETY: a number that is not an open handle is an error, and `flags` is valid memory for
        // the result.
        unsafe { GetHandleInformation(without_provenance_mut(*handle), &mut flags) != 0 }
    };
    (4..1 << 16).step_by(4).filter(is_open).count()
}
