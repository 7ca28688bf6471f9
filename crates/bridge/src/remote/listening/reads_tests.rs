//! Tests of the thread that listens to a worker with CUDA that reads, whose GPU the test plays.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use bridge_ipc::{ConnectInfo, Direction, Hello, Listener, Offer, Role, Side, Timeline};
use vk_export::{BufferAccess, ExportDevice};

use super::*;
use crate::buffer::descriptor::resource_kind;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::{Exchange, LatestInfo, LatestReader, LatestWriter, RemoteHandle, RenderFirst};
use crate::remote::latest_reader::LatestReaderPart;
use crate::remote::memory::AcceptedMemory;
use crate::remote::status::Status;
use crate::remote::timelines::Timelines;
use crate::remote::wake::Waker;
use crate::test_device::own_device;

type Words = BufferSpec<u32>;
type Reader = LatestReader<Words, RenderFirst>;

const LIMIT: Duration = Duration::from_secs(20);
const LEN: usize = 64;
/// Set for a process that runs a worker: the path to connect to.
const PLACE: &str = "BRIDGE_LINK_READING_WORKER";
/// Maximum number of slots that a worker holds: of six, without two in flight and the newest.
const MOST: usize = 3;

struct Scene {
    listener: Listener,
    device: ExportDevice,
    writer: LatestWriter<Words, RenderFirst>,
    status: Arc<Status>,
    control: Arc<Control>,
}

impl Scene {
    /// Returns `None`, and skips the test, without a Vulkan device.
    fn new(name: &str) -> Option<(Self, StoredHandle<Reader>)> {
        let device = own_device()?;
        let path = std::env::temp_dir().join(format!("bridge-reads-{}-{name}", std::process::id()));
        let listener = Listener::bind(path).unwrap();
        let info = LatestInfo { name: "frames", ..Default::default() };
        let compute = Compute::remote_unchecked(&device, false, Trust::None).unwrap();
        let spec = Words::new(LEN, BufferAccess::TRANSFER_WRITE);
        let (writer, mut reader) = Exchange::latest_render_first_for(&compute, &info, spec).unwrap();
        let waker = Arc::new(Waker::new().unwrap());
        let woken = Arc::clone(&waker);
        reader.set_on_change(move || woken.wake());
        let (control, status) = (Arc::new(Control::new(&waker)), Arc::new(Status::new("frames")));
        Some((Self { listener, device, writer, status, control }, StoredHandle::new(reader)))
    }

