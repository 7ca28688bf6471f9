//! Tests of the thread that listens to a worker with CUDA, whose GPU the test plays: the software
//! driver exports memory, but no timelines.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use bridge_ipc::{ConnectInfo, Direction, Hello, Listener, Offer, Role, Side, Timeline};
use vk_export::{BufferAccess, ExportDevice};

use super::*;
use crate::buffer::descriptor::resource_kind;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::{Exchange, LatestInfo, LatestReader, RemoteHandle};
use crate::remote::latest_writer::LatestWriterPart;
use crate::remote::memory::AcceptedMemory;
use crate::remote::status::Status;
use crate::remote::timelines::Timelines;
use crate::remote::wake::Waker;
use crate::test_device::own_device;

type Words = BufferSpec<u32>;
const LIMIT: Duration = Duration::from_secs(20);
const LEN: usize = 64;
#[path = "ends_tests.rs"]
mod ends;

/// Set for a process that runs a worker: the path to connect to.
const PLACE: &str = "BRIDGE_LINK_WORKER";

struct Scene {
    listener: Listener,
    device: ExportDevice,
    reader: LatestReader<Words>,
    status: Arc<Status>,
    control: Arc<Control>,
    writer: Option<LatestWriter<Words>>,
}

type LatestWriter<R> = crate::exchange::LatestWriter<R, crate::exchange::ComputeFirst>;

impl Scene {
    /// Returns `None`, and skips the test, without a Vulkan device.
    fn new(name: &str) -> Option<Self> {
        Self::with_slots(name, None)
    }

    fn with_slots(name: &str, slots: Option<usize>) -> Option<Self> {
        let device = own_device()?;
        let path = std::env::temp_dir().join(format!("bridge-link-{}-{name}", std::process::id()));
        let listener = Listener::bind(path).unwrap();
        let info = LatestInfo { name: "frames", slots, ..Default::default() };
        let compute = Compute::remote_unchecked(&device, false, Trust::None).unwrap();
        let spec = Words::new(LEN, BufferAccess::TRANSFER_READ);
        let (mut writer, reader) = Exchange::latest_for(&compute, &info, spec).unwrap();
        let waker = Arc::new(Waker::new().unwrap());
        let woken = Arc::clone(&waker);
        writer.set_on_change(move || woken.wake());
        let control = Arc::new(Control::new(&waker));
        let status = Arc::new(Status::new("frames"));
        Some(Self { listener, device, reader, status, control, writer: Some(writer) })
    }

    fn path(&self) -> PathBuf {
        self.listener.path().to_owned()
    }

    fn accept(&self) -> Connection {
        let mut connection = self.listener.accept(LIMIT).unwrap().unwrap();
        let hello = Hello { cuda: true, device_uuid: self.device.uuid(), ..Hello::new(Role::Renderer, "test") };
        connection.handshake(&hello, LIMIT).unwrap();
        connection
    }

    /// Offers the exchange, with placeholder descriptors for timelines, and listens to the worker
    /// once it has accepted. Returns a function that plays its GPU.
    fn listen(&mut self) -> (JoinHandle<StoredHandle<LatestWriter<Words>>>, impl Fn(u64) + use<>) {
        let (listening, gpu) = self.prepare();
        (std::thread::spawn(move || listening.run()), gpu)
    }

