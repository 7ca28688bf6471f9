//! One side of a connection as a process that stops after the n-th message: another instance of
//! this program, with a script for each dialogue. The other side is the real implementation.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bridge_ipc::{Code, ConnectInfo, Connection, Hello, Message, Received, Role, SharedMemory, Uuid};
use bridge_worker::cuda_import::CudaDevice;
use rustix::process::Signal;

use crate::dialogue_memory::Slots;
use crate::dialogue_renders;
use crate::worker::{LEN, forever, send};

/// The address of the other side, and the dialogue.
const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_DIALOGUE";
/// Longer than any message takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// The dialogue between the two sides. Scripted renderers use the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialogue {
    /// The worker writes.
    Writes,
    /// The worker reads.
    Reads,
    /// The worker writes in step.
    InStep,
    /// The worker reads in step.
    ReadsInStep,
    /// The worker refuses the exchange.
    Refuses,
    /// The worker refuses the connection.
    Declines,
}

pub(crate) const DIALOGUES: [Dialogue; 6] =
    [Dialogue::Writes, Dialogue::Reads, Dialogue::InStep, Dialogue::ReadsInStep, Dialogue::Refuses, Dialogue::Declines];

impl Dialogue {
    pub(crate) fn trust(self) -> bool {
        matches!(self, Self::InStep | Self::ReadsInStep)
    }

    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Reads | Self::ReadsInStep)
    }
}

/// A process that runs one side of a dialogue.
pub(crate) struct Scripted {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

/// The end of a process.
pub(crate) struct End {
    /// The last message, such as `says Hello`; `None` if the dialogue ended before.
    pub(crate) message: Option<String>,
    pub(crate) at: Instant,
}

impl Scripted {
    /// Starts the side of this role, which stops after `last` messages.
    pub(crate) fn start(role: Role, dialogue: Dialogue, last: u32, path: &Path) -> Self {
        let side = if role == Role::Renderer { "renders" } else { "works" };
        Self::start_as(side, dialogue, last, path)
    }

    /// Starts a worker that computes with CUDA, which stops after `last` messages.
    pub(crate) fn start_with_cuda(dialogue: Dialogue, last: u32, path: &Path) -> Self {
        Self::start_as("computes", dialogue, last, path)
    }

