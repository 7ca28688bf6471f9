//! Test of the trace of a worker's end.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::tests::{LIMIT, hung_up, until};
use crate::remote::test_renderer::Renderer;

/// A trace that the test reads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Returns the number of these events with a worker.
    fn count(&self, event: &str, worker: u32) -> usize {
        let lines = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let (event, peer) = (format!("\"event\":\"{event}\""), format!("\"peer\":{worker}"));
        let is_peer = |line: &str| line.split([',', '}']).any(|field| field == peer);
        lines.lines().filter(|line| line.contains(&event) && is_peer(line)).count()
    }
}

/// The connection ends first, and the process some time later; both are traced once.
#[test]
fn process_end_is_traced_even_if_late() {
    let Some(scene) = Renderer::new("in-step-traced") else { return };
    let lines = Lines::default();
    bridge_trace::trace_to(lines.clone());
    for disconnects in [false, true] {
        let (mut worker, mut exchange, point) = hung_up(&scene);
        assert_eq!((lines.count("close", worker.process()), lines.count("lost", worker.process())), (1, 0));
        worker.kill();
        point.wait(LIMIT).unwrap();
        until(|| exchange.owed_frames().is_empty().then_some(()));
        if disconnects {
            exchange.disconnect();
        }
        drop(exchange);
        until(|| (lines.count("lost", worker.process()) > 0).then_some(()));
        assert_eq!((lines.count("close", worker.process()), lines.count("lost", worker.process())), (1, 1));
    }
    bridge_trace::trace_off();
}
