//! Test of the trace of a worker's end.

use bridge_trace::EventKind;
use test_support::Sink;

use super::tests::{LIMIT, hung_up, until};
use crate::remote::test_renderer::Renderer;

/// Returns the number of these events with a worker.
fn count(lines: &Sink, kind: EventKind, worker: u32) -> usize {
    let (event, peer) = (format!("\"event\":\"{kind}\""), format!("\"peer\":{worker}"));
    let is_peer = |line: &str| line.split([',', '}']).any(|field| field == peer);
    lines.text().lines().filter(|line| line.contains(&event) && is_peer(line)).count()
}

/// The connection ends first, and the process some time later; both are traced once.
#[test]
fn process_end_is_traced_even_if_late() {
    let Some(scene) = Renderer::new("in-step-traced") else { return };
    let lines = Sink::default();
    bridge_trace::trace_to(lines.clone());
    for disconnects in [false, true] {
        let (mut worker, mut exchange, point) = hung_up(&scene);
        assert_eq!(
            (count(&lines, EventKind::Close, worker.process()), count(&lines, EventKind::Lost, worker.process())),
            (1, 0)
        );
        worker.kill();
        point.wait(LIMIT).unwrap();
        until(|| exchange.owed_frames().is_empty().then_some(()));
        if disconnects {
            exchange.disconnect();
        }
        drop(exchange);
        until(|| (count(&lines, EventKind::Lost, worker.process()) > 0).then_some(()));
        assert_eq!(
            (count(&lines, EventKind::Close, worker.process()), count(&lines, EventKind::Lost, worker.process())),
            (1, 1)
        );
    }
    bridge_trace::trace_off();
}
