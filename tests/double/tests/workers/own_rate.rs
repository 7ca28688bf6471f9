//! A worker with CUDA at its own rate, whose renderer dies.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::common::assert_clean;
use crate::common::renderer::{Exports, LIMIT};
use crate::ends::{RENDERER, connect_to_renderer, end, end_after_each, offer, start};
use bridge_worker::bridge_ipc::{Direction, Message};
use bridge_worker::{Buffer, Error, LatestWriter};
use driver_double::Double;

const WRITES: &str = "own_rate::a_renderer_that_ends_after_any_message_leaves_nothing";
const READS: &str = "own_rate::a_drawing_renderer_that_ends_after_any_message_leaves_nothing";
const SHORT: &str = "own_rate::a_renderer_that_dies_during_short_frames_leaves_nothing";
const OWES: &str = "own_rate::a_dead_renderer_owes_no_value_that_was_reached";

/// The renderer process: it returns the first frame after a use that has ended, and no other.
fn render(arguments: &str) {
    let mut renderer = offer(arguments, Direction::WorkerWrites, false);
    (0..2).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
    let Message::Publish { slot, .. } = renderer.receive() else { panic!() };
    renderer.send(Message::Free { exchange: 1, slot, value: 1 });
    over();
}

/// The worker's stream has waited for the value 1, which was reached, and is busy when the renderer
/// dies. It does not wait any more, so nothing is signaled in the renderer's place.
#[test]
fn a_dead_renderer_owes_no_value_that_was_reached() {
    if let Ok(arguments) = std::env::var(RENDERER) {
        return render(&arguments);
    }
    let Some(double) = Double::in_child(OWES) else { return };
    let exports = Exports::new(&double);
    double.signal(exports.rendered.1, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut renderer = start(OWES, u32::MAX, &path, &exports);
    let worker = connect_to_renderer(&path, || false).unwrap();
    let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
    writer.begin().unwrap().publish().unwrap();
    let said = BufReader::new(renderer.stdout.take().unwrap());
    assert!(said.lines().any(|line| line.unwrap() == "@over"), "the renderer has ended");
    double.hold_work();
    double.forget_calls();
    (0..2).for_each(|_| writer.begin().unwrap().publish().unwrap());
    assert!(double.calls().iter().any(|call| call.name == "cuWaitExternalSemaphoresAsync"), "no slot was drawn");
    renderer.kill().unwrap();
    renderer.wait().unwrap();
    let error = writer.begin().unwrap_err();
    assert!(matches!(error, Error::PeerLost { owed: None, .. }), "{error:?}");
    double.release_work();
    drop((writer, worker, exports));
    assert_clean(&double);
}

/// The worker's frames share messages, so some are held when the renderer dies.
#[test]
fn a_renderer_that_dies_during_short_frames_leaves_nothing() {
    if let Ok(arguments) = std::env::var(RENDERER) {
        return show(&arguments);
    }
    let Some(double) = Double::in_child(SHORT) else { return };
    let exports = Exports::of_slots(&double, 4);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let ended = end(start(SHORT, u32::MAX, &path, &exports));
    let worker = connect_to_renderer(&path, || false).unwrap();
    let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
    let error = loop {
        if let Err(error) = writer.begin().and_then(|turn| turn.publish()) {
            break error;
        }
    };
    assert!(matches!(error, Error::PeerLost { owed: None, .. }), "{error:?}");
    ended.join().unwrap();
    drop((writer, worker, exports));
    assert_clean(&double);
}

/// The renderer process: it shows the newest frame and returns the others, until it is killed.
fn show(arguments: &str) {
    const SHOWN: usize = 20;
    let mut renderer = offer(arguments, Direction::WorkerWrites, false);
    (0..4).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
    let mut shown = None;
    for count in 1.. {
        let Message::Publish { slot, .. } = renderer.receive() else { panic!() };
        if let Some(slot) = shown.replace(slot) {
            renderer.send(Message::Free { exchange: 1, slot, value: 0 });
        }
        if count == SHOWN {
            println!("\n@over");
        }
    }
}

/// Between the frames that the renderer hears of, the worker may have superseded others.
#[test]
fn a_renderer_that_ends_after_any_message_leaves_nothing() {
    if let Ok(arguments) = std::env::var(RENDERER) {
        let mut renderer = offer(&arguments, Direction::WorkerWrites, false);
        (0..2).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
        let Message::Publish { slot, .. } = renderer.receive() else { panic!() };
        renderer.send(Message::Free { exchange: 1, slot, value: 0 });
        assert!(matches!(renderer.receive(), Message::Publish { .. }));
        return over();
    }
    let frames = ["Ready", "Free", "Free", "Publish", "Free", "Publish"];
    end_after_each(WRITES, 0, &frames, |path, has_ended| {
        let mut writer: LatestWriter<Buffer<f32>> = connect_to_renderer(path, has_ended)?.latest("x")?;
        loop {
            writer.begin()?.publish()?;
        }
    });
}

#[test]
fn a_drawing_renderer_that_ends_after_any_message_leaves_nothing() {
    if let Ok(arguments) = std::env::var(RENDERER) {
        let mut renderer = offer(&arguments, Direction::RendererWrites, false);
        let publish = |slot, frame| Message::Publish { exchange: 1, slot, frame, value: frame + 1 };
        (0..2).for_each(|frame| renderer.send(publish(frame as u32, frame)));
        assert!(matches!(renderer.receive(), Message::Free { slot: 0, .. }));
        renderer.send(publish(0, 2));
        assert!(matches!(renderer.receive(), Message::Free { slot: 1, .. }));
        return over();
    }
    let frames = ["Ready", "Publish", "Publish", "Free", "Publish", "Free"];
    end_after_each(READS, 3, &frames, |path, has_ended| {
        let mut reader = connect_to_renderer(path, has_ended)?.latest_reader::<Buffer<f32>>("x")?;
        loop {
            reader.wait_for_newer(LIMIT)?;
            reader.newest()?.into_iter().try_for_each(|turn| turn.finish())?;
        }
    });
}

/// Reports that all messages were exchanged, and waits for the end.
fn over() {
    println!("\n@over");
    std::thread::sleep(Duration::from_secs(60));
}
