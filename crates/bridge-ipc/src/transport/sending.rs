//! Sending on a connection.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::Connection;
use crate::error::{Error, Result};
use crate::message::{Code, Encoded, Message};
use crate::transport::peer::poll_until;
use crate::transport::socket;

/// Interval between attempts to send a descriptor for which the kernel has no room.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

impl Connection {
    /// Sends a message with its descriptor ([`SCM_RIGHTS`]), which the caller continues to own.
    /// Waits for at most `timeout` if the peer does not read, or if the kernel has no room for a
    /// descriptor.
    ///
    /// # Errors
    /// [`Error::Violation`] for a message that is not allowed now, [`Error::Malformed`] for one
    /// that no peer would accept, and [`Error::Descriptors`] if the number of descriptors is not
    /// that of the message. In these cases nothing was sent. [`Error::System`] for a failed call,
    /// [`Error::Closed`] if the peer has closed its end, and [`Error::Timeout`] if it does not
    /// read. The connection is unusable then, because a message is missing. [`Error::Forked`] in a
    /// forked child; nothing was sent.
    ///
    /// [`SCM_RIGHTS`]: https://man7.org/linux/man-pages/man7/unix.7.html
    #[doc(alias = "SCM_RIGHTS")]
    pub fn send(&mut self, message: &Message, descriptor: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<()> {
        let encoded = self.encode(message, descriptor)?;
        self.session.send(message).map_err(|source| Error::Violation { sender: this_side(), source })?;
        match self.push(&encoded, descriptor, timeout)? {
            None => Ok(()),
            Some(Errno::TOOMANYREFS) => Err(self.send_error(Errno::TOOMANYREFS)),
            Some(_) => {
                self.end();
                let what = format!("room for a {} message to {}", message.kind(), self.name());
                Err(Error::Timeout { what, waited: timeout })
            }
        }
    }

    /// Like [`send`](Self::send), but returns `false` if there is no room for the message within
    /// `timeout`. Nothing was sent then, and the connection can still be used.
    ///
    /// # Errors
    /// As [`send`](Self::send), without [`Error::Timeout`].
    pub fn try_send(
        &mut self,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<bool> {
        let encoded = self.encode(message, descriptor)?;
        let mut session = self.session.clone();
        session.send(message).map_err(|source| Error::Violation { sender: this_side(), source })?;
        let is_sent = self.push(&encoded, descriptor, timeout)?.is_none();
        if is_sent {
            self.session = session;
        }
        Ok(is_sent)
    }

    /// Encodes a message for this connection.
    fn encode(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> Result<Encoded> {
        if self.ended {
            return Err(self.closed());
        }
        self.check_owner()?;
        let (expected, got) = (message.descriptors(), usize::from(descriptor.is_some()));
        if expected != got {
            return Err(Error::Descriptors { peer: this_side(), kind: message.kind(), expected, got });
        }
        message.encoded().map_err(|source| Error::Malformed { peer: this_side(), source })
    }

    /// Sends bytes once there is room for them, waiting for at most `timeout`. Returns `EAGAIN` if
    /// there is no room for the message because the peer does not read, and `ETOOMANYREFS` if there
    /// is none for its descriptor.
    fn push(
        &mut self,
        encoded: &Encoded,
        descriptor: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<Option<Errno>> {
        // Most messages find room at once, and need no clock.
        let mut until = None;
        loop {
            let full = match socket::send(&*self.socket, encoded.bytes(), descriptor) {
                Ok(true) => return Ok(None),
                Ok(false) => Errno::AGAIN,
                // The peer's earlier messages can still be received.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN) => return Err(self.closed()),
                Err(Errno::TOOMANYREFS) => Errno::TOOMANYREFS,
                Err(error) => return Err(self.send_error(error)),
            };
            let deadline = *until.get_or_insert_with(|| Instant::now().checked_add(timeout));
            if full == Errno::TOOMANYREFS {
                // `poll` does not report when there is room again.
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Ok(Some(full));
                }
                std::thread::sleep(RETRY_INTERVAL);
                continue;
            }
            let room = poll_until(&mut [PollFd::new(&*self.socket, PollFlags::OUT)], deadline);
            if room.map_err(|error| self.system("poll", error))? == 0 {
                return Ok(Some(full));
            }
        }
    }

    /// Returns the error of a failed send, and notifies the peer, which misses a message.
    pub(in crate::transport) fn send_error(&mut self, error: Errno) -> Error {
        let mut failed = self.system("sendmsg", error);
        if let (Errno::TOOMANYREFS, Error::System { object, .. }) = (error, &mut failed) {
            object.push_str(
                ", with a descriptor: this user's descriptors in flight in sockets have reached its limit of open \
                 files (raise the limit, `ulimit -n`, or end processes that do not receive)",
            );
        }
        self.close(Code::Failure, &failed.to_string());
        failed
    }
}

fn this_side() -> String {
    "this process".to_owned()
}
