//! Identity of the process at the other end of a socket, as reported by the kernel.
//!
//! rustix cannot represent a process of another pid namespace, whose pid is 0, and does not support
//! `SO_PEERPIDFD`.
#![allow(unsafe_code)] // Calls libc.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Available since Linux 6.5; missing in some C libraries' headers.
const SO_PEERPIDFD: libc::c_int = 77;

/// Available since Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

#[derive(Debug, Clone, Copy)]
pub(super) struct Credentials {
    /// 0 for a process of another pid namespace.
    pub(super) pid: i32,
    pub(super) uid: u32,
}

pub(super) fn credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let ucred: libc::ucred = option(socket, libc::SO_PEERCRED)?;
    Ok(Credentials { pid: ucred.pid, uid: ucred.uid })
}

/// Returns a descriptor of exactly the process that connected, or `None` if the kernel does not
/// support that.
///
/// # Errors
/// Fails if the process has ended, since its ID may be in use by another one, or if no descriptors
/// are available.
pub(super) fn pidfd(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let fd: libc::c_int = match option(socket, SO_PEERPIDFD) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => return Ok(None),
        fd => fd?,
    };
    if fd < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    // SAFETY: the kernel has just opened the descriptor for this process, close-on-exec, and no
    // other code knows its number.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Makes the kernel refuse messages with descriptors to a socket, and to those that are accepted
/// from it. Has no effect before Linux 6.16.
pub(super) fn refuse_rights(socket: BorrowedFd<'_>) {
    let _ = pass_rights(socket, false);
}

/// Sets whether the kernel delivers messages with descriptors to a socket, and to those that are
/// accepted from it.
pub(super) fn pass_rights(socket: BorrowedFd<'_>, passes: bool) -> io::Result<()> {
    let value = libc::c_int::from(passes);
    let (pointer, len) = ((&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel reads `len` bytes, which is the size of `value`.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, pointer, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns `true` if the kernel delivers messages with descriptors to a socket, or may do so.
pub(super) fn accepts_rights(socket: BorrowedFd<'_>) -> bool {
    !matches!(option::<libc::c_int>(socket, SO_PASSRIGHTS), Ok(0))
}

/// Returns the value of a socket option. `T` is the option's type: a C struct or integer for which
/// all bit patterns are valid.
fn option<T: Copy>(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    let pointer = value.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes, which is the size of `value`.
    let code = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, pointer, &mut len) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<T>() {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    // SAFETY: all bytes were zeroed, and the kernel has written all of them.
    Ok(unsafe { value.assume_init() })
}
