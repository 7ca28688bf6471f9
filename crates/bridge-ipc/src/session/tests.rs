use std::collections::VecDeque;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::message::Code;
use crate::message::offer::{Direction, Offer};
use crate::message::resource::{BufferDescriptor, Handle, Resource, ResourceKind};
use crate::message::timeline::{Side, Timeline};

const GPU: Uuid = Uuid::from_u128(7);

/// Both ends of a connection that delivers messages at once.
struct Pair {
    renderer: Session,
    worker: Session,
}

impl Pair {
    fn new() -> Self {
        Self { renderer: Session::new(Role::Renderer), worker: Session::new(Role::Worker) }
    }

    fn say(&mut self, from: Role, message: Message) -> Result<(), String> {
        let (own, other) = match from {
            Role::Renderer => (&mut self.renderer, &mut self.worker),
            Role::Worker => (&mut self.worker, &mut self.renderer),
        };
        let sent = own.send(&message).map_err(|violation| violation.reason);
        let received = other.receive(&message).map_err(|violation| violation.reason);
        assert_eq!(sent.is_ok(), received.is_ok(), "both sides judge alike: {message:?}");
        sent
    }

    fn greeted(backend: Backend) -> Self {
        let mut pair = Self::new();
        pair.say(Role::Renderer, Message::Hello(hello(Role::Renderer, true, true))).unwrap();
        let (cuda, host) = (backend == Backend::Cuda, backend == Backend::Host);
        pair.say(Role::Worker, Message::Hello(hello(Role::Worker, cuda, host))).unwrap();
        pair
    }

    fn ready(direction: Direction) -> Self {
        let mut pair = Self::greeted(Backend::Cuda);
        pair.say(Role::Renderer, offer(1, direction)).unwrap();
        for slot in 0..2 {
            pair.say(Role::Renderer, resource(slot)).unwrap();
        }
        for side in [Side::Computed, Side::Rendered] {
            pair.say(Role::Renderer, timeline(side)).unwrap();
        }
        pair.say(Role::Worker, Message::Ready { exchange: 1 }).unwrap();
        pair
    }
}

fn hello(role: Role, cuda: bool, host: bool) -> Hello {
    Hello { cuda, host, device_uuid: GPU, ..Hello::new(role, "test") }
}

fn offer(exchange: u32, direction: Direction) -> Message {
    let (slots, resources, writer_in_flight, reader_in_flight) = (2, 1, 1, 1);
    let (trust, name) = (false, "x".into());
    Message::Offer(Offer { exchange, direction, slots, resources, writer_in_flight, reader_in_flight, trust, name })
}

fn described(slot: u32) -> Resource {
    Resource {
        exchange: 1,
        slot,
        index: 0,
        kind: ResourceKind::Buffer(BufferDescriptor { size: 16, element_size: 4 }),
        handle: Handle::OpaqueFd,
        dedicated: true,
        device_uuid: GPU,
        allocation_size: 16,
        offset: 0,
    }
}

fn resource(slot: u32) -> Message {
    Message::Resource(described(slot))
}

fn timeline(side: Side) -> Message {
    Message::Timeline(Timeline { exchange: 1, side, device_uuid: GPU, value: 10 })
}

fn free(slot: u32, value: u64) -> Message {
    Message::Free { exchange: 1, slot, value }
}

fn publish(slot: u32, frame: u64, value: u64) -> Message {
    Message::Publish { exchange: 1, slot, frame, value }
}

fn assert_refused(result: Result<(), String>, part: &str) {
    let reason = result.unwrap_err();
    assert!(reason.contains(part), "{reason}");
}

