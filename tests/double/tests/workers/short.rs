//! Frames that take less time than a message.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::calls::in_a_child;
use crate::common::assert_clean;
use crate::common::renderer::{Exports, Renderer, connect};
use bridge_worker::bridge_ipc::{Listener, Message};
use bridge_worker::{Buffer, Error, LatestWriter};
use cuda_import::report;
use driver_double::Double;

const SLOTS: usize = 8;

type Writer = LatestWriter<Buffer<f32>>;

/// The messages of a worker until its Close or the end of the connection.
#[derive(Default)]
struct Heard {
    published: Vec<u64>,
    torn: BTreeSet<u64>,
    is_closed: bool,
}

/// Runs a worker with a renderer that shows the newest announced frame, and returns the others to
/// the worker. `seen` is called with the number of each announced frame.
fn shown(double: &Double, seen: impl Fn(u64) + Sync, run: impl FnOnce(Writer)) -> Heard {
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::of_slots(double, SLOTS);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let heard = std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, false, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            (0..SLOTS as u32).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
            let (mut heard, mut shown) = (Heard::default(), None);
            loop {
                match renderer.receive() {
                    Message::Publish { slot, frame, .. } => {
                        heard.published.push(frame);
                        seen(frame);
                        if let Some(slot) = shown.replace(slot) {
                            renderer.send(Message::Free { exchange: 1, slot, value: 0 });
                        }
                    }
                    Message::Torn { frame, .. } => _ = heard.torn.insert(frame),
                    Message::Close { .. } => heard.is_closed = true,
                    Message::Bye { .. } => return heard,
                    other => panic!("{other:?}"),
                }
                if heard.is_closed {
                    return heard;
                }
            }
        });
        let worker = connect(listener.path()).unwrap();
        run(worker.latest("x").unwrap());
        drop(worker);
        renderer.join().unwrap()
    });
    drop(exports);
    assert!(heard.published.is_sorted_by(|a, b| a < b), "{:?}", heard.published);
    heard
}

fn write(writer: &mut Writer) -> Result<(), Error> {
    writer.begin()?.publish()
}

#[test]
fn short_frames_share_messages() {
    const FRAMES: u64 = 3000;
    let Some(double) = Double::in_child("short::short_frames_share_messages") else { return };
    let mut took = Duration::ZERO;
    let heard = shown(
        &double,
        |_| {},
        |mut writer| {
            let begun = Instant::now();
            (0..FRAMES).for_each(|_| write(&mut writer).unwrap());
            took = begun.elapsed();
        },
    );
    println!("{} messages for {FRAMES} frames of {:?}", heard.published.len(), took / FRAMES as u32);
    // At most two frames are in flight, and one more is complete.
    let most = 3 * (took.as_micros() / 150 + 2);
    assert!(heard.published.len() as u128 <= most, "{} messages in {took:?}", heard.published.len());
    assert_eq!(heard.published.last(), Some(&(FRAMES - 1)), "the last frame is announced when the writer ends");
    assert_clean(&double);
}

/// Per frame, the writer asks once which context is current and whether the stream is being
/// captured, and once for the end of an earlier frame.
#[test]
fn a_frame_makes_few_driver_calls() {
    let Some(double) = Double::in_child("short::a_frame_makes_few_driver_calls") else { return };
    shown(
        &double,
        |_| {},
        |mut writer| {
            writer.stream().unwrap().context().bind_to_thread().unwrap();
            // Both events that it needs were created.
            for _ in 0..4 {
                write(&mut writer).unwrap();
                writer.stream().unwrap().synchronize().unwrap();
            }
            double.forget_calls();
            write(&mut writer).unwrap();
            let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
            const MODE: &str = "cuThreadExchangeStreamCaptureMode";
            let query = [MODE, "cuEventQuery", MODE];
            let signal = ["cuCtxGetCurrent", "cuStreamIsCapturing", "cuSignalExternalSemaphoresAsync", "cuEventRecord"];
            assert_eq!(calls, [&query[..], &signal].concat());
        },
    );
    assert_clean(&double);
}

#[test]
fn frames_are_announced_without_a_further_call() {
    const FRAMES: u64 = 6;
    let Some(double) = Double::in_child("short::frames_are_announced_without_a_further_call") else { return };
    let (sender, seen) = std::sync::mpsc::channel();
    shown(
        &double,
        |frame| _ = sender.send(frame),
        |mut writer| {
            for round in 1..=3 {
                (0..FRAMES).for_each(|_| write(&mut writer).unwrap());
                let last = round * FRAMES - 1;
                assert!(seen.iter().any(|frame| frame == last), "the thread sleeps between the rounds");
                std::thread::sleep(Duration::from_millis(2));
            }
        },
    );
    assert_clean(&double);
}

/// A frame is superseded only by a complete one: the next may never be complete.
#[test]
fn a_frame_before_one_that_does_not_end_is_announced() {
    const SHORT: u64 = 5;
    let Some(double) = Double::in_child("short::a_frame_before_one_that_does_not_end_is_announced") else { return };
    let (sender, seen) = std::sync::mpsc::channel();
    let heard = shown(
        &double,
        |frame| _ = sender.send(frame),
        |mut writer| {
            (0..SHORT).for_each(|_| write(&mut writer).unwrap());
            double.hold_work();
            write(&mut writer).unwrap();
            assert!(seen.iter().any(|frame| frame == SHORT));
            double.release_work();
        },
    );
    assert!(heard.published.ends_with(&[SHORT - 1, SHORT]), "{:?}", heard.published);
    assert_clean(&double);
}

/// Only frames that were announced are reported as torn: the renderer cuts off a worker that
/// reports others.
#[test]
fn only_announced_frames_are_torn() {
    let Some(double) = Double::in_child("short::only_announced_frames_are_torn") else { return };
    let heard = shown(
        &double,
        |_| {},
        |mut writer| {
            double.hold_work();
            (0..2).for_each(|_| write(&mut writer).unwrap());
            double.lose_context(0, 700);
            let error = writer.begin().unwrap_err();
            assert!(matches!(error, Error::Cuda(_)), "{error:?}");
        },
    );
    assert!(heard.torn.contains(&0), "{:?}", heard.torn);
    assert!(heard.torn.iter().all(|frame| heard.published.contains(frame)), "{:?}", heard.torn);
}

/// The copy of a writer in a forked child neither announces the frames of its parent nor waits for
/// the thread that does.
#[test]
fn a_forked_child_announces_nothing() {
    const FRAMES: u64 = 4;
    let Some(double) = Double::in_child("short::a_forked_child_announces_nothing") else { return };
    let heard = shown(
        &double,
        |_| {},
        |writer| {
            let mut writer = Some(writer);
            (0..FRAMES).for_each(|_| write(writer.as_mut().unwrap()).unwrap());
            in_a_child(|| drop(writer.take()));
            write(writer.as_mut().unwrap()).unwrap();
        },
    );
    assert_eq!(heard.published.last(), Some(&FRAMES));
    assert_clean(&double);
}
