//! Tests of the peer's identity, which is the process that connected, even if another one sends.

use std::process::{Child, Stdio};

use super::*;

/// Variable of a process that connects: the identity that its heir claims, and the path. Variable
/// of the heir: the number of the inherited socket, and that identity.
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

/// Runs the heir, which inherits the socket of the process that connected. It sends a Hello with
/// its own process ID (`own`) or with that of its parent, and ends with the connection.
fn inherit(told: &str) {
    let [socket, whose] = told.split(' ').collect::<Vec<_>>().try_into().unwrap();
    #[allow(unsafe_code)]
    // SAFETY: `FromRawFd::from_raw_fd`: the descriptor is open, since the parent has let it be
    // inherited, and nothing else in this process owns it.
    let socket = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(socket.parse().unwrap()) };
    let mut hello = hello(Role::Worker);
    if whose == "parents" {
        hello.pid = std::os::unix::process::parent_id();
    }
    send_raw(&socket, &Message::Hello(hello).encode().unwrap());
    let mut bytes = [0; 512];
    while rustix::net::recv(&socket, &mut bytes, rustix::net::RecvFlags::empty()).is_ok_and(|(count, _)| count > 0) {}
}

/// Runs a process that connects and lets a child send on the connection.
fn bequeath(test: &str, told: &str) {
    let (whose, path) = told.split_once(' ').unwrap();
    let socket = new_socket().unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(Path::new(path)).unwrap()).unwrap();
    let mut heir = start(test, HEIR, &format!("{} {whose}", std::os::fd::AsRawFd::as_raw_fd(&socket)));
    heir.wait().unwrap();
}

/// The pidfd refers to the process that connected. The Hello of another process is refused, since
/// that process's death would not be noticed, and the wrong process would be killed for it.
#[test]
fn hello_of_a_process_other_than_the_pidfds_is_refused() {
    const TEST: &str = "transport::tests::identity::hello_of_a_process_other_than_the_pidfds_is_refused";
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
        let met = listener.handshake(&hello(Role::Renderer), LIMIT);
        if own {
            let Err(Error::PidMismatch { hello, credentials }) = met else { panic!("{met:?}") };
            assert_eq!(credentials, pid);
            assert_ne!(i64::from(hello), i64::from(pid), "the heir's");
        } else {
            // Control: the heir's claim matches what the kernel reports, and the process that is
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
