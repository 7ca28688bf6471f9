//! What is told of workers that read and are lost.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bridge::Error;
use bridge_ipc::{ConnectInfo, Connection, Message};
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;
use rustix::net::Shutdown;

use crate::painter::{Painter, Writer};
use crate::reading::{Habit, Reading, taken};
use crate::scene::Scene;

const LIMIT: Duration = Duration::from_secs(9);

/// A worker in this process: it takes the exchange, and `lives`.
fn worker(painter: &Painter, lives: impl FnOnce(Connection) + Send + 'static) -> (std::thread::JoinHandle<()>, Writer) {
    let path = painter.scene.path();
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        let _memory = taken(&mut connection);
        lives(connection);
    });
    let writer = painter.scene.accept().latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    (worker, writer)
}

/// The slots that a worker has when the program disconnects it, and the last frame that it was
/// shown.
#[test]
fn what_a_disconnected_worker_had_is_told() {
    let mut painter = Painter::new();
    let (tell, told) = channel();
    let (worker, mut writer) = worker(&painter, move |mut connection| {
        let mut slots = Vec::new();
        while let Ok(received) = connection.receive(LIMIT) {
            let Message::Publish { slot, frame, .. } = received.message else { continue };
            slots.push(slot);
            if frame == 1 {
                // The first frame goes back, and the others stay.
                connection.send(&Message::Free { exchange: 0, slot: slots[0], value: 0 }, None, LIMIT).unwrap();
            }
            tell.send(frame).unwrap();
        }
    });
    for frame in 0..3 {
        painter.draw(&mut writer);
        assert_eq!(told.recv().unwrap(), frame);
    }
    writer.disconnect();
    let error = writer.check().unwrap_err();
    let Error::PeerLost { held, owed, frame, dead, reason, .. } = &error else { panic!("{error}") };
    assert_eq!((*held, *owed, *frame, *dead), (2, 0, Some(2), false), "{error}");
    assert!(reason.contains("was disconnected"), "{error}");
    worker.join().unwrap();
}

/// A worker that has closed its socket for reading is told of nothing: it is lost, and has no
/// frame.
#[test]
fn a_worker_that_hears_nothing_is_lost() {
    let mut painter = Painter::new();
    let (tell, told) = channel();
    let (done, is_done) = channel::<()>();
    let (worker, mut writer) = worker(&painter, move |connection| {
        rustix::net::shutdown(&connection, Shutdown::Read).unwrap();
        tell.send(()).unwrap();
        // It keeps its end.
        let _ = is_done.recv();
    });
    told.recv().unwrap();
    let start = Instant::now();
    painter.draw(&mut writer);
    let error = loop {
        match writer.check() {
            Err(error) => break error,
            Ok(()) => assert!(start.elapsed() < Rig::LONG, "a worker that hears nothing counts as one"),
        }
    };
    let Error::PeerLost { held, frame, dead, reason, .. } = &error else { panic!("{error}") };
    assert_eq!((*held, *frame, *dead), (0, None, false), "{error}");
    assert!(reason.contains("closed the connection"), "{error}");
    let next = Reading::start(&painter.scene.path(), Backend::Host, Habit::Reads);
    writer.reconnect(painter.scene.accept()).unwrap();
    painter.draw_until_seen(&mut writer, &next, 3);
    drop(done);
    worker.join().unwrap();
}
