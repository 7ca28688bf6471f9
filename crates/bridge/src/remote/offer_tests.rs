//! Test of an offer when the kernel has no room for descriptors.

use std::process::{Command, Stdio};

use bridge_ipc::{Backend, BufferDescriptor, ConnectInfo, Hello, Listener, ResourceKind, Role};
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::*;
use crate::buffer::descriptor::resource_kind;
use crate::exchange::LatestInfo;
use crate::remote::wake::Waker;

const LIMIT: Duration = Duration::from_secs(20);
/// Set for the process that has no room for descriptors.
const FULL: &str = "BRIDGE_OFFER_FULL";
/// Maximum number of descriptors that this process may have in flight.
const MOST: u64 = 100;

/// Returns both ends of a connection: the renderer's, and that of a worker on the CPU.
fn connected(name: &str) -> (Connection, Connection) {
    let path = std::env::temp_dir().join(format!("bridge-offer-{name}-{}", std::process::id()));
    let listener = Listener::bind(&path).unwrap();
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        let hello = Hello { host: true, ..Hello::new(Role::Worker, "worker") };
        connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
        connection
    });
    let mut renderer = listener.accept(LIMIT).unwrap().unwrap();
    renderer.handshake(&Hello { host: true, ..Hello::new(Role::Renderer, "renderer") }, LIMIT).unwrap();
    (renderer, worker.join().unwrap())
}

/// Puts as many descriptors in flight as this process may have; they are never received.
fn fill() -> (Connection, Connection) {
    let (mut renderer, worker) = connected("fill");
    let (slots, resources) = (16, 16);
    let offer = Offer {
        exchange: EXCHANGE,
        direction: Direction::WorkerWrites,
        slots,
        resources,
        writer_in_flight: 1,
        reader_in_flight: 1,
        trust: false,
        name: "fill".to_owned(),
    };
    renderer.send(&Message::Offer(offer), None, LIMIT).unwrap();
    let memory = SharedMemory::new("fill", 64).unwrap();
    let places = (0..slots).flat_map(|slot| (0..resources).map(move |index| (slot, index)));
    for (slot, index) in places.take(MOST as usize + 1) {
        let resource = Resource {
            exchange: EXCHANGE,
            slot,
            index,
            kind: ResourceKind::Buffer(BufferDescriptor { size: 64, element_size: 4 }),
            handle: Handle::Memfd,
            dedicated: false,
            device_uuid: Uuid::nil(),
            allocation_size: 64,
            offset: 0,
        };
        renderer.send(&Message::Resource(resource), Some(memory.handle().as_fd()), LIMIT).unwrap();
    }
    setrlimit(Limited::Nofile, Rlimit { current: Some(MOST), ..getrlimit(Limited::Nofile) }).unwrap();
    // Drops the capabilities of this thread that lift the limit.
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN);
    set_capabilities(None, sets).unwrap();
    (renderer, worker)
}

/// If other connections of the user take all the room, a program that still wants a worker gets an
/// error that names the limit, and one that no longer wants it does not wait for room.
#[test]
fn offer_waits_for_descriptor_room_until_cancelled() {
    let Some(_) = std::env::var_os(FULL) else {
        let test = "remote::offer::tests::offer_waits_for_descriptor_room_until_cancelled";
        let mut full = Command::new(std::env::current_exe().unwrap());
        let ended = full.args(["--exact", test]).env(FULL, "").stdin(Stdio::null()).status().unwrap();
        assert!(ended.success());
        return;
    };
    let control = Control::new(&Arc::new(Waker::new().unwrap()));
    let terms = |timeout| {
        let info = LatestInfo { name: "frames", timeout, ..Default::default() };
        Terms::new(&info, vec![resource_kind::<u32>(64)], Backend::Host, Direction::WorkerWrites, false)
    };
    let full = fill();
    let offer = |timeout| {
        let (mut renderer, mut worker) = connected("offer");
        let error = terms(timeout).offer::<()>(&mut renderer, OfferedMemory::New, &control).err().unwrap().to_string();
        assert!(matches!(worker.receive(LIMIT).unwrap().message, Message::Offer(_)));
        let Message::Bye { text, .. } = worker.receive(LIMIT).unwrap().message else { panic!() };
        (error, text)
    };
    let (error, reported) = offer(CHECK_INTERVAL * 3);
    assert!(error.contains("ulimit -n") && reported.contains("the connection with worker"), "{error}: {reported}");
    control.stop();
    let (error, reported) = offer(LIMIT);
    assert!(
        error.contains("it was ended before") && reported.contains("has ended the exchange"),
        "{error}: {reported}"
    );
    drop(full);
}
