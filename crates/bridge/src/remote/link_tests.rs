//! Tests of the thread of a connection when this process fails.

use std::sync::Mutex;
use std::sync::mpsc::TryRecvError;
use std::thread::JoinHandle;
use std::time::Duration;

use bridge_ipc::{Backend, ConnectInfo, Direction, Error as IpcError, Hello, Listener, Message, Role};
use vk_export::BufferAccess;

use super::*;
use crate::buffer::descriptor::resource_kind;
use crate::buffer::spec::BufferSpec;
use crate::compute::{self, Compute};
use crate::exchange::{Exchange, LatestInfo};
use crate::remote::stored_handle::StoredHandle;
use crate::test_device::device;

const LIMIT: Duration = Duration::from_secs(20);

/// Connects a worker on the CPU, which does what `work` does on a thread.
fn connected<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(Connection) -> T + Send + 'static,
) -> (Connection, JoinHandle<T>) {
    let path = std::env::temp_dir().join(format!("bridge-{name}-{}", std::process::id()));
    let listener = Listener::bind(&path).unwrap();
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        let hello = Hello { host: true, ..Hello::new(Role::Worker, "worker") };
        connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
        work(connection)
    });
    let mut connection = listener.accept(LIMIT).unwrap().unwrap();
    let hello = Hello { host: true, ..Hello::new(Role::Renderer, "renderer") };
    connection.handshake(&hello, LIMIT).unwrap();
    (connection, worker)
}

/// If the memory for the next worker cannot be created, the worker is notified, and does not wait.
#[test]
fn worker_is_notified_of_a_failed_offer() {
    let Some(device) = device() else { return };
    let (connection, worker) = connected("offer", |mut connection| {
        assert!(matches!(connection.receive(LIMIT).unwrap().message, Message::Offer(_)));
        // The Bye; only the end of the connection follows.
        connection.receive(LIMIT).map(|received| received.message)
    });
    let info = LatestInfo { name: "frames", ..Default::default() };
    let compute = Compute::new(&device, compute::Backend::Host).unwrap();
    let spec = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_WRITE);
    let (writer, reader) = Exchange::latest_render_first_for(&compute, &info, spec).unwrap();
    // Memory of zero bytes cannot be created.
    let kinds = vec![resource_kind::<u32>(0)];
    let terms = Terms::new(&info, kinds, Backend::Host, Direction::RendererWrites, false);
    let status = Arc::new(Status::new("frames"));
    let home: HandleStore<_> = Arc::new(Mutex::new(Some(StoredHandle::new(reader))));
    let link =
        WorkerLink::new(connection, &terms, &status, &home, &Arc::new(Waker::new().unwrap()), &mut None, None).unwrap();
    let heard = worker.join().unwrap();
    let reported = match &heard {
        Ok(Message::Bye { text, .. }) | Err(IpcError::Closed { reason: Some((_, text)), .. }) => text,
        other => panic!("{other:?}"),
    };
    assert!(reported.contains("0 bytes"), "{reported}");
    drop(link);
    assert!(status.loss_error().unwrap().to_string().contains("0 bytes"), "and so is the program");
    let stored = take(&home).unwrap();
    writer.close(stored.handle).unwrap();
}

/// If a worker ends before it is offered anything, the reason that it gave is reported.
#[test]
fn reason_of_a_worker_that_ends_before_the_offer_is_reported() {
    let Some(device) = device() else { return };
    for word in [Some("xyz"), None] {
        let (connection, worker) = connected("word", move |mut connection| {
            if let Some(text) = word {
                connection.close(Code::Device, text);
            }
            let socket = std::os::fd::AsFd::as_fd(&connection).try_clone_to_owned().unwrap();
            std::os::unix::net::UnixStream::from(socket).shutdown(std::net::Shutdown::Both).unwrap();
        });
        worker.join().unwrap();
        let remote = crate::remote::accepted::Remote { connection, device: device.clone() };
        let spec = BufferSpec::<u32>::new(64, BufferAccess::VERTEX_INPUT);
        let error = remote.latest(&LatestInfo { name: "frames", ..Default::default() }, spec).unwrap_err();
        assert_eq!(error.to_string().contains("xyz"), word.is_some(), "{error}");
    }
}

/// While the thread of the last worker waits for the end of that worker, the death of the next one
/// is reported, and the program can leave.
#[test]
fn thread_that_waits_for_the_last_one_sees_its_worker_and_the_program() {
    type Store = HandleStore<crate::exchange::LatestWriter<BufferSpec<u32>>>;
    for ends in ["dies", "is unwanted", "is late"] {
        let (let_go, go) = channel::<()>();
        let (connection, worker) = connected("before", move |connection| go.recv().map(|()| drop(connection)));
        let (sender, waits) = channel::<()>();
        let waker = Arc::new(Waker::new().unwrap());
        let shared = Arc::clone(&waker);
        // A thread before it sleeps on the same waker, and clears it.
        let mut before = Some(WorkerThread::new(std::thread::spawn(move || {
            while waits.try_recv() == Err(TryRecvError::Empty) {
                shared.clear();
            }
        })));
        let timeout = if ends == "is late" { Duration::from_millis(1) } else { Duration::MAX };
        let info = LatestInfo { name: "frames", timeout, ..Default::default() };
        let terms = Terms::new(&info, Vec::new(), Backend::Host, Direction::WorkerWrites, false);
        let (status, store) = (Arc::new(Status::new("frames")), Store::default());
        let link = WorkerLink::new(connection, &terms, &status, &store, &waker, &mut before, None).unwrap();
        let lost = || {
            let start = Instant::now();
            while status.loss_error().is_none() {
                assert!(start.elapsed() < LIMIT);
                std::thread::yield_now();
            }
        };
        match ends {
            "dies" => {
                let_go.send(()).unwrap();
                lost();
            }
            "is late" => lost(),
            _ => {}
        }
        let thread = link.end().expect("the thread still waits");
        let reported = status.loss_error().unwrap().to_string();
        let reason = match ends {
            "dies" => "the connection was dropped",
            "is late" => "has not ended within 1ms",
            _ => "the renderer ended it",
        };
        assert!(reported.contains(reason) && !thread.is_finished(), "{reported}");
        drop((sender, let_go));
        thread.join();
        let _ = worker.join().unwrap();
    }
}

/// A forked child that drops its copy of a link neither stops the thread, which its parent has, nor
/// waits for it.
#[test]
fn forked_child_does_not_stop_the_thread_of_its_parent() {
    let ends: [fn(WorkerLink); 3] =
        [drop, |link| assert!(link.end().is_none()), |link| assert!(link.abandon().is_none())];
    for end in ends {
        let control = Arc::new(Control::new(&Arc::new(Waker::new().unwrap())));
        // A link of this process would stop the thread and join it.
        control.end();
        let thread = WorkerThread::new(std::thread::spawn(|| ()));
        let status = Arc::new(Status::new("frames")).connect_worker(0);
        let mut link = Some(WorkerLink { control: Arc::clone(&control), status, thread: Some(thread) });
        test_support::in_a_child(|| {
            end(link.take().unwrap());
            assert!(!control.is_stopped() && !control.discards());
        });
    }
    let (sender, waits) = channel::<()>();
    let running = std::thread::spawn(move || waits.recv().unwrap_or_default());
    let mut running = Some(WorkerThread::new(running));
    // Would last until the next line otherwise.
    test_support::in_a_child(|| running.take().unwrap().join());
    drop(sender);
}
