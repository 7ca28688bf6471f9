//! The side that is attacked: its use of the exchange ends with errors.
#![allow(unsafe_code)] // Submissions.

use std::path::Path;
use std::time::{Duration, Instant};

use bridge::{AcceptInfo, BufferAccess, BufferSpec, Error, ExchangeInfo, ExportDevice, LatestInfo, Listener, Remote};
use bridge_fuzz::Counts;
use bridge_ipc::{Backend, ConnectInfo, Connection, Hello, Message, Role};
use bridge_worker::{Buffer, Worker, WorkerInfo};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::attack::{Attacker, LEN, LIMIT};
use crate::op::{Case, Kind};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Runs a renderer with a hostile worker. Afterward, an honest worker must be able to connect.
pub(crate) fn renderer(device: &ExportDevice, folder: &Path, case: &Case) -> Counts {
    let listener = Listener::bind(folder.join("s")).unwrap();
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(listener.path()).unwrap()).unwrap();
    let attacker = Attacker::new(socket, case);
    let trust = case.kind.is_in_step();
    let mut counts = std::thread::scope(|scope| {
        let attack = scope.spawn(|| attacker.run(&case.ops));
        let accepted = listener.accept_with(device, &AcceptInfo { timeout: LIMIT, trust });
        let ended = match accepted.map(|remote| remote.expect("a process that has hung up is waited for")) {
            Ok(remote) => draw(remote, case.kind).unwrap_or("exchanges of a renderer that were not made"),
            Err(_) => "workers that were not met",
        };
        let mut counts = attack.join().unwrap();
        counts.add(ended);
        counts
    });
    let path = listener.path().to_owned();
    let honest = std::thread::spawn(move || {
        let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
        let hello = Hello { host: true, ..Hello::new(Role::Worker, "honest") };
        connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
        connection
    });
    let met = listener.accept(device, LIMIT).unwrap().expect("an honest worker is not met");
    assert_eq!(met.name(), "honest");
    drop((honest.join().unwrap(), met));
    counts.add("honest workers met behind");
    counts
}

/// Takes or draws frames until the worker is lost.
fn draw(remote: Remote, kind: Kind) -> Outcome<&'static str> {
    let latest = LatestInfo { name: "x", timeout: LIMIT, ..Default::default() };
    let start = Instant::now();
    let lost = |checked: bridge::Result<()>| {
        assert!(start.elapsed() < LIMIT, "the end of a worker is not reported");
        matches!(checked, Err(Error::PeerLost { .. }))
    };
    match kind {
        Kind::Writes => {
            let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
            let mut reader = remote.latest(&latest, spec)?;
            while !lost(reader.check_worker()) {
                reader.newest().unwrap().into_iter().for_each(|turn| turn.skip());
            }
            reader.close().unwrap();
        }
        Kind::Reads => {
            let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_WRITE);
            let mut writer = remote.latest_render_first(&latest, spec)?;
            while !lost(writer.check_worker()) {
                let turn = writer.begin().unwrap();
                // SAFETY: no commands use the slot, so nothing must be acquired or released.
                unsafe { turn.submit(&[]) }.unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
            writer.close().unwrap();
        }
        Kind::InStep => {
            let info = ExchangeInfo { name: "x", slots: 2, timeout: LIMIT, ..Default::default() };
            let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
            let mut steps = remote.exchange(&info, spec)?;
            let mut points = Vec::new();
            while !lost(steps.check_worker()) {
                if let Ok(Some(turn)) = steps.next(Duration::from_millis(1)) {
                    // SAFETY: as above.
                    points.push(unsafe { turn.submit(&[]) }.unwrap());
                }
            }
            // The points are reached whatever the worker announced.
            points.iter().for_each(|point| point.wait(LIMIT).unwrap());
            steps.close().unwrap();
        }
        Kind::ReadsInStep => {
            let info = ExchangeInfo { name: "x", slots: 2, timeout: LIMIT, ..Default::default() };
            let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_WRITE);
            let mut writer = remote.exchange_render_first(&info, spec)?;
            let mut points = Vec::new();
            while !lost(writer.check_worker()) {
                if let Ok(Some(turn)) = writer.begin(Duration::from_millis(1)) {
                    // SAFETY: as above.
                    points.push(unsafe { turn.submit(&[]) }.unwrap());
                }
            }
            points.iter().for_each(|point| point.wait(LIMIT).unwrap());
            writer.close().unwrap();
        }
    }
    Ok("exchanges of a renderer")
}

/// Runs a worker with a hostile renderer.
pub(crate) fn worker(folder: &Path, case: &Case) -> Counts {
    let listener = bridge_ipc::Listener::bind(folder.join("s")).unwrap();
    std::thread::scope(|scope| {
        let attack = scope.spawn(|| {
            // The listener is non-blocking.
            let connected = poll(&mut [PollFd::new(&listener, PollFlags::IN)], None);
            assert_eq!(connected, Ok(1));
            let socket = rustix::net::accept(&listener).unwrap();
            Attacker::new(socket, case).run(&case.ops)
        });
        let start = Instant::now();
        let ended = write(listener.path(), case.kind).unwrap_or("exchanges of a worker that were not had");
        assert!(start.elapsed() < LIMIT, "a worker waits for {:?}", start.elapsed());
        let mut counts = attack.join().unwrap();
        counts.add(ended);
        counts
    })
}

/// Writes or reads frames until the renderer is gone.
fn write(path: &Path, kind: Kind) -> Outcome<&'static str> {
    // A short timeout, for renderers that stop sending messages.
    let timeout = Duration::from_millis(300);
    let trust = kind.is_in_step();
    let info = WorkerInfo { backend: Some(Backend::Host), timeout, trust, ..Default::default() };
    let worker = Worker::connect_with(path, &info)?;
    match kind {
        Kind::Writes => {
            let mut writer = worker.latest::<Buffer<u32>>("x")?;
            while let Ok(mut turn) = writer.begin() {
                let bridge_worker::Work::Host(mut host) = turn.work() else { panic!("it computes with CUDA") };
                host.resources.write_from(0, &vec![7; host.resources.len()])?;
                turn.publish()?;
            }
        }
        Kind::Reads => {
            let mut reader = worker.latest_reader::<Buffer<u32>>("x")?;
            while reader.wait_for_newer(timeout).is_ok_and(|newer| newer) {
                let Some(turn) = reader.newest()? else { continue };
                let bridge_worker::Read::Host(host) = turn.work() else { panic!("it computes with CUDA") };
                host.resources.read_into(0, &mut vec![0; host.resources.len()])?;
            }
        }
        Kind::ReadsInStep => {
            let mut reader = worker.exchange_reader::<Buffer<u32>>("x")?;
            while let Ok(Some(turn)) = reader.next(timeout) {
                let bridge_worker::Read::Host(host) = turn.work() else { panic!("it computes with CUDA") };
                host.resources.read_into(0, &mut vec![0; host.resources.len()])?;
                turn.finish()?;
            }
        }
        Kind::InStep => {
            let mut exchange = worker.exchange::<Buffer<u32>>("x")?;
            while let Ok(mut turn) = exchange.begin() {
                let bridge_worker::Work::Host(mut host) = turn.work() else { panic!("it computes with CUDA") };
                host.resources.write_from(0, &vec![7; host.resources.len()])?;
                turn.finish()?;
            }
        }
    }
    Ok("exchanges of a worker")
}
