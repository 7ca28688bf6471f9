//! Workers that die, disconnect or leave.

use std::any::Any;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use bridge::Error;
use bridge_ipc::SharedMemory;
use bridge_tests::Rig;
use rustix::process::{PidfdFlags, Signal, pidfd_open};

use crate::scene::{Scene, until};
use crate::worker::{Behavior, Worker};

#[test]
fn a_worker_killed_in_any_state_is_replaced() {
    for behavior in
        [Behavior::Runs, Behavior::StopsMidFrame, Behavior::Idles, Behavior::NeverWrites, Behavior::StopsAfterPublish]
    {
        let mut scene = Scene::new();
        let (mut worker, mut reader) = scene.with(behavior, 1);
        worker.wait_for_state();
        if behavior != Behavior::NeverWrites {
            scene.read_until(&mut reader, (1 << 20) + 4);
        }
        worker.kill();
        let (error, took) = scene.dead(&mut reader);
        println!("{behavior:?}: told after {took:.1?}");
        let Error::PeerLost { worker: process, dead, frame, owed, .. } = error else { panic!("{error}") };
        assert_eq!((process, dead, owed), (worker.pid(), true, 0), "{behavior:?}");
        assert_eq!(frame.is_some(), behavior != Behavior::NeverWrites, "{behavior:?}");
        // Some have written half a frame: the last complete frame is shown.
        scene.assert_settled(&mut reader, behavior);

        let mut next = Worker::start(&scene.path(), Behavior::Runs, 2);
        reader.reconnect(scene.accept()).unwrap();
        reader.check_worker().unwrap();
        scene.read_until(&mut reader, (2 << 20) + 5);
        next.kill();
        scene.lost(&mut reader);
        reader.close().unwrap();
    }
}

/// The frame that a program holds outlives the process that wrote it.
#[test]
fn a_worker_dies_while_a_frame_is_held() {
    let mut scene = Scene::new();
    let (mut worker, mut reader) = scene.with(Behavior::Runs, 1);
    scene.read_until(&mut reader, (1 << 20) + 5);
    let turn = reader.newest().unwrap().unwrap();
    worker.kill();
    until("the end of the worker", || reader.check_worker().is_err());
    let values = turn.read_back(Rig::LONG).unwrap();
    assert!(values.iter().all(|value| *value == values[0]));
    let lent = reader.newest().unwrap().unwrap().lend().unwrap();
    let _second = Worker::start(&scene.path(), Behavior::Runs, 2);
    reader.reconnect(scene.accept()).unwrap();
    // SAFETY: nothing was submitted.
    #[allow(unsafe_code)]
    unsafe {
        lent.not_submitted();
    }
    scene.read_until(&mut reader, (2 << 20) + 5);
}

#[test]
fn the_last_frame_of_a_worker_that_leaves_is_shown() {
    for behavior in [Behavior::Leaves, Behavior::HangsUp] {
        let mut scene = Scene::new();
        let (mut worker, mut reader) = scene.with(behavior, 1);
        worker.wait_for_state();
        let (error, _) = scene.lost(&mut reader);
        let Error::PeerLost { reason, dead, .. } = error else { panic!("{error}") };
        assert_eq!(scene.read_until(&mut reader, (1 << 20) + 4), (1 << 20) + 4);
        if behavior == Behavior::HangsUp {
            // The end of a connection is not the end of a process.
            assert!(!dead && reason.contains("closed the connection"), "{reason}");
            worker.kill();
            let start = Instant::now();
            while !matches!(reader.check_worker(), Err(Error::PeerLost { dead: true, .. })) {
                assert!(start.elapsed() < Rig::LONG, "its end is never reported");
            }
        }
        let _next = Worker::start(&scene.path(), Behavior::Runs, 2);
        reader.reconnect(scene.accept()).unwrap();
        scene.read_until(&mut reader, (2 << 20) + 3);
    }
}

#[test]
fn a_worker_that_dies_before_it_has_taken_the_offer_is_an_error() {
    let scene = Scene::new();
    let mut worker = Worker::start(&scene.path(), Behavior::NeverAccepts, 1);
    let remote = scene.accept();
    worker.wait_for_state();
    worker.kill();
    let error = remote.latest(&Scene::info(), Scene::spec()).unwrap_err();
    // If a wait for an answer times out, the error is a different one.
    assert!(matches!(error, Error::Connection(_)), "{error}");
}

/// The program continues, and ends, with a worker that is stopped permanently.
#[test]
fn nothing_waits_for_a_stopped_worker_at_the_end() {
    let mut scene = Scene::new();
    let (worker, mut reader) = scene.with(Behavior::Runs, 1);
    scene.read_until(&mut reader, (1 << 20) + 5);
    worker.signal(Signal::STOP);
    let start = Instant::now();
    reader.close().unwrap();
    assert!(start.elapsed() < Rig::LONG, "closing took {:?}", start.elapsed());
}

#[test]
fn many_workers_leave_no_descriptors() {
    let mut scene = Scene::new();
    let (mut worker, mut reader) = scene.with(Behavior::Runs, 1);
    let mut counts = Vec::new();
    for round in 2..2 + ROUNDS as u32 {
        scene.read_until(&mut reader, ((round - 1) << 20) + 2);
        worker.kill();
        scene.lost(&mut reader);
        worker = Worker::start(&scene.path(), Behavior::Runs, round);
        reader.reconnect(scene.accept()).unwrap();
        scene.read_until(&mut reader, (round << 20) + 1);
        counts.push(descriptors_of_connections());
    }
    assert!(!is_leaking(&counts), "{counts:?}");
}

