//! A socket that another process may have sent descriptors to.
//!
//! This process closes none of them: what a peer has chosen may block for as long as it likes when
//! its last reference goes, as a TCP socket with `SO_LINGER` and unsent data does. Since Linux 6.16
//! the kernel refuses to queue any. Before that they are left in the socket, whose messages are
//! looked at before they are received, and which is closed by a thread of its own.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::transport::credentials;
use crate::transport::socket::{self, Next};

/// A socket that is closed where nobody waits.
#[derive(Debug)]
pub(super) struct PeerSocket {
    socket: ManuallyDrop<OwnedFd>,
    /// This process takes the descriptors that come.
    takes: bool,
    /// Descriptors may be queued in it, and this process takes none.
    may_carry: bool,
}

impl PeerSocket {
    /// A socket of a side that takes descriptors. They are closed with it.
    pub(super) fn taking(socket: OwnedFd) -> Self {
        Self { socket: ManuallyDrop::new(socket), takes: true, may_carry: false }
    }

    /// A socket of a side that takes none, or one that listens for it, accepted from a socket that
    /// [refuses](credentials::refuse_rights) them.
    pub(super) fn refusing(socket: OwnedFd) -> Self {
        let may_carry = credentials::takes_rights(socket.as_fd());
        Self { socket: ManuallyDrop::new(socket), takes: false, may_carry }
    }

    /// Looks at the next message where the kernel queues descriptors that this process does not
    /// take; [`Next::Other`] elsewhere.
    pub(super) fn peek(&self) -> Next {
        if self.may_carry { socket::peek(self) } else { Next::Other }
    }
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        #[allow(unsafe_code)]
        // SAFETY: `ManuallyDrop::take`: taken here once, and not used afterwards.
        let socket = unsafe { ManuallyDrop::take(&mut self.socket) };
        if self.takes || !credentials::takes_rights(socket.as_fd()) {
            return;
        }
        // Where no thread starts, it is closed here.
        let closing = std::thread::Builder::new().name("bridge-ipc-close".into());
        let _ = closing.spawn(move || drop(socket));
    }
}
