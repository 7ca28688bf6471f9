//! In step with reading workers on the CPU: the last frames of a renderer that ends.

use std::time::{Duration, Instant};

use crate::step_painter::StepPainter;
use crate::step_reader::Behavior;

/// A limit that no test reaches while it waits for the end of a worker.
const LIMIT: Duration = Duration::from_secs(20);

/// The time for which an end waits for frames that are being drawn or copied, with room for the
/// test's own delays.
const COPY_LIMIT: Duration = Duration::from_millis(400);

/// Submitted frames are read even if the renderer ends.
#[test]
fn the_last_frames_are_read_after_the_renderer_has_ended() {
    let (mut closed, mut dropped) = (0, 0);
    for round in 0..40 {
        if closed >= 5 && dropped >= 5 {
            return;
        }
        let mut painter = StepPainter::new();
        let (worker, mut writer) = painter.with(Behavior::Reads, LIMIT);
        painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
        (0..3).for_each(|_| drop(painter.draw(&mut writer)));
        let (start, counted) = (Instant::now(), if round % 2 == 0 { &mut closed } else { &mut dropped });
        if round % 2 == 0 {
            writer.close().unwrap();
        } else {
            drop(writer);
        }
        // If drawing or copies take longer, the worker does not get all frames.
        if start.elapsed() < COPY_LIMIT {
            (0..3).for_each(|_| painter.seen(&worker));
            *counted += 1;
        }
    }
    panic!("only {closed} and {dropped} of 20 ends were fast enough to be tested");
}
