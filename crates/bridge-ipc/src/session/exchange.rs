//! The state of one exchange.

use uuid::Uuid;

use crate::limits::{MAX_RESOURCES, MAX_SLOTS, MAX_VALUE_STEP};
use crate::message::Message;
use crate::message::hello::{Backend, Role};
use crate::message::offer::{Direction, Offer};
use crate::message::resource::{Handle, Resource};
use crate::message::timeline::{Side, Timeline};
use crate::session::Verdict;
use crate::wire::CONNECTION;

/// State of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExchangePhase {
    /// The resources and timelines are being described.
    Describing,
    /// The description is complete; the worker has not answered.
    Offered,
    /// Slots may be handed over.
    Ready,
    /// One side has closed the exchange.
    Closing,
}

/// Owner of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Writer,
    /// With the number of the published frame; `None` if the slot was not published.
    Reader(Option<u64>),
}

#[derive(Debug, Clone)]
pub(super) struct Exchange {
    offer: Offer,
    backend: Backend,
    device: Uuid,
    phase: ExchangePhase,
    /// Number of resources and timelines that were described.
    described: u64,
    slots: Box<[Slot]>,
    /// The last values of the two timelines that messages carried: of the writer's timeline in a
    /// Publish, and of the reader's in a Free.
    published: u64,
    freed: u64,
    /// Minimum number of the next frame. With `trust`, the next frame of a worker that writes has
    /// exactly this number.
    next_frame: u64,
    /// With `trust` on the CPU, the number of finished frames.
    done: u64,
    closed_by: [bool; 2],
    refused: bool,
}

impl Exchange {
    pub(super) fn new(offer: Offer, backend: Backend, device: Uuid) -> Result<Self, String> {
        if offer.exchange == CONNECTION {
            return Err("its number stands for the connection".into());
        }
        for (what, number, most) in [
            ("slots", offer.slots, MAX_SLOTS),
            ("resources", offer.resources, MAX_RESOURCES),
            ("frames of the writer", offer.writer_in_flight, MAX_SLOTS),
            ("turns of the reader", offer.reader_in_flight, MAX_SLOTS),
        ] {
            if number == 0 || number > most {
                return Err(format!("{what}: {number}; allowed: 1 to {most}"));
            }
        }
        // In both directions, the renderer owns all slots at first.
        let first = match offer.direction {
            Direction::WorkerWrites => Slot::Reader(None),
            Direction::RendererWrites => Slot::Writer,
        };
        Ok(Self {
            slots: vec![first; offer.slots as usize].into(),
            offer,
            backend,
            device,
            phase: ExchangePhase::Describing,
            described: 0,
            published: 0,
            freed: 0,
            next_frame: 0,
            done: 0,
            closed_by: [false; 2],
            refused: false,
        })
    }

    pub(super) fn phase(&self) -> ExchangePhase {
        self.phase
    }

    /// Returns `true` if no more messages of the exchange may follow.
    pub(super) fn is_over(&self) -> bool {
        self.refused || self.closed_by == [true; 2]
    }

