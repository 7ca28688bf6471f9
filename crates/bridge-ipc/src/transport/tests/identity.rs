//! The process that a connection is with: the one that connected, whoever talks.

use std::process::{Child, Stdio};

use super::*;

/// Set for a process that connects, with what its heir says it is; and for the heir, with the
/// number of the socket that it has.
const PEER: &str = "BRIDGE_IPC_TEST_IDENTITY";
const HEIR: &str = "BRIDGE_IPC_TEST_HEIR";

/// Starts this test again as another process.
fn start(test: &str, variable: &str, value: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env_remove(PEER)
        .env(variable, value)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not the process that connected: it has that one's socket, and says Hello as itself (`own`) or
/// as that one. Ends with the connection.
fn inherit(told: &str) {
    let [socket, whose] = told.split(' ').collect::<Vec<_>>().try_into().unwrap();
    #[allow(unsafe_code)]
    // SAFETY: `FromRawFd::from_raw_fd`: the descriptor is open, since the parent has left it so,
    // and nothing else in this process owns it.
    let socket = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(socket.parse().unwrap()) };
    let mut hello = hello(Role::Worker);
    if whose == "parents" {
        hello.pid = std::os::unix::process::parent_id();
    }
    send_raw(&socket, &Message::Hello(hello).encode().unwrap());
    let mut bytes = [0; 512];
    while rustix::net::recv(&socket, &mut bytes, rustix::net::RecvFlags::empty()).is_ok_and(|(count, _)| count > 0) {}
}

/// A process that connects, and leaves it to a child to talk.
fn bequeath(test: &str, told: &str) {
    let (whose, path) = told.split_once(' ').unwrap();
    let socket = new_socket().unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(Path::new(path)).unwrap()).unwrap();
    let mut heir = start(test, HEIR, &format!("{} {whose}", std::os::fd::AsRawFd::as_raw_fd(&socket)));
    heir.wait().unwrap();
}

/// The pidfd is of the process that connected: a Hello of another one is refused, since its death
/// would not be seen, and the wrong process be killed for it.
#[test]
fn a_hello_of_another_process_than_the_pidfds_is_refused() {
    const TEST: &str = "transport::tests::identity::a_hello_of_another_process_than_the_pidfds_is_refused";
    if let Ok(told) = std::env::var(HEIR) {
        return inherit(&told);
    }
    if let Ok(told) = std::env::var(PEER) {
        return bequeath(TEST, &told);
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let before = open_descriptors();
    for own in [true, false] {
        let whose = if own { "own" } else { "parents" };
        let mut child = start(TEST, PEER, &format!("{whose} {}", listener.path().display()));
        let pid = child.id();
        let met = listener.greet(&hello(Role::Renderer), LIMIT);
        if own {
            let Err(Error::PidMismatch { hello, credentials }) = met else { panic!("{met:?}") };
            assert_eq!(credentials, pid);
            assert_ne!(i64::from(hello), i64::from(pid), "the heir's");
        } else {
            // The control: what the heir says is what the kernel says, and the process that is
            // watched, and would be killed, is the one that connected.
            let connection = met.unwrap().unwrap();
            assert_eq!(connection.peer().pid(), pid);
            connection.peer().kill().unwrap();
            assert!(connection.peer().wait(LIMIT));
        }
        child.wait().unwrap();
    }
    assert_eq!(open_descriptors(), before);
}
