//! Test of a worker's thread that reports after the next worker has connected.

use std::sync::Arc;

use bridge_ipc::{ConnectInfo, Connection, Hello, Message, Role};

use super::replaced::{disconnect_at_the_limit, owing_one_of_two};
use super::tests::{LIMIT, until};
use crate::error::Error;
use crate::observe::steps;
use crate::remote::test_renderer::Renderer;

/// The thread of a killed worker may report the end of its process once the next worker has
/// connected, and is lost, too.
#[test]
fn late_death_of_a_killed_worker_is_not_that_of_the_next_one() {
    let Some(scene) = Renderer::new("in-step-late") else { return };
    let (mut worker, mut exchange, points) = owing_one_of_two(&scene, "stays");
    let status = Arc::clone(exchange.shared.workers.status());
    disconnect_at_the_limit(&mut exchange);
    let (open, gate) = std::sync::mpsc::channel();
    *status.death_gate.lock().unwrap() = Some(gate);
    worker.kill();
    points[1].wait(LIMIT).unwrap();
    // Its thread has signaled the frames, and is about to report the death.
    steps::until("report a death", Arc::as_ptr(&status), 0, || false);
    // The next worker, in this process, hangs up.
    let path = scene.listener.path().to_owned();
    let next = std::thread::spawn(move || {
        let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
        let device_uuid = connection.peer_hello().unwrap().device_uuid;
        let hello = Hello { cuda: true, trust: true, device_uuid, ..Hello::new(Role::Worker, "worker") };
        connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    });
    exchange.reconnect(scene.accept()).unwrap();
    next.join().unwrap();
    until(|| status.loss_error());
    assert!(!exchange.shared.workers.has_handle());
    drop(open);
    until(|| exchange.shared.workers.has_handle().then_some(()));
    let Some(Error::FramesTorn { torn, signaled: 2, .. }) = status.take_error() else { panic!() };
    assert!(*torn == [1]);
    let reported = status.take_error().unwrap();
    let living = std::process::id();
    assert!(matches!(reported, Error::PeerLost { worker, dead: false, .. } if worker == living), "{reported}");
}