    pub(super) fn step(&mut self, from: Role, own: bool, message: &Message) -> Result<Verdict, String> {
        let side = role_index(from);
        if self.closed_by[side] {
            return Err("its sender has closed the exchange".into());
        }
        if let Message::Close { .. } = message {
            self.closed_by[side] = true;
            self.phase = ExchangePhase::Closing;
            return Ok(Verdict::Use);
        }
        if self.closed_by[1 - side] {
            // Messages of the peer that crossed this side's Close are ignored. After the peer's
            // Close, this side may only send its own.
            return match (own, message) {
                (false, Message::Refused { .. }) if from == Role::Worker => {
                    self.refused = true;
                    Ok(Verdict::Use)
                }
                (false, _) => Ok(Verdict::Ignore),
                (true, _) => Err("the peer has closed the exchange".into()),
            };
        }
        match (message, self.phase) {
            (Message::Resource(resource), ExchangePhase::Describing) => self.resource(from, resource)?,
            (Message::Timeline(timeline), ExchangePhase::Describing) => self.timeline(from, timeline)?,
            (Message::Ready { .. }, ExchangePhase::Offered) if from == Role::Worker => {
                self.phase = ExchangePhase::Ready
            }
            (Message::Refused { .. }, ExchangePhase::Describing | ExchangePhase::Offered) if from == Role::Worker => {
                self.refused = true;
            }
            (&Message::Free { slot, value, .. }, ExchangePhase::Ready) => self.free(from, slot, value)?,
            (&Message::Publish { slot, frame, value, .. }, ExchangePhase::Ready) => {
                self.publish(from, slot, frame, value)?;
            }
            (&Message::Torn { slot, frame, .. }, ExchangePhase::Ready) => {
                self.torn(from, slot, frame)?;
            }
            (&Message::Done { slot, frame, .. }, ExchangePhase::Ready) => self.done(from, slot, frame)?,
            (_, phase) => return Err(format!("not valid from the {from:?} while the exchange is {phase:?}")),
        }
        Ok(Verdict::Use)
    }

    fn resource(&mut self, from: Role, resource: &Resource) -> Result<(), String> {
        let (slots, resources) = (u64::from(self.offer.slots), u64::from(self.offer.resources));
        if from != Role::Renderer || self.described >= slots * resources {
            return Err("the renderer describes each resource once".into());
        }
        let expected = (self.described / resources, self.described % resources);
        if (u64::from(resource.slot), u64::from(resource.index)) != expected {
            let (slot, index) = expected;
            return Err(format!(
                "expected slot {slot}, resource {index}, but got {}, {}",
                resource.slot, resource.index
            ));
        }
        let handle = match self.backend {
            Backend::Cuda => Handle::OpaqueFd,
            Backend::Host => Handle::Memfd,
        };
        if resource.handle != handle {
            return Err(format!("a worker with {:?} is given {handle:?}, not {:?}", self.backend, resource.handle));
        }
        if self.backend == Backend::Cuda && resource.device_uuid != self.device {
            return Err(format!("its GPU is {}, but the renderer's is {}", resource.device_uuid, self.device));
        }
        self.described += 1;
        if self.backend == Backend::Host && self.described == slots * resources {
            self.phase = ExchangePhase::Offered;
        }
        Ok(())
    }

    fn timeline(&mut self, from: Role, timeline: &Timeline) -> Result<(), String> {
        let resources = u64::from(self.offer.slots) * u64::from(self.offer.resources);
        let expected = if self.described == resources { Side::Computed } else { Side::Rendered };
        if from != Role::Renderer || self.described < resources || timeline.side != expected {
            return Err(
                "the timelines follow the resources, first that of the worker, then that of the renderer".into()
            );
        }
        if timeline.device_uuid != self.device {
            return Err(format!("its GPU is {}, but the renderer's is {}", timeline.device_uuid, self.device));
        }
        let value = if (timeline.side == Side::Computed) == (self.writer() == Role::Worker) {
            &mut self.published
        } else {
            &mut self.freed
        };
        *value = check_increase(0, timeline.value, u64::MAX / 2)?;
        self.described += 1;
        if timeline.side == Side::Rendered {
            self.phase = ExchangePhase::Offered;
        }
        Ok(())
    }

    fn writer(&self) -> Role {
        match self.offer.direction {
            Direction::WorkerWrites => Role::Worker,
            Direction::RendererWrites => Role::Renderer,
        }
    }

