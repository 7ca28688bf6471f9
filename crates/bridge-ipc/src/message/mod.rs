//! Messages between two processes.

pub(crate) mod channel;
mod decode_error;
pub(crate) mod hello;
pub(crate) mod offer;
mod reason;
pub(crate) mod resource;
pub(crate) mod timeline;

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use crate::handle::OsHandle;
use crate::wire;
use hello::Hello;
use offer::Offer;
use resource::Resource;
use timeline::Timeline;

pub use decode_error::DecodeError;
pub use reason::Code;

/// A message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Identity of a process; the first message of each side.
    Hello(Hello),
    /// From the renderer: offers an exchange.
    Offer(Offer),
    /// From the renderer: describes a resource of an exchange, with a descriptor.
    Resource(Resource),
    /// From the renderer: describes a timeline of an exchange, with a descriptor.
    Timeline(Timeline),
    /// From the worker: the exchange is imported.
    Ready {
        /// The exchange's number.
        exchange: u32,
    },
    /// The exchange cannot be imported, or the connection is refused.
    Refused {
        /// The exchange's number; `None` for the connection.
        exchange: Option<u32>,
        /// Reason as a code.
        code: Code,
        /// Reason as text; cut after 192 bytes.
        text: String,
    },
    /// The reader of an exchange passes a slot to the writer.
    Free {
        /// The exchange's number.
        exchange: u32,
        /// The slot.
        slot: u32,
        /// Value that the reader's timeline must reach before the slot is written; 0 if there is
        /// nothing to wait for. Without `trust`, the renderer sends the message only after the
        /// value is reached.
        value: u64,
    },
    /// The writer of an exchange passes a slot with a frame to the reader.
    Publish {
        /// The exchange's number.
        exchange: u32,
        /// The slot.
        slot: u32,
        /// Number of the frame, greater than all before.
        frame: u64,
        /// Value that the writer's timeline reaches when the frame is complete. Without `trust`,
        /// the renderer sends the message only after the value is reached.
        value: u64,
    },
    /// From the writer of an exchange: a published frame will not be complete, whatever value the
    /// timeline reaches.
    Torn {
        /// The exchange's number.
        exchange: u32,
        /// The slot.
        slot: u32,
        /// The frame.
        frame: u64,
    },
    /// With `trust`, from a writer on the CPU: the slot of its oldest unfinished published frame is
    /// filled.
    Done {
        /// The exchange's number.
        exchange: u32,
        /// The slot.
        slot: u32,
        /// The frame.
        frame: u64,
    },
    /// The sender has ended its part in an exchange and has made every signal that it owed. The
    /// peer answers with the same message.
    Close {
        /// The exchange's number.
        exchange: u32,
    },
    /// The last message of the sender.
    Bye {
        /// Reason as a code.
        code: Code,
        /// Reason as text; cut after 192 bytes.
        text: String,
    },
}

/// A received message with its descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Descriptor of a [`Resource`] or a [`Timeline`]; `None` for other messages.
    pub descriptor: Option<OsHandle>,
}

/// An encoded message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded {
    bytes: [u8; wire::MAX_MESSAGE_SIZE],
    len: usize,
}

impl Encoded {
    fn new(message: &(impl IntoBytes + zerocopy::Immutable)) -> Self {
        let mut encoded = Self { bytes: [0; wire::MAX_MESSAGE_SIZE], len: size_of_val(message) };
        encoded.bytes[..encoded.len].copy_from_slice(message.as_bytes());
        encoded
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Message {
    /// Returns the name of the kind of message, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Offer(_) => "Offer",
            Self::Resource(_) => "Resource",
            Self::Timeline(_) => "Timeline",
            Self::Ready { .. } => "Ready",
            Self::Refused { .. } => "Refused",
            Self::Free { .. } => "Free",
            Self::Publish { .. } => "Publish",
            Self::Torn { .. } => "Torn",
            Self::Done { .. } => "Done",
            Self::Close { .. } => "Close",
            Self::Bye { .. } => "Bye",
        }
    }

