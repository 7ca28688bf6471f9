//! A hostile process, simulated by a thread: its socket, and the messages of an honest process.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bridge_fuzz::Counts;
use bridge_ipc::{
    BufferDescriptor, Direction, Handle, Hello, Message, Offer, Resource, ResourceKind, Role, SharedMemory, Uuid,
    VERSION,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketType, recv,
    sendmsg, shutdown, socket,
};

use crate::op::{Case, Kind, Op, Thing, Victim};

/// Number of elements in a frame, of four bytes each.
pub(crate) const LEN: usize = 64;
const BYTES: u64 = LEN as u64 * 4;
const SLOTS: u32 = 2;

/// How long an honest step waits for a message, which may never come.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A step of an honest process: sending a message or receiving one.
enum Step {
    Send(Message),
    Receive,
}

/// The peer of the victim.
pub(crate) struct Attacker {
    socket: OwnedFd,
    honest: std::vec::IntoIter<Step>,
    reads: bool,
    last: Option<Message>,
    counts: Counts,
}

impl Attacker {
    pub(crate) fn new(socket: OwnedFd, case: &Case) -> Self {
        let honest = match case.victim {
            Victim::Renderer => worker_script(case.kind),
            Victim::Worker => renderer_script(case.kind),
        };
        let reads = case.kind.reads();
        Self { socket, honest: honest.into_iter(), reads, last: None, counts: Counts::default() }
    }

    /// Performs all operations and closes the connection.
    pub(crate) fn run(mut self, ops: &[Op]) -> Counts {
        ops.iter().for_each(|op| self.act(op));
        // Descriptors in messages that were not received are closed with the socket.
        self.counts
    }

    fn act(&mut self, op: &Op) {
        match op {
            Op::Honest => match self.honest.next() {
                Some(Step::Send(message)) => self.send_message(message, None),
                _ => self.receive(),
            },
            Op::Omit => drop(self.honest.next()),
            Op::Repeat => {
                if let Some(message) = self.last.clone() {
                    self.send_message(message, None);
                }
            }
            Op::Changed(changes, cut, things) => match self.honest.next() {
                Some(Step::Send(message)) => {
                    let mut bytes = message.encode().unwrap();
                    for (place, byte) in changes {
                        let place = place.index(bytes.len());
                        bytes[place] = *byte;
                    }
                    if let Some(cut) = cut {
                        bytes.truncate(cut.index(bytes.len()));
                    }
                    self.counts.add("changed messages");
                    let usual = || vec![Thing::Memory; message.descriptors()];
                    self.send(&bytes, &things.clone().unwrap_or_else(usual));
                }
                _ => self.receive(),
            },
            Op::Message(message, things) => {
                self.counts.add("messages of any kind");
                self.send_message(message.clone(), things.as_deref());
            }
            Op::Bytes(bytes, things) => {
                self.counts.add("runs of bytes");
                self.send(bytes, things);
            }
            Op::Receive => self.receive(),
            Op::Shutdown(reading) => {
                self.counts.add("shutdowns");
                let _ = shutdown(&self.socket, if *reading { Shutdown::Read } else { Shutdown::Write });
            }
        }
    }

    fn send_message(&mut self, message: Message, things: Option<&[Thing]>) {
        self.counts.add("messages");
        let usual = vec![Thing::Memory; message.descriptors()];
        self.send(&message.encode().unwrap(), things.unwrap_or(&usual));
        self.last = Some(message);
    }

    fn send(&mut self, bytes: &[u8], things: &[Thing]) {
        // Any byte string decodes to a complete message, or not at all.
        if let Ok(message) = Message::decode(bytes) {
            let encoded = message.encode().unwrap();
            match &message {
                // A newer version may have bits that are unknown here.
                Message::Hello(hello) if hello.version > VERSION => {
                    assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));
                }
                _ => assert_eq!(encoded, bytes, "{message:?} is not what it was decoded from"),
            }
        }
        let handles: Vec<_> = things.iter().map(|thing| create_descriptor(*thing, self.reads)).collect();
        let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(handles.is_empty() || control.push(SendAncillaryMessage::ScmRights(&handles)));
        // The victim may have closed the connection or may not read, which is not an error.
        let _ = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    /// Waits briefly for a message. Its descriptors are closed immediately.
    fn receive(&mut self) {
        self.counts.add("waits for a message");
        let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&MOMENT));
        let _ = recv(&self.socket, &mut [0; 600][..], RecvFlags::DONTWAIT);
    }
}

