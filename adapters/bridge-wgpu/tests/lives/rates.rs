//! Sides that pause, end or stall while the other continues.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::support::asleep::Thread;
use crate::support::latest::{LEN, Stops, latest, publish, write};
use crate::support::{alone, bridges, read_buffer, validation_messages};
use bridge_wgpu::bridge::LiveObjects;
use bridge_wgpu::{Backend, Exchange, LatestInfo, LatestReader, RenderFirst, SharedBuffer, Work, wgpu};

/// If either side pauses for a second, the other continues.
#[test]
fn a_paused_side_does_not_delay_the_other() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let (mut writer, mut reader) = Exchange::latest(&bridge, &latest("paused"), spec).unwrap();
        let mut publish = |frame: u32| {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
        };
        let mut newest = || {
            let turn = reader.newest().unwrap();
            let is_new = turn.as_ref().is_some_and(|turn| turn.is_new());
            bridge.submit([], turn).unwrap();
            let words = read_buffer(&bridge, reader.objects());
            assert!(words.iter().all(|word| *word == words[0]), "torn");
            (words[0], is_new)
        };
        publish(1);
        let end = Instant::now() + Duration::from_secs(60);
        while newest() != (1, true) {
            assert!(Instant::now() < end, "the first frame was never seen");
        }
        // wgpu takes no frame for a second and a hundred frames, far more than there are slots: if
        // the writer waited for it, this loop would not end.
        let (start, mut frame) = (Instant::now(), 1);
        while frame < 100 || start.elapsed() < Duration::from_secs(1) {
            frame += 1;
            publish(frame);
        }
        let (mut seen, is_new) = newest();
        assert!(is_new && seen > 1, "{seen} of {frame}");
        // Nothing is computed for a second: the frame that is being written arrives, and stays.
        let (start, mut last, mut rounds) = (Instant::now(), (seen, is_new), 0);
        while last != (frame, false) || rounds < 20 || start.elapsed() < Duration::from_secs(1) {
            assert!(Instant::now() < end, "the last frame was never seen: {last:?} of {frame}");
            last = newest();
            assert!(last.0 >= seen, "never back: {last:?} after {seen}");
            (seen, rounds) = (last.0, rounds + 1);
        }
        // Both sides continue.
        publish(frame + 1);
        while newest().0 != frame + 1 {
            assert!(Instant::now() < end, "nothing is seen after the pauses");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Either side can be dropped while the other works and has a frame in progress.
#[test]
fn either_side_is_removed_while_the_other_runs() {
    let _alone = alone();
    for bridge in bridges() {
        let before = LiveObjects::now();
        for reader_first in [true, false] {
            let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
            let (writer, mut reader) = Exchange::latest(&bridge, &latest("removed"), spec).unwrap();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let _stops = Stops(&stop);
                let writing = scope.spawn(|| publish(writer, Duration::ZERO, &stop));
                let end = Instant::now() + Duration::from_secs(60);
                let mut seen = 0;
                while seen < 10 {
                    assert!(Instant::now() < end, "{seen} frames were seen");
                    let turn = reader.newest().unwrap();
                    seen += u32::from(turn.as_ref().is_some_and(|turn| turn.is_new()));
                    bridge.submit([], turn).unwrap();
                }
                let mut reader = Some(reader);
                if reader_first {
                    // The reader's last copy may still run, and the writer is in the middle of a
                    // frame.
                    drop(reader.take());
                }
                stop.store(true, Ordering::Relaxed);
                assert!(writing.join().unwrap() >= 10);
                if let Some(mut reader) = reader {
                    // The writer is dropped: the last frame stays.
                    let turn = reader.newest().unwrap();
                    bridge.submit([], turn).unwrap();
                    let words = read_buffer(&bridge, reader.objects());
                    assert!(words[0] > 0 && words.iter().all(|word| *word == words[0]), "torn");
                }
            });
            let end = Instant::now() + Duration::from_secs(60);
            while LiveObjects::now() != before {
                assert!(Instant::now() < end, "alive: {}", LiveObjects::now());
                std::thread::yield_now();
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Makes the compute side hold the newest frame until the gate is opened.
fn hold(reader: &mut LatestReader<SharedBuffer<u32>, RenderFirst>, gate: &Arc<Mutex<()>>) {
    let mut turn = reader.newest().unwrap().unwrap();
    assert!(turn.is_new());
    let Work::Host(host) = turn.work() else { panic!("the CPU was asked for") };
    let gate = Arc::clone(gate);
    host.run(move |_| drop(gate.lock().unwrap())).unwrap();
    turn.finish().unwrap();
}

/// A reader on the CPU with more turns than announced holds the slot that wgpu writes next: only
/// the thread that submits that frame waits for it.
#[test]
fn a_slow_reader_delays_only_its_own_writer() {
    let _alone = alone();
    let Some(bridge) = crate::support::bridge_on(Backend::Host) else { return };
    let spec = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
    let info = LatestInfo { timeout: Duration::from_secs(20), ..latest("slow") };
    let (mut writer, mut slow) = Exchange::latest_render_first(&bridge, &info, spec()).unwrap();
    let (mut other, _reader) = Exchange::latest_render_first(&bridge, &latest("other"), spec()).unwrap();
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    for _ in 0..info.writer_in_flight + info.reader_in_flight + 1 {
        let turn = writer.begin().unwrap();
        bridge.submit([], turn).unwrap().wait(info.timeout).unwrap();
        hold(&mut slow, &gate);
    }
    let (submitted, (sender, receiver)) = (AtomicBool::new(false), mpsc::channel());
    std::thread::scope(|scope| {
        // Moved into this scope, so that a panic opens the gate before the thread is joined.
        let (inner, submitted, closed) = (&bridge, &submitted, closed);
        let thread = scope.spawn(move || {
            // The slot that was never used, and the first one that was read.
            let mut results = Vec::new();
            for _ in 0..2 {
                let turn = writer.begin().unwrap();
                if !results.is_empty() {
                    sender.send(Thread::current()).unwrap();
                }
                results.push(inner.submit([], turn));
            }
            submitted.store(true, Ordering::SeqCst);
            // The wait ended because of the gate, not its limit; it would reach the limit if others
            // waited for it.
            results.into_iter().for_each(|result| drop(result.unwrap()));
        });
        let second = receiver.recv().unwrap();
        assert!(second.until_asleep(|| submitted.load(Ordering::SeqCst)), "nothing waits for the reader");
        for _ in 0..3 {
            let turn = other.begin().unwrap();
            bridge.submit([], turn).unwrap();
        }
        assert!(!submitted.load(Ordering::SeqCst), "nothing waits for the reader");
        drop(closed);
        thread.join().unwrap();
    });
    assert_eq!(validation_messages(), [""; 0]);
}
