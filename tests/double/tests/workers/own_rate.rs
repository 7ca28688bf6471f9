//! A worker with CUDA at its own rate, whose renderer dies.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::common::assert_clean;
use crate::common::renderer::Exports;
use crate::ends::{RENDERER, connect_to_renderer, offer, start};
use bridge_worker::bridge_ipc::{Direction, Message};
use bridge_worker::{Buffer, Error, LatestWriter};
use driver_double::Double;

const OWES: &str = "own_rate::a_dead_renderer_owes_no_value_that_was_reached";

/// The renderer process: it returns the first frame after a use that has ended, and no other.
fn render(arguments: &str) {
    let mut renderer = offer(arguments, Direction::WorkerWrites, false);
    (0..2).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
    let Message::Publish { slot, .. } = renderer.receive() else { panic!() };
    renderer.send(Message::Free { exchange: 1, slot, value: 1 });
    println!("\n@over");
    std::thread::sleep(Duration::from_secs(60));
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
