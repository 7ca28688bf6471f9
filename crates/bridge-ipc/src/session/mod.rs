//! The state of a connection, which determines the messages that are allowed; no I/O.
//!
//! Both sides run the same state machine on the messages that they send and receive. A slot belongs
//! to one side at a time, and only a message changes its owner, so both views agree once every
//! message is delivered.

mod exchange;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;

use std::collections::BTreeMap;

use crate::limits::{MAX_EXCHANGES, RENDERER_IN_STEP_SINCE};
use crate::message::Message;
use crate::message::hello::{Backend, Hello, Role};
use crate::message::offer::Direction;
use exchange::Exchange;

pub use exchange::ExchangePhase;

/// A message that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} is not allowed: {reason}")]
#[non_exhaustive]
pub struct Violation {
    /// Kind of the message.
    pub message: &'static str,
    /// Reason for the refusal.
    pub reason: String,
}

/// Action to take for a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Process the message.
    Use,
    /// Discard the message: it crossed a Close or a Bye of this side. Its descriptors are closed.
    Ignore,
}

/// The state of a connection.
#[derive(Debug, Clone)]
pub struct Session {
    role: Role,
    renderer: Option<Hello>,
    worker: Option<Hello>,
    backend: Option<Backend>,
    exchanges: BTreeMap<u32, Exchange>,
    /// The highest number of an offered exchange.
    last: Option<u32>,
    sent_bye: bool,
    received_bye: bool,
}

impl Session {
    /// Creates the state of a connection without messages, seen from `role`.
    pub fn new(role: Role) -> Self {
        let (renderer, worker, backend) = (None, None, None);
        Self {
            role,
            renderer,
            worker,
            backend,
            exchanges: BTreeMap::new(),
            last: None,
            sent_bye: false,
            received_bye: false,
        }
    }

    /// Returns the role of this side.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the peer's Hello, once it was received.
    pub fn peer(&self) -> Option<&Hello> {
        if self.role == Role::Renderer { self.worker.as_ref() } else { self.renderer.as_ref() }
    }

    /// Returns the worker's backend, once its Hello was sent or received.
    pub fn backend(&self) -> Option<Backend> {
        self.backend
    }

    /// Returns `true` if both sides have set [`Hello::trust`], so that exchanges may be in step.
    pub fn has_trust(&self) -> bool {
        [&self.renderer, &self.worker].into_iter().all(|hello| hello.as_ref().is_some_and(|hello| hello.trust))
    }

    /// Returns the version of the protocol that the connection uses, once the peer's Hello was
    /// received: the highest that both sides support.
    pub fn version(&self) -> Option<u32> {
        self.peer().and_then(Hello::common_version)
    }

    /// Returns `true` if exchanges in step may be offered in which the renderer writes: both sides
    /// allow exchanges in step, and the connection uses a version that has them
    /// ([`RENDERER_IN_STEP_SINCE`]).
    pub fn has_trusted_readers(&self) -> bool {
        self.has_trust() && self.version().is_some_and(|version| version >= RENDERER_IN_STEP_SINCE)
    }

    /// Returns the state of an exchange, or `None` if it was not offered or has ended.
    pub fn exchange(&self, exchange: u32) -> Option<ExchangePhase> {
        self.exchanges.get(&exchange).map(Exchange::phase)
    }

    /// Returns `true` if either side has ended the connection with a Bye or a refusal. No more
    /// messages may be sent then.
    pub fn is_over(&self) -> bool {
        self.sent_bye || self.received_bye
    }

    /// Records a message that this side is about to send.
    ///
    /// # Errors
    /// [`Violation`] if the message may not be sent; the state is unchanged.
    pub fn send(&mut self, message: &Message) -> Result<(), Violation> {
        self.step(self.role, message).map(|_| ())
    }

    /// Records a received message.
    ///
    /// # Errors
    /// [`Violation`] if the peer may not send the message; the caller must end the connection.
    pub fn receive(&mut self, message: &Message) -> Result<Verdict, Violation> {
        self.step(self.role.other(), message)
    }