/// The negative control: one leaked descriptor per worker is detected, for every kind of
/// descriptor.
#[test]
fn a_descriptor_that_each_worker_leaks_is_detected() {
    let scene = Scene::new();
    let (_worker, _reader) = scene.with(Behavior::Runs, 1);
    for kind in CONNECTION {
        assert!(descriptors().any(|link| link.contains(kind)), "a connection has no {kind}");
    }
    let this_process = rustix::process::getpid();
    let leaks: [fn(rustix::process::Pid) -> Box<dyn Any>; 3] = [
        |_| Box::new(UnixDatagram::unbound().unwrap()),
        |process| Box::new(pidfd_open(process, PidfdFlags::empty()).unwrap()),
        |_| Box::new(SharedMemory::new("leaked", 64).unwrap()),
    ];
    for leak in leaks {
        let mut left = Vec::new();
        let counts = std::array::from_fn::<_, ROUNDS, _>(|_| {
            left.push(leak(this_process));
            descriptors_of_connections()
        });
        assert!(is_leaking(&counts), "{counts:?}");
    }
}

/// The number of workers, large enough to distinguish one leaked descriptor per worker from the
/// descriptors of tests that run in parallel.
pub(crate) const ROUNDS: usize = 21;

/// The kinds of descriptors of a connection.
const CONNECTION: [&str; 3] = ["socket:", "pidfd", "/memfd:vk-cuda-bridge"];

/// Returns `true` if each worker has left a descriptor. Tests that run in parallel also have some.
pub(crate) fn is_leaking(counts: &[usize]) -> bool {
    assert_eq!(counts.len(), ROUNDS);
    counts[ROUNDS - 1] >= counts[0] + ROUNDS / 2
}

/// Returns the targets of the open descriptors.
fn descriptors() -> impl Iterator<Item = String> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    open.filter_map(|path| Some(path.read_link().ok()?.to_string_lossy().into_owned()))
}

/// Returns the number of open descriptors of the kinds that a connection has. A graphics driver may
/// open other kinds at any time.
pub(crate) fn descriptors_of_connections() -> usize {
    descriptors().filter(|link| CONNECTION.iter().any(|kind| link.contains(kind))).count()
}

/// A worker that sends only a Hello takes no frames from the renderer and does not delay it; the
/// same applies to a worker that refuses the exchange.
#[test]
fn a_next_worker_that_takes_nothing_does_not_delay_the_renderer() {
    for behavior in [Behavior::NeverAccepts, Behavior::Refuses] {
        let mut scene = Scene::new();
        let (mut first, mut reader) = scene.with(Behavior::Idles, 1);
        let last = scene.read_until(&mut reader, (1 << 20) + 4);
        first.kill();
        scene.lost(&mut reader);
        let _silent = Worker::start(&scene.path(), behavior, 2);
        let remote = scene.accept();
        let start = Instant::now();
        reader.reconnect(remote).unwrap();
        assert_eq!(scene.read(&mut reader), Some(last));
        if behavior == Behavior::NeverAccepts {
            reader.check_worker().unwrap();
            reader.disconnect();
        }
        assert!(start.elapsed() < Rig::LONG, "{behavior:?} took {:?}", start.elapsed());
        let (error, _) = scene.lost(&mut reader);
        let reported = if behavior == Behavior::Refuses { "expected floats" } else { "the exchange" };
        assert!(error.to_string().contains(reported), "{error}");
        let _next = Worker::start(&scene.path(), Behavior::Runs, 3);
        reader.reconnect(scene.accept()).unwrap();
        scene.read_until(&mut reader, (3 << 20) + 2);
    }
}

/// A worker whose process ends after its connection is reported to be dead as well.
#[test]
fn the_death_of_a_worker_that_took_nothing_is_reported() {
    let mut scene = Scene::new();
    let (mut first, mut reader) = scene.with(Behavior::Idles, 1);
    scene.read_until(&mut reader, (1 << 20) + 4);
    first.kill();
    scene.lost(&mut reader);
    let mut second = Worker::start(&scene.path(), Behavior::Refuses, 2);
    reader.reconnect(scene.accept()).unwrap();
    let (error, _) = scene.lost(&mut reader);
    assert!(matches!(error, Error::PeerLost { dead: false, .. }), "{error}");
    second.kill();
    let start = Instant::now();
    while !matches!(reader.check_worker(), Err(Error::PeerLost { dead: true, .. })) {
        assert!(start.elapsed() < Rig::LONG, "its end is never reported");
    }
}

/// The socket of a worker that has ended is kept open by its child, which continues to send
/// messages: the worker is reported to be dead nevertheless.
#[test]
fn a_child_of_a_dead_worker_does_not_hide_its_death() {
    let mut scene = Scene::new();
    let (mut worker, mut reader) = scene.with(Behavior::LeavesAChild, 1);
    worker.wait_for_state();
    let start = Instant::now();
    while !matches!(reader.check_worker(), Err(Error::PeerLost { dead: true, .. })) {
        assert!(start.elapsed() < Rig::LONG, "its end is not reported");
        scene.read(&mut reader);
    }
    scene.assert_settled(&mut reader, Behavior::LeavesAChild);
    let _next = Worker::start(&scene.path(), Behavior::Runs, 2);
    reader.reconnect(scene.accept()).unwrap();
    scene.read_until(&mut reader, (2 << 20) + 3);
}
