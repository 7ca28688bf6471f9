//! Identity of the process at the other end of a socket, as the kernel says.
//!
//! rustix's answer has no value for a process of another pid namespace, whose pid is 0, and it does
//! not know `SO_PEERPIDFD`.
#![allow(unsafe_code)] // Calls C.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Since Linux 6.5; not in every C library's headers.
const SO_PEERPIDFD: libc::c_int = 77;

/// Since Linux 6.16.
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

/// A descriptor of the very process that connected. `None` where the kernel is too old to give one.
///
/// # Errors
/// The process is gone, and its number may be another's; or there are no descriptors left.
pub(super) fn pidfd(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let fd: libc::c_int = match option(socket, SO_PEERPIDFD) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => return Ok(None),
        fd => fd?,
    };
    if fd < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    // SAFETY: the kernel has just opened it for us, close-on-exec, and nobody else knows its
    // number.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Has the kernel refuse messages with descriptors to a socket, and to those that are accepted from
/// it. Kernels before Linux 6.16 do not.
pub(super) fn refuse_rights(socket: BorrowedFd<'_>) {
    let _ = pass_rights(socket, false);
}

/// Sets whether the kernel takes messages with descriptors to a socket, and to those that are
/// accepted from it.
pub(super) fn pass_rights(socket: BorrowedFd<'_>, passes: bool) -> io::Result<()> {
    let value = libc::c_int::from(passes);
    let (pointer, len) = ((&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel reads `len` bytes, which `value` has.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, pointer, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns `true` if the kernel takes messages with descriptors to a socket, or may do so.
pub(super) fn takes_rights(socket: BorrowedFd<'_>) -> bool {
    !matches!(option::<libc::c_int>(socket, SO_PASSRIGHTS), Ok(0))
}

/// `T` is what the option is: a C struct or number for which all bits are valid.
fn option<T: Copy>(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    let pointer = value.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes, which `value` has.
    let code = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, pointer, &mut len) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<T>() {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    // SAFETY: all bytes were zero, and the kernel has written all of them.
    Ok(unsafe { value.assume_init() })
}
