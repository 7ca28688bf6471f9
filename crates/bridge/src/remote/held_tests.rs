//! Tests of a program that leaves on a thread that has locked the queue.

use std::sync::mpsc;

use super::tests::{LIMIT, Words, taken, until};
use super::*;
use crate::observe::steps;
use crate::remote::listening::test_worker::Peer;
use crate::remote::test_renderer::Renderer;

/// Returns a renderer whose thread uses the queue once the turn that the test holds is skipped, to
/// find out whether a lent frame was submitted; with that turn and the connected worker.
fn to_the_queue(scene: &Renderer) -> (RemoteExchangeReader<Words>, RenderTurn<Words>, Peer) {
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken(scene);
    let mut next_turn = || exchange.next(LIMIT).unwrap().expect("no frame is announced");
    let (lent, held) = (next_turn(), next_turn());
    drop(lent.lend().unwrap());
    worker.resume();
    worker.kill();
    until(|| exchange.owed_frames().is_empty().then_some(()).filter(|()| exchange.check_worker().is_err()));
    let next = Peer::start(scene.listener.path(), "stays");
    exchange.reconnect(scene.accept()).unwrap();
    (exchange, held, next)
}

/// A thread that keeps the queue locked until this is dropped.
struct Locked(#[allow(dead_code, reason = "its end is what counts")] mpsc::Sender<()>);

/// Lets the connection's thread proceed to the queue, and leaves, both while another thread has
/// locked the queue.
fn leaves_locked(
    scene: &Renderer,
    (exchange, held): (RemoteExchangeReader<Words>, RenderTurn<Words>),
    leave: impl FnOnce(RemoteExchangeReader<Words>) -> Option<RemoteExchangeReader<Words>> + Send + 'static,
) -> (Option<RemoteExchangeReader<Words>>, Locked) {
    let (device, (left, has_left), (unlock, unlocks)) = (scene.device.clone(), mpsc::channel(), mpsc::channel());
    std::thread::spawn(move || {
        device.queue().with(|_| {
            let whose = device.as_raw().handle();
            let before = steps::count("flush", whose);
            // From here on, the connection's thread proceeds, to the queue.
            held.skip();
            steps::until("flush", whose, before, || false);
            left.send(leave(exchange)).unwrap();
            let _ = unlocks.recv();
        })
    });
    (has_left.recv_timeout(LIMIT).expect("it waits for its thread"), Locked(unlock))
}

/// Makes a call that waits for the connection's thread, which waits for the queue.
fn waits<T: Send>(locked: Locked, call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let called = scope.spawn(call);
        steps::until("await leave", called.thread().id(), 0, || called.is_finished());
        let waits = !called.is_finished();
        drop(locked);
        let returned = called.join().unwrap();
        assert!(waits, "it does not wait for the thread");
        returned
    })
}

#[test]
fn program_holding_the_queue_lock_waits_for_no_thread() {
    let Some(scene) = Renderer::new("in-step-locked") else { return };
    let (exchange, held, _worker) = to_the_queue(&scene);
    let (dropped, locked) = leaves_locked(&scene, (exchange, held), |exchange| {
        drop(exchange);
        None
    });
    drop(locked);
    assert!(dropped.is_none());
    let disconnected = |mut exchange: RemoteExchangeReader<Words>| {
        exchange.disconnect();
        Some(exchange)
    };
    for closes in [false, true] {
        let (exchange, held, _worker) = to_the_queue(&scene);
        let (exchange, locked) = leaves_locked(&scene, (exchange, held), disconnected);
        let mut exchange = exchange.unwrap();
        // These calls wait for the thread, which holds the workers' handle.
        if closes {
            waits(locked, || exchange.close()).unwrap();
        } else {
            waits(locked, || exchange.disconnect());
            assert!(exchange.shared.workers.has_handle());
            assert!(exchange.check_worker().is_err());
            exchange.close().unwrap();
        }
    }
}

/// The previous worker's thread makes its reports before the next worker is connected.
#[test]
fn worker_disconnected_under_the_queue_lock_is_not_confused_with_the_next() {
    let Some(scene) = Renderer::new("in-step-after-lock") else { return };
    let (exchange, held, mut worker) = to_the_queue(&scene);
    let mut next = Peer::start(scene.listener.path(), "stays");
    let remote = scene.accept();
    let (exchange, locked) = leaves_locked(&scene, (exchange, held), |mut exchange| {
        exchange.disconnect();
        Some(exchange)
    });
    let mut exchange = exchange.unwrap();
    waits(locked, || exchange.reconnect(remote)).unwrap();
    worker.kill();
    next.resume();
    assert_eq!(exchange.pid(), next.process());
    exchange.check_worker().unwrap();
    next.kill();
    exchange.close().unwrap();
}

/// Calls that can return an error return one instead of waiting.
#[test]
fn blocking_calls_are_refused_under_the_queue_lock() {
    let Some(scene) = Renderer::new("in-step-under") else { return };
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken(&scene);
    worker.resume();
    worker.kill();
    until(|| exchange.owed_frames().is_empty().then_some(()).filter(|()| exchange.check_worker().is_err()));
    let _next = Peer::start(scene.listener.path(), "stays");
    let remote = scene.accept();
    let device = scene.device.clone();
    let refused = device.queue().with(|_| [exchange.reconnect(remote), exchange.close()]).unwrap();
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("queue of family"), "{error}");
    }
}
