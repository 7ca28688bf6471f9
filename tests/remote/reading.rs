//! A reading worker process: another instance of this program.
//!
//! It checks each new frame, and prints what it saw.
#![allow(unsafe_code)] // Kernel launches.

use std::ffi::{CString, c_void};
use std::io::{BufRead, BufReader, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bridge_ipc::{ConnectInfo, Connection, Direction, Hello, MappedMemory, Message, Role, SharedMemory};
use bridge_tests::{PROBE, Rig};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::cuda_import::cudarc::driver::LaunchConfig;
use bridge_worker::cuda_import::{Kernel, KernelModule};
use bridge_worker::{Buffer, CudaRead, LatestReader, Read, Worker, WorkerInfo};

use crate::standby::{self, BEGINS, Reusable, STANDBY, Standby};
use crate::worker::{Running, forever};

const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_READING_WORKER";

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(20);

/// The behavior of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Reads each frame that is new when it polls.
    Reads,
    /// The same, with a pause of 30 ms after each frame.
    ReadsSlowly,
    /// Reads five frames, closes the exchange, and stays alive.
    Leaves,
    /// Reads frames whose slots it has returned.
    ReadsReturnedSlots,
    /// Takes the exchange and reads nothing.
    NeverReads,
    /// Keeps a frame permanently.
    Holds,
    /// Reads a frame, and waits for the next one.
    Waits,
    /// Returns a frame as its last message, and does not read further messages.
    StopsAfterFree,
    /// With CUDA: reads five frames, and a kernel that reads the last one does not end.
    Hangs,
}

const BEHAVIORS: [Behavior; 9] = [
    Behavior::Reads,
    Behavior::ReadsSlowly,
    Behavior::Leaves,
    Behavior::ReadsReturnedSlots,
    Behavior::NeverReads,
    Behavior::Holds,
    Behavior::Waits,
    Behavior::StopsAfterFree,
    Behavior::Hangs,
];

/// A line that a worker printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// A frame, and the word that it contains.
    Saw(u64, u32),
    /// An error in a frame.
    Wrong(String),
    /// The worker has reached the state of its behavior.
    StateReached,
    /// The process has begun at its next place.
    Begins,
}

/// A worker's process.
pub(crate) struct Reading {
    running: Running,
    reports: Receiver<Report>,
}

impl Reading {
    /// Starts a worker that connects to `path`.
    pub(crate) fn start(path: &Path, backend: Backend, behavior: Behavior) -> Self {
        let behavior = BEHAVIORS.iter().position(|one| *one == behavior).unwrap();
        let place = format!("{behavior} {} {}", u8::from(backend == Backend::Cuda), path.display());
        Self::start_as("reading_worker_process", ADDRESS_VARIABLE, &place)
    }

    /// Runs a worker of an earlier case that connects to `path` and reads, or starts one.
    pub(crate) fn next_worker(path: &Path, backend: Backend) -> Standby<Self> {
        let behavior = BEHAVIORS.iter().position(|one| *one == Behavior::Reads).unwrap();
        let place = format!("{behavior} {} {}", u8::from(backend == Backend::Cuda), path.display());
        Standby::run("reading_worker_process", ADDRESS_VARIABLE, backend, &place)
    }

    /// Starts `test` of this program, with the environment variable `variable` set to `value`.
    pub(crate) fn start_as(test: &str, variable: &str, value: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(variable, value)
            .stdin(if value == STANDBY { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, reports) = channel();
        // The worker never has to wait for this process to read its output.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words: Vec<_> = line.splitn(3, ' ').collect();
                let said = match words[..] {
                    ["@saw", frame, word] => Report::Saw(frame.parse().unwrap(), word.parse().unwrap()),
                    ["@wrong", ..] => Report::Wrong(line),
                    ["@there"] => Report::StateReached,
                    [BEGINS] => Report::Begins,
                    _ => continue,
                };
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        Self { running: Running(child), reports }
    }

    /// Returns the worker's next report.
    pub(crate) fn next(&self) -> Report {
        self.reports.recv_timeout(Rig::LONG).expect("the worker says nothing more")
    }

    /// Returns the worker's reports so far.
    pub(crate) fn reports_so_far(&self) -> Vec<Report> {
        self.reports.try_iter().collect()
    }
}

impl Reusable for Reading {
    fn idle() -> &'static Mutex<Vec<(&'static str, Self)>> {
        static IDLE: Mutex<Vec<(&str, Reading)>> = Mutex::new(Vec::new());
        &IDLE
    }

