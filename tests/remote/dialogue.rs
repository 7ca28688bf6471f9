//! One side of a connection as a process that stops after the n-th message which crosses: this
//! program once more, with a script for each dialogue. The other side is the real one.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bridge_ipc::{
    BufferDescriptor, Code, ConnectInfo, Connection, Direction, Handle, Hello, Listener, MappedMemory, Message, Offer,
    Received, Resource, ResourceKind, Role, SharedMemory, Uuid,
};
use rustix::process::Signal;

use crate::worker::{LEN, forever, send};

/// Where the other side is, and what is said.
const PLACE: &str = "BRIDGE_TEST_DIALOGUE";
/// Longer than any message takes.
const LIMIT: Duration = Duration::from_secs(30);
/// Slots that a scripted renderer offers.
const SLOTS: u32 = 2;

/// What is said between the two, on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialogue {
    /// The worker writes.
    Writes,
    /// The worker reads.
    Reads,
    /// The worker writes in step.
    InStep,
    /// The worker refuses the exchange.
    Refuses,
    /// The worker refuses the connection.
    Declines,
}

pub(crate) const DIALOGUES: [Dialogue; 5] =
    [Dialogue::Writes, Dialogue::Reads, Dialogue::InStep, Dialogue::Refuses, Dialogue::Declines];

