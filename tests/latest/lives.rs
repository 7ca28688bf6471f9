//! Objects that are left after both sides were dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge::{Compute, LiveObjects, Work};
use bridge_tests::{Filler, Readback, Rig, open_descriptors};

use crate::{SIZE, info, publish, read, words};

/// Waits until all objects are freed: closures on the CPU backend's thread may be the last owners.
fn assert_gone(before: &LiveObjects) {
    let start = Instant::now();
    while LiveObjects::now() != *before {
        assert!(start.elapsed() < Rig::LONG, "alive are {}, and before were {before}", LiveObjects::now());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each side can see that the other is gone, but not before its open turn has ended.
pub(crate) fn a_dropped_side_is_reported_to_the_other(_: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let (mut writer, mut reader) = words(compute, &info());
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert!(!reader.is_writer_dropped() && !writer.is_reader_dropped());
    let turn = writer.begin().unwrap();
    drop(writer);
    assert!(!reader.is_writer_dropped(), "its turn can still be published");
    turn.publish().unwrap().wait(Rig::LONG).unwrap();
    assert!(reader.is_writer_dropped());
    let last = reader.newest().unwrap().unwrap();
    assert_eq!(last.frame(), 1, "the last frame is there");
    last.skip();

    let (mut writer, mut reader) = words(compute, &info());
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    let turn = reader.newest().unwrap().unwrap();
    drop(reader);
    assert!(!writer.is_reader_dropped(), "its turn can still be submitted");
    turn.skip();
    assert!(writer.is_reader_dropped());
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
}

pub(crate) fn either_side_is_removed_while_the_other_runs(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let before = LiveObjects::now();
    for round in 0..40u64 {
        let (mut writer, mut reader) = words(compute, &info());
        let stop = AtomicBool::new(false);
        let pause = Duration::from_micros(100 * round);
        std::thread::scope(|scope| {
            let (stop, filler, readback) = (&stop, &filler, &readback);
            let writing = move || {
                while !stop.load(Ordering::SeqCst) {
                    publish(&mut writer, filler, 100);
                }
                writer
            };
            let mut reading = move || {
                read(&mut reader, readback);
            };
            if round % 2 == 0 {
                // The reader is dropped on the loop's thread, the writer later.
                let writing = scope.spawn(writing);
                let start = Instant::now();
                while start.elapsed() < pause {
                    reading();
                }
                drop(reading);
                std::thread::sleep(pause);
                stop.store(true, Ordering::SeqCst);
                drop(writing.join().unwrap());
            } else {
                let writing = scope.spawn(|| drop(writing()));
                std::thread::sleep(pause);
                stop.store(true, Ordering::SeqCst);
                writing.join().unwrap();
                // The writer is dropped, and the reader continues.
                (0..10).for_each(|_| reading());
            }
        });
        assert_gone(&before);
    }
}

pub(crate) fn a_thousand_exchanges_leave_nothing(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let before = LiveObjects::now();
    let mut descriptors = None;
    for round in 0..1000 {
        let (mut writer, mut reader) = words(compute, &info());
        let frames = round % 4;
        for _ in 0..frames {
            publish(&mut writer, &filler, 0);
        }
        let seen = read(&mut reader, &readback);
        assert!(seen < Some(4), "{seen:?}");
        let last = reader.newest().unwrap();
        // Drops them in every order.
        match round % 6 {
            0 => drop((writer, reader, last)),
            1 => drop((last, reader, writer)),
            2 => drop((reader, last, writer)),
            3 => drop((reader, writer, last)),
            4 => {
                let turn = writer.begin().unwrap();
                drop((writer, reader, last));
                drop(turn);
            }
            _ => {
                drop(last);
                writer.close(reader).unwrap();
            }
        }
        if round == 100 {
            descriptors = Some(open_descriptors());
        }
    }
    assert_gone(&before);
    // The CPU backend's threads and CUDA's streams are created and destroyed; a few descriptors may
    // belong to the driver.
    let (first, now) = (descriptors.unwrap(), open_descriptors());
    assert!(now <= first + 20, "{first} descriptors after 100 rounds, {now} after 1000");
}

/// The last handle is dropped inside the exchange's own work, which cannot wait for itself.
pub(crate) fn the_last_handle_is_dropped_inside_its_own_closure(rig: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let readback = Readback::new(rig.device(), SIZE);
    for keeps_turn in [false, true] {
        let (mut writer, mut reader) = words(compute, &info());
        publish(&mut writer, &Filler::new(compute), 0).wait(Rig::LONG).unwrap();
        assert_eq!(read(&mut reader, &readback), Some(0));
        let (mut turn, held) = (writer.begin().unwrap(), reader.newest().unwrap());
        let held = held.filter(|_| keeps_turn);
        match turn.work() {
            Work::Host(host) => host
                .run(move |_| {
                    std::thread::sleep(Duration::from_millis(20));
                    drop((held, reader));
                })
                .unwrap(),
            _ => drop((held, reader)),
        }
        turn.publish().unwrap();
        drop(writer);
    }
    assert_gone(&before);
}