    /// Returns the number of descriptors that accompany the message.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self, Self::Resource(_) | Self::Timeline(_)))
    }

    /// Encodes the message, including the header.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is invalid, so that every peer would reject it.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        self.encoded().map(|encoded| encoded.bytes().to_vec())
    }

    pub(crate) fn encoded(&self) -> Result<Encoded, DecodeError> {
        let encoded = self.encoded_unchecked()?;
        // Every peer makes the same checks.
        Self::decode(encoded.bytes())?;
        Ok(encoded)
    }

    fn encoded_unchecked(&self) -> Result<Encoded, DecodeError> {
        Ok(match self {
            Self::Hello(hello) => Encoded::new(&hello.to_wire()?),
            Self::Offer(offer) => Encoded::new(&offer.to_wire()?),
            Self::Resource(resource) => {
                // Checked here, too: `to_wire` uses as many levels as an image states.
                resource.validate()?;
                Encoded::new(&resource.to_wire())
            }
            Self::Timeline(timeline) => Encoded::new(&timeline.to_wire()),
            &Self::Ready { exchange } => {
                let (header, exchange) = (wire::Ready::HEADER, exchange.into());
                Encoded::new(&wire::Ready { header, exchange, reserved: 0.into() })
            }
            // This number would stand for the connection.
            Self::Refused { exchange: Some(wire::CONNECTION), .. } => return Err(code("exchange", wire::CONNECTION)),
            Self::Refused { exchange, code, text } => Encoded::new(&wire::Refused {
                header: wire::Refused::HEADER,
                exchange: exchange.unwrap_or(wire::CONNECTION).into(),
                code: code.number().into(),
                text: write_text(text),
            }),
            &Self::Free { exchange, slot, value } => {
                let (header, exchange, slot) = (wire::Free::HEADER, exchange.into(), slot.into());
                Encoded::new(&wire::Free { header, exchange, slot, value: value.into() })
            }
            &Self::Publish { exchange, slot, frame, value } => {
                let (header, exchange, slot) = (wire::Publish::HEADER, exchange.into(), slot.into());
                Encoded::new(&wire::Publish { header, exchange, slot, frame: frame.into(), value: value.into() })
            }
            &Self::Torn { exchange, slot, frame } => {
                let (header, exchange, slot) = (wire::Torn::HEADER, exchange.into(), slot.into());
                Encoded::new(&wire::Torn { header, exchange, slot, frame: frame.into() })
            }
            &Self::Done { exchange, slot, frame } => {
                let (header, exchange, slot) = (wire::Done::HEADER, exchange.into(), slot.into());
                Encoded::new(&wire::Done { header, exchange, slot, frame: frame.into() })
            }
            &Self::Close { exchange } => {
                let (header, exchange) = (wire::Close::HEADER, exchange.into());
                Encoded::new(&wire::Close { header, exchange, reserved: 0.into() })
            }
            Self::Bye { code, text } => Encoded::new(&wire::Bye {
                header: wire::Bye::HEADER,
                code: code.number().into(),
                reserved: 0.into(),
                text: write_text(text),
            }),
        })
    }

    /// Decodes a message. Invalid bytes result in an error, never in a panic.
    ///
    /// # Errors
    /// [`DecodeError`] describes what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let short = DecodeError::Length { expected: size_of::<wire::Header>(), got: bytes.len() };
        let (header, _) = wire::Header::read_from_prefix(bytes).map_err(|_| short)?;
        Ok(match header.kind.get() {
            wire::Hello::KIND => Self::Hello(Hello::from_wire(&read(bytes, wire::Hello::HEADER, header)?)?),
            wire::Offer::KIND => Self::Offer(Offer::from_wire(&read(bytes, wire::Offer::HEADER, header)?)?),
            wire::Resource::KIND => Self::Resource(Resource::from_wire(&read(bytes, wire::Resource::HEADER, header)?)?),
            wire::Timeline::KIND => Self::Timeline(Timeline::from_wire(&read(bytes, wire::Timeline::HEADER, header)?)?),
            wire::Ready::KIND => {
                let ready: wire::Ready = read(bytes, wire::Ready::HEADER, header)?;
                reserved("Ready", ready.reserved)?;
                Self::Ready { exchange: ready.exchange.get() }
            }
            wire::Refused::KIND => {
                let refused: wire::Refused = read(bytes, wire::Refused::HEADER, header)?;
                let exchange = refused.exchange.get();
                Self::Refused {
                    exchange: (exchange != wire::CONNECTION).then_some(exchange),
                    code: Code::from_number(refused.code.get()),
                    text: read_text("text", &refused.text)?,
                }
            }
            wire::Free::KIND => {
                let free: wire::Free = read(bytes, wire::Free::HEADER, header)?;
                Self::Free { exchange: free.exchange.get(), slot: free.slot.get(), value: free.value.get() }
            }
            wire::Publish::KIND => {
                let wire::Publish { exchange, slot, frame, value, .. } = read(bytes, wire::Publish::HEADER, header)?;
                Self::Publish { exchange: exchange.get(), slot: slot.get(), frame: frame.get(), value: value.get() }
            }
            wire::Torn::KIND => {
                let torn: wire::Torn = read(bytes, wire::Torn::HEADER, header)?;
                Self::Torn { exchange: torn.exchange.get(), slot: torn.slot.get(), frame: torn.frame.get() }
            }
            wire::Done::KIND => {
                let done: wire::Done = read(bytes, wire::Done::HEADER, header)?;
                Self::Done { exchange: done.exchange.get(), slot: done.slot.get(), frame: done.frame.get() }
            }
            wire::Close::KIND => {
                let close: wire::Close = read(bytes, wire::Close::HEADER, header)?;
                reserved("Close", close.reserved)?;
                Self::Close { exchange: close.exchange.get() }
            }
            wire::Bye::KIND => {
                let bye: wire::Bye = read(bytes, wire::Bye::HEADER, header)?;
                reserved("Bye", bye.reserved)?;
                Self::Bye { code: Code::from_number(bye.code.get()), text: read_text("text", &bye.text)? }
            }
            kind => return Err(DecodeError::Kind(kind)),
        })
    }
}

