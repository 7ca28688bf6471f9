//! Reports about reading workers that are lost.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bridge::Error;
use bridge_ipc::{ConnectInfo, Connection, Message};
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Read};
use rustix::net::Shutdown;

use crate::death::descriptors_of_connections;
use crate::painter::{Painter, Writer};
use crate::reading::{Behavior, Reading, accept_exchange};
use crate::scene::Scene;
use crate::worker::LEN;

const LIMIT: Duration = Rig::LONG;

/// Runs a worker in this process: it takes the exchange, and calls `lives`.
fn worker(painter: &Painter, lives: impl FnOnce(Connection) + Send + 'static) -> (std::thread::JoinHandle<()>, Writer) {
    let path = painter.scene.path();
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        let _memory = accept_exchange(&mut connection);
        lives(connection);
    });
    let writer = painter.scene.accept().latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    (worker, writer)
}

/// The error reports the slots that a worker has when the program disconnects it, and the last
/// frame that it received.
#[test]
fn the_slots_of_a_disconnected_worker_are_reported() {
    let mut painter = Painter::new();
    let (sender, reported) = channel();
    let (worker, mut writer) = worker(&painter, move |mut connection| {
        let mut slots = Vec::new();
        while let Ok(received) = connection.receive(LIMIT) {
            let Message::Publish { slot, frame, .. } = received.message else { continue };
            slots.push(slot);
            if frame == 1 {
                // The first frame is returned; the others are kept.
                connection.send(&Message::Free { exchange: 0, slot: slots[0], value: 0 }, None, LIMIT).unwrap();
            }
            sender.send(frame).unwrap();
        }
    });
    for frame in 0..3 {
        painter.draw(&mut writer);
        assert_eq!(reported.recv().unwrap(), frame);
    }
    writer.disconnect();
    let error = writer.check_worker().unwrap_err();
    let Error::PeerLost { held, owed, frame, dead, reason, .. } = &error else { panic!("{error}") };
    assert_eq!((*held, *owed, *frame, *dead), (2, 0, Some(2), false), "{error}");
    assert!(reason.contains("was disconnected"), "{error}");
    worker.join().unwrap();
}

/// A worker that has shut down its socket for reading receives nothing: it is lost, and has no
/// frame.
#[test]
fn a_reading_worker_that_receives_nothing_is_lost() {
    let mut painter = Painter::new();
    let (sender, reported) = channel();
    let (done, is_done) = channel::<()>();
    let (worker, mut writer) = worker(&painter, move |connection| {
        rustix::net::shutdown(&connection, Shutdown::Read).unwrap();
        sender.send(()).unwrap();
        // Keeps its end of the connection open.
        let _ = is_done.recv();
    });
    reported.recv().unwrap();
    let start = Instant::now();
    painter.draw(&mut writer);
    let error = loop {
        match writer.check_worker() {
            Err(error) => break error,
            Ok(()) => assert!(start.elapsed() < Rig::LONG, "a worker that hears nothing counts as one"),
        }
    };
    let Error::PeerLost { held, frame, dead, reason, .. } = &error else { panic!("{error}") };
    assert_eq!((*held, *frame, *dead), (0, None, false), "{error}");
    assert!(reason.contains("closed the connection"), "{error}");
    let next = Reading::start(&painter.scene.path(), Backend::Host, Behavior::Reads);
    writer.reconnect(painter.scene.accept()).unwrap();
    painter.draw_until_seen(&mut writer, &next, 3);
    drop(done);
    worker.join().unwrap();
}

/// Returns `true` if the program ended the connection, before or after the worker took the
/// exchange.
pub(crate) fn is_ended(error: &str) -> bool {
    error.contains("was disconnected") || error.contains("it was ended before")
}

/// Runs a worker in this process that reads until the exchange is ended.
fn reading(painter: &Painter) -> std::thread::JoinHandle<Option<u32>> {
    let path = painter.scene.path();
    std::thread::spawn(move || {
        let worker = bridge_worker::Worker::connect_with(&path, &crate::renderer::on_the_cpu()).unwrap();
        // The renderer may have ended the exchange already.
        let mut reader = worker.latest_reader::<Buffer<u32>>("remote").ok()?;
        let (mut words, mut last) = (vec![0; LEN], None);
        while reader.wait_for_newer(LIMIT).is_ok() {
            let Ok(Some(turn)) = reader.newest() else { break };
            let Read::Host(host) = turn.work() else { panic!("it computes with CUDA") };
            host.resources.read_into(0, &mut words).unwrap();
            assert!(words.iter().all(|word| *word == words[0]), "frame {} is torn", turn.frame());
            assert!(last <= Some(words[0]), "{} behind {last:?}", words[0]);
            last = Some(words[0]);
        }
        last
    })
}

