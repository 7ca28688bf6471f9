//! The beginning of a connection: each side says Hello.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::message::hello::Hello;
use crate::message::{Message, Received};
use crate::transport::connection::Connection;

impl Connection {
    /// The renderer's side of the beginning: sends its Hello and waits for the worker's.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub fn greet(&mut self, hello: &Hello, timeout: Duration) -> Result<Hello> {
        let deadline = Instant::now().checked_add(timeout);
        self.send(&Message::Hello(hello.clone()), None, timeout)?;
        self.receive_hello(deadline, timeout)
    }

    pub(super) fn receive_hello(&mut self, deadline: Option<Instant>, timeout: Duration) -> Result<Hello> {
        let received = self.receive_until(deadline, timeout)?;
        self.hello_of(received)
    }

    /// The peer's Hello, if it is there.
    pub(super) fn try_receive_hello(&mut self) -> Result<Option<Hello>> {
        self.try_receive()?.map(|received| self.hello_of(received)).transpose()
    }

    fn hello_of(&self, first: Received) -> Result<Hello> {
        match first.message {
            Message::Hello(hello) => Ok(hello),
            Message::Refused { code, text, .. } | Message::Bye { code, text } => {
                Err(Error::Closed { peer: self.name(), reason: Some((code, text)) })
            }
            // The session allows nothing else.
            _ => Err(Error::Closed { peer: self.name(), reason: None }),
        }
    }
}