/// A process that says one side of a dialogue.
pub(crate) struct Scripted {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

/// How a process has come to its end.
pub(crate) struct End {
    /// The message that crossed last, as `says Hello`; `None` where the dialogue was over before.
    pub(crate) message: Option<String>,
    pub(crate) at: Instant,
}

impl Scripted {
    /// Starts the side of this role, which stops after `last` messages.
    pub(crate) fn start(role: Role, dialogue: Dialogue, last: u32, path: &Path) -> Self {
        let dialogue = DIALOGUES.iter().position(|one| *one == dialogue).unwrap();
        let renders = role == Role::Renderer;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_other_side_of_a_dialogue", "--nocapture", "--test-threads=1"])
            .env(PLACE, format!("{renders} {dialogue} {last} {}", path.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    fn until(&mut self, found: impl Fn(&str) -> bool) -> String {
        let line = self.said.by_ref().map_while(Result::ok).find(|line| found(line));
        line.expect("the process has ended of itself")
    }

    /// A scripted renderer can be connected to.
    pub(crate) fn listens(&mut self) {
        self.until(|line| line == "@listens");
    }

    /// Ends it once it has stopped, or has said all.
    pub(crate) fn end(mut self, signal: Signal) -> End {
        let line = self.until(|line| line.starts_with("@there ") || line == "@over");
        send(&self.child, signal);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        End { message: line.strip_prefix("@there ").map(str::to_owned), at: Instant::now() }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tell(line: &str) {
    println!("\n{line}");
    std::io::stdout().flush().unwrap();
}

/// A connection that stops the process after the last message that is to cross.
struct Counted {
    connection: Connection,
    left: u32,
}

impl Counted {
    fn crossed(&mut self, way: &str, kind: &str) {
        self.left -= 1;
        if self.left == 0 {
            tell(&format!("@there {way} {kind}"));
            forever();
        }
    }

    fn say(&mut self, message: &Message) {
        self.say_with(message, None);
    }

    fn say_with(&mut self, message: &Message, memory: Option<&SharedMemory>) {
        let handle = memory.map(|memory| memory.handle().as_fd());
        self.connection.send(message, handle, LIMIT).unwrap();
        self.crossed("says", message.kind());
    }

    fn hear(&mut self) -> Received {
        let received = self.connection.receive(LIMIT).unwrap();
        self.crossed("hears", received.message.kind());
        received
    }

    /// Hears all up to a message of this kind.
    fn hear_until(&mut self, kind: &str) -> Message {
        loop {
            let message = self.hear().message;
            if message.kind() == kind {
                return message;
            }
        }
    }

    /// Hears the answer to a Close. How many frames come before it is the other side's business:
    /// they do not count, so that the answer is the same message in each run.
    fn hear_close(&mut self) {
        while self.connection.receive(LIMIT).unwrap().message.kind() != "Close" {}
        self.crossed("hears", "Close");
    }

    fn say_bye(&mut self) {
        self.connection.close(Code::Done, "all is said");
        self.crossed("says", "Bye");
    }
}

/// The life of a process that says one side of a dialogue, if this is one.
pub(crate) fn live() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let [renders, dialogue, last, path] = place.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (dialogue, left) = (DIALOGUES[dialogue.parse::<usize>().unwrap()], last.parse().unwrap());
    let path = Path::new(path);
    let _connection = if renders.parse().unwrap() { render(dialogue, left, path) } else { work(dialogue, left, path) };
    tell("@over");
    forever();
}

fn work(dialogue: Dialogue, left: u32, path: &Path) -> Counted {
    let mut counted = Counted { connection: Connection::connect(path, &ConnectInfo::default()).unwrap(), left };
    counted.crossed("hears", "Hello");
    let refused = |exchange| Message::Refused { exchange, code: Code::Resource, text: "another is expected".into() };
    if dialogue == Dialogue::Declines {
        counted.say(&refused(None));
        return counted;
    }
    let trust = dialogue == Dialogue::InStep;
    counted.say(&Message::Hello(Hello { host: true, trust, ..Hello::new(Role::Worker, "scripted") }));
    let Message::Offer(offer) = counted.hear().message else { panic!("no offer") };
    let memory: Vec<_> = (0..offer.slots).map(|_| mapped(counted.hear(), offer.direction)).collect();
    if dialogue == Dialogue::Refuses {
        counted.say(&refused(Some(0)));
        counted.hear_until("Bye");
        return counted;
    }
    counted.say(&Message::Ready { exchange: 0 });
    if dialogue == Dialogue::Reads {
        for _ in 0..3 {
            let Message::Publish { slot, .. } = counted.hear_until("Publish") else { unreachable!() };
            counted.say(&Message::Free { exchange: 0, slot, value: 0 });
        }
        counted.say_bye();
        return counted;
    }
    write_all(&mut counted, &memory, trust);
    counted.say(&Message::Close { exchange: 0 });
    counted.hear_close();
    counted.hear_until("Bye");
    counted
}

fn mapped(received: Received, direction: Direction) -> MappedMemory {
    let Message::Resource(resource) = received.message else { panic!("no resource") };
    let memory = SharedMemory::from_peer("frame", received.descriptor.unwrap(), resource.allocation_size).unwrap();
    if direction == Direction::WorkerWrites { memory.map().unwrap() } else { memory.map_for_reading().unwrap() }
}

/// The words of a frame: all the same, or in step one more from element to element.
pub(crate) fn words(frame: u64, in_step: bool) -> impl Iterator<Item = u32> {
    let first = (1 << 20) + frame as u32;
    (0..LEN as u32).map(move |i| first + if in_step { i } else { 0 })
}

/// Three frames, of which the second is taken back.
fn write_all(counted: &mut Counted, memory: &[MappedMemory], trust: bool) {
    let mut slots = Vec::new();
    for _ in memory {
        let Message::Free { slot, .. } = counted.hear_until("Free") else { unreachable!() };
        slots.push(slot);
    }
    for (frame, slot) in (0..3).zip(slots) {
        let bytes: Vec<u8> = words(frame, trust).flat_map(u32::to_ne_bytes).collect();
        // In step it is announced first: one that dies there leaves half of it.
        let halves = bytes.split_at(bytes.len() / 2);
        assert!(memory[slot as usize].write(0, halves.0));
        if !trust {
            assert!(memory[slot as usize].write(halves.0.len(), halves.1));
        }
        counted.say(&Message::Publish { exchange: 0, slot, frame, value: frame + 1 });
        if frame == 1 {
            counted.say(&Message::Torn { exchange: 0, slot, frame });
        }
        if trust {
            assert!(memory[slot as usize].write(halves.0.len(), halves.1));
            counted.say(&Message::Done { exchange: 0, slot, frame });
        }
    }
    // A slot comes back.
    counted.hear_until("Free");
}

fn render(dialogue: Dialogue, left: u32, path: &Path) -> Counted {
    let listener = Listener::bind(path).unwrap();
    tell("@listens");
    let mut counted = Counted { connection: listener.accept(LIMIT).unwrap().unwrap(), left };
    let trust = dialogue == Dialogue::InStep;
    counted.say(&Message::Hello(Hello { host: true, trust, ..Hello::new(Role::Renderer, "scripted") }));
    if dialogue == Dialogue::Declines {
        counted.say(&Message::Refused { exchange: None, code: Code::Backend, text: "nothing is drawn".into() });
        return counted;
    }
    counted.hear_until("Hello");
    let reads = dialogue == Dialogue::Reads;
    let direction = if reads { Direction::RendererWrites } else { Direction::WorkerWrites };
    let name = if trust { "steps" } else { "remote" }.to_owned();
    let (slots, resources, writer_in_flight, reader_in_flight) = (SLOTS, 1, 1, 1);
    let offer = Offer { exchange: 0, direction, slots, resources, writer_in_flight, reader_in_flight, trust, name };
    counted.say(&Message::Offer(offer));
    let memory: Vec<_> = (0..SLOTS).map(|slot| offered(&mut counted, slot, reads)).collect();
    if dialogue == Dialogue::Refuses {
        counted.hear_until("Refused");
        // The worker goes away.
        counted.hear_until("Bye");
        return counted;
    }
    counted.hear_until("Ready");
    if reads {
        paint(&mut counted, &memory);
        counted.say_bye();
        return counted;
    }
    (0..SLOTS).for_each(|slot| counted.say(&Message::Free { exchange: 0, slot, value: 0 }));
    for _ in 0..3 {
        let last = counted.hear_until(if trust { "Done" } else { "Publish" });
        let (Message::Done { slot, .. } | Message::Publish { slot, .. }) = last else { unreachable!() };
        counted.say(&Message::Free { exchange: 0, slot, value: 0 });
    }
    counted.say(&Message::Close { exchange: 0 });
    counted.hear_close();
    counted.hear_until("Bye");
    counted
}

fn offered(counted: &mut Counted, slot: u32, reads: bool) -> (SharedMemory, MappedMemory) {
    let bytes = LEN as u64 * 4;
    let (file, memory) = if reads {
        SharedMemory::new_for_reading("frame", bytes).unwrap()
    } else {
        let file = SharedMemory::new("frame", bytes).unwrap();
        let memory = file.map().unwrap();
        (file, memory)
    };
    let resource = Resource {
        exchange: 0,
        slot,
        index: 0,
        kind: ResourceKind::Buffer(BufferDescriptor { size: bytes, element_size: 4 }),
        handle: Handle::MemoryFile,
        dedicated: false,
        device_uuid: Uuid::nil(),
        allocation_size: bytes,
        offset: 0,
    };
    counted.say_with(&Message::Resource(resource), Some(&file));
    (file, memory)
}

/// Three frames, of which the last is taken back.
fn paint(counted: &mut Counted, memory: &[(SharedMemory, MappedMemory)]) {
    let mut slot = 0;
    for frame in 0..3 {
        if frame >= u64::from(SLOTS) {
            let Message::Free { slot: freed, .. } = counted.hear_until("Free") else { unreachable!() };
            slot = freed;
        }
        let bytes: Vec<u8> = words(frame, false).flat_map(u32::to_ne_bytes).collect();
        assert!(memory[slot as usize].1.write(0, &bytes));
        counted.say(&Message::Publish { exchange: 0, slot, frame, value: frame + 1 });
        if frame == 2 {
            counted.say(&Message::Torn { exchange: 0, slot, frame });
        }
        slot += 1;
    }
}
