//! A renderer whose process ends long after its socket, or goes on.

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
    let start = Instant::now();
    let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
    let error = writer.begin().err().unwrap();
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    assert!(start.elapsed() > DEFAULT, "{:?}", start.elapsed());
    child.wait().unwrap();
}

/// A renderer that has closed the connection with a Bye, and lives on, is waited for by nobody: not
/// by a worker either that meets the closed socket before it has read the Bye.
#[test]
fn a_bye_that_was_not_read_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = Listener::bind(path.clone()).unwrap();
    std::thread::scope(|scope| {
        let (say, said) = std::sync::mpsc::channel();
        let renderer = scope.spawn(move || {
            let mut renderer = Renderer::accept(&listener);
            renderer.offer(1, "x", &[floats(4)]);
            renderer.receive();
            renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
            said.recv().unwrap();
            drop(renderer);
        });
        let worker = connect(&path, DEFAULT).unwrap();
        let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
        let turn = writer.begin().unwrap();
        say.send(()).unwrap();
        renderer.join().unwrap();
        let start = Instant::now();
        let error = turn.publish().unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        assert!(start.elapsed() < DEFAULT / 2, "{:?}", start.elapsed());
    });
}
