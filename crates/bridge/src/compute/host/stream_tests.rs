use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::stream::HostStream;
use crate::error::Error;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn work_is_done_in_order() {
    // Miri takes long for each.
    const CLOSURES: u32 = if cfg!(miri) { 20 } else { 1000 };
    let stream = HostStream::new().unwrap();
    let (sender, receiver) = mpsc::channel();
    for n in 0..CLOSURES {
        let sender = sender.clone();
        stream.run(move || sender.send(n).unwrap()).unwrap();
    }
    assert!(stream.drain(LONG));
    drop(sender);
    assert_eq!(receiver.into_iter().collect::<Vec<_>>(), (0..CLOSURES).collect::<Vec<_>>());
}

#[test]
fn panic_in_a_closure_is_an_error() {
    let stream = HostStream::new().unwrap();
    stream.run(|| panic!("out of range")).unwrap();
    assert!(stream.drain(LONG));
    let error = stream.run(|| ()).unwrap_err().to_string();
    assert!(error.contains("out of range"), "{error}");
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}

#[test]
fn panic_of_a_captured_value_does_not_end_the_thread() {
    for fails_first in [false, true] {
        let stream = HostStream::new().unwrap();
        let (open, gate) = mpsc::channel();
        stream
            .run(move || {
                gate.recv().unwrap();
                assert!(!fails_first, "first");
            })
            .unwrap();
        let bomb = Bomb;
        stream
            .run(move || {
                let _captured = &bomb;
            })
            .unwrap();
        open.send(()).unwrap();
        assert!(stream.drain(LONG), "the thread is gone");
        let error = stream.run(|| ()).unwrap_err().to_string();
        assert!(error.contains(if fails_first { "first" } else { "bomb" }), "{error}");
    }
}

#[test]
fn draining_inside_a_closure_does_not_wait_for_itself() {
    let stream = HostStream::new().unwrap();
    let (sender, receiver) = mpsc::channel();
    let inside = stream.clone();
    stream.run(move || sender.send(inside.drain(LONG)).unwrap()).unwrap();
    assert!(!receiver.recv_timeout(LONG / 2).unwrap());
}

#[test]
fn dropping_waits_for_the_work() {
    let (sender, receiver) = mpsc::channel();
    let stream = HostStream::new().unwrap();
    stream
        .run(move || {
            // On a slow machine this may not detect a drop that does not wait; `schedules` explores
            // all orders.
            thread::sleep(Duration::from_millis(50));
            sender.send(()).unwrap();
        })
        .unwrap();
    drop(stream);
    receiver.try_recv().unwrap();
}

#[test]
fn draining_does_not_wait_for_later_work() {
    let stream = HostStream::new().unwrap();
    let (release, gate) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel::<()>();
    let later = stream.clone();
    stream
        .run(move || {
            // Enqueued after the position that is waited for, and before that position is reached.
            begun.recv().unwrap();
            later.run(move || gate.recv().unwrap()).unwrap();
        })
        .unwrap();
    let end = stream.last_position();
    begin.send(()).unwrap();
    assert!(stream.drain_to(end, LONG));
    release.send(()).unwrap();
}

#[test]
fn draining_has_a_limit() {
    let (release, gate) = mpsc::channel::<()>();
    let stream = HostStream::new().unwrap();
    stream.run(move || gate.recv().unwrap()).unwrap();
    assert!(!stream.drain(Duration::from_millis(20)));
    release.send(()).unwrap();
    assert!(stream.drain(LONG));
}

/// A signal that fails temporarily is retried, since Vulkan's queue would otherwise wait forever.
#[test]
fn failed_signal_is_retried() {
    let stream = HostStream::new().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let signal = move || match counted.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(Error::InvalidArgument { object: "a signal".into(), reason: "no memory".into() }),
        _ => Ok(()),
    };
    stream.signal(signal).unwrap();
    assert!(stream.drain(LONG));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    stream.ensure_alive().unwrap();
}