#[test]
fn renderer_sends_hello_first_and_worker_chooses_a_backend() {
    let mut pair = Pair::new();
    assert_refused(
        pair.say(Role::Worker, Message::Hello(hello(Role::Worker, true, false))),
        "the renderer must send it first",
    );
    assert_refused(pair.say(Role::Renderer, offer(1, Direction::WorkerWrites)), "Hello first");
    assert_refused(pair.say(Role::Renderer, Message::Hello(hello(Role::Worker, true, false))), "claims to be a");
    assert_refused(pair.say(Role::Renderer, Message::Hello(hello(Role::Renderer, false, false))), "no backend");
    pair.say(Role::Renderer, Message::Hello(hello(Role::Renderer, false, true))).unwrap();
    assert_refused(pair.say(Role::Worker, Message::Hello(hello(Role::Worker, true, true))), "one backend");
    assert_refused(pair.say(Role::Worker, Message::Hello(hello(Role::Worker, true, false))), "does not allow Cuda");
    let old = Hello { version: 0, oldest: 0, ..hello(Role::Worker, false, true) };
    assert_refused(pair.say(Role::Worker, Message::Hello(old)), "versions 0 to 0");
    let newer = Hello { version: 9, ..hello(Role::Worker, false, true) };
    pair.say(Role::Worker, Message::Hello(newer)).unwrap();
    assert_refused(pair.say(Role::Worker, Message::Hello(hello(Role::Worker, false, true))), "already sent");
    assert_eq!(pair.renderer.backend(), Some(Backend::Host));
}

#[test]
fn an_exchange_is_described_in_order() {
    let mut pair = Pair::greeted(Backend::Cuda);
    assert_refused(pair.say(Role::Worker, offer(1, Direction::WorkerWrites)), "only the renderer");
    pair.say(Role::Renderer, offer(1, Direction::WorkerWrites)).unwrap();
    assert_refused(pair.say(Role::Renderer, offer(1, Direction::WorkerWrites)), "not greater");
    assert_refused(pair.say(Role::Renderer, resource(1)), "expected slot 0, resource 0");
    assert_refused(pair.say(Role::Renderer, timeline(Side::Computed)), "follow the resources");
    assert_refused(pair.say(Role::Worker, Message::Ready { exchange: 1 }), "Describing");
    let file = Resource { handle: Handle::Memfd, ..described(0) };
    assert_refused(pair.say(Role::Renderer, Message::Resource(file)), "is given OpaqueFd");
    let other = Resource { device_uuid: Uuid::from_u128(8), ..described(0) };
    assert_refused(pair.say(Role::Renderer, Message::Resource(other)), "its GPU is");
    pair.say(Role::Renderer, resource(0)).unwrap();
    pair.say(Role::Renderer, resource(1)).unwrap();
    assert_refused(pair.say(Role::Renderer, resource(2)), "once");
    assert_refused(pair.say(Role::Renderer, timeline(Side::Rendered)), "first that of the worker");
    pair.say(Role::Renderer, timeline(Side::Computed)).unwrap();
    assert_refused(pair.say(Role::Renderer, timeline(Side::Computed)), "first that of the worker");
    pair.say(Role::Renderer, timeline(Side::Rendered)).unwrap();
    assert_refused(pair.say(Role::Renderer, free(0, 0)), "Offered");
    pair.say(Role::Worker, Message::Ready { exchange: 1 }).unwrap();
    assert_eq!(pair.worker.exchange(1), Some(ExchangePhase::Ready));
    assert_refused(pair.say(Role::Worker, Message::Ready { exchange: 2 }), "no exchange 2");
}

#[test]
fn slot_has_one_owner_at_a_time() {
    let mut pair = Pair::ready(Direction::WorkerWrites);
    assert_refused(pair.say(Role::Worker, publish(0, 0, 11)), "belongs to the reader");
    assert_refused(pair.say(Role::Worker, free(0, 0)), "the reader frees");
    pair.say(Role::Renderer, free(0, 0)).unwrap();
    assert_refused(pair.say(Role::Renderer, free(0, 0)), "already belongs to the writer");
    assert_refused(pair.say(Role::Renderer, free(2, 0)), "no slot 2");
    assert_refused(pair.say(Role::Renderer, free(u32::MAX, 0)), "no slot");
    assert_refused(pair.say(Role::Renderer, publish(0, 0, 11)), "only the writer publishes");
    pair.say(Role::Worker, publish(0, 0, 11)).unwrap();
    assert_refused(pair.say(Role::Worker, publish(0, 1, 12)), "belongs to the reader");
    pair.say(Role::Renderer, free(0, 11)).unwrap();
}

