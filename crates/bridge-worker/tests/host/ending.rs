//! A renderer that ends the connection and lives on.

use super::*;

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
