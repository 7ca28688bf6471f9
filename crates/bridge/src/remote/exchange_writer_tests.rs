//! Tests of workers with CUDA that read in step, which run in separate processes and whose GPU the
//! test plays.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vk_export::BufferAccess;

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::remote::Trust;
use crate::remote::listening::test_worker::Peer;
use crate::remote::test_renderer::Renderer;
use crate::timeline::TimelinePoint;

type Words = BufferSpec<u32>;

/// A limit that no test reaches if all goes well.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns a worker that has freed two slots and is finished with the first, while Vulkan's last
/// commands wait for the second. It then ends as `ends` says.
fn worker_with_pending_frame(scene: &Renderer, ends: &str) -> (Peer, RemoteExchangeWriter<Words>, TimelinePoint) {
    let mut worker = Peer::start(scene.listener.path(), ends);
    let compute = Compute::remote_unchecked(&scene.device, false, Trust::Simulated).unwrap();
    let info = ExchangeInfo { name: "draws", timeout: LIMIT, ..Default::default() };
    let words = Words::new(64, BufferAccess::TRANSFER_WRITE);
    let mut exchange = RemoteExchangeWriter { shared: InStep::of(scene.accept(), compute, &info, words).unwrap() };
    let points = [(); 5].map(|()| submit(&mut exchange));
    points[2].wait(LIMIT).unwrap();
    finish(&exchange, 1);
    points[3].wait(LIMIT).unwrap();
    worker.resume();
    let [.., last] = points;
    (worker, exchange, last)
}

fn submit(exchange: &mut RemoteExchangeWriter<Words>) -> TimelinePoint {
    let turn = exchange.begin(LIMIT).unwrap().expect("there is no slot");
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { turn.submit(&[]) }.unwrap()
}

/// Signals a value in place of the worker's GPU.
fn finish(exchange: &RemoteExchangeWriter<Words>, value: u64) {
    let state = exchange.shared.program.state();
    let computed = state.computed_semaphore();
    let info = vk::SemaphoreSignalInfo::default().semaphore(computed.as_raw()).value(value);
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the values rise, and the thread
    // signals the timeline only once the worker is dead and signals no more.
    unsafe { computed.device().as_raw().signal_semaphore(&info) }.unwrap();
}

/// Makes the worker overrun its limit.
fn force_overrun_of(exchange: &RemoteExchangeWriter<Words>) {
    exchange.shared.workers.status().force_overrun.store(true, Ordering::Relaxed);
}

fn hangs(point: &TimelinePoint) -> bool {
    matches!(point.wait(Duration::from_millis(50)), Err(Error::Timeout { .. }))
}

/// Waits until everything about a worker's death is reported; returns the error.
fn dead(exchange: &RemoteExchangeWriter<Words>) -> Error {
    let start = std::time::Instant::now();
    loop {
        let settled = exchange.owed_frames().is_empty();
        match exchange.check_worker() {
            Err(error @ Error::PeerLost { dead: true, .. }) if settled => return error,
            reported => assert!(start.elapsed() < LIMIT, "{reported:?}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn queue_continues_after_the_reader_died_and_another_connects() {
    let Some(scene) = Renderer::new("draws-death") else { return };
    let (mut worker, mut exchange, point) = worker_with_pending_frame(&scene, "stays");
    assert!(hangs(&point) && exchange.check_worker().is_ok());
    while !exchange.shared.program.is_all_sent() {
        std::thread::yield_now();
    }
    worker.kill();
    point.wait(LIMIT).unwrap();
    let error = dead(&exchange);
    let Error::PeerLost { held: 3, owed: 1, torn, signaled: Some(2), frame: Some(4), .. } = &error else {
        panic!("{error}")
    };
    assert!(torn.is_empty(), "{error}");
    assert!(matches!(exchange.begin(LIMIT), Err(Error::PeerLost { .. })), "nobody reads");
    // The next worker's values start at 1, on new timelines.
    let _next = Peer::start(scene.listener.path(), "stays");
    exchange.reconnect(scene.accept()).unwrap();
    let turn = exchange.begin(LIMIT).unwrap().expect("the next worker takes nothing");
    assert_eq!((turn.frame(), turn.computed().value()), (5, 0));
    turn.skip();
    let points = [(); 5].map(|()| submit(&mut exchange));
    assert!(hangs(&points[3]));
    finish(&exchange, 2);
    points.iter().for_each(|point| point.wait(LIMIT).unwrap());
}

#[test]
fn reader_that_overruns_its_limit_is_killed_even_if_disconnected() {
    let Some(scene) = Renderer::new("draws-overrun") else { return };
    for ends in ["stays", "hangs-up", "closes"] {
        let (mut worker, exchange, point) = worker_with_pending_frame(&scene, ends);
        let start = std::time::Instant::now();
        while ends != "stays" && exchange.check_worker().is_ok() {
            assert!(start.elapsed() < LIMIT);
        }
        assert!(hangs(&point) && worker.is_alive());
        force_overrun_of(&exchange);
        // Nothing else ends the wait.
        point.wait(LIMIT).unwrap();
        let error = dead(&exchange).to_string();
        let reason = if ends == "stays" { "gave back the slot of frame 1" } else { "has closed" };
        assert!(error.contains(reason) && error.contains("was killed") && !error.contains("torn"), "{error}");
        assert!(!worker.is_alive());
    }
}

/// The end of a connection is not the end of the process: values that are reached in time count,
/// and no other worker replaces the old one before.
#[test]
fn disconnected_reader_that_finishes_in_time_is_not_killed() {
    let Some(scene) = Renderer::new("draws-hang-up") else { return };
    let (mut worker, mut exchange, point) = worker_with_pending_frame(&scene, "hangs-up");
    let start = std::time::Instant::now();
    while exchange.check_worker().is_ok() {
        assert!(start.elapsed() < LIMIT);
    }
    assert_eq!(*exchange.owed_frames(), [1]);
    let next = Peer::start(scene.listener.path(), "stays");
    let refused = exchange.reconnect(scene.accept()).unwrap_err();
    assert!(matches!(&refused, Error::FramesOwed { frames, .. } if **frames == [1]), "{refused}");
    drop(next);
    assert!(hangs(&point));
    finish(&exchange, 2);
    point.wait(LIMIT).unwrap();
    while !exchange.owed_frames().is_empty() {
        assert!(start.elapsed() < LIMIT);
    }
    assert!(worker.is_alive());
    let reported = exchange.check_worker().unwrap_err();
    assert!(matches!(&reported, Error::PeerLost { dead: false, owed: 1, signaled: None, .. }), "{reported}");
}

/// Leaving takes at most the worker's limit, and leaves nothing waiting.
#[test]
fn program_leaves_while_its_queue_waits_for_a_reader() {
    let Some(scene) = Renderer::new("draws-leave") else { return };
    let (mut worker, exchange, point) = worker_with_pending_frame(&scene, "stays");
    let status = Arc::clone(exchange.shared.workers.status());
    let leaves = std::thread::spawn(move || drop(exchange));
    let start = std::time::Instant::now();
    while status.loss_error().is_none() {
        assert!(start.elapsed() < LIMIT);
    }
    assert!(hangs(&point) && worker.is_alive(), "it is given its time");
    status.force_overrun.store(true, Ordering::Relaxed);
    leaves.join().unwrap();
    // It was killed, and would live on for much longer; its end is waited for only for a while.
    let start = std::time::Instant::now();
    while worker.is_alive() {
        assert!(start.elapsed() < LIMIT, "it is not killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The queue continues without the program after the signal.
    point.wait(LIMIT).unwrap();
}
