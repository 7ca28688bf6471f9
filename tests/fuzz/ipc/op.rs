//! Operations of a hostile process.

use bridge_ipc::{Code, Direction, Hello, Message, Offer, Role};
use proptest::prelude::*;
use proptest::sample::Index;

/// The side that is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Renderer,
    Worker,
}

/// The kind of exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The worker writes.
    Writes,
    /// The worker reads.
    Reads,
    /// The worker writes in step.
    InStep,
    /// The worker reads in step.
    ReadsInStep,
}

impl Kind {
    pub(crate) fn is_in_step(self) -> bool {
        matches!(self, Self::InStep | Self::ReadsInStep)
    }

    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Reads | Self::ReadsInStep)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) victim: Victim,
    pub(crate) kind: Kind,
    pub(crate) ops: Vec<Op>,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// The next step of an honest process: a message, or the wait for one.
    Honest,
    /// Skips a step of an honest process.
    Omit,
    /// Sends the last message again.
    Repeat,
    /// Sends the next message of an honest process with some bytes changed, possibly truncated.
    Changed(Vec<(Index, u8)>, Option<Index>, Option<Vec<Thing>>),
    /// Sends a well-formed message, whether it is allowed or not.
    Message(Message, Option<Vec<Thing>>),
    /// Sends arbitrary bytes.
    Bytes(Vec<u8>, Vec<Thing>),
    /// Receives pending messages.
    Receive,
    /// Shuts down its end for writing, or for reading if `true`.
    Shutdown(bool),
}

/// A descriptor sent with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    /// Valid memory.
    Memory,
    /// Memory that may shrink.
    Unsealed,
    /// Memory that is too small.
    Small,
    /// A pipe without data.
    Pipe,
    /// A socket.
    Socket,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let victim = prop_oneof![Just(Victim::Renderer), Just(Victim::Worker)];
    let kind = prop_oneof![Just(Kind::Writes), Just(Kind::Reads), Just(Kind::InStep), Just(Kind::ReadsInStep)];
    (victim, kind, prop::collection::vec(op(), 0..30)).prop_map(|(victim, kind, ops)| Case { victim, kind, ops })
}

fn op() -> impl Strategy<Value = Op> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..3);
    let cut = prop::option::weighted(0.1, any::<Index>());
    prop_oneof![
        40 => Just(Op::Honest),
        1 => Just(Op::Omit),
        1 => Just(Op::Repeat),
        2 => (changes, cut, things()).prop_map(|(changes, cut, things)| Op::Changed(changes, cut, things)),
        2 => (message(), things()).prop_map(|(message, things)| Op::Message(message, things)),
        1 => (prop::collection::vec(any::<u8>(), 0..600), things())
            .prop_map(|(bytes, things)| Op::Bytes(bytes, things.unwrap_or_default())),
        2 => Just(Op::Receive),
        1 => any::<bool>().prop_map(Op::Shutdown),
    ]
}

/// Generates descriptors; `None` for the valid ones of the message.
fn things() -> impl Strategy<Value = Option<Vec<Thing>>> {
    let thing = prop_oneof![
        Just(Thing::Memory),
        Just(Thing::Unsealed),
        Just(Thing::Small),
        Just(Thing::Pipe),
        Just(Thing::Socket)
    ];
    prop::option::weighted(0.4, prop::collection::vec(thing, 0..4))
}

/// Generates a message with small numbers, so that many refer to existing objects.
fn message() -> impl Strategy<Value = Message> {
    (0..12u8, 0..2u32, 0..5u32, 0..6u64, 0..8u64, any::<bool>()).prop_map(
        |(kind, exchange, slot, frame, value, flag)| {
            let text = String::from("hostile");
            let code = if flag { Code::Done } else { Code::Protocol };
            let role = if flag { Role::Worker } else { Role::Renderer };
            match kind {
                0 => Message::Hello(Hello { host: true, trust: flag, ..Hello::new(role, "hostile") }),
                1 => Message::Offer(Offer {
                    exchange,
                    direction: if flag { Direction::WorkerWrites } else { Direction::RendererWrites },
                    slots: slot.max(1),
                    resources: 1,
                    writer_in_flight: 1,
                    reader_in_flight: 1,
                    trust: frame % 2 == 0,
                    name: "x".to_owned(),
                }),
                2 => Message::Ready { exchange },
                3 => Message::Refused { exchange: flag.then_some(exchange), code, text },
                4 | 5 => Message::Free { exchange, slot, value },
                6 | 7 => Message::Publish { exchange, slot, frame, value },
                8 => Message::Torn { exchange, slot, frame },
                9 => Message::Done { exchange, slot, frame },
                10 => Message::Close { exchange },
                _ => Message::Bye { code, text },
            }
        },
    )
}
