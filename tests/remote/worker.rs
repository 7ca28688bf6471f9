//! A worker process: another instance of this program.
//!
//! A worker writes frames of equal `u32`s: the combination of its mark, which is greater for every
//! later worker, and the frame's number.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bridge_ipc::{
    Code, ConnectInfo, Connection, Hello, MappedMemory, Message, Resource, ResourceKind, Role, SharedMemory,
};
use rustix::net::SendFlags;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::ending::{Ended, end};

/// The number of elements of a frame, large enough for a copy to take some time.
pub(crate) const LEN: usize = 1 << 16;

/// The address to which a worker connects, and its behavior.
const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_WORKER";

/// The behavior of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Writes frame after frame.
    Runs,
    /// Writes five frames, and half of the sixth.
    StopsMidFrame,
    /// Writes five frames and sends nothing more.
    Idles,
    /// Sends a Hello, and never answers the offer.
    NeverAccepts,
    /// Takes the exchange and writes nothing.
    NeverWrites,
    /// Publishes a frame as its last message.
    StopsAfterPublish,
    /// Writes five frames and leaves properly.
    Leaves,
    /// Writes five frames, closes the socket, and stays alive.
    HangsUp,
    /// Writes five frames and ends; its child keeps the socket open and sends valid messages
    /// without end.
    LeavesAChild,
    /// Expects a resource of another type.
    Refuses,
    /// Publishes frames whose second half is that of an earlier frame.
    PublishesHalves,
}

pub(crate) const BEHAVIORS: [Behavior; 11] = [
    Behavior::Runs,
    Behavior::StopsMidFrame,
    Behavior::Idles,
    Behavior::NeverAccepts,
    Behavior::NeverWrites,
    Behavior::StopsAfterPublish,
    Behavior::Leaves,
    Behavior::HangsUp,
    Behavior::LeavesAChild,
    Behavior::Refuses,
    Behavior::PublishesHalves,
];

/// A child process of this process, which is killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.0, signal);
    }

    /// Ends the process with a signal.
    pub(crate) fn end(&mut self, signal: Signal) -> Ended {
        end(&mut self.0, signal)
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A worker's process.
pub(crate) struct Process {
    running: Running,
    output: BufReader<ChildStdout>,
}

impl Deref for Process {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// Workers on the CPU.
pub(crate) enum Worker {}

impl Worker {
    /// Starts a worker that connects to `path`.
    pub(crate) fn start(path: &Path, behavior: Behavior, mark: u32) -> Process {
        let place = format!("{} {mark} {}", BEHAVIORS.iter().position(|one| *one == behavior).unwrap(), path.display());
        Process::start("worker_process", ADDRESS_VARIABLE, place)
    }
}

impl Process {
    /// Starts `test` of this program, with the environment variable `variable` set to `value`.
    pub(crate) fn start(test: &str, variable: &str, value: impl AsRef<OsStr>) -> Self {
        Self::start_with(test, variable, value, |program| program)
    }

    /// [`start`](Self::start), with the changes of the command that `with` makes.
    pub(crate) fn start_with(
        test: &str,
        variable: &str,
        value: impl AsRef<OsStr>,
        with: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, value);
        let mut child = with(program.stdin(Stdio::null()).stdout(Stdio::piped())).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        Self { running: Running(child), output: BufReader::new(output) }
    }

    /// Waits until the process has reached the state of its behavior.
    pub(crate) fn wait_for_state(&mut self) {
        self.wait_for_line("@there");
    }

    /// Writes a line to the process, if its input is a pipe.
    pub(crate) fn write_line(&mut self, line: &str) {
        writeln!(self.running.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until the process has printed a line with this text.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the worker has ended");
        }
    }
}

/// Sends a signal to a child process; after a stop signal, waits until all its threads have
/// stopped.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    kill_process(pid, signal).unwrap();
    if signal == Signal::STOP {
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    }
}

/// Reports that the state is reached, for [`Process::wait_for_state`].
pub(crate) fn report_state() {
    println!("\n@there");
    std::io::stdout().flush().unwrap();
}

pub(crate) fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

const LIMIT: Duration = Duration::from_secs(30);

/// Set for the child of a worker that leaves one: the socket is its standard input.
const CHILD: &str = "BRIDGE_TEST_WORKERS_CHILD";