/// The program may end the connection at any time, with or without an open turn: the next worker
/// receives new frames, nothing blocks, and no descriptor leaks.
#[test]
fn an_exchange_that_is_drawn_is_ended_at_any_time() {
    let mut painter = Painter::new();
    let mut worker = reading(&painter);
    let mut writer = painter.scene.accept().latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    let (mut longest, mut before, descriptors) = (Duration::ZERO, Vec::new(), descriptors_of_connections());
    for round in 0..40u64 {
        (0..round % 4).for_each(|_| painter.draw(&mut writer));
        std::thread::sleep(Duration::from_micros(round % 7 * 300));
        let open = (round % 3 == 0).then(|| writer.begin().unwrap());
        let start = Instant::now();
        writer.disconnect();
        longest = longest.max(start.elapsed());
        let error = writer.check_worker().unwrap_err().to_string();
        assert!(is_ended(&error), "{round}: {error}");
        before.push(std::mem::replace(&mut worker, reading(&painter)));
        writer.reconnect(painter.scene.accept()).unwrap();
        if let Some(open) = open {
            open.skip();
        }
    }
    assert!(longest < Rig::LONG, "ending took {longest:?}");
    for worker in before {
        worker.join().unwrap();
    }
    let left = descriptors_of_connections();
    // Tests that run in parallel also have some.
    assert!(left < descriptors + 10, "{left} descriptors, and {descriptors} at first");
    let next = Reading::start(&painter.scene.path(), Backend::Host, Behavior::Reads);
    writer.disconnect();
    writer.reconnect(painter.scene.accept()).unwrap();
    painter.draw_until_seen(&mut writer, &next, 3);
    painter.wait_until_last_is_seen(&next);
    worker.join().unwrap();
}

/// A turn, and the exchange with it, may outlive the writer.
#[test]
#[allow(unsafe_code)] // Submitting.
fn a_turn_outlives_the_writer_and_its_worker() {
    let painter = Painter::new();
    let worker = reading(&painter);
    let mut writer = painter.scene.accept().latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    let turn = writer.begin().unwrap();
    drop(writer);
    assert_eq!(worker.join().unwrap(), None);
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { turn.submit(&[]) }.unwrap().wait(Rig::LONG).unwrap();

    let worker = reading(&painter);
    let mut writer = painter.scene.accept().latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    let turn = writer.begin().unwrap();
    let error = writer.close().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { .. }), "{error}");
    assert_eq!(worker.join().unwrap(), None, "its end is reported all the same");
    turn.skip();
}

/// The memory of a lost worker whose process is alive is freed, for both directions.
#[test]
fn the_memory_of_a_lost_worker_is_freed() {
    let mut painter = Painter::new();
    let (_reads, mut writer) = painter.with(Backend::Host, Behavior::Leaves);
    let (error, _) = painter.lost(&mut writer);
    assert!(matches!(error, Error::PeerLost { dead: false, .. }), "{error}");
    let start = Instant::now();
    while memory() > 0 {
        assert!(start.elapsed() < Rig::LONG, "{} mappings are left", memory());
    }
    writer.check_worker().unwrap_err();
    writer.close().unwrap();

    let (_writes, mut reader) = painter.scene.with(crate::worker::Behavior::HangsUp, 1);
    let (error, _) = painter.scene.lost(&mut reader);
    assert!(matches!(error, Error::PeerLost { dead: false, .. }), "{error}");
    let start = Instant::now();
    while memory() > 0 {
        assert!(start.elapsed() < Rig::LONG, "{} files are left", memory());
    }
    painter.scene.assert_settled(&mut reader, crate::worker::Behavior::HangsUp);
    reader.close().unwrap();
}

/// Returns the number of memory files of this process, mapped and open.
fn memory() -> usize {
    let is_ours = |what: &str| what.contains("/memfd:vk-cuda-bridge");
    let mapped = std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| is_ours(line)).count();
    let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.unwrap().path().read_link().ok());
    mapped + links.filter(|link| is_ours(&link.to_string_lossy())).count()
}
