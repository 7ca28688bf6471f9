//! A worker with CUDA that forks.

use std::sync::mpsc::channel;

use bridge_tests::{Readback, Rig};

use crate::SIZE;
use crate::compute_first::written;
use crate::in_step::{between, connect, next, with_device, write};

/// Runs `run` in a forked child, and waits for its end. Panics if `run` panics or takes longer than
/// 20 seconds.
fn in_a_child(run: impl FnOnce()) {
    // SAFETY: `fork` in a process with several threads: the child has only this one, so it must not
    // need a lock that another thread may have held. Those of the allocator are free (glibc, musl),
    // and `run` takes no others.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: `alarm` has no requirements; the child handles no signals, so this one ends it.
        unsafe { libc::alarm(20) };
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        // SAFETY: `_exit` may be called at any time; no destructor of the parent's runs.
        unsafe { libc::_exit(i32::from(ran.is_err())) }
    }
    let mut status = 0;
    // SAFETY: `waitpid`: `status` is a place for an int.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

/// A forked child that drops its copy of an exchange makes no driver call, which could wait for a
/// lock that only its parent releases, and does not wait for a thread of its parent. The parent goes
/// on.
#[test]
fn a_forked_child_leaves_the_exchange_to_its_parent() {
    with_device("forked::a_forked_child_leaves_the_exchange_to_its_parent", |rig| {
        let readback = &Readback::new(rig.device(), SIZE);
        let (have, had) = channel();
        between(
            rig,
            2,
            move |path| {
                let (worker, mut exchange) = connect(path);
                write(&mut exchange, 0);
                let mut all = Some((exchange, worker));
                // The child has its own copy of `all`.
                in_a_child(|| drop(all.take()));
                let (mut exchange, worker) = all.unwrap();
                (1..6).for_each(|frame| write(&mut exchange, frame));
                // This is an error if the test has failed.
                let _ = had.recv();
                drop((exchange, worker));
            },
            move |exchange| {
                for frame in 0..6 {
                    let turn = next(exchange);
                    let source = (turn.resources().as_raw(), SIZE);
                    assert!(readback.run(turn, &[source]) == written(frame as u8 + 1, frame), "frame {frame}");
                }
                have.send(()).unwrap();
            },
        );
    });
}
