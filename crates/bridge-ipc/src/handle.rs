//! Operating-system handles.

/// Object sent with a message: a file descriptor.
#[cfg(unix)]
pub type OsHandle = std::os::fd::OwnedFd;
/// Object that would be sent with a message: a handle.
#[cfg(windows)]
pub type OsHandle = std::os::windows::io::OwnedHandle;