    fn start(test: &'static str, variable: &str) -> Self {
        Self::start_as(test, variable, STANDBY)
    }

    fn begin(&mut self, place: &str) {
        writeln!(self.running.0.stdin.as_mut().unwrap(), "{place}").unwrap();
        while self.next() != Report::Begins {}
    }
}

impl Deref for Reading {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
}

pub(crate) fn report_line(line: &str) {
    println!("\n{line}");
    std::io::stdout().flush().unwrap();
}

/// Prints the contents of a frame.
pub(crate) fn check(frame: u64, words: &[u32]) {
    match words.iter().find(|word| **word != words[0]) {
        None => report_line(&format!("@saw {frame} {}", words[0])),
        Some(other) => report_line(&format!("@wrong frame {frame} is torn: {:#x} and {other:#x}", words[0])),
    }
}

/// Runs the worker, if this process is one.
pub(crate) fn run_if_child() {
    standby::run_each(ADDRESS_VARIABLE, run);
}

fn run(place: &str) {
    let [behavior, cuda, path] = place.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let behavior = BEHAVIORS[behavior.parse::<usize>().unwrap()];
    if behavior == Behavior::ReadsReturnedSlots {
        return read_too_late(Path::new(path));
    }
    if behavior == Behavior::StopsAfterFree {
        return give_one_back(Path::new(path));
    }
    let backend = if cuda == "1" { Backend::Cuda } else { Backend::Host };
    let info = WorkerInfo { backend: Some(backend), timeout: LONG, ..Default::default() };
    let worker = Worker::connect_with(path, &info).unwrap();
    standby::keep_context(ADDRESS_VARIABLE, worker.cuda());
    let reader = worker.latest_reader::<Buffer<u32>>("remote").unwrap();
    if behavior == Behavior::NeverReads {
        report_line("@there");
        forever();
    }
    let spin = worker.cuda().map(|device| {
        let module = KernelModule::new(device, "probe", &CString::new(PROBE).unwrap()).unwrap();
        module.kernel("fill_after").unwrap()
    });
    read(worker, reader, spin.as_ref(), behavior);
}

fn read(worker: Worker, mut reader: LatestReader<Buffer<u32>>, spin: Option<&Kernel>, behavior: Behavior) {
    let mut frames = 0;
    // The renderer may end at any time.
    while let Ok(newer) = reader.wait_for_newer(LONG) {
        if !newer {
            continue;
        }
        // The frame may have been superseded by now.
        let Ok(Some(turn)) = reader.newest() else { return };
        let words = match turn.work() {
            Read::Host(host) => {
                let mut words = vec![0; host.resources.len()];
                host.resources.read_into(0, &mut words).unwrap();
                words
            }
            Read::Cuda(cuda) => cuda.stream.clone_dtoh(&cuda.resources).unwrap(),
            _ => panic!("no other backend"),
        };
        frames += 1;
        if frames == 5 && behavior == Behavior::Hangs {
            let Read::Cuda(cuda) = turn.work() else { panic!("it computes on the CPU") };
            launch(spin.unwrap(), &cuda, LONG);
        }
        check(turn.frame(), &words);
        if behavior == Behavior::Holds {
            report_line("@there");
            forever();
        }
        turn.finish().unwrap();
        if behavior == Behavior::Waits {
            report_line("@there");
        }
        match behavior {
            Behavior::ReadsSlowly => std::thread::sleep(Duration::from_millis(30)),
            Behavior::Hangs if frames == 5 => {
                // The next frame returns the slot, after the kernel.
                while !matches!(reader.wait_for_newer(LONG), Ok(true)) {}
                report_line("@there");
                forever();
            }
            Behavior::Leaves if frames == 5 => {
                drop((reader, worker));
                report_line("@there");
                forever();
            }
            _ => {}
        }
    }
}

