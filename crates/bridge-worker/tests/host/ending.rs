//! A renderer whose process ends long after its socket.

use std::os::fd::AsFd;

use super::*;

/// The longest time that a worker with the default limit waits.
const DEFAULT: Duration = Duration::from_secs(5);

/// While many renderers with stuck queues end at once, a driver may take longer than the default
/// limit. A worker whose own limit is longer waits: its stream may wait for the dead one, and is
/// freed only once it is known to be dead.
#[test]
fn a_renderer_that_takes_its_time_to_end_is_waited_for_up_to_the_workers_own_limit() {
    const PATH: &str = "BRIDGE_WORKER_TEST_SLOW_SOCKET";
    if let Some(path) = std::env::var_os(PATH) {
        let listener = Listener::bind(PathBuf::from(path)).unwrap();
        let mut renderer = Renderer::accept(&listener);
        renderer.offer(1, "x", &[floats(4)]);
        renderer.receive();
        // Sockets end first, without a word.
        let socket = renderer.connection.as_fd().try_clone_to_owned().unwrap();
        std::os::unix::net::UnixStream::from(socket).shutdown(std::net::Shutdown::Both).unwrap();
        std::thread::sleep(DEFAULT + Duration::from_millis(800));
        std::process::exit(0);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ending::a_renderer_that_takes_its_time_to_end_is_waited_for_up_to_the_workers_own_limit"])
        .env(PATH, &path)
        .spawn()
        .unwrap();
    let start = Instant::now();
    let worker = loop {
        match connect(&path, DEFAULT * 12) {
            Ok(worker) => break worker,
            Err(_) if start.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    };
    let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
    let start = Instant::now();
    let error = writer.begin().err().unwrap();
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    assert!(start.elapsed() > DEFAULT, "{:?}", start.elapsed());
    child.wait().unwrap();
}
