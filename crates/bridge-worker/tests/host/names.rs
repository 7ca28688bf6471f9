//! Tests of exchange names that differ between the two sides.

use std::sync::Barrier;

use super::*;

/// Limit of the wait for a name. The connection is made within it, too.
pub(crate) const SHORT: Duration = Duration::from_secs(5);

/// Repeats a call of a worker with a short limit until it succeeds, however slow the machine is.
pub(crate) fn in_the_end<T>(mut ask: impl FnMut() -> Result<T, Error>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Err(Error::Timeout { .. }) if start.elapsed() < LIMIT => {}
            told => return told.unwrap(),
        }
    }
}

/// Runs a worker with a short limit once the renderer has offered "y". Returns the messages that
/// the renderer receives from then on, until the end of the connection.
fn with_y_offered(worker: impl FnOnce(bridge_worker::Worker)) -> Vec<Message> {
    let (_folder, listener) = listen();
    let offered = Barrier::new(2);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut renderer = Renderer::accept(&listener);
            renderer.offer(1, "y", &[floats(4)]);
            offered.wait();
            std::iter::from_fn(|| renderer.connection.receive(LIMIT).ok()).map(|received| received.message).collect()
        });
        let connected = connect(listener.path(), SHORT).unwrap();
        offered.wait();
        worker(connected);
        thread.join().unwrap()
    })
}

#[test]
fn both_sides_report_an_unmatched_name() {
    let heard = with_y_offered(|worker| {
        let error = worker.latest::<Buffer<f32>>("x").unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("the offer of \"x\"") && told.contains("which offers \"y\" so far"), "{told}");
    });
    let [Message::Refused { exchange: Some(1), code: Code::Resource, text }, Message::Bye { .. }] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(text, "the worker requested \"x\", not \"y\"");
}

/// An offer stays available after a request for another name.
#[test]
fn offer_remains_after_a_request_for_another_name() {
    let heard = with_y_offered(|worker| {
        worker.latest::<Buffer<f32>>("x").unwrap_err();
        in_the_end(|| worker.latest::<Buffer<f32>>("y"));
    });
    assert_eq!(heard[0], Message::Ready { exchange: 1 });
    assert!(!heard.iter().any(|message| matches!(message, Message::Refused { .. })), "{heard:?}");
}

#[test]
fn claimed_exchange_is_not_offered_again() {
    with_y_offered(|worker| {
        let _writer = in_the_end(|| worker.latest::<Buffer<f32>>("y"));
        let told = worker.latest::<Buffer<f32>>("y").unwrap_err().to_string();
        assert!(told.contains("which offers nothing else so far"), "{told}");
    });
}