    /// Like [`listen`](Self::listen), without starting the thread.
    fn prepare(&mut self) -> (WorkerListener<LatestWriterPart<Words>>, impl Fn(u64) + use<>) {
        let mut connection = self.accept();
        let writer = self.writer.take().unwrap();
        let say = |connection: &mut Connection, message, descriptor: Option<&dyn AsFd>| {
            connection.send(&message, descriptor.map(AsFd::as_fd), LIMIT).unwrap();
        };
        let exported: Vec<_> = (0..writer.slots()).map(|slot| writer.export(slot).unwrap()).collect();
        let offer = Offer {
            exchange: EXCHANGE,
            direction: Direction::WorkerWrites,
            slots: u32::try_from(exported.len()).unwrap(),
            resources: 1,
            writer_in_flight: 2,
            reader_in_flight: 2,
            trust: false,
            name: "frames".to_owned(),
        };
        say(&mut connection, Message::Offer(offer), None);
        for (slot, exported) in (0..).zip(&exported) {
            let resource = exported[0].resource(EXCHANGE, slot, 0, resource_kind::<u32>(LEN));
            say(&mut connection, Message::Resource(resource), Some(&exported[0]));
        }
        let nothing = rustix::fs::memfd_create("timeline", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        for side in [Side::Computed, Side::Rendered] {
            let timeline = Timeline { exchange: EXCHANGE, side, device_uuid: self.device.uuid(), value: 0 };
            say(&mut connection, Message::Timeline(timeline), Some(&nothing));
        }
        assert_eq!(connection.receive(LIMIT).unwrap().message, Message::Ready { exchange: EXCHANGE });
        let timelines = Timelines::unexported(&self.device, "frames").unwrap();
        let gpu = timelines.player();
        let part = LatestWriterPart::new(writer, AcceptedMemory::Slots(timelines), self.control.waker());
        let (status, control) = (self.status.connect_worker(connection.peer().pid()), Arc::clone(&self.control));
        (WorkerListener { connection, part, control, status, timeout: LIMIT, held: 0, receives_nothing: false }, gpu)
    }

    fn stop(&self, thread: JoinHandle<StoredHandle<LatestWriter<Words>>>) -> StoredHandle<LatestWriter<Words>> {
        self.control.stop();
        thread.join().unwrap()
    }

    /// Waits until a new frame is shown; returns its number.
    fn new_frame(&mut self) -> u64 {
        let start = Instant::now();
        loop {
            if let Some(turn) = self.reader.newest().unwrap().filter(|turn| turn.is_new()) {
                let frame = turn.frame();
                turn.read_back(LIMIT).unwrap();
                return frame;
            }
            assert!(start.elapsed() < LIMIT, "nothing new is shown: {:?}", self.status.loss_error());
        }
    }

    fn lost(&self) -> Error {
        let start = Instant::now();
        loop {
            match self.status.loss_error() {
                Some(error) => return error,
                None => assert!(start.elapsed() < LIMIT, "the loss of the worker is not reported"),
            }
        }
    }
}

/// Connects a worker that accepts the exchange; returns it with the slots that it owns.
fn connect(path: &Path) -> (Connection, Vec<u32>) {
    connect_to(path, 6)
}

/// Like [`connect`], for an exchange with another number of slots.
fn connect_to(path: &Path, slots: usize) -> (Connection, Vec<u32>) {
    let mut connection = taken(path);
    let slots = (0..slots).map(|_| free(&mut connection)).collect();
    (connection, slots)
}

/// Connects a worker that accepts the exchange.
fn taken(path: &Path) -> Connection {
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let device_uuid = connection.peer_hello().unwrap().device_uuid;
    let hello = Hello { cuda: true, device_uuid, ..Hello::new(Role::Worker, "worker") };
    connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    let is_last = |message: &Message| matches!(message, Message::Timeline(Timeline { side: Side::Rendered, .. }));
    while !is_last(&connection.receive(LIMIT).unwrap().message) {}
    connection.send(&Message::Ready { exchange: EXCHANGE }, None, LIMIT).unwrap();
    connection
}

fn free(connection: &mut Connection) -> u32 {
    match connection.receive(LIMIT).unwrap().message {
        Message::Free { slot, value, .. } if value > 0 => slot,
        other => panic!("{other:?}"),
    }
}

fn publish(connection: &mut Connection, slot: u32, frame: u64) {
    let publish = Message::Publish { exchange: EXCHANGE, slot, frame, value: frame + 1 };
    connection.send(&publish, None, LIMIT).unwrap();
}

#[test]
fn frames_arrive_and_a_closing_worker_returns_its_slots() {
    let Some(mut scene) = Scene::new("close") else { return };
    let path = scene.path();
    let (finished, all) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let (mut connection, slots) = connect(&path);
        for (slot, frame) in slots.iter().zip(0..3) {
            publish(&mut connection, *slot, frame);
        }
        // One frame is drawn and one is the newest: the slot of the frame before returns once it is
        // no longer drawn.
        assert_eq!(free(&mut connection), slots[0]);
        publish(&mut connection, slots[3], 3);
        // Close states that everything is signaled: a value that is reached later does not count.
        all.recv().unwrap();
        connection.send(&Message::Close { exchange: EXCHANGE }, None, LIMIT).unwrap();
        connection
    });
    let (thread, gpu) = scene.listen();
    gpu(1);
    assert_eq!(scene.new_frame(), 0);
    gpu(2);
    assert_eq!(scene.new_frame(), 1);
    gpu(3);
    assert_eq!(scene.new_frame(), 2);
    gpu(4);
    // The last frame may be observed only after the Close, and is still shown.
    finished.send(()).unwrap();
    let connection = worker.join().unwrap();
    let error = scene.lost();
    assert!(error.to_string().contains("has closed the exchange"), "{error}");
    assert_eq!(scene.new_frame(), 3);
    let stored = scene.stop(thread);
    assert!(stored.previous.is_none() && stored.handle.remote_slots().is_empty(), "it is done with its slots");
    drop(connection);
    stored.handle.close(scene.reader).unwrap();
}