#[test]
fn values_and_frame_numbers_increase() {
    let mut pair = Pair::ready(Direction::WorkerWrites);
    pair.say(Role::Renderer, free(0, 0)).unwrap();
    pair.say(Role::Renderer, free(1, 12)).unwrap();
    for value in [0, 10, 11 + MOST, u64::MAX] {
        assert_refused(pair.say(Role::Worker, publish(0, 5, value)), "value");
    }
    pair.say(Role::Worker, publish(0, 5, 11)).unwrap();
    assert_refused(pair.say(Role::Worker, publish(1, 5, 12)), "frame 5");
    assert_refused(pair.say(Role::Worker, publish(1, u64::MAX, 12)), "frame");
    assert_refused(pair.say(Role::Worker, Message::Torn { exchange: 1, slot: 0, frame: 6 }), "not published");
    assert_refused(pair.say(Role::Renderer, free(0, 11)), "does not follow 12");
    pair.say(Role::Renderer, free(0, 12)).unwrap();
    pair.say(Role::Worker, Message::Torn { exchange: 1, slot: 0, frame: 5 }).unwrap();
    pair.say(Role::Worker, publish(1, 9, 12)).unwrap();
}

const MOST: u64 = crate::limits::MAX_VALUE_STEP;

#[test]
fn writing_renderer_owns_the_slots_initially() {
    let mut pair = Pair::ready(Direction::RendererWrites);
    assert_refused(pair.say(Role::Worker, publish(0, 0, 11)), "only the writer publishes");
    pair.say(Role::Renderer, publish(0, 0, 11)).unwrap();
    pair.say(Role::Worker, free(0, 11)).unwrap();
    assert_refused(pair.say(Role::Worker, free(1, 0)), "already belongs to the writer");
}

#[test]
fn close_is_answered_and_crossing_messages_are_ignored() {
    let mut pair = Pair::ready(Direction::WorkerWrites);
    pair.say(Role::Renderer, free(0, 0)).unwrap();
    // The Close and the Publish cross.
    pair.renderer.send(&Message::Close { exchange: 1 }).unwrap();
    pair.worker.send(&publish(0, 0, 11)).unwrap();
    assert_eq!(pair.renderer.receive(&publish(0, 0, 11)), Ok(Verdict::Ignore));
    assert_eq!(pair.worker.receive(&Message::Close { exchange: 1 }), Ok(Verdict::Use));
    assert!(pair.worker.send(&publish(0, 1, 12)).is_err());
    pair.say(Role::Worker, Message::Close { exchange: 1 }).unwrap();
    assert_eq!((pair.renderer.exchange(1), pair.worker.exchange(1)), (None, None));
    pair.say(Role::Renderer, offer(2, Direction::WorkerWrites)).unwrap();
}

#[test]
fn refusal_may_cross_a_close() {
    let mut pair = Pair::greeted(Backend::Cuda);
    pair.say(Role::Renderer, offer(1, Direction::WorkerWrites)).unwrap();
    let refused = Message::Refused { exchange: Some(1), code: Code::Resource, text: String::new() };
    pair.worker.send(&refused).unwrap();
    pair.renderer.send(&resource(0)).unwrap();
    pair.renderer.send(&Message::Close { exchange: 1 }).unwrap();
    assert_eq!(pair.worker.receive(&resource(0)), Ok(Verdict::Ignore));
    assert_eq!(pair.renderer.receive(&refused), Ok(Verdict::Use));
    assert_eq!(pair.worker.receive(&Message::Close { exchange: 1 }), Ok(Verdict::Ignore));
    assert_eq!(pair.renderer.exchange(1), None);
}

