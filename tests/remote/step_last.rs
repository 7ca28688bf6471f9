//! In step with reading workers on the CPU: the last frames of a renderer that ends.

use std::time::Duration;

use crate::step_painter::StepPainter;
use crate::step_reader::Behavior;

/// A limit that no test reaches while it waits for the end of a worker.
const LIMIT: Duration = Duration::from_secs(20);

/// Submitted frames are read even if the renderer ends.
#[test]
fn the_last_frames_are_read_after_the_renderer_has_ended() {
    for round in 0..10 {
        let mut painter = StepPainter::new();
        let (worker, mut writer) = painter.with(Behavior::Reads, LIMIT);
        painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
        (0..3).for_each(|_| drop(painter.draw(&mut writer)));
        if round % 2 == 0 {
            writer.close().unwrap();
        } else {
            drop(writer);
        }
        (0..3).for_each(|_| painter.seen(&worker));
    }
}