/// A Close of the exchange counts even if the program disconnects the worker before reading it.
#[test]
fn unread_close_still_counts() {
    for closes in [true, false] {
        let Some(mut scene) = Scene::new("unheard") else { return };
        let path = scene.path();
        let worker = std::thread::spawn(move || {
            let mut connection = taken(&path);
            if closes {
                connection.send(&Message::Close { exchange: EXCHANGE }, None, LIMIT).unwrap();
            }
            connection
        });
        let (listening, _gpu) = scene.prepare();
        let connection = worker.join().unwrap();
        scene.control.stop();
        let stored = listening.run();
        assert_eq!(stored.previous.is_none(), closes, "whether it is done with its slots");
        assert_eq!(stored.handle.remote_slots(), [0usize; 0], "a worker that is sent away is given none");
        drop(connection);
        stored.handle.close(scene.reader).unwrap();
    }
}

#[test]
fn disconnected_worker_keeps_its_slots_while_its_process_runs() {
    let Some(mut scene) = Scene::new("hang-up") else { return };
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let (mut connection, slots) = connect(&path);
        publish(&mut connection, slots[0], 0);
    });
    let (thread, gpu) = scene.listen();
    worker.join().unwrap();
    let Error::PeerLost { dead, held, owed, .. } = scene.lost() else { panic!() };
    assert_eq!((dead, held, owed), (false, 5, 1));
    // Frames that the worker had announced before still count.
    gpu(1);
    assert_eq!(scene.new_frame(), 0);
    let mut stored = scene.stop(thread);
    assert_eq!((stored.previous.is_some(), stored.handle.remote_slots().len()), (true, 5));

    let path = scene.path();
    let next = std::thread::spawn(move || Connection::connect(path, &ConnectInfo::default()).map(drop));
    let connection = scene.listener.accept(LIMIT).unwrap().unwrap();
    let (control, limit) = (Control::new(&Arc::new(Waker::new().unwrap())), Duration::from_millis(50));
    let error = stored.wait_for_previous(&connection, &control, limit).unwrap_err().to_string();
    assert!(error.contains("may still use its slots"), "{error}");
    assert!(stored.previous.is_some(), "it is asked again for the next");
    drop(connection);
    assert!(next.join().unwrap().is_err(), "nobody has said Hello to it");
    stored.handle.close(scene.reader).unwrap();
}

/// A kernel of a killed process continues while a child holds the process's descriptors.
#[test]
#[expect(clippy::zombie_processes, reason = "it outlives the process that starts it")]
fn a_child_of_a_dead_worker_keeps_its_slots() {
    if let Ok(path) = std::env::var(PLACE) {
        let (connection, _) = connect(Path::new(&path));
        let inherited = connection.as_fd().try_clone_to_owned().unwrap();
        let child = Command::new("sleep").arg("60").stdin(Stdio::from(inherited)).spawn().unwrap();
        println!("child {}", child.id());
        std::thread::sleep(LIMIT);
        return;
    }
    let Some(mut scene) = Scene::new("child") else { return };
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "remote::listening::tests::a_child_of_a_dead_worker_keeps_its_slots"])
        .env(PLACE, scene.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (thread, _gpu) = scene.listen();
    let message = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let child = message.filter_map(|line| line.strip_prefix("child ").map(str::to_owned)).next().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let mut stored = thread.join().unwrap();
    assert!(matches!(scene.lost(), Error::PeerLost { dead: true, .. }));
    assert_eq!((stored.previous.is_some(), stored.handle.remote_slots().len()), (true, 6), "the child may still write");

    let path = scene.path();
    let next = std::thread::spawn(move || Connection::connect(path, &ConnectInfo::default()).map(drop));
    let connection = scene.listener.accept(LIMIT).unwrap().unwrap();
    let control = Control::new(&Arc::new(Waker::new().unwrap()));
    let error = stored.wait_for_previous(&connection, &control, Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("a child forked from it"), "{error}");
    Command::new("kill").arg(child).status().unwrap();
    stored.wait_for_previous(&connection, &control, LIMIT).unwrap();
    assert!(stored.previous.is_none() && stored.handle.remote_slots().is_empty(), "its slots are free");
    drop(connection);
    assert!(next.join().unwrap().is_err(), "it was refused");
    stored.handle.close(scene.reader).unwrap();
}
