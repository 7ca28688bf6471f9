//! Processes that are forked while they have a listener or a connection.
#![allow(unsafe_code, reason = "forks")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{SocketFlags, accept_with};

use super::owner::Owner;
use super::peer::poll_until;
use super::*;

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
}

/// Does `run` in a forked child, and waits for its end. Where `run` panics, this does, too.
fn in_a_child(run: impl FnOnce()) {
    // SAFETY: `fork` in a process of several threads: the child has this one alone, so that it must
    // need no lock that another may have held. Those of the allocator are free (glibc, musl), and
    // `run` takes no others.
    let child = unsafe { fork() };
    if child == 0 {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        // SAFETY: `_exit` may be called at any time; no destructor of the parent's runs.
        unsafe { _exit(i32::from(ran.is_err())) }
    }
    let mut status = 0;
    // SAFETY: `waitpid`: `status` is a place for an int.
    let waited = unsafe { waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

/// A child that returns normally drops its copies, which leaves the objects of its parent alone.
#[test]
fn forked_child_does_not_affect_its_parent() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (renderer, worker) = greeted(&listener);
    let mut all = Some((listener, renderer, worker));
    for closes in [false, true] {
        // The child has its own copy of `all`.
        in_a_child(|| {
            let (listener, mut renderer, mut worker) = all.take().unwrap();
            if closes {
                let error = renderer.send(&offer(), None, LIMIT).unwrap_err().to_string();
                assert!(error.contains("was forked"), "{error}");
                renderer.close(Code::Done, "for a test");
                worker.close(Code::Done, "for a test");
            }
            drop((listener, renderer, worker));
        });
        let (listener, renderer, worker) = all.as_mut().unwrap();
        assert!(fs::symlink_metadata(listener.path()).is_ok(), "the socket's file is gone");
        let told = [renderer, worker].map(|connection| connection.try_receive().map(|said| said.is_some()));
        assert!(matches!(told, [Ok(false), Ok(false)]), "{told:?}");
    }
    let (listener, mut renderer, mut worker) = all.unwrap();
    renderer.send(&offer(), None, LIMIT).unwrap();
    assert_eq!(worker.receive(LIMIT).unwrap().message, offer());
    drop((renderer, worker));
    drop(greeted(&listener));
    let path = listener.path().to_owned();
    drop(listener);
    assert!(fs::symlink_metadata(path).is_err(), "it is removed in its own process");
}

/// The child has what keeps its parent's kernels running, even if it drops its copy.
#[test]
fn worker_is_not_released_while_a_child_lives_that_dropped_its_copy() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (renderer, worker) = greeted(&listener);
    let (worker, (mut ours, mut childs)) = (Mutex::new(Some(worker)), UnixStream::pair().unwrap());
    std::thread::scope(|scope| {
        let child = scope.spawn(|| {
            in_a_child(|| {
                drop(worker.lock().unwrap().take());
                childs.write_all(b"d").unwrap();
                childs.read_exact(&mut [0]).unwrap();
            });
        });
        ours.read_exact(&mut [0]).unwrap();
        drop(worker.lock().unwrap().take());
        let is_released = renderer.is_released();
        ours.write_all(b"e").unwrap();
        child.join().unwrap();
        assert!(!is_released, "the child lives");
    });
    assert!(renderer.wait_for_release(LIMIT));
}

/// The kernel names the process that listens, and not the one that accepts.
#[test]
fn child_of_the_listening_process_is_refused_with_advice() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let path = listener.path();
    let error = std::thread::scope(|scope| {
        let worker = scope.spawn(move || Connection::connect(path, &ConnectInfo::default()).unwrap_err());
        in_a_child(|| {
            // As a program without this crate, whose listener does not know that it was forked.
            poll_until(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap();
            let socket = accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).unwrap();
            let mut connection = Connection::new(socket, Role::Renderer, None).unwrap();
            // Until the worker has gone.
            assert!(connection.handshake(&hello(Role::Renderer), LIMIT).is_err());
        });
        worker.join().unwrap()
    });
    assert!(matches!(error, Error::PidMismatch { credentials, .. } if credentials == std::process::id()), "{error}");
    assert!(error.to_string().contains("fork before that"), "{error}");
}

/// In a forked child, calls that would read a message or accept a worker fail: its parent still
/// gets all of them.
#[test]
fn a_forked_child_receives_nothing_in_place_of_its_parent() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    renderer.send(&offer(), None, LIMIT).unwrap();
    renderer.close(Code::Done, "for a test");
    // Two workers: one that no call has accepted, and one that a call of the parent has greeted.
    let connect = |path: PathBuf| std::thread::spawn(move || Connection::connect(path, &ConnectInfo::default()));
    let path = || listener.path().to_owned();
    let greeted = connect(path());
    while listener.handshake(&hello(Role::Renderer), Duration::ZERO).unwrap().is_none() && !greeted.is_finished() {}
    let mut greeted = greeted.join().unwrap().unwrap();
    greeted.send(&Message::Hello(hello(Role::Worker)), None, LIMIT).unwrap();
    let waiting = connect(path());
    poll_until(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap();
    in_a_child(|| {
        let failures = [
            worker.try_receive().unwrap_err(),
            worker.receive(LIMIT).unwrap_err(),
            renderer.try_receive().unwrap_err(),
            listener.accept(LIMIT).unwrap_err(),
            listener.handshake(&hello(Role::Renderer), LIMIT).unwrap_err(),
        ];
        for error in failures {
            let owner = std::os::unix::process::parent_id();
            assert!(matches!(error, Error::Forked { owner: parent, .. } if parent == owner), "{error}");
        }
    });
    assert_eq!(worker.receive(LIMIT).unwrap().message, offer());
    assert!(matches!(worker.receive(LIMIT).unwrap().message, Message::Bye { .. }));
    assert!(matches!(worker.try_receive(), Err(Error::Closed { reason: Some((Code::Done, _)), .. })));
    assert!(listener.handshake(&hello(Role::Renderer), LIMIT).unwrap().is_some(), "the parent has its worker");
    assert!(waiting.join().unwrap().is_ok());
}

/// A process differs from those from which it was forked, also if none of these was asked before.
#[test]
fn an_owner_is_another_process_in_a_child_and_in_its_child() {
    let owner = Owner::current();
    assert!(!owner.is_forked());
    in_a_child(|| {
        assert!(owner.is_forked());
        let own = Owner::current();
        assert!(!own.is_forked());
        in_a_child(|| assert!(owner.is_forked() && own.is_forked()));
        // The child's child has changed nothing here.
        assert!(!own.is_forked());
    });
    in_a_child(|| in_a_child(|| assert!(owner.is_forked())));
    assert!(!owner.is_forked());
}
