use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};

use super::peer_socket::{close_elsewhere, closing};
use super::socket::{Next, new_socket, peek};
use super::*;
use crate::error::{Error, MemoryProblem};
use crate::message::hello::{Backend, Hello, Role};
use crate::message::offer::{Direction, Offer};
use crate::message::resource::{BufferDescriptor, Handle, Resource, ResourceKind};
use crate::message::{Code, Message};
use crate::shared_memory::SharedMemory;

mod descriptors;
mod ends;
mod forked;
mod greeting;
mod identity;
mod listening;
mod memory;
mod messages;
mod peers;

/// Time limit of each wait, including the start of a process.
const LIMIT: Duration = Duration::from_secs(30);

/// Descriptors are counted process-wide, so the tests that open some run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits for the other tests that open descriptors, and for the threads that still close some of
/// theirs.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let start = Instant::now();
    while is_closing() {
        assert!(start.elapsed() < LIMIT, "a descriptor of an earlier test is still being closed");
        std::thread::yield_now();
    }
    alone
}

/// Returns `true` while a thread of this process closes a descriptor, or is about to.
fn is_closing() -> bool {
    closing::count() > 0
}

/// Returns the number of open descriptors of this process, not counting those of files, which other
/// tests read at the same time.
fn open_descriptors() -> usize {
    let ours = |path: PathBuf| !path.is_absolute() || path.to_string_lossy().starts_with("/memfd:");
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(ours)).count()
}

fn hello(role: Role) -> Hello {
    Hello { host: true, ..Hello::new(role, "test") }
}

/// Connects a raw socket that has sent nothing; returns it with the renderer's end.
fn raw(listener: &Listener) -> (OwnedFd, Connection) {
    let socket = new_socket().unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(listener.path()).unwrap()).unwrap();
    (socket, listener.accept(LIMIT).unwrap().unwrap())
}

/// Makes the kernel queue descriptors for workers' connections, as before Linux 6.16.
fn as_an_older_kernel(listener: &Listener) {
    // Fails on older kernels, which always queue them.
    let _ = super::credentials::pass_rights(listener.as_fd(), true);
}

fn greeted(listener: &Listener) -> (Connection, Connection) {
    let path = listener.path().to_owned();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let mut worker = Connection::connect(&path, &ConnectInfo::default()).unwrap();
            worker.send(&Message::Hello(hello(Role::Worker)), None, LIMIT).unwrap();
            worker
        });
        let mut renderer = listener.accept(LIMIT).unwrap().unwrap();
        assert_eq!(renderer.handshake(&hello(Role::Renderer), LIMIT).unwrap().backend(), Some(Backend::Host));
        (renderer, worker.join().unwrap())
    })
}

fn offer() -> Message {
    let (exchange, direction, slots, resources) = (1, Direction::WorkerWrites, 1, 1);
    let (writer_in_flight, reader_in_flight, trust, name) = (1, 1, false, "x".into());
    Message::Offer(Offer { exchange, direction, slots, resources, writer_in_flight, reader_in_flight, trust, name })
}

fn resource(bytes: u64) -> Message {
    Message::Resource(Resource {
        exchange: 1,
        slot: 0,
        index: 0,
        kind: ResourceKind::Buffer(BufferDescriptor { size: bytes, element_size: 4 }),
        handle: Handle::Memfd,
        dedicated: false,
        device_uuid: uuid::Uuid::nil(),
        allocation_size: bytes,
        offset: 0,
    })
}

/// Sends bytes with up to eight descriptors.
fn send_raw_with(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(socket, &[std::io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

fn send_raw(socket: &OwnedFd, bytes: &[u8]) {
    send(socket, bytes, SendFlags::NOSIGNAL).unwrap();
}