fn create_descriptor(thing: Thing, reads: bool) -> OwnedFd {
    let unsealed = |bytes| {
        let file = memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, bytes).unwrap();
        file
    };
    match thing {
        Thing::Memory if reads => {
            let (file, _) = SharedMemory::new_read_only("fuzz", BYTES).unwrap();
            file.handle().try_clone().unwrap()
        }
        Thing::Memory => SharedMemory::new("fuzz", BYTES).unwrap().handle().try_clone().unwrap(),
        Thing::Unsealed => unsealed(BYTES),
        Thing::Small => unsealed(1),
        Thing::Pipe => std::io::pipe().unwrap().0.into(),
        Thing::Socket => socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap(),
    }
}

fn hello(role: Role, kind: Kind) -> Message {
    Message::Hello(Hello { host: true, trust: kind.is_in_step(), ..Hello::new(role, "honest") })
}

/// Returns the messages that a worker on the CPU sends and receives for two frames.
fn worker_script(kind: Kind) -> Vec<Step> {
    let exchange = 0;
    let mut steps = vec![Step::Receive, Step::Send(hello(Role::Worker, kind)), Step::Receive];
    // Four slots, or two in step.
    let slots = if kind.is_in_step() { SLOTS } else { SLOTS + 2 };
    steps.extend((0..slots).map(|_| Step::Receive));
    steps.push(Step::Send(Message::Ready { exchange }));
    if kind.reads() {
        steps.push(Step::Receive);
        steps.extend((0..2).map(|slot| Step::Send(Message::Free { exchange, slot, value: 0 })));
    } else {
        steps.extend((0..slots).map(|_| Step::Receive));
        for frame in 0..2 {
            let slot = frame as u32;
            steps.push(Step::Send(Message::Publish { exchange, slot, frame, value: frame + 1 }));
            if kind == Kind::InStep {
                steps.push(Step::Send(Message::Done { exchange, slot, frame }));
            }
        }
    }
    steps.extend([Step::Send(Message::Close { exchange }), Step::Receive]);
    steps
}

/// Returns the messages that a renderer sends and receives when it offers two slots.
fn renderer_script(kind: Kind) -> Vec<Step> {
    let exchange = 0;
    let reads = kind.reads();
    let offer = Offer {
        exchange,
        direction: if reads { Direction::RendererWrites } else { Direction::WorkerWrites },
        slots: SLOTS,
        resources: 1,
        writer_in_flight: 1,
        reader_in_flight: 1,
        trust: kind.is_in_step(),
        name: "x".to_owned(),
    };
    let mut steps = vec![Step::Send(hello(Role::Renderer, kind)), Step::Receive, Step::Send(Message::Offer(offer))];
    steps.extend((0..SLOTS).map(|slot| {
        Step::Send(Message::Resource(Resource {
            exchange,
            slot,
            index: 0,
            kind: ResourceKind::Buffer(BufferDescriptor { size: BYTES, element_size: 4 }),
            handle: Handle::Memfd,
            dedicated: false,
            device_uuid: Uuid::nil(),
            allocation_size: BYTES,
            offset: 0,
        }))
    }));
    steps.push(Step::Receive);
    for slot in 0..SLOTS {
        let frame = u64::from(slot);
        steps.push(Step::Send(match reads {
            true => Message::Publish { exchange, slot, frame, value: frame + 1 },
            false => Message::Free { exchange, slot, value: 0 },
        }));
    }
    steps.extend([Step::Receive, Step::Receive, Step::Send(Message::Close { exchange }), Step::Receive]);
    steps
}

/// Time limit of the victim's actions if all goes well.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
