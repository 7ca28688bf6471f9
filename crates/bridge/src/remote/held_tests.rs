//! A program that leaves on a thread that has locked the queue.

use std::sync::mpsc;

use super::tests::{LIMIT, taken, until};
use super::*;
use crate::remote::listening::steps::Peer;
use crate::remote::test_device::Renderer;

/// The thread of the next worker waits for the queue by then, to find out whether a lent frame was
/// submitted.
#[test]
fn a_program_that_has_locked_the_queue_waits_for_no_thread() {
    for drops in [false, true] {
        let Some(scene) = Renderer::new("in-step-locked") else { return };
        let mut worker = Peer::start(scene.listener.path(), "stays");
        let mut exchange = taken(&scene);
        let mut next_turn = || exchange.next(LIMIT).unwrap().expect("no frame is announced");
        let (lent, held) = (next_turn(), next_turn());
        drop(lent.lend().unwrap());
        worker.go_on();
        worker.kill();
        until(|| exchange.owed().is_empty().then_some(()).filter(|()| exchange.check_worker().is_err()));
        let _next = Peer::start(scene.listener.path(), "stays");
        exchange.reconnect(scene.accept()).unwrap();
        let (device, (left, has_left)) = (scene.device.clone(), mpsc::channel());
        std::thread::spawn(move || {
            device.queue().with(|_| {
                // From here on its thread goes on, to the queue.
                held.skip();
                std::thread::sleep(Duration::from_millis(300));
                let exchange = match drops {
                    true => {
                        drop(exchange);
                        None
                    }
                    false => {
                        exchange.disconnect();
                        Some(exchange)
                    }
                };
                left.send(exchange).unwrap();
            })
        });
        if let Some(mut exchange) = has_left.recv_timeout(LIMIT).expect("it waits for its thread") {
            assert!(exchange.check_worker().is_err());
            // Now it can be waited for.
            exchange.disconnect();
            exchange.close().unwrap();
        }
    }
}

/// Whatever has an error to return, returns one.
#[test]
fn calls_that_would_wait_for_the_thread_are_refused_under_the_queues_lock() {
    let Some(scene) = Renderer::new("in-step-under") else { return };
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken(&scene);
    worker.go_on();
    worker.kill();
    until(|| exchange.owed().is_empty().then_some(()).filter(|()| exchange.check_worker().is_err()));
    let _next = Peer::start(scene.listener.path(), "stays");
    let remote = scene.accept();
    let device = scene.device.clone();
    let refused = device.queue().with(|_| [exchange.reconnect(remote), exchange.close()]).unwrap();
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("queue of family"), "{error}");
    }
}
