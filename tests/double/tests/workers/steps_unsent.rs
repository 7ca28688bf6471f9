//! A worker in step that computes with CUDA, with a renderer that ends before a frame is announced.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;

use crate::common::assert_clean;
use crate::common::renderer::{Exports, Renderer, connect};
use bridge_worker::bridge_ipc::{Code, Listener, Message};
use bridge_worker::{Buffer, Error};
use cuda_import::report;
use driver_double::Double;

/// The announcement fails, and so does the end of the turn, although the frame can be signaled.
#[test]
fn a_frame_that_cannot_be_announced_is_not_finished() {
    const NAME: &str = "steps_unsent::a_frame_that_cannot_be_announced_is_not_finished";
    let Some(double) = Double::in_child(NAME) else { return };
    let gpu = report().unwrap().devices[0].uuid;
    let (exports, step) = (Exports::new(&double), Barrier::new(2));
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, true, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
            step.wait();
            renderer.connection.close(Code::Done, "for a test");
            let socket = renderer.connection.as_fd().try_clone_to_owned().unwrap();
            UnixStream::from(socket).shutdown(Shutdown::Both).unwrap();
            step.wait();
        });
        let worker = connect(listener.path()).unwrap();
        let mut exchange = worker.exchange::<Buffer<f32>>("x").unwrap();
        let mut turn = exchange.begin().unwrap();
        step.wait();
        step.wait();
        for _ in 0..2 {
            let error = turn.announce().unwrap_err();
            assert!(matches!(error, Error::Closed { .. }), "{error}");
        }
        let error = turn.finish().unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        drop((exchange, worker));
    });
    drop(exports);
    assert_clean(&double);
}