    fn free(&mut self, from: Role, slot: u32, value: u64) -> Result<(), String> {
        let freed = if value == 0 { self.freed } else { check_increase(self.freed, value, MAX_VALUE_STEP)? };
        if from == self.writer() {
            return Err("only the reader frees slots".into());
        }
        // A worker that reads in step signals each slot that it frees, so each value is the
        // previous one plus 1. On the CPU there are no timelines, and the value is 0.
        let following = if self.backend == Backend::Cuda { self.freed + 1 } else { 0 };
        if self.offer.trust && self.writer() == Role::Renderer && value != following {
            return Err(format!("value {value} is not {following}, the next in step"));
        }
        let (tells, done) = (self.reports_done(), self.done);
        match self.slot(slot)? {
            Slot::Reader(Some(frame)) if tells && *frame >= done => {
                return Err(format!("slot {slot} holds frame {frame}, which is not finished"));
            }
            held @ Slot::Reader(_) => *held = Slot::Writer,
            Slot::Writer => return Err(format!("slot {slot} already belongs to the writer")),
        }
        self.freed = freed;
        Ok(())
    }

    fn publish(&mut self, from: Role, slot: u32, frame: u64, value: u64) -> Result<(), String> {
        if from != self.writer() {
            return Err("only the writer publishes".into());
        }
        let published = check_increase(self.published, value, MAX_VALUE_STEP)?;
        if published == self.published {
            return Err(format!("value {value} is not greater than the one before"));
        }
        // In step, frames and values of a worker increase by 1. The renderer leaves out the numbers
        // of skipped frames, and its timeline has other signals in between.
        let counts = self.offer.trust && self.writer() == Role::Worker;
        if counts && (frame, value) != (self.next_frame, self.published + 1) {
            let (next, following) = (self.next_frame, self.published + 1);
            return Err(format!("frame {frame} with value {value} is not {next} with {following}, the next in step"));
        }
        if frame < self.next_frame || frame == u64::MAX {
            return Err(format!("frame {frame} is less than the next frame, {}", self.next_frame));
        }
        match self.slot(slot)? {
            held @ Slot::Writer => *held = Slot::Reader(Some(frame)),
            Slot::Reader(_) => return Err(format!("slot {slot} belongs to the reader")),
        }
        self.published = published;
        self.next_frame = frame + 1;
        Ok(())
    }

    /// Handles a Torn message. The slot may have been freed meanwhile, but the frame must have been
    /// published.
    fn torn(&mut self, from: Role, slot: u32, frame: u64) -> Result<(), String> {
        let next = self.next_frame;
        if from != self.writer() {
            return Err("only the writer may send it".into());
        }
        self.slot(slot)?;
        if frame >= next {
            return Err(format!("frame {frame} was not published"));
        }
        Ok(())
    }

    /// Handles a Done message. Frames are finished in order.
    fn done(&mut self, from: Role, slot: u32, frame: u64) -> Result<(), String> {
        if from != Role::Worker || !self.reports_done() {
            return Err("only a worker on the CPU that writes may send it, in an exchange with `trust`".into());
        }
        let next = self.done;
        match self.slot(slot)? {
            Slot::Reader(Some(held)) if *held == frame && frame == next => {}
            _ => return Err(format!("frame {frame} in slot {slot} is not {next}, the oldest that is unfinished")),
        }
        self.done += 1;
        Ok(())
    }

    /// Returns `true` if finished frames are reported by messages instead of a timeline.
    fn reports_done(&self) -> bool {
        self.offer.trust && self.backend == Backend::Host && self.writer() == Role::Worker
    }

    fn slot(&mut self, slot: u32) -> Result<&mut Slot, String> {
        let slots = self.slots.len();
        let found = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot));
        found.ok_or_else(|| format!("there is no slot {slot}; the exchange has {slots}"))
    }
}

fn role_index(role: Role) -> usize {
    match role {
        Role::Renderer => 0,
        Role::Worker => 1,
    }
}

/// Returns `value` if it is a valid next value of a timeline at `before` that rises by at most
/// `step`. `u64::MAX` is never valid, because lost devices report it.
fn check_increase(before: u64, value: u64, step: u64) -> Result<u64, String> {
    match value.checked_sub(before) {
        Some(rise) if rise <= step && value < u64::MAX => Ok(value),
        _ => Err(format!("value {value} does not follow {before}: it must increase by at most {step}")),
    }
}