    fn start_as(side: &str, dialogue: Dialogue, last: u32, path: &Path) -> Self {
        let dialogue = DIALOGUES.iter().position(|one| *one == dialogue).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "dialogue_process", "--nocapture", "--test-threads=1"])
            .env(ADDRESS_VARIABLE, format!("{side} {dialogue} {last} {}", path.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    fn until(&mut self, found: impl Fn(&str) -> bool) -> String {
        let line = self.output.by_ref().map_while(Result::ok).find(|line| found(line));
        line.expect("the process has ended of itself")
    }

    /// Waits until a scripted renderer accepts connections.
    pub(crate) fn wait_until_listening(&mut self) {
        self.until(|line| line == "@listens");
    }

    /// Ends the process after it has stopped, or has completed the dialogue.
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

pub(crate) fn report_line(line: &str) {
    println!("\n{line}");
    std::io::stdout().flush().unwrap();
}

/// A connection that stops the process after the given number of messages.
pub(crate) struct Counted {
    pub(crate) connection: Connection,
    pub(crate) left: u32,
}

impl Counted {
    fn record_message(&mut self, direction: &str, kind: &str) {
        self.left -= 1;
        if self.left == 0 {
            report_line(&format!("@there {direction} {kind}"));
            forever();
        }
    }

    pub(crate) fn send(&mut self, message: &Message) {
        self.send_with(message, None);
    }

    pub(crate) fn send_with(&mut self, message: &Message, memory: Option<&SharedMemory>) {
        let handle = memory.map(|memory| memory.handle().as_fd());
        self.connection.send(message, handle, LIMIT).unwrap();
        self.record_message("says", message.kind());
    }

    pub(crate) fn receive(&mut self) -> Received {
        let received = self.connection.receive(LIMIT).unwrap();
        self.record_message("hears", received.message.kind());
        received
    }

    /// Receives messages up to one of this kind.
    pub(crate) fn receive_until(&mut self, kind: &str) -> Message {
        loop {
            let message = self.receive().message;
            if message.kind() == kind {
                return message;
            }
        }
    }

    /// Receives the answer to a Close. The number of frames before the answer depends on the other
    /// side: they do not count, so that the answer is the same message in each run.
    pub(crate) fn receive_close(&mut self) {
        while self.connection.receive(LIMIT).unwrap().message.kind() != "Close" {}
        self.record_message("hears", "Close");
    }

    pub(crate) fn send_bye(&mut self) {
        self.connection.close(Code::Done, "all is said");
        self.record_message("says", "Bye");
    }
}

/// Runs one side of a dialogue, if this process is one.
pub(crate) fn run_if_child() {
    let Ok(place) = std::env::var(ADDRESS_VARIABLE) else { return };
    let [side, dialogue, last, path] = place.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (dialogue, left) = (DIALOGUES[dialogue.parse::<usize>().unwrap()], last.parse().unwrap());
    let path = Path::new(path);
    let _connection = match side {
        "renders" => dialogue_renders::render(dialogue, left, path),
        side => work(dialogue, left, path, side == "computes"),
    };
    report_line("@over");
    forever();
}

fn work(dialogue: Dialogue, left: u32, path: &Path, computes: bool) -> Counted {
    let mut counted = Counted { connection: Connection::connect(path, &ConnectInfo::default()).unwrap(), left };
    counted.record_message("hears", "Hello");
    let refused = |exchange| Message::Refused { exchange, code: Code::Resource, text: "another is expected".into() };
    if dialogue == Dialogue::Declines {
        counted.send(&refused(None));
        return counted;
    }
    let trust = dialogue.trust();
    let device = computes.then(|| CudaDevice::by_uuid(counted.connection.peer_hello().unwrap().device_uuid).unwrap());
    counted.send(&Message::Hello(Hello {
        cuda: computes,
        host: !computes,
        trust,
        device_uuid: device.as_ref().map_or(Uuid::nil(), CudaDevice::uuid),
        ..Hello::new(Role::Worker, "scripted")
    }));
    let Message::Offer(offer) = counted.receive().message else { panic!("no offer") };
    let mut slots = Slots::receive(&mut counted, &offer, device.as_ref());
    if dialogue == Dialogue::Refuses {
        counted.send(&refused(Some(0)));
        counted.receive_until("Bye");
        return counted;
    }
    counted.send(&Message::Ready { exchange: 0 });
    if dialogue.reads() {
        for _ in 0..3 {
            let Message::Publish { slot, value, .. } = counted.receive_until("Publish") else { unreachable!() };
            slots.wait(value);
            let value = slots.signal();
            counted.send(&Message::Free { exchange: 0, slot, value });
        }
        counted.send_bye();
        return counted;
    }
    write_all(&mut counted, &mut slots, trust);
    counted.send(&Message::Close { exchange: 0 });
    counted.receive_close();
    counted.receive_until("Bye");
    counted
}

/// Returns the words of a frame: all the same, or in step increasing by one from element to
/// element.
pub(crate) fn words(frame: u64, in_step: bool) -> impl Iterator<Item = u32> {
    let first = (1 << 20) + frame as u32;
    (0..LEN as u32).map(move |i| first + if in_step { i } else { 0 })
}

/// Writes three frames, the second of which is withdrawn.
fn write_all(counted: &mut Counted, slots: &mut Slots, trust: bool) {
    let mut free = Vec::new();
    // A renderer whose worker computes with CUDA may keep some slots.
    let count = if slots.are_on_gpu() { 3 } else { slots.count() };
    for _ in 0..count {
        let Message::Free { slot, value, .. } = counted.receive_until("Free") else { unreachable!() };
        slots.wait(value);
        free.push(slot);
    }
    // With CUDA the words are those of workers that compute.
    let rises = trust || slots.are_on_gpu();
    for (frame, slot) in (0..3).zip(free) {
        let words: Vec<u32> = words(frame, rises).collect();
        // In step, the frame is announced first: a worker that dies here leaves half a frame.
        let halves = words.split_at(words.len() / 2);
        slots.write(slot, 0, halves.0);
        if !trust {
            slots.write(slot, halves.0.len(), halves.1);
            slots.signal();
        }
        counted.send(&Message::Publish { exchange: 0, slot, frame, value: frame + 1 });
        if frame == 1 {
            counted.send(&Message::Torn { exchange: 0, slot, frame });
        }
        if trust {
            slots.write(slot, halves.0.len(), halves.1);
            if slots.are_on_gpu() {
                slots.signal();
            } else {
                counted.send(&Message::Done { exchange: 0, slot, frame });
            }
        }
    }
    // A slot is returned.
    counted.receive_until("Free");
}