/// Sends that a frame is torn, repeatedly, until the connection is closed.
fn flood() {
    let torn = Message::Torn { exchange: 0, slot: 0, frame: 0 }.encode().unwrap();
    report_state();
    // Several threads send, so that the socket is never empty.
    let say = || while rustix::net::send(std::io::stdin(), &torn, SendFlags::NOSIGNAL).is_ok() {};
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(say))));
}

fn leave_a_child(connection: &Connection) -> ! {
    let socket = rustix::io::dup(connection).unwrap();
    rustix::io::ioctl_fionbio(&socket, false).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker_process", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains("@there")));
    report_state();
    std::process::exit(0);
}

/// Runs the worker, if this process is one.
pub(crate) fn run_if_child() {
    if std::env::var_os(CHILD).is_some() {
        return flood();
    }
    let Ok(place) = std::env::var(ADDRESS_VARIABLE) else { return };
    let [behavior, mark, path] = place.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (behavior, mark) = (BEHAVIORS[behavior.parse::<usize>().unwrap()], mark.parse::<u32>().unwrap());
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let hello = Hello { host: true, ..Hello::new(Role::Worker, "test worker") };
    connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    if behavior == Behavior::NeverAccepts {
        report_state();
        forever();
    }
    let slots = imported(&mut connection);
    if behavior == Behavior::Refuses {
        let refused = Message::Refused { exchange: Some(0), code: Code::Resource, text: "expected floats".into() };
        connection.send(&refused, None, LIMIT).unwrap();
        forever();
    }
    connection.send(&Message::Ready { exchange: 0 }, None, LIMIT).unwrap();
    if behavior == Behavior::NeverWrites {
        report_state();
        forever();
    }
    write(&mut connection, &slots, behavior, mark);
}

/// Receives and maps the memory of each slot's resources.
fn imported(connection: &mut Connection) -> Vec<Vec<MappedMemory>> {
    let Message::Offer(offer) = connection.receive(LIMIT).unwrap().message else { panic!("no offer") };
    let mut slots = Vec::new();
    for _ in 0..offer.slots {
        let mut resources = Vec::new();
        for _ in 0..offer.resources {
            let received = connection.receive(LIMIT).unwrap();
            let Message::Resource(resource) = received.message else { panic!("no resource") };
            let handle = received.descriptor.unwrap();
            resources.push(SharedMemory::from_peer("frame", handle, resource.allocation_size).unwrap().map().unwrap());
            check(&resource);
        }
        slots.push(resources);
    }
    slots
}

fn check(resource: &Resource) {
    if let ResourceKind::Buffer(buffer) = resource.kind {
        assert_eq!((buffer.size, buffer.element_size), (LEN as u64 * 4, 4));
    }
}

fn write(connection: &mut Connection, slots: &[Vec<MappedMemory>], behavior: Behavior, mark: u32) {
    let mut free = Vec::new();
    for frame in 0u64.. {
        let stops = behavior != Behavior::Runs && frame == 5;
        match behavior {
            Behavior::Idles | Behavior::StopsAfterPublish if stops => {
                report_state();
                forever();
            }
            Behavior::Leaves if stops => {
                connection.close(Code::Done, "all frames are written");
                report_state();
                return;
            }
            Behavior::LeavesAChild if stops => leave_a_child(connection),
            Behavior::HangsUp if stops => {
                connection.close(Code::Failure, "");
                report_state();
                forever();
            }
            _ => {}
        }
        while free.is_empty() {
            let Ok(received) = connection.receive(LIMIT) else { return };
            if let Message::Free { slot, .. } = received.message {
                free.push(slot);
            }
        }
        let slot = free.remove(0);
        let value = (mark << 20) + frame as u32;
        for memory in &slots[slot as usize] {
            let bytes: Vec<u8> = value.to_ne_bytes().into_iter().cycle().take(memory.len()).collect();
            if stops && behavior == Behavior::StopsMidFrame {
                assert!(memory.write(0, &bytes[..bytes.len() / 2]));
                report_state();
                forever();
            }
            let written = if behavior == Behavior::PublishesHalves { memory.len() / 2 } else { memory.len() };
            assert!(memory.write(0, &bytes[..written]));
        }
        let publish = Message::Publish { exchange: 0, slot, frame, value: frame + 1 };
        if connection.send(&publish, None, LIMIT).is_err() {
            // The renderer has ended, or has ended the exchange.
            return;
        }
        if behavior == Behavior::Runs && frame == 5 {
            report_state();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