/// Launches a kernel that writes nothing and is busy for the given time.
pub(crate) fn launch(spin: &Kernel, cuda: &CudaRead<'_, Buffer<u32>>, busy: Duration) {
    let (words, len, first, nanoseconds) = (cuda.resources.as_raw(), 0u32, 0u32, busy.as_nanos() as u64);
    let args: [*const c_void; 4] = [
        std::ptr::from_ref(&words).cast(),
        std::ptr::from_ref(&len).cast(),
        std::ptr::from_ref(&first).cast(),
        std::ptr::from_ref(&nanoseconds).cast(),
    ];
    // SAFETY: the kernel's four parameters, of these types; with no elements it writes nothing.
    unsafe { spin.launch(cuda.stream, &LaunchConfig::for_num_elems(1), &args) }.unwrap();
}

fn give_one_back(path: &Path) {
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let _memory = accept_exchange(&mut connection);
    let Message::Publish { slot, .. } = connection.receive(LONG).unwrap().message else { panic!("no frame") };
    connection.send(&Message::Free { exchange: 0, slot, value: 0 }, None, LONG).unwrap();
    report_line("@there");
    forever();
}

/// Returns each slot immediately, and continues to read it for some time.
fn read_too_late(path: &Path) {
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let slots = accept_exchange(&mut connection);
    loop {
        let Ok(next) = connection.receive(LONG) else { return };
        let Message::Publish { slot, frame, .. } = next.message else { continue };
        connection.send(&Message::Free { exchange: 0, slot, value: 0 }, None, LONG).unwrap();
        let (memory, start) = (&slots[slot as usize], Instant::now());
        let mut first = None;
        while start.elapsed() < Duration::from_millis(30) {
            let mut words = vec![0u32; memory.len() / 4];
            assert!(memory.read(0, bytemuck::cast_slice_mut(&mut words)));
            if words.iter().any(|word| *word != *first.get_or_insert(words[0])) {
                report_line(&format!("@wrong frame {frame} has changed"));
                forever();
            }
        }
    }
}

/// Takes the exchange, as a worker on the CPU; returns the memory of its slots.
pub(crate) fn accept_exchange(connection: &mut Connection) -> Vec<MappedMemory> {
    accept_exchange_with(connection, |_| {})
}

/// The same; calls `each` with the memory file of each slot.
pub(crate) fn accept_exchange_with(connection: &mut Connection, mut each: impl FnMut(&OwnedFd)) -> Vec<MappedMemory> {
    let hello = Hello { host: true, ..Hello::new(Role::Worker, "test worker") };
    connection.send(&Message::Hello(hello), None, LONG).unwrap();
    let Message::Offer(offer) = connection.receive(LONG).unwrap().message else { panic!("no offer") };
    let slots = (0..offer.slots).map(|_| {
        let received = connection.receive(LONG).unwrap();
        let Message::Resource(resource) = received.message else { panic!("no resource") };
        let memory = SharedMemory::from_peer("frame", received.descriptor.unwrap(), resource.allocation_size).unwrap();
        each(memory.handle());
        match offer.direction {
            Direction::RendererWrites => memory.map_read_only().unwrap(),
            _ => memory.map().unwrap(),
        }
    });
    let slots = slots.collect();
    connection.send(&Message::Ready { exchange: 0 }, None, LONG).unwrap();
    slots
}
