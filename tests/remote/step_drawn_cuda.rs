//! In step with workers that read with CUDA: the GPUs wait for each other.

use std::time::{Duration, Instant};

use bridge::Error;
use bridge_tests::{Gate, Rig};
use rustix::process::Signal;

use crate::reading::Report;
use crate::step_painter::StepPainter;
use crate::step_reader::Behavior;

/// A limit that no test reaches while it waits for the end of a worker.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn frames_for_cuda_are_read_once_in_order_and_intact() {
    let Some(mut painter) = StepPainter::with_cuda() else { return };
    let (worker, mut writer) = painter.with(Behavior::Reads, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
    let start = Instant::now();
    for _ in 0..600 {
        (0..3).for_each(|_| drop(painter.draw(&mut writer)));
        (0..3).for_each(|_| painter.seen(&worker));
    }
    println!("1800 frames in {:.1?}", start.elapsed());
    writer.begin(LIMIT).unwrap().unwrap().skip();
    painter.next += 1;
    painter.cross(&mut writer, &worker, 20);
    writer.check_worker().unwrap();
    writer.close().unwrap();
}

/// The worker's stream waits for a frame that is submitted but not drawn.
#[test]
fn a_stream_waits_for_a_frame_that_is_not_drawn() {
    let Some(mut painter) = StepPainter::with_cuda() else { return };
    let (worker, mut writer) = painter.with(Behavior::Reads, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
    let gate = Gate::new(painter.scene.rig.device());
    painter.draw_after(&mut writer, &[gate.wait_info()]);
    std::thread::sleep(Rig::MOMENT);
    assert_eq!(worker.reports_so_far(), [], "it reads what is not drawn");
    gate.open();
    painter.seen(&worker);
    writer.close().unwrap();
}

/// The negative control: a read on an unsynchronized stream returns the previous contents of the
/// slot.
#[test]
fn a_frame_that_is_read_out_of_order_is_stale() {
    let Some(mut painter) = StepPainter::with_cuda() else { return };
    let (worker, mut writer) = painter.with(Behavior::IsUnordered, LIMIT);
    for _ in 0..6 {
        painter.draw(&mut writer).1.wait(Rig::LONG).unwrap();
        worker.next();
    }
    let gate = Gate::new(painter.scene.rig.device());
    let (frame, _) = painter.draw_after(&mut writer, &[gate.wait_info()]);
    let Report::Saw(seen, word) = worker.next() else { panic!("a frame is torn") };
    // It is read although it is not drawn: the slot contains an older frame.
    assert_eq!(seen, frame);
    assert!(word < (1 << 20) + frame as u32, "{word:#x}");
    gate.open();
    writer.close().unwrap();
}

#[test]
fn a_worker_is_killed_in_a_kernel_that_reads_and_that_the_queue_waits_for() {
    let Some(mut painter) = StepPainter::with_cuda() else { return };
    let (mut worker, mut writer) = painter.with(Behavior::HasFrameDue, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::HasFrameDue);
    // The last frame is in the slot that the kernel reads.
    let point = painter.fill(&mut writer).unwrap();
    assert!(matches!(point.wait(Rig::MOMENT), Err(Error::Timeout { .. })), "the queue does not wait");
    writer.check_worker().unwrap();
    let start = Instant::now();
    worker.kill();
    point.wait(LIMIT).unwrap();
    println!("the queue goes on {:.1?} after the kill", start.elapsed());
    let error = StepPainter::dead(&writer);
    let Error::PeerLost { dead: true, held: 3, owed: 1, torn, signaled: Some(5), .. } = &error else {
        panic!("{error}")
    };
    assert!(torn.is_empty(), "{error}");
    let _next = painter.accept_next(&mut writer);
    writer.close().unwrap();
}

#[test]
fn a_worker_is_killed_if_its_reading_kernel_overruns_the_limit() {
    for stopped in [false, true] {
        let Some(mut painter) = StepPainter::with_cuda() else { return };
        let (worker, mut writer) = painter.with(Behavior::HasFrameDue, Duration::from_secs(3));
        painter.draw_until_state(&mut writer, &worker, Behavior::HasFrameDue);
        let point = painter.fill(&mut writer).unwrap();
        if stopped {
            worker.signal(Signal::STOP);
        }
        point.wait(LIMIT).unwrap();
        let error = StepPainter::dead(&writer);
        assert!(error.to_string().contains("was killed") && error.to_string().contains("frame 4"), "{error}");
        let _next = painter.accept_next(&mut writer);
        writer.close().unwrap();
    }
}

/// A worker that keeps its slots has returned nothing, so nothing waits for it.
#[test]
fn a_worker_with_cuda_that_keeps_its_slots_is_not_killed() {
    let Some(mut painter) = StepPainter::with_cuda() else { return };
    let limit = Duration::from_secs(3);
    let (worker, mut writer) = painter.with(Behavior::Holds, limit);
    painter.draw_until_state(&mut writer, &worker, Behavior::Holds);
    painter.fill(&mut writer).unwrap().wait(LIMIT).unwrap();
    worker.signal(Signal::STOP);
    assert!(writer.begin(limit + limit / 4).unwrap().is_none(), "the worker has them all");
    writer.check_worker().unwrap();
}

/// Closing the renderer's exchange waits for the worker up to its limit, and then ends the worker.
#[test]
fn the_renderer_leaves_while_its_queue_waits_for_a_kernel_that_reads() {
    let Some(mut painter) = StepPainter::with_cuda() else { return };
    let (worker, mut writer) = painter.with(Behavior::HasFrameDue, Duration::from_secs(2));
    painter.draw_until_state(&mut writer, &worker, Behavior::HasFrameDue);
    let point = painter.fill(&mut writer).unwrap();
    let start = Instant::now();
    drop(writer);
    assert!(point.is_reached().unwrap() && start.elapsed() < LIMIT);
}

#[test]
fn a_cuda_reader_that_leaves_has_no_frame_due_and_is_replaced() {
    let Some(mut painter) = StepPainter::with_cuda() else { return };
    let (worker, mut writer) = painter.with(Behavior::Leaves, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::Leaves);
    let error = StepPainter::until(&writer, |_| true);
    assert!(matches!(&error, Error::PeerLost { dead: false, owed: 0, signaled: None, .. }), "{error}");
    let _next = painter.accept_next(&mut writer);
    writer.close().unwrap();
}
