//! Tests of workers that send their Hello late.

use super::*;

fn listener(folder: &tempfile::TempDir, handshake_timeout: Duration) -> Listener {
    Listener::bind_with(folder.path().join("s"), &ListenerInfo { handshake_timeout, ..Default::default() }).unwrap()
}

/// Connects a raw socket that sends nothing.
fn silent(listener: &Listener) -> OwnedFd {
    let socket = new_socket().unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(listener.path()).unwrap()).unwrap();
    socket
}

fn answer(socket: &OwnedFd) {
    send_raw(socket, &Message::Hello(hello(Role::Worker)).encode().unwrap());
}

#[test]
fn slow_worker_is_returned_by_a_later_call() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_secs(600));
    let ours = hello(Role::Renderer);
    let slow = silent(&listener);
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    // The worker has received the renderer's Hello, and does not delay other workers.
    assert!(rustix::net::recv(&slow, &mut [0; 512], rustix::net::RecvFlags::empty()).unwrap().0 > 0);
    let quick = silent(&listener);
    answer(&quick);
    let first = listener.handshake(&ours, LIMIT).unwrap().unwrap();
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    answer(&slow);
    let second = listener.handshake(&ours, LIMIT).unwrap().unwrap();
    assert!(first.peer_hello().is_some() && second.peer_hello().is_some());
}

#[test]
fn hello_of_the_worker_ends_the_wait() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_secs(600));
    let ours = hello(Role::Renderer);
    let slow = silent(&listener);
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| listener.handshake(&ours, Duration::from_secs(600)).unwrap());
        answer(&slow);
        assert!(waits.join().unwrap().is_some());
    });
}

#[test]
fn silent_worker_times_out_and_is_notified() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_millis(30));
    let ours = hello(Role::Renderer);
    let before = open_descriptors();
    let socket = silent(&listener);
    let start = Instant::now();
    let error = listener.handshake(&ours, LIMIT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && start.elapsed() >= Duration::from_millis(30), "{error}");
    let mut bytes = [0; 512];
    let mut received = || rustix::net::recv(&socket, &mut bytes, rustix::net::RecvFlags::empty()).unwrap().0;
    assert!(received() > 0, "the Hello");
    assert!(received() > 0, "a Bye");
    assert_eq!(received(), 0);
    drop(socket);
    assert_eq!(open_descriptors(), before);
}

/// A worker whose GPU takes longer to start than the renderer waits receives the reason.
#[test]
fn late_worker_receives_the_reason() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::ZERO);
    let path = listener.path();
    std::thread::scope(|scope| {
        let (gone, is_gone) = std::sync::mpsc::channel();
        let worker = scope.spawn(move || {
            let mut worker = Connection::connect(path, &ConnectInfo::default()).unwrap();
            is_gone.recv().unwrap();
            let failed = worker.send(&Message::Hello(hello(Role::Worker)), None, LIMIT).unwrap_err();
            worker.close_reason(failed)
        });
        let given_up = listener.handshake(&hello(Role::Renderer), LIMIT).unwrap_err();
        assert!(matches!(given_up, Error::Timeout { .. }), "{given_up}");
        gone.send(()).unwrap();
        let error = worker.join().unwrap().to_string();
        assert!(
            error.contains("no Hello was received") && error.contains("ListenerInfo::handshake_timeout"),
            "{error}"
        );
    });
}

#[test]
fn faulty_worker_ends_only_its_own_connection() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_secs(600));
    let ours = hello(Role::Renderer);
    let before = open_descriptors();
    let (stays, goes, lies) = (silent(&listener), silent(&listener), silent(&listener));
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    drop(goes);
    assert!(matches!(listener.handshake(&ours, LIMIT), Err(Error::Closed { .. })));
    send_raw(&lies, &[0xff; 40]);
    assert!(listener.handshake(&ours, LIMIT).is_err());
    answer(&stays);
    assert!(listener.handshake(&ours, LIMIT).unwrap().is_some());
    drop((stays, lies));
    assert_eq!(open_descriptors(), before);
}

/// A worker is returned only for the Hello that it has received, since its choice depends on it.
#[test]
fn worker_is_returned_to_the_call_whose_hello_it_answered() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_secs(600));
    let ours = hello(Role::Renderer);
    let other = Hello { name: "other".into(), ..ours.clone() };
    let socket = silent(&listener);
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    answer(&socket);
    // The answer has arrived, so a call with the same Hello would return the worker.
    assert!(listener.handshake(&other, Duration::ZERO).unwrap().is_none());
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_some());
}

