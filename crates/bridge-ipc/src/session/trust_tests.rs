//! Exchanges in step: who may offer them, and what may be announced.

use uuid::Uuid;

use super::*;
use crate::message::offer::{Direction, Offer};
use crate::message::resource::{BufferDescriptor, Handle, Resource, ResourceKind};
use crate::message::timeline::{Side, Timeline};

const GPU: Uuid = Uuid::from_u128(7);

/// Both ends of a connection on which messages arrive at once.
struct Pair {
    renderer: Session,
    worker: Session,
}

impl Pair {
    fn greeted(backend: Backend, [renderer, worker]: [bool; 2]) -> Self {
        let mut pair = Self { renderer: Session::new(Role::Renderer), worker: Session::new(Role::Worker) };
        let hello = |role, trust, cuda, host| {
            Message::Hello(Hello { trust, cuda, host, device_uuid: GPU, ..Hello::new(role, "test") })
        };
        pair.say(Role::Renderer, hello(Role::Renderer, renderer, true, true)).unwrap();
        let (cuda, host) = (backend == Backend::Cuda, backend == Backend::Host);
        pair.say(Role::Worker, hello(Role::Worker, worker, cuda, host)).unwrap();
        pair
    }

    fn ready(backend: Backend, trust: bool) -> Self {
        let mut pair = Self::greeted(backend, [true; 2]);
        pair.say(Role::Renderer, offer(trust, Direction::WorkerWrites)).unwrap();
        for slot in 0..2 {
            pair.say(Role::Renderer, Message::Resource(resource(slot, backend))).unwrap();
        }
        for side in [Side::Computed, Side::Rendered].into_iter().filter(|_| backend == Backend::Cuda) {
            let timeline = Timeline { exchange: 1, side, device_uuid: GPU, value: 0 };
            pair.say(Role::Renderer, Message::Timeline(timeline)).unwrap();
        }
        pair.say(Role::Worker, Message::Ready { exchange: 1 }).unwrap();
        for slot in 0..2 {
            pair.say(Role::Renderer, free(slot)).unwrap();
        }
        pair
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

    fn refused(&mut self, from: Role, message: Message, part: &str) {
        let reason = self.say(from, message).unwrap_err();
        assert!(reason.contains(part), "{reason}");
    }
}

fn offer(trust: bool, direction: Direction) -> Message {
    let (exchange, slots, resources, writer_in_flight, reader_in_flight) = (1, 2, 1, 2, 2);
    let name = "x".into();
    Message::Offer(Offer { exchange, direction, slots, resources, writer_in_flight, reader_in_flight, trust, name })
}

fn resource(slot: u32, backend: Backend) -> Resource {
    let (handle, device_uuid) = match backend {
        Backend::Cuda => (Handle::OpaqueFd, GPU),
        Backend::Host => (Handle::MemoryFile, Uuid::nil()),
    };
    let kind = ResourceKind::Buffer(BufferDescriptor { size: 16, element_size: 4 });
    Resource {
        exchange: 1,
        slot,
        index: 0,
        kind,
        handle,
        dedicated: false,
        device_uuid,
        allocation_size: 16,
        offset: 0,
    }
}

fn free(slot: u32) -> Message {
    Message::Free { exchange: 1, slot, value: 0 }
}

fn publish(slot: u32, frame: u64, value: u64) -> Message {
    Message::Publish { exchange: 1, slot, frame, value }
}

fn done(slot: u32, frame: u64) -> Message {
    Message::Done { exchange: 1, slot, frame }
}

#[test]
fn values_are_announced_where_both_sides_have_said_so() {
    for hellos in [[false, false], [true, false], [false, true]] {
        let mut pair = Pair::greeted(Backend::Host, hellos);
        pair.refused(Role::Renderer, offer(true, Direction::WorkerWrites), "both sides have said `trust`");
        // Exchanges without go on.
        pair.say(Role::Renderer, offer(false, Direction::WorkerWrites)).unwrap();
    }
    let mut pair = Pair::greeted(Backend::Host, [true; 2]);
    pair.refused(Role::Renderer, offer(true, Direction::RendererWrites), "the worker writes");
    pair.say(Role::Renderer, offer(true, Direction::WorkerWrites)).unwrap();
}

/// In numbers that a hostile peer may choose: each frame once, each value by one, each slot once.
#[test]
fn what_is_announced_is_the_next_in_step() {
    for backend in [Backend::Host, Backend::Cuda] {
        let mut pair = Pair::ready(backend, true);
        for (frame, value) in [(0, 2), (1, 1), (0, 0), (u64::MAX, 1), (0, u64::MAX), (1, 2)] {
            pair.refused(Role::Worker, publish(0, frame, value), if value == 0 { "not greater" } else { "value" });
        }
        pair.say(Role::Worker, publish(0, 0, 1)).unwrap();
        pair.refused(Role::Worker, publish(0, 1, 2), "slot 0 is the reader's");
        pair.refused(Role::Worker, publish(1, 2, 2), "is not 1 with 2");
        pair.refused(Role::Worker, publish(1, 1, 3), "is not 1 with 2");
        pair.say(Role::Worker, publish(1, 1, 2)).unwrap();
        pair.refused(Role::Worker, publish(2, 2, 3), "no slot 2");
    }
    // Without, frames and values may be left out.
    Pair::ready(Backend::Host, false).say(Role::Worker, publish(0, 4, 9)).unwrap();
}

#[test]
fn frames_are_finished_in_their_order_before_their_slots_are_freed() {
    let mut pair = Pair::ready(Backend::Host, true);
    pair.refused(Role::Worker, done(0, 0), "not 0, the oldest");
    pair.say(Role::Worker, publish(1, 0, 1)).unwrap();
    pair.say(Role::Worker, publish(0, 1, 2)).unwrap();
    pair.refused(Role::Worker, done(0, 1), "not 0, the oldest");
    pair.refused(Role::Worker, done(0, 0), "not 0, the oldest");
    pair.refused(Role::Renderer, done(1, 0), "a writer on the CPU");
    pair.refused(Role::Renderer, free(1), "which is not finished");
    pair.say(Role::Worker, done(1, 0)).unwrap();
    pair.refused(Role::Worker, done(1, 0), "not 1, the oldest");
    pair.say(Role::Renderer, free(1)).unwrap();
    pair.say(Role::Worker, done(0, 1)).unwrap();
}

/// With CUDA a timeline tells it, and a slot is freed with the value that comes later.
#[test]
fn with_timelines_nobody_says_done() {
    let mut pair = Pair::ready(Backend::Cuda, true);
    pair.say(Role::Worker, publish(0, 0, 1)).unwrap();
    pair.refused(Role::Worker, done(0, 0), "a writer on the CPU");
    pair.say(Role::Renderer, Message::Free { exchange: 1, slot: 0, value: 1 }).unwrap();
    let mut pair = Pair::ready(Backend::Host, false);
    pair.say(Role::Worker, publish(0, 0, 1)).unwrap();
    pair.refused(Role::Worker, done(0, 0), "with `trust`");
}

#[test]
fn version_1_has_no_trust() {
    let hello = Hello { trust: true, host: true, ..Hello::new(Role::Worker, "w") };
    let decode = |hello: &Hello| Message::decode(&Message::Hello(hello.clone()).encode().unwrap());
    assert_eq!(decode(&hello), Ok(Message::Hello(hello.clone())));
    let old = Hello { version: 1, oldest: 1, ..hello };
    assert!(decode(&old).unwrap_err().to_string().contains("reserved"), "{:?}", decode(&old));
    decode(&Hello { trust: false, ..old }).unwrap();
}