    fn step(&mut self, from: Role, message: &Message) -> Result<Verdict, Violation> {
        let refuse = |reason: String| Err(Violation { message: message.kind(), reason });
        let own = from == self.role;
        if own && self.is_over() || !own && self.received_bye {
            return refuse("the connection was ended by a Bye or a refusal".into());
        }
        if !own && self.sent_bye && !matches!(message, Message::Bye { .. } | Message::Refused { exchange: None, .. }) {
            return Ok(Verdict::Ignore);
        }
        match message {
            Message::Hello(hello) => self.hello(from, hello).or_else(refuse),
            Message::Bye { .. } | Message::Refused { exchange: None, .. } => {
                if own {
                    self.sent_bye = true
                } else {
                    self.received_bye = true
                }
                Ok(Verdict::Use)
            }
            _ if self.backend.is_none() => refuse("both sides must send a Hello first".into()),
            Message::Offer(offer) => {
                if from != Role::Renderer {
                    return refuse("only the renderer may send an offer".into());
                }
                if self.last.is_some_and(|last| offer.exchange <= last) {
                    return refuse(format!("exchange {} is not greater than the previous ones", offer.exchange));
                }
                if self.exchanges.len() >= MAX_EXCHANGES {
                    return refuse(format!("{MAX_EXCHANGES} exchanges are open, which is the maximum"));
                }
                if offer.trust && !self.has_trust() {
                    return refuse("an in-step exchange requires the `trust` flag in both Hellos".into());
                }
                if offer.trust && offer.direction == Direction::RendererWrites && !self.has_trusted_readers() {
                    return refuse(format!(
                        "an in-step exchange that the renderer writes requires version {RENDERER_IN_STEP_SINCE}; the \
                         connection uses {}",
                        self.version().unwrap_or(0)
                    ));
                }
                let (Some(backend), Some(renderer)) = (self.backend, &self.renderer) else {
                    return refuse("both sides must send a Hello first".into());
                };
                let exchange =
                    Exchange::new(offer.clone(), backend, renderer.device_uuid).or_else(refuse_exchange(message))?;
                self.last = Some(offer.exchange);
                self.exchanges.insert(offer.exchange, exchange);
                Ok(Verdict::Use)
            }
            _ => self.of_exchange(from, message),
        }
    }

    fn hello(&mut self, from: Role, hello: &Hello) -> Result<Verdict, String> {
        if hello.role != from {
            return Err(format!("the {from:?} claims to be a {:?}", hello.role));
        }
        if hello.common_version().is_none() {
            return Err(format!("this side does not support versions {} to {}", hello.oldest, hello.version));
        }
        match (from, &self.renderer, &self.worker) {
            (Role::Renderer, None, _) => {
                if !hello.cuda && !hello.host {
                    return Err("the renderer allows no backend".into());
                }
                self.renderer = Some(hello.clone());
            }
            (Role::Worker, Some(renderer), None) => {
                let backend = hello.backend().ok_or("a worker must name exactly one backend")?;
                if !renderer.has(backend) {
                    return Err(format!("the renderer does not allow {backend:?}"));
                }
                self.worker = Some(hello.clone());
                self.backend = Some(backend);
            }
            (Role::Worker, None, _) => return Err("the renderer must send it first".into()),
            _ => return Err("it was already sent".into()),
        }
        Ok(Verdict::Use)
    }

    fn of_exchange(&mut self, from: Role, message: &Message) -> Result<Verdict, Violation> {
        let refuse = |reason: String| Err(Violation { message: message.kind(), reason });
        let Some(id) = exchange_of(message) else { return refuse("it belongs to no exchange".into()) };
        let own = from == self.role;
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            // Messages that the renderer sent before it received the worker's refusal.
            let described = matches!(message, Message::Resource(_) | Message::Timeline(_) | Message::Close { .. });
            let crossed = described && !own && from == Role::Renderer;
            return match crossed && self.last.is_some_and(|last| id <= last) {
                true => Ok(Verdict::Ignore),
                false => refuse(format!("there is no exchange {id}")),
            };
        };
        let verdict = exchange.step(from, own, message).or_else(refuse)?;
        if exchange.is_over() {
            self.exchanges.remove(&id);
        }
        Ok(verdict)
    }
}

fn refuse_exchange(message: &Message) -> impl FnOnce(String) -> Result<Exchange, Violation> + '_ {
    |reason| Err(Violation { message: message.kind(), reason })
}

fn exchange_of(message: &Message) -> Option<u32> {
    match message {
        Message::Resource(resource) => Some(resource.exchange),
        Message::Timeline(timeline) => Some(timeline.exchange),
        Message::Refused { exchange, .. } => *exchange,
        Message::Ready { exchange }
        | Message::Free { exchange, .. }
        | Message::Publish { exchange, .. }
        | Message::Torn { exchange, .. }
        | Message::Done { exchange, .. }
        | Message::Close { exchange } => Some(*exchange),
        Message::Hello(_) | Message::Offer(_) | Message::Bye { .. } => None,
    }
}