/// Reads the whole of `bytes` as a message whose header must be `expected`.
fn read<T: FromBytes>(bytes: &[u8], expected: wire::Header, header: wire::Header) -> Result<T, DecodeError> {
    let length = expected.length.get() as usize;
    if header.length != expected.length {
        return Err(DecodeError::Length { expected: length, got: header.length.get() as usize });
    }
    let (expected, got) = (expected.descriptors.get(), header.descriptors.get());
    if expected != got {
        return Err(DecodeError::Descriptors { expected, got });
    }
    T::read_from_bytes(bytes).map_err(|_| DecodeError::Length { expected: length, got: bytes.len() })
}

pub(crate) fn code(field: &'static str, value: u32) -> DecodeError {
    DecodeError::Code { field, value }
}

pub(crate) fn reserved(message: &'static str, value: U32) -> Result<(), DecodeError> {
    if value.get() == 0 { Ok(()) } else { Err(DecodeError::Reserved(message)) }
}

pub(crate) fn range(field: &'static str, value: U32, least: u32, most: u32) -> Result<u32, DecodeError> {
    let value = value.get();
    if (least..=most).contains(&value) { Ok(value) } else { Err(code(field, value)) }
}

pub(crate) fn write_name(name: &str) -> Result<[u8; wire::NAME], DecodeError> {
    let mut bytes = [0; wire::NAME];
    match bytes.get_mut(..name.len()) {
        Some(place) if !name.is_empty() => place.copy_from_slice(name.as_bytes()),
        _ => return Err(DecodeError::Name(name.len())),
    }
    Ok(bytes)
}

pub(crate) fn read_name(field: &'static str, bytes: &[u8; wire::NAME]) -> Result<String, DecodeError> {
    let name = read_text(field, bytes)?;
    if name.is_empty() { Err(DecodeError::Name(0)) } else { Ok(name) }
}

/// Encodes a text, cut to its maximum length. Control characters become spaces, because the peer
/// rejects them.
fn write_text(text: &str) -> [u8; wire::TEXT] {
    let mut bytes = [0; wire::TEXT];
    let mut len = 0;
    for character in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        let end = len + character.len_utf8();
        let Some(place) = bytes.get_mut(len..end) else { break };
        character.encode_utf8(place);
        len = end;
    }
    bytes
}

fn read_text(field: &'static str, bytes: &[u8]) -> Result<String, DecodeError> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, padding) = bytes.split_at(end);
    let text = std::str::from_utf8(text).map_err(|_| DecodeError::Text(field))?;
    if padding.iter().any(|byte| *byte != 0) || text.chars().any(char::is_control) {
        return Err(DecodeError::Text(field));
    }
    Ok(text.to_owned())
}
