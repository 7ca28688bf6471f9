//! In step with workers that compute with CUDA: the GPUs wait for each other.

use std::time::{Duration, Instant};

use bridge::Error;
use bridge_tests::Rig;
use rustix::process::Signal;

use crate::step_worker::Behavior;
use crate::steps::{Stepping, submit};

/// A limit that no test reaches while it waits for the end of a worker.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn frames_of_cuda_arrive_once_in_order_and_intact() {
    let Some(mut stepping) = Stepping::with_cuda() else { return };
    let (_worker, mut steps) = stepping.with(Behavior::Runs, 1, LIMIT);
    let start = Instant::now();
    (0..2000).for_each(|_| stepping.read(&mut steps, 1));
    println!("2000 frames in {:.1?}", start.elapsed());
    let mut turns = [(); 3].map(|()| stepping.turn(&mut steps));
    turns.reverse();
    turns.map(submit).iter().for_each(|point| point.wait(Rig::LONG).unwrap());
    (0..20).for_each(|_| stepping.read(&mut steps, 1));
    steps.check_worker().unwrap();
    steps.close().unwrap();
}

/// The negative control: a frame whose kernels are not synchronized with any wait or signal is
/// detected as wrong.
#[test]
fn unordered_frames_in_step_are_detected() {
    let Some(mut stepping) = Stepping::with_cuda() else { return };
    let (_worker, mut steps) = stepping.with(Behavior::IsUnordered, 1, LIMIT);
    let start = Instant::now();
    loop {
        let frame = stepping.frame();
        let words = stepping.turn(&mut steps).read_back(Rig::LONG).unwrap();
        if words.iter().zip((1 << 20) + frame as u32..).any(|(word, expected)| *word != expected) {
            return println!("frame {frame} is wrong");
        }
        assert!(start.elapsed() < Rig::LONG, "the check sees nothing wrong in {frame} frames");
    }
}

#[test]
fn a_worker_is_killed_in_a_kernel_that_the_queue_waits_for() {
    let Some(mut stepping) = Stepping::with_cuda() else { return };
    let (mut worker, mut steps) = stepping.with(Behavior::HasFrameDue, 1, LIMIT);
    (0..5).for_each(|_| stepping.read(&mut steps, 1));
    worker.wait_for_state();
    let point = submit(stepping.turn(&mut steps));
    assert!(matches!(point.wait(Rig::MOMENT), Err(Error::Timeout { .. })), "the queue does not wait");
    let start = Instant::now();
    worker.kill();
    point.wait(LIMIT).unwrap();
    println!("the queue goes on {:.1?} after the kill", start.elapsed());
    let error = Stepping::dead(&steps);
    let Error::PeerLost { dead: true, frame: Some(4), owed: 1, torn, signaled: Some(6), .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(**torn, [5], "{error}");
    let _next = stepping.accept_next(&mut steps, 2);
    steps.close().unwrap();
}

#[test]
fn a_worker_is_killed_if_its_kernel_overruns_the_limit() {
    for stopped in [false, true] {
        let Some(mut stepping) = Stepping::with_cuda() else { return };
        let (mut worker, mut steps) = stepping.with(Behavior::HasFrameDue, 1, Duration::from_secs(3));
        (0..5).for_each(|_| stepping.read(&mut steps, 1));
        let point = submit(stepping.turn(&mut steps));
        worker.wait_for_state();
        if stopped {
            worker.signal(Signal::STOP);
        }
        point.wait(LIMIT).unwrap();
        let error = Stepping::dead(&steps);
        assert!(error.to_string().contains("was killed"), "{error}");
        let _next = stepping.accept_next(&mut steps, 2);
        steps.close().unwrap();
    }
}

/// Closing the renderer's exchange waits for the worker up to its limit, and then ends the worker.
#[test]
fn the_renderer_leaves_while_its_queue_waits_for_a_kernel() {
    let Some(mut stepping) = Stepping::with_cuda() else { return };
    let (mut worker, mut steps) = stepping.with(Behavior::HasFrameDue, 1, Duration::from_secs(2));
    (0..5).for_each(|_| stepping.read(&mut steps, 1));
    worker.wait_for_state();
    let point = submit(stepping.turn(&mut steps));
    let start = Instant::now();
    drop(steps);
    assert!(point.is_reached().unwrap() && start.elapsed() < LIMIT);
}

#[test]
fn a_cuda_worker_that_leaves_has_no_frame_due_and_is_replaced() {
    let Some(mut stepping) = Stepping::with_cuda() else { return };
    let (mut worker, mut steps) = stepping.with(Behavior::Leaves, 1, LIMIT);
    (0..5).for_each(|_| stepping.read(&mut steps, 1));
    worker.wait_for_state();
    let error = Stepping::lost(&steps);
    assert!(matches!(&error, Error::PeerLost { dead: false, owed: 0, signaled: None, .. }), "{error}");
    let _next = stepping.accept_next(&mut steps, 2);
    steps.close().unwrap();
}
