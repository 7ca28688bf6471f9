//! A socket to which another process may have sent descriptors.
//!
//! A side that takes no descriptors must not close any either: closing the last reference to an
//! object that the peer has chosen may block for as long as the peer likes, as for a TCP socket
//! with `SO_LINGER` and unsent data. Since Linux 6.16, the kernel refuses to queue descriptors. On
//! older kernels they are left in the socket: its messages are peeked at before they are received,
//! and a separate thread closes it.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::transport::credentials;
use crate::transport::socket::{self, Next};

/// A socket whose close does not block the thread that drops it.
#[derive(Debug)]
pub(super) struct PeerSocket {
    socket: ManuallyDrop<OwnedFd>,
    /// `true` if this process takes received descriptors.
    accepts_descriptors: bool,
    /// `true` if descriptors may be queued in the socket that this process does not take.
    may_hold_descriptors: bool,
}

impl PeerSocket {
    /// Wraps the socket of a side that takes descriptors. Queued descriptors are closed with it.
    pub(super) fn accepting_descriptors(socket: OwnedFd) -> Self {
        Self { socket: ManuallyDrop::new(socket), accepts_descriptors: true, may_hold_descriptors: false }
    }

    /// Wraps a socket of a side that takes no descriptors: a listening socket, or one accepted from
    /// a socket that [refuses](credentials::refuse_rights) them.
    pub(super) fn refusing_descriptors(socket: OwnedFd) -> Self {
        let may_hold_descriptors = credentials::accepts_rights(socket.as_fd());
        Self { socket: ManuallyDrop::new(socket), accepts_descriptors: false, may_hold_descriptors }
    }

    /// Peeks at the next message if the kernel may queue descriptors that this process does not
    /// take; returns [`Next::Other`] otherwise.
    pub(super) fn peek(&self) -> Next {
        if self.may_hold_descriptors { socket::peek(self) } else { Next::Other }
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
        // SAFETY: `ManuallyDrop::take`: taken only here, once, and not used afterwards.
        let socket = unsafe { ManuallyDrop::take(&mut self.socket) };
        if self.accepts_descriptors || !credentials::accepts_rights(socket.as_fd()) {
            return;
        }
        close_elsewhere(socket);
    }
}

/// Drops an object on a separate thread; if none can be started, on this one.
pub(super) fn close_elsewhere<T: Send + 'static>(object: T) {
    // Dropped in this order.
    #[cfg(test)]
    let object = (object, closing::Count::new());
    let _ = std::thread::Builder::new().name("bridge-ipc-close".into()).spawn(move || drop(object));
}

/// The number of objects that [`close_elsewhere`] has not dropped yet, for tests that count open
/// descriptors.
#[cfg(test)]
pub(super) mod closing {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static CLOSING: AtomicUsize = AtomicUsize::new(0);

    /// Returns the number of objects.
    pub(in crate::transport) fn count() -> usize {
        CLOSING.load(Ordering::SeqCst)
    }

    /// Counts while it lives.
    pub(super) struct Count(());

    impl Count {
        pub(super) fn new() -> Self {
            CLOSING.fetch_add(1, Ordering::SeqCst);
            Self(())
        }
    }

    impl Drop for Count {
        fn drop(&mut self) {
            CLOSING.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
