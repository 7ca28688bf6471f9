//! Processes that are forked while they have a listener or a connection.
#![allow(unsafe_code, reason = "forks")]

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

/// What a child drops that returns normally is its copy.
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
            let mut connection = listener.accept(LIMIT).unwrap().unwrap();
            // Until the worker has gone.
            assert!(connection.greet(&hello(Role::Renderer), LIMIT).is_err());
        });
        worker.join().unwrap()
    });
    assert!(matches!(error, Error::PidMismatch { credentials, .. } if credentials == std::process::id()), "{error}");
    assert!(error.to_string().contains("fork before that"), "{error}");
}
