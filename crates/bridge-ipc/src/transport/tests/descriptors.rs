//! Descriptors that come with messages, or are not to come.

use std::process::Stdio;

use rustix::io::Errno;
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};

use super::*;

/// Set for a worker that has no room for descriptors: where the renderer listens.
const FULL: &str = "BRIDGE_IPC_TEST_FULL";

/// A process whose descriptors are used up says so, and not that its peer has broken the protocol.
#[test]
fn a_worker_without_room_for_a_descriptor_says_so() {
    let (name, full) = ("transport::tests::descriptors::a_worker_without_room_for_a_descriptor_says_so", FULL);
    if let Some(path) = std::env::var_os(full) {
        let mut worker = Connection::connect(PathBuf::from(path), &ConnectInfo::default()).unwrap();
        worker.send(&Message::Hello(hello(Role::Worker)), None, LIMIT).unwrap();
        assert!(matches!(worker.receive(LIMIT).unwrap().message, Message::Offer(_)));
        let before = getrlimit(Limited::Nofile);
        setrlimit(Limited::Nofile, Rlimit { current: Some(3), ..before.clone() }).unwrap();
        let error = worker.receive(LIMIT).unwrap_err();
        let Error::System { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        assert!(error.to_string().contains("ulimit -n"), "{error}");
        setrlimit(Limited::Nofile, before).unwrap();
        assert!(worker.has_ended());
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(full, listener.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut renderer = listener.accept(LIMIT).unwrap().unwrap();
    renderer.greet(&hello(Role::Renderer), LIMIT).unwrap();
    renderer.send(&offer(), None, LIMIT).unwrap();
    let memory = SharedMemory::new("m", 64).unwrap();
    renderer.send(&resource(64), Some(memory.handle().as_fd()), LIMIT).unwrap();
    let told = renderer.receive(LIMIT).map(|received| received.message);
    assert!(matches!(&told, Ok(Message::Bye { code: Code::Failure, text }) if text.contains("open files")), "{told:?}");
    assert!(worker.wait_with_output().unwrap().status.success());
}