#[test]
fn no_message_follows_a_bye() {
    let mut pair = Pair::ready(Direction::WorkerWrites);
    pair.worker.send(&Message::Bye { code: Code::Done, text: String::new() }).unwrap();
    assert!(pair.worker.send(&Message::Close { exchange: 1 }).is_err());
    assert_eq!(pair.worker.receive(&free(0, 0)), Ok(Verdict::Ignore));
    pair.renderer.receive(&Message::Bye { code: Code::Done, text: String::new() }).unwrap();
    assert!(pair.renderer.send(&free(0, 0)).is_err() && pair.renderer.receive(&publish(0, 0, 11)).is_err());
}

/// Any message that a side can send, with small numbers so that many of them are allowed at some
/// point.
fn anything() -> impl Strategy<Value = Message> {
    prop_oneof![
        (1..4u32, any::<bool>()).prop_map(|(exchange, worker)| {
            offer(exchange, if worker { Direction::WorkerWrites } else { Direction::RendererWrites })
        }),
        (1..4u32, 0..2u32).prop_map(|(exchange, slot)| Message::Resource(Resource { exchange, ..described(slot) })),
        (1..4u32, any::<bool>()).prop_map(|(exchange, computed)| {
            let side = if computed { Side::Computed } else { Side::Rendered };
            Message::Timeline(Timeline { exchange, side, device_uuid: GPU, value: 10 })
        }),
        (1..4u32).prop_map(|exchange| Message::Ready { exchange }),
        (1..4u32, 0..2u32, 0..40u64).prop_map(|(exchange, slot, value)| Message::Free { exchange, slot, value }),
        (1..4u32, 0..2u32, 0..9u64, 11..40u64).prop_map(|(exchange, slot, frame, value)| Message::Publish {
            exchange,
            slot,
            frame,
            value
        }),
        (1..4u32, 0..2u32, 0..9u64).prop_map(|(exchange, slot, frame)| Message::Torn { exchange, slot, frame }),
        (1..4u32).prop_map(|exchange| Message::Close { exchange }),
        (1..4u32).prop_map(|exchange| Message::Refused {
            exchange: Some(exchange),
            code: Code::Resource,
            text: String::new()
        }),
        (0..20u32).prop_map(|rare| match rare {
            0 => Message::Bye { code: Code::Done, text: String::new() },
            exchange => Message::Close { exchange },
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Messages arrive late and cross each other. A message that the sender's state machine allows
    /// is never a violation for the receiver's.
    #[test]
    fn allowed_messages_are_accepted_with_any_delay(
        exchanges in 0..3u32,
        steps in proptest::collection::vec((any::<bool>(), proptest::option::weighted(0.6, anything())), 0..150),
    ) {
        let Pair { renderer, worker } = Pair::greeted(Backend::Cuda);
        let (mut sides, mut queues) = ([renderer, worker], [VecDeque::new(), VecDeque::new()]);
        // Describes some exchanges first, so that the remaining steps have exchanges to work with.
        for exchange in 1..=exchanges {
            let described = (0..2).map(|slot| Message::Resource(Resource { exchange, ..described(slot) }));
            let timelines = [Side::Computed, Side::Rendered]
                .map(|side| Message::Timeline(Timeline { exchange, side, device_uuid: GPU, value: 10 }));
            let direction = if exchange == 1 { Direction::WorkerWrites } else { Direction::RendererWrites };
            for message in [offer(exchange, direction)].into_iter().chain(described).chain(timelines) {
                sides[0].send(&message).unwrap();
                queues[1].push_back(message);
            }
        }
        for (renderer, message) in steps {
            let (own, other) = if renderer { (0, 1) } else { (1, 0) };
            match message {
                Some(message) if sides[own].send(&message).is_ok() => queues[other].push_back(message),
                Some(_) => {}
                None => while let Some(message) = queues[own].pop_front() {
                    let received = sides[own].receive(&message);
                    prop_assert!(received.is_ok(), "{:?}: {:?}", message, received);
                    if renderer { break }
                },
            }
        }
    }
}
