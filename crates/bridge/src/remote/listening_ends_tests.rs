//! Frames that a worker had finished when it was lost, or the program wanted no more of it.

use super::*;

/// What was finished counts, though the end of the exchange is heard behind it at once.
#[test]
fn a_frame_in_front_of_a_close_that_is_unheard_is_shown() {
    let Some(mut scene) = Scene::new("in-front") else { return };
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let (mut connection, slots) = connect(&path);
        publish(&mut connection, slots[0], 0);
        connection.send(&Message::Close { exchange: EXCHANGE }, None, LIMIT).unwrap();
        connection
    });
    let (mut listening, gpu) = scene.prepare();
    // Its slots.
    listening.take_over().unwrap();
    let connection = worker.join().unwrap();
    gpu(1);
    scene.control.stop();
    let half = listening.run();
    assert!(matches!(scene.lost(), Error::PeerLost { owed: 0, frame: Some(0), .. }), "{}", scene.lost());
    assert_eq!(scene.new_frame(), 0);
    assert!(half.before.is_none() && half.end.away().is_empty(), "it is done with its slots");
    drop(connection);
    half.end.close(scene.reader).unwrap();
}
