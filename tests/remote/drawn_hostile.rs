//! Workers that read, and say what no worker says.

use std::time::Duration;

use bridge_ipc::{ConnectInfo, Connection, Message};
use bridge_worker::bridge_ipc::Backend;

use crate::hostile::say;
use crate::painter::Painter;
use crate::reading::{Habit, Reading, taken};
use crate::scene::Scene;

/// A worker that has taken the exchange and then says what it may not ends its connection, and no
/// more than that.
#[test]
fn what_a_reading_worker_may_not_say_ends_the_connection() {
    let free = |slot, value| Message::Free { exchange: 0, slot, value }.encode().unwrap();
    let said: Vec<Vec<Vec<u8>>> = vec![
        vec![free(1000, 0)],
        // No frame was published in it.
        vec![free(3, 0)],
        // Twice.
        vec![free(0, 0), free(0, 0)],
        vec![free(0, u64::MAX)],
        vec![free(0, 1 << 40)],
        vec![Message::Publish { exchange: 0, slot: 0, frame: 0, value: 1 }.encode().unwrap()],
        vec![Message::Torn { exchange: 0, slot: 0, frame: 0 }.encode().unwrap()],
        vec![vec![0x55; 64]],
        vec![vec![0; 4000]],
    ];
    for bytes in said {
        let mut painter = Painter::new();
        let path = painter.scene.path();
        let worker = std::thread::spawn(move || {
            let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
            let _memory = taken(&mut connection);
            // The first frame is in the first slot.
            let first = connection.receive(Duration::from_secs(9)).unwrap().message;
            assert!(matches!(first, Message::Publish { slot: 0, .. }), "{first:?}");
            let raw = rustix::io::dup(&connection).unwrap();
            bytes.iter().for_each(|bytes| say(&raw, bytes));
            // Until the renderer hangs up.
            while connection.receive(Duration::from_secs(9)).is_ok() {}
        });
        let remote = painter.scene.accept();
        let mut writer = remote.latest_render_first(&Scene::info(), Painter::spec()).unwrap();
        painter.draw(&mut writer);
        let error = loop {
            // No other frame: what it frees is not given again meanwhile.
            if let Err(error) = writer.check() {
                break error;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        // This very process was the worker, and it lives.
        assert!(
            error.to_string().contains("cut off") && matches!(error, bridge::Error::PeerLost { dead: false, .. }),
            "{error}"
        );
        worker.join().unwrap();
        let next = Reading::start(&painter.scene.path(), Backend::Host, Habit::Reads);
        writer.reconnect(painter.scene.accept()).unwrap();
        painter.draw_until_seen(&mut writer, &next, 3);
    }
}

/// A worker that gives frames back as fast as it can keeps the renderer's thread from nothing.
#[test]
fn a_flood_of_freed_slots_holds_up_nobody() {
    let mut painter = Painter::new();
    let path = painter.scene.path();
    let worker = std::thread::spawn(move || {
        let worker = bridge_worker::Worker::connect_with(&path, &crate::renderer::on_the_cpu()).unwrap();
        let mut reader = worker.latest_reader::<bridge_worker::Buffer<u32>>("remote").unwrap();
        let mut frames = 0;
        while let Ok(turn) = reader.newest() {
            frames = turn.map_or(frames, |turn| turn.frame());
        }
        frames
    });
    let remote = painter.scene.accept();
    let mut writer = remote.latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    (0..300).for_each(|_| painter.draw(&mut writer));
    painter.finish();
    let start = std::time::Instant::now();
    writer.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "closing took {:?}", start.elapsed());
    assert!(worker.join().unwrap() > 0);
}
