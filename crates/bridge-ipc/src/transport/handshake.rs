//! The start of a connection, in which each side sends its Hello.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, connect};

use crate::error::{Error, Result};
use crate::message::hello::{Hello, Role};
use crate::message::{Message, Received};
use crate::transport::ConnectInfo;
use crate::transport::connection::Connection;
use crate::transport::socket;

/// Maximum number of messages that a peer sends before it ends a connection that has not started.
const MAX_MESSAGES: usize = 4;

impl Connection {
    /// Connects to the renderer that listens at `path`, and receives its Hello
    /// ([`peer_hello`](Self::peer_hello)). The caller must send the answer.
    ///
    /// # Errors
    /// [`Error::System`] if no process listens at `path`, [`Error::ForeignUser`] and
    /// [`Error::PidMismatch`] for a process that is not trusted, and [`Error::Timeout`] if the
    /// renderer does not accept the connection or sends nothing.
    pub fn connect(path: impl AsRef<Path>, info: &ConnectInfo) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed =
            |call| move |error: Errno| Error::System { call, object: path.display().to_string(), source: error.into() };
        let address = SocketAddrUnix::new(path).map_err(failed("connect"))?;
        let deadline = Instant::now().checked_add(info.timeout);
        let socket = socket::new_socket().map_err(failed("socket"))?;
        // The socket is non-blocking: AGAIN means that the listener's queue is full.
        loop {
            match connect(&socket, &address) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::AGAIN) => {
                    let what = format!("room in the queue of the renderer at {}", path.display());
                    return Err(Error::Timeout { what, waited: info.timeout });
                }
                Err(error) => return Err(failed("connect")(error)),
            }
        }
        let mut connection = Self::new(socket, Role::Worker, info.user)?;
        connection.receive_hello(deadline, info.timeout)?;
        Ok(connection)
    }

    /// Starts the connection on the renderer's side: sends its Hello and waits for the worker's.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub fn handshake(&mut self, hello: &Hello, timeout: Duration) -> Result<Hello> {
        let deadline = Instant::now().checked_add(timeout);
        self.send(&Message::Hello(hello.clone()), None, timeout)?;
        self.receive_hello(deadline, timeout)
    }

    /// Returns the reason for the end of the connection when sending a message was the first call
    /// that noticed it: the reason in the peer's last message, if it sent one, and `error`
    /// otherwise. Call it only for a connection that is being given up, because all other messages
    /// of the peer are discarded.
    pub fn close_reason(&mut self, error: Error) -> Error {
        let is_silent = matches!(error, Error::Closed { reason: None, .. });
        for _ in 0..if is_silent { MAX_MESSAGES } else { 0 } {
            match self.try_receive() {
                Ok(Some(_)) => {}
                Err(told @ Error::Closed { reason: Some(_), .. }) => return told,
                Ok(None) | Err(_) => break,
            }
        }
        error
    }

    pub(super) fn receive_hello(&mut self, deadline: Option<Instant>, timeout: Duration) -> Result<Hello> {
        let received = self.receive_until(deadline, timeout)?;
        self.hello_of(received)
    }

    /// Returns the peer's Hello if it has arrived.
    pub(super) fn try_receive_hello(&mut self) -> Result<Option<Hello>> {
        self.try_receive()?.map(|received| self.hello_of(received)).transpose()
    }

    fn hello_of(&self, first: Received) -> Result<Hello> {
        match first.message {
            Message::Hello(hello) => Ok(hello),
            Message::Refused { code, text, .. } | Message::Bye { code, text } => {
                Err(Error::Closed { peer: self.name(), reason: Some((code, text)) })
            }
            // Unreachable: the session allows no other message first.
            _ => Err(Error::Closed { peer: self.name(), reason: None }),
        }
    }
}
