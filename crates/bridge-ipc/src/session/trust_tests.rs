//! Tests of exchanges in step: which sides may offer them, and which values may be announced.

use uuid::Uuid;

use super::*;
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
        let mut pair = Self::ready_to(backend, trust, Direction::WorkerWrites);
        for slot in 0..2 {
            pair.say(Role::Renderer, free(slot)).unwrap();
        }
        pair
    }

    fn ready_to(backend: Backend, trust: bool, direction: Direction) -> Self {
        let mut pair = Self::greeted(backend, [true; 2]);
        pair.say(Role::Renderer, offer(trust, direction)).unwrap();
        for slot in 0..2 {
            pair.say(Role::Renderer, Message::Resource(resource(slot, backend))).unwrap();
        }
        for side in [Side::Computed, Side::Rendered].into_iter().filter(|_| backend == Backend::Cuda) {
            let timeline = Timeline { exchange: 1, side, device_uuid: GPU, value: 0 };
            pair.say(Role::Renderer, Message::Timeline(timeline)).unwrap();
        }
        pair.say(Role::Worker, Message::Ready { exchange: 1 }).unwrap();
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
        Backend::Host => (Handle::Memfd, Uuid::nil()),
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
fn values_are_announced_if_both_sides_allow_trust() {
    for hellos in [[false, false], [true, false], [false, true]] {
        let mut pair = Pair::greeted(Backend::Host, hellos);
        pair.refused(Role::Renderer, offer(true, Direction::WorkerWrites), "the `trust` flag in both Hellos");
        // Exchanges without trust remain possible.
        pair.say(Role::Renderer, offer(false, Direction::WorkerWrites)).unwrap();
    }
    for direction in [Direction::RendererWrites, Direction::WorkerWrites] {
        Pair::greeted(Backend::Host, [true; 2]).say(Role::Renderer, offer(true, direction)).unwrap();
    }
}

/// A peer of version 2 works as before, and is not offered exchanges that it does not support.
#[test]
fn renderer_writes_in_step_if_both_versions_support_it() {
    let mut pair = Pair { renderer: Session::new(Role::Renderer), worker: Session::new(Role::Worker) };
    let hello = |role| Message::Hello(Hello { trust: true, host: true, ..Hello::new(role, "test") });
    pair.say(Role::Renderer, hello(Role::Renderer)).unwrap();
    let Message::Hello(worker) = hello(Role::Worker) else { unreachable!() };
    let old = Hello { version: 2, ..worker };
    // Only the renderer's view of the peer's version matters, so the new implementation plays the
    // old worker.
    pair.renderer.receive(&Message::Hello(old)).unwrap();
    assert_eq!((pair.renderer.version(), pair.renderer.has_trusted_readers()), (Some(2), false));
    let refused = pair.renderer.send(&offer(true, Direction::RendererWrites)).unwrap_err();
    assert!(refused.reason.contains("requires version 3; the connection uses 2"), "{refused}");
    pair.renderer.send(&offer(true, Direction::WorkerWrites)).unwrap();
    let new = Pair::greeted(Backend::Host, [true; 2]).renderer;
    assert_eq!((new.version(), new.has_trusted_readers()), (Some(crate::limits::VERSION), true));
}

/// If the renderer writes, its frames and values may have gaps, and the worker's values increase by
/// 1.
#[test]
fn a_worker_that_reads_in_step_frees_with_the_next_value() {
    let free = |slot, value| Message::Free { exchange: 1, slot, value };
    for backend in [Backend::Host, Backend::Cuda] {
        let mut pair = Pair::ready_to(backend, true, Direction::RendererWrites);
        pair.refused(
            Role::Worker,
            free(0, 0),
            if backend == Backend::Cuda { "not 1" } else { "belongs to the writer" },
        );
        pair.say(Role::Renderer, publish(0, 0, 2)).unwrap();
        pair.say(Role::Renderer, publish(1, 3, 4)).unwrap();
        pair.refused(Role::Renderer, publish(1, 4, 5), "belongs to the reader");
        pair.refused(Role::Renderer, done(0, 0), "that writes");
        pair.refused(Role::Worker, done(0, 0), "that writes");
        pair.refused(Role::Worker, publish(0, 4, 5), "only the writer publishes");
        let values = if backend == Backend::Cuda { [1, 2] } else { [0, 0] };
        for wrong in [3, u64::MAX, values[0] ^ 1] {
            pair.refused(Role::Worker, free(1, wrong), "value");
        }
        pair.say(Role::Worker, free(1, values[0])).unwrap();
        pair.refused(Role::Worker, free(1, values[1]), "already belongs to the writer");
        pair.say(Role::Worker, free(0, values[1])).unwrap();
        pair.refused(Role::Renderer, publish(0, 3, 5), "is less than the next frame, 4");
        pair.refused(Role::Renderer, publish(0, 4, 4), "not greater");
        pair.say(Role::Renderer, publish(0, 4, 5)).unwrap();
    }
}

/// Numbers that a hostile peer may choose are refused: each frame is published once, values
/// increase by 1, and each slot is handed over once.
#[test]
fn announced_frames_and_values_are_consecutive() {
    for backend in [Backend::Host, Backend::Cuda] {
        let mut pair = Pair::ready(backend, true);
        for (frame, value) in [(0, 2), (1, 1), (0, 0), (u64::MAX, 1), (0, u64::MAX), (1, 2)] {
            pair.refused(Role::Worker, publish(0, frame, value), if value == 0 { "not greater" } else { "value" });
        }
        pair.say(Role::Worker, publish(0, 0, 1)).unwrap();
        pair.refused(Role::Worker, publish(0, 1, 2), "slot 0 belongs to the reader");
        pair.refused(Role::Worker, publish(1, 2, 2), "is not 1 with 2");
        pair.refused(Role::Worker, publish(1, 1, 3), "is not 1 with 2");
        pair.say(Role::Worker, publish(1, 1, 2)).unwrap();
        pair.refused(Role::Worker, publish(2, 2, 3), "no slot 2");
    }
    // Without trust, frames and values may be skipped.
    Pair::ready(Backend::Host, false).say(Role::Worker, publish(0, 4, 9)).unwrap();
}

#[test]
fn frames_finish_in_order_before_their_slots_are_freed() {
    let mut pair = Pair::ready(Backend::Host, true);
    pair.refused(Role::Worker, done(0, 0), "not 0, the oldest");
    pair.say(Role::Worker, publish(1, 0, 1)).unwrap();
    pair.say(Role::Worker, publish(0, 1, 2)).unwrap();
    pair.refused(Role::Worker, done(0, 1), "not 0, the oldest");
    pair.refused(Role::Worker, done(0, 0), "not 0, the oldest");
    pair.refused(Role::Renderer, done(1, 0), "a worker on the CPU");
    pair.refused(Role::Renderer, free(1), "which is not finished");
    pair.say(Role::Worker, done(1, 0)).unwrap();
    pair.refused(Role::Worker, done(1, 0), "not 1, the oldest");
    pair.say(Role::Renderer, free(1)).unwrap();
    pair.say(Role::Worker, done(0, 1)).unwrap();
}

/// With CUDA, the timeline shows that a frame is finished, and a slot is freed with a value that is
/// reached later.
#[test]
fn done_is_refused_with_timelines() {
    let mut pair = Pair::ready(Backend::Cuda, true);
    pair.say(Role::Worker, publish(0, 0, 1)).unwrap();
    pair.refused(Role::Worker, done(0, 0), "a worker on the CPU");
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
    let refused = Message::Hello(old.clone()).encode().unwrap_err();
    assert!(refused.to_string().contains("reserved"), "{refused}");
    decode(&Hello { trust: false, ..old }).unwrap();
}
