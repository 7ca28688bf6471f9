//! Reading workers that send invalid messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bridge_ipc::{ConnectInfo, Connection, Message};
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;

use crate::hostile::send_bytes;
use crate::painter::Painter;
use crate::reading::{Behavior, Reading, accept_exchange, accept_exchange_with};
use crate::scene::{Scene, until};

/// A worker that has taken the exchange and then sends an invalid message loses its connection,
/// without further effects on the renderer.
#[test]
fn invalid_messages_of_a_reading_worker_end_the_connection() {
    let free = |slot, value| Message::Free { exchange: 0, slot, value }.encode().unwrap();
    let messages: Vec<Vec<Vec<u8>>> = vec![
        vec![free(1000, 0)],
        // No frame was published in this slot.
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
    for bytes in messages {
        let mut painter = Painter::new();
        let path = painter.scene.path();
        let worker = std::thread::spawn(move || {
            let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
            let _memory = accept_exchange(&mut connection);
            // The first frame is in the first slot.
            let first = connection.receive(Rig::LONG).unwrap().message;
            assert!(matches!(first, Message::Publish { slot: 0, .. }), "{first:?}");
            let raw = rustix::io::dup(&connection).unwrap();
            bytes.iter().for_each(|bytes| send_bytes(&raw, bytes));
            // Runs until the renderer disconnects.
            while connection.receive(Rig::LONG).is_ok() {}
        });
        let remote = painter.scene.accept();
        let mut writer = remote.latest_render_first(&Scene::info(), Painter::spec()).unwrap();
        painter.draw(&mut writer);
        // No further frame is drawn, so the freed slot is not used again in the meantime.
        until("the end of the worker", || writer.check_worker().is_err());
        let error = writer.check_worker().unwrap_err();
        // This process was the worker, and it is alive.
        assert!(
            error.to_string().contains("cut off") && matches!(error, bridge::Error::PeerLost { dead: false, .. }),
            "{error}"
        );
        worker.join().unwrap();
        let next = Reading::start(&painter.scene.path(), Backend::Host, Behavior::Reads);
        writer.reconnect(painter.scene.accept()).unwrap();
        painter.draw_until_seen(&mut writer, &next, 3);
    }
}

/// A worker that returns frames as fast as it can does not block the renderer's thread.
#[test]
fn a_flood_of_freed_slots_does_not_block_the_renderer() {
    let mut painter = Painter::new();
    let path = painter.scene.path();
    let seen = Arc::new(AtomicU64::new(0));
    let frame = Arc::clone(&seen);
    let worker = std::thread::spawn(move || {
        let worker = bridge_worker::Worker::connect_with(&path, &crate::renderer::on_the_cpu()).unwrap();
        let mut reader = worker.latest_reader::<bridge_worker::Buffer<u32>>("remote").unwrap();
        while let Ok(turn) = reader.newest() {
            frame.fetch_max(turn.map_or(0, |turn| turn.frame()), Ordering::Relaxed);
        }
    });
    let remote = painter.scene.accept();
    let mut writer = remote.latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    until("the worker to read a second frame", || {
        painter.draw(&mut writer);
        seen.load(Ordering::Relaxed) > 0
    });
    (0..300).for_each(|_| painter.draw(&mut writer));
    painter.finish();
    let start = std::time::Instant::now();
    writer.close().unwrap();
    assert!(start.elapsed() < Rig::LONG, "closing took {:?}", start.elapsed());
    worker.join().unwrap();
}

/// A reading worker on the CPU can neither write its frames, nor remove their pages, nor block the
/// renderer, whatever it does with the descriptor.
#[test]
fn a_worker_that_reads_cannot_touch_the_memory_of_its_frames() {
    use rustix::fs::{FallocateFlags, OFlags, fallocate, fcntl_setfl, ftruncate};
    use rustix::io::{Errno, pwrite};
    let mut painter = Painter::new();
    let path = painter.scene.path();
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        let mut files = Vec::new();
        let memory = accept_exchange_with(&mut connection, |file| files.push(file.try_clone().unwrap()));
        for file in &files {
            // Otherwise the renderer's own descriptor would append from now on.
            fcntl_setfl(file, OFlags::APPEND).unwrap();
            assert_eq!(pwrite(file, &[1; 8], 0), Err(Errno::PERM));
            assert_eq!(ftruncate(file, 0), Err(Errno::PERM));
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            assert_eq!(fallocate(file, punch, 0, 4096), Err(Errno::PERM));
        }
        let mut words = Vec::new();
        while words.len() < 6 {
            let received = connection.receive(Rig::LONG).unwrap();
            let Message::Publish { slot, .. } = received.message else { continue };
            let mut word = [0; 4];
            assert!(memory[slot as usize].read(0, &mut word));
            words.push(u32::from_ne_bytes(word));
            connection.send(&Message::Free { exchange: 0, slot, value: 0 }, None, Rig::LONG).unwrap();
        }
        words
    });
    let remote = painter.scene.accept();
    let mut writer = remote.latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    until("six frames", || {
        painter.draw(&mut writer);
        worker.is_finished()
    });
    let words = worker.join().unwrap();
    assert!(words.windows(2).all(|two| two[0] < two[1]), "{words:?}");
}