    /// Accepts a worker, gives it the exchange and listens to it. Returns a function that plays its
    /// GPU.
    fn listen(&mut self, stored: StoredHandle<Reader>) -> (JoinHandle<StoredHandle<Reader>>, impl Fn(u64) + use<>) {
        let mut connection = self.listener.accept(LIMIT).unwrap().unwrap();
        let device_uuid = self.device.uuid();
        let hello = Hello { cuda: true, device_uuid, ..Hello::new(Role::Renderer, "test") };
        connection.handshake(&hello, LIMIT).unwrap();
        let slots = u32::try_from(stored.handle.count()).unwrap();
        let offer = Offer {
            exchange: EXCHANGE,
            direction: Direction::RendererWrites,
            slots,
            resources: 1,
            writer_in_flight: 2,
            reader_in_flight: 2,
            trust: false,
            name: "frames".to_owned(),
        };
        connection.send(&Message::Offer(offer), None, LIMIT).unwrap();
        for slot in 0..slots {
            let exported = stored.handle.export(slot as usize).unwrap();
            let resource = exported[0].resource(EXCHANGE, slot, 0, resource_kind::<u32>(LEN));
            connection.send(&Message::Resource(resource), Some(exported[0].as_fd()), LIMIT).unwrap();
        }
        let nothing = rustix::fs::memfd_create("timeline", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        for side in [Side::Computed, Side::Rendered] {
            let timeline = Timeline { exchange: EXCHANGE, side, device_uuid, value: 0 };
            connection.send(&Message::Timeline(timeline), Some(nothing.as_fd()), LIMIT).unwrap();
        }
        assert_eq!(connection.receive(LIMIT).unwrap().message, Message::Ready { exchange: EXCHANGE });
        let timelines = Timelines::unexported(&self.device, "frames").unwrap();
        let gpu = timelines.player();
        self.control = Arc::new(Control::new(self.control.waker()));
        let part = LatestReaderPart::new(stored.handle, AcceptedMemory::Slots(timelines), self.control.waker());
        let (control, timeout) = (Arc::clone(&self.control), LIMIT);
        let status = self.status.connect_worker(connection.peer().pid());
        let listening = WorkerListener { connection, part, control, status, timeout, held: 0, receives_nothing: false };
        (std::thread::spawn(move || listening.run()), gpu)
    }

    /// Draws a frame, and waits until it is finished; returns its slot.
    fn draw(&mut self) -> usize {
        let turn = self.writer.begin().unwrap();
        let slot = turn.slot();
        #[allow(unsafe_code)]
        // SAFETY: no commands use the slot, so nothing has to be acquired or released.
        let point = unsafe { turn.submit(&[]) }.unwrap();
        point.wait(LIMIT).unwrap();
        slot
    }

    /// Draws more frames than two in flight and the newest can hold; returns the slots that were
    /// drawn to.
    fn draw_many(&mut self) -> Vec<usize> {
        let mut slots: Vec<_> = (0..20).map(|_| self.draw()).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
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

    fn stop(&self, thread: JoinHandle<StoredHandle<Reader>>) -> StoredHandle<Reader> {
        self.control.stop();
        thread.join().unwrap()
    }
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

/// Receives the next frame; returns its slot and its number.
fn shown(connection: &mut Connection) -> (u32, u64) {
    match connection.receive(LIMIT).unwrap().message {
        Message::Publish { slot, frame, .. } => (slot, frame),
        other => panic!("{other:?}"),
    }
}

fn free(connection: &mut Connection, slot: u32, value: u64) {
    connection.send(&Message::Free { exchange: EXCHANGE, slot, value }, None, LIMIT).unwrap();
}

/// Slots that a lost worker may still read are not drawn to while its process runs, and the writer
/// has enough others.
#[test]
fn slots_of_a_lost_worker_are_unused_while_its_process_runs() {
    for hangs_up in [true, false] {
        let Some((mut scene, stored)) = Scene::new("lives") else { return };
        let path = scene.listener.path().to_owned();
        let (go, gone) = std::sync::mpsc::channel();
        let (see, seen) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            let mut connection = taken(&path);
            let frames: Vec<_> =
                (0..MOST).map(|_| shown(&mut connection)).inspect(|one| see.send(*one).unwrap()).collect();
            // One slot that the worker is finished with, and one that it only announces.
            free(&mut connection, frames[0].0, 1);
            free(&mut connection, frames[1].0, 2);
            gone.recv().unwrap();
            (!hangs_up).then_some(connection)
        });
        let (thread, gpu) = scene.listen(stored);
        let mut slots = Vec::new();
        for frame in 0..MOST as u64 {
            let drawn = scene.draw();
            let (slot, shown) = seen.recv().unwrap();
            assert_eq!((slot as usize, shown), (drawn, frame));
            slots.push(drawn);
        }
        gpu(1);
        go.send(()).unwrap();
        // Once the slot has returned, the worker gets the newest frame in its place.
        let _connection = worker.join().unwrap();
        if hangs_up {
            let Error::PeerLost { dead, owed, .. } = scene.lost() else { panic!() };
            assert_eq!((dead, owed), (false, 1));
        }
        let stored = scene.stop(thread);
        let Error::PeerLost { held, owed, .. } = scene.lost() else { panic!() };
        let handle = stored.handle.remote_slots();
        assert_eq!((held + usize::try_from(owed).unwrap(), owed), (handle.len(), 1), "{handle:?}");
        assert!(handle.contains(&slots[1]) && handle.contains(&slots[2]) && !handle.contains(&slots[0]), "{handle:?}");
        assert!(stored.previous.is_some(), "its end is not waited for");
        let drawn = scene.draw_many();
        assert!(drawn.iter().all(|slot| !handle.contains(slot)), "{drawn:?}, and {handle:?} may be read");
        let Scene { writer, .. } = scene;
        writer.close(stored.handle).unwrap();
    }
}

/// A killed worker's slots return, whatever messages it had sent, and each next worker gets exactly
/// as many slots as the first.
#[test]
fn next_worker_gets_as_many_slots_as_the_first() {
    if let Ok(path) = std::env::var(PLACE) {
        let mut connection = taken(Path::new(&path));
        let slots: Vec<_> = (0..MOST).map(|_| shown(&mut connection).0).collect();
        // The worker never finishes with either of them.
        free(&mut connection, slots[0], 1);
        free(&mut connection, slots[1], 2);
        println!("there");
        std::thread::sleep(LIMIT);
        return;
    }
    let Some((mut scene, mut stored)) = Scene::new("killed") else { return };
    for _ in 0..5 {
        let mut process = start(scene.listener.path());
        let (thread, _gpu) = scene.listen(stored);
        let mut message = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let waiting = std::thread::spawn(move || message.any(|line| line.contains("there")));
        let start = Instant::now();
        while !waiting.is_finished() {
            scene.draw();
            assert!(start.elapsed() < LIMIT, "it has not come to have {MOST} slots");
        }
        assert!(waiting.join().unwrap());
        // The worker holds all slots that it may have, so it is sent no more frames.
        scene.draw_many();
        process.kill().unwrap();
        process.wait().unwrap();
        stored = thread.join().unwrap();
        let Error::PeerLost { dead, held, owed, .. } = scene.lost() else { panic!() };
        assert_eq!((dead, held, owed), (true, 1, 2));
        assert!(stored.previous.is_none() && stored.handle.remote_slots().is_empty(), "its slots are free");
    }
    assert!(scene.draw_many().len() >= 3);
    let Scene { writer, .. } = scene;
    writer.close(stored.handle).unwrap();
}

/// A frame whose message could not be sent to a worker that had ended is given to the next one.
#[test]
fn unsent_frame_of_a_lost_worker_goes_to_the_next() {
    let Some((mut scene, stored)) = Scene::new("untold") else { return };
    let path = scene.listener.path().to_owned();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let worker = std::thread::spawn(move || {
        let connection = taken(&path);
        gone.recv().unwrap();
        // The worker receives nothing more, and messages that it may still send are waited for.
        let socket = std::os::unix::net::UnixStream::from(connection.as_fd().try_clone_to_owned().unwrap());
        socket.shutdown(std::net::Shutdown::Read).unwrap();
        connection
    });
    let (thread, _gpu) = scene.listen(stored);
    go.send(()).unwrap();
    let connection = worker.join().unwrap();
    let drawn = scene.draw();
    let Error::PeerLost { held: 0, frame: None, .. } = scene.lost() else { panic!("{}", scene.lost()) };
    let stored = scene.stop(thread);
    assert!(stored.handle.remote_slots().is_empty(), "it was never notified of the slot");
    drop(connection);

    let path = scene.listener.path().to_owned();
    let next = std::thread::spawn(move || {
        let mut connection = taken(&path);
        (shown(&mut connection), connection)
    });
    let (thread, _gpu) = scene.listen(stored);
    let (shown, connection) = next.join().unwrap();
    assert_eq!(shown, (drawn as u32, 0), "nothing else was drawn");
    let stored = scene.stop(thread);
    drop(connection);
    let Scene { writer, .. } = scene;
    writer.close(stored.handle).unwrap();
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "remote::listening::reads::next_worker_gets_as_many_slots_as_the_first"])
        .env(PLACE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
