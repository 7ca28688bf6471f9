//! Tests of a renderer that ends the connection and keeps running, or is killed.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use super::*;

/// A worker does not wait for the end of a renderer that has closed the connection with a Bye and
/// keeps running, even if it finds the socket closed before it has read the Bye.
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
        let worker = connect(&path, FAR).unwrap();
        let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
        let turn = writer.begin().unwrap();
        say.send(()).unwrap();
        renderer.join().unwrap();
        let start = Instant::now();
        let error = turn.publish().unwrap_err();
        let is_told = |reason: &str| reason.contains("the connection was dropped");
        assert!(matches!(&error, Error::Closed { reason, .. } if is_told(reason)), "{error}");
        assert!(start.elapsed() < FAR / 2, "{:?}", start.elapsed());
    });
}

/// The renderer is a process of its own, this test again, and ends right after its last message.
#[test]
fn reason_of_the_renderer_is_reported_after_process_end() {
    const PATH: &str = "BRIDGE_WORKER_TEST_LAST_WORD";
    const PART: &str = "BRIDGE_WORKER_TEST_LAST_WORD_PART";
    if let Some(path) = std::env::var_os(PATH) {
        let listener = Listener::bind(PathBuf::from(path)).unwrap();
        println!("listens");
        let mut connection = Renderer::accept(&listener).connection;
        match std::env::var(PART).unwrap().as_str() {
            "fails" => connection.close(Code::Failure, "out of tea"),
            "fails silently" => connection.close(Code::Backend, ""),
            "lies" => _ = UnixStream::from(connection.as_fd().try_clone_to_owned().unwrap()).write(b"no message"),
            "ends" => connection.close(Code::Done, "for a test"),
            // Without a word.
            _ => {}
        }
        std::process::exit(0);
    }
    let test = "ending::reason_of_the_renderer_is_reported_after_process_end";
    let parts = [
        ("fails", Some("out of tea")),
        ("fails silently", Some("Backend")),
        ("lies", None),
        ("ends", None),
        ("", None),
    ];
    for (part, expected) in parts {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", test])
            .envs([(PATH, path.as_os_str()), (PART, part.as_ref())])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().ends_with("listens")));
        let worker = connect(&path, FAR).unwrap();
        child.wait().unwrap();
        let lost = || worker.latest::<Buffer<f32>>("x").unwrap_err();
        if part == "lies" {
            // The first call reports the fault; later ones also report that the process has ended.
            let error = lost();
            assert!(matches!(error, Error::Connection(bridge_ipc::Error::Malformed { .. })), "{error}");
            let again = lost();
            let told = error.to_string();
            assert!(matches!(&again, Error::PeerLost { reason: Some(reason), .. } if **reason == told), "{again}");
            continue;
        }
        for _ in 0..2 {
            let error = lost();
            let Error::PeerLost { reason, .. } = &error else { panic!("{part}: {error}") };
            assert_eq!(reason.as_deref(), expected, "{part}");
            let shown = expected.map_or(") has ended, at frame".to_owned(), |text| format!(") has ended ({text}), at"));
            assert!(error.to_string().contains(&shown), "{error}");
        }
    }
}

/// The renderer runs in a separate process, which is this test again, and is killed during a frame.
#[test]
fn loss_of_the_renderer_is_reported_at_the_current_frame() {
    const PATH: &str = "BRIDGE_WORKER_TEST_LOST_FRAME";
    if let Some(path) = std::env::var_os(PATH) {
        let listener = Listener::bind(PathBuf::from(path)).unwrap();
        println!("listens");
        let mut renderer = Renderer::accept(&listener);
        renderer.offer(1, "x", &[floats(4)]);
        renderer.receive();
        for slot in 0..2 {
            renderer.send(Message::Free { exchange: 1, slot, value: 0 });
        }
        std::thread::sleep(FAR);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "ending::loss_of_the_renderer_is_reported_at_the_current_frame"])
        .env(PATH, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().ends_with("listens")));
    let worker = connect(&path, FAR).unwrap();
    let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
    writer.begin().unwrap().publish().unwrap();
    let turn = writer.begin().unwrap();
    assert_eq!(turn.frame(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let error = turn.publish().unwrap_err();
    assert!(matches!(&error, Error::PeerLost { frame: 1, .. }), "{error}");
}