/// A program that accepts workers with one configuration and then looks for others only.
#[test]
fn worker_that_answered_another_call_is_kept_without_time_limit() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let handshake_timeout = Duration::from_secs(600);
    let info = ListenerInfo { handshake_timeout, pending: 1, ..Default::default() };
    let listener = Listener::bind_with(folder.path().join("s"), &info).unwrap();
    let ours = hello(Role::Renderer);
    let other = Hello { trust: true, ..ours.clone() };
    let before = open_descriptors();
    let none = |hello| listener.handshake(hello, Duration::ZERO).unwrap().is_none();
    let first = silent(&listener);
    assert!(none(&other));
    answer(&first);
    assert!(none(&ours));
    // It is not one that says nothing, of which one more is.
    let second = silent(&listener);
    assert!(none(&ours));
    listener.greetings.age(handshake_timeout);
    assert!(matches!(listener.handshake(&ours, Duration::ZERO), Err(Error::Timeout { .. })), "the second");
    assert!(none(&ours), "the first");
    assert!(listener.handshake(&other, Duration::ZERO).unwrap().is_some());
    // An answer that came in time counts, however late this process looks for it.
    let third = silent(&listener);
    assert!(none(&other));
    answer(&third);
    listener.greetings.age(handshake_timeout);
    assert!(listener.handshake(&ours, Duration::from_millis(1)).unwrap().is_none());
    // A worker that closes its connection is reported, and not kept.
    drop(third);
    assert!(matches!(listener.handshake(&ours, Duration::ZERO), Err(Error::Closed { .. })));
    assert!(none(&other));
    drop((first, second));
    assert_eq!(open_descriptors(), before);
}

#[test]
fn workers_that_answered_another_call_are_bounded() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_secs(600));
    let ours = hello(Role::Renderer);
    let other = Hello { trust: true, ..ours.clone() };
    let before = open_descriptors();
    let mut kept = Vec::new();
    for _ in 0..64 {
        kept.push(silent(&listener));
        assert!(listener.handshake(&other, Duration::ZERO).unwrap().is_none());
    }
    kept.iter().for_each(answer);
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    let one_more = silent(&listener);
    let error = listener.handshake(&ours, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("64 workers") && error.contains("another configuration"), "{error}");
    for _ in &kept {
        assert!(listener.handshake(&other, Duration::ZERO).unwrap().is_some());
    }
    drop((kept, one_more));
    assert_eq!(open_descriptors(), before);
}

#[test]
fn silent_connections_are_bounded() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let info = ListenerInfo { handshake_timeout: Duration::from_secs(600), pending: 10, ..Default::default() };
    let listener = Listener::bind_with(folder.path().join("s"), &info).unwrap();
    let ours = hello(Role::Renderer);
    let before = open_descriptors();
    let mut silent_ones = Vec::new();
    for _ in 0..info.pending {
        silent_ones.push(silent(&listener));
        assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    }
    let one_more = silent(&listener);
    let error = listener.handshake(&ours, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("10 connections"), "{error}");
    drop(one_more);
    answer(&silent_ones[9]);
    assert!(listener.handshake(&ours, LIMIT).unwrap().is_some());
    drop(silent_ones);
    while listener.handshake(&ours, Duration::ZERO).is_err() {}
    assert_eq!(open_descriptors(), before);
}

/// Processes that connect and fail, at any rate, do not keep other workers from being returned, and
/// each failure is reported.
#[test]
fn answered_worker_is_returned_despite_failures_of_others() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_secs(600));
    let ours = hello(Role::Renderer);
    let early = silent(&listener);
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
    let answers = silent(&listener);
    drop(early);
    answer(&answers);
    assert!(listener.handshake(&ours, LIMIT).unwrap().is_some());
    assert!(matches!(listener.handshake(&ours, Duration::ZERO), Err(Error::Closed { .. })));
    assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
}

/// A worker whose Hello one thread has sent is returned by another thread that is already waiting.
#[test]
fn threads_wait_for_the_same_workers() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = listener(&folder, Duration::from_secs(600));
    let ours = hello(Role::Renderer);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| listener.handshake(&ours, Duration::from_secs(600)).unwrap());
        let socket = silent(&listener);
        for _ in 0..20 {
            assert!(listener.handshake(&ours, Duration::ZERO).unwrap().is_none());
        }
        answer(&socket);
        assert!(waits.join().unwrap().is_some());
    });
}
