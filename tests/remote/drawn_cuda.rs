//! Frames that Vulkan draws for workers with CUDA, which read the slots directly.

use std::time::{Duration, Instant};

use bridge::Error;
use bridge_tests::{Rig, compute};
use bridge_worker::bridge_ipc::Backend;
use rustix::process::Signal;

use crate::painter::Painter;
use crate::reading::{Behavior, Reading, Report};
use crate::scene::Scene;
use crate::worker::Worker;

/// Returns `None` and skips the test if CUDA and Vulkan share no GPU.
fn painter() -> Option<Painter> {
    let painter = Painter::new();
    compute(painter.scene.rig.device(), bridge::Backend::Cuda)?;
    Some(painter)
}

#[test]
fn a_cuda_worker_sees_intact_frames_that_are_never_older() {
    let Some(mut painter) = painter() else { return };
    let (worker, mut writer) = painter.with(Backend::Cuda, Behavior::Reads);
    assert_eq!(writer.compute().backend(), bridge::Backend::Remote);
    painter.draw_until_seen(&mut writer, &worker, 1000);
    painter.wait_until_last_is_seen(&worker);
    println!("{} frames drawn, 1000 seen; a frame took {:.1?} to begin at most", painter.word, painter.longest);
    writer.check_worker().unwrap();
    writer.close().unwrap();
}

/// A stopped worker keeps its slots, and does not delay the renderer.
#[test]
fn a_stopped_cuda_worker_does_not_delay_the_renderer() {
    let Some(mut painter) = painter() else { return };
    let (worker, mut writer) = painter.with(Backend::Cuda, Behavior::ReadsSlowly);
    painter.draw_until_seen(&mut writer, &worker, 3);
    worker.signal(Signal::STOP);
    (0..500).for_each(|_| painter.draw(&mut writer));
    painter.finish();
    assert!(painter.longest < Rig::LONG, "a frame took {:?} to begin", painter.longest);
    writer.check_worker().unwrap();
    worker.signal(Signal::CONT);
    painter.wait_until_last_is_seen(&worker);
    worker.signal(Signal::STOP);
    let start = Instant::now();
    writer.close().unwrap();
    assert!(start.elapsed() < Rig::LONG, "closing took {:?}", start.elapsed());
}

/// A kernel that reads a slot and never ends keeps that slot, and nothing else waits for it; after
/// the process has ended, the next worker can use all slots.
#[test]
fn a_worker_is_killed_inside_a_kernel_that_reads() {
    let Some(mut painter) = painter() else { return };
    let (mut worker, mut writer) = painter.with(Backend::Cuda, Behavior::Hangs);
    let start = Instant::now();
    let mut there = false;
    while !there {
        painter.draw(&mut writer);
        there = worker.reports_so_far().into_iter().any(|said| said == Report::StateReached);
        assert!(start.elapsed() < Rig::LONG, "it does not come to its kernel");
        std::thread::sleep(Duration::from_millis(1));
    }
    painter.longest = Duration::ZERO;
    (0..500).for_each(|_| painter.draw(&mut writer));
    painter.finish();
    println!("500 frames beside a kernel that hangs; {:.1?} at most to begin one", painter.longest);
    writer.check_worker().unwrap();

    worker.kill();
    let start = Instant::now();
    let error = loop {
        match writer.check_worker() {
            Err(error @ Error::PeerLost { dead: true, .. }) => break error,
            _ => assert!(start.elapsed() < Rig::LONG, "its end is not reported"),
        }
        painter.draw(&mut writer);
    };
    let Error::PeerLost { owed, .. } = &error else { panic!("{error}") };
    assert_eq!(*owed, 1, "it has said that it is done with a slot, and was not: {error}");
    let next = Reading::start(&painter.scene.path(), Backend::Cuda, Behavior::Reads);
    writer.reconnect(painter.scene.accept()).unwrap();
    painter.forget();
    painter.draw_until_seen(&mut writer, &next, 50);
    writer.close().unwrap();
}

/// A worker that has closed the exchange has released its slots, regardless of its process.
#[test]
fn a_worker_with_cuda_that_leaves_gives_its_slots_to_the_next() {
    let Some(mut painter) = painter() else { return };
    let (worker, mut writer) = painter.with(Backend::Cuda, Behavior::Leaves);
    let (error, _) = painter.lost(&mut writer);
    assert!(error.to_string().contains("has closed the exchange"), "{error}");
    let next = Reading::start(&painter.scene.path(), Backend::Cuda, Behavior::Reads);
    writer.reconnect(painter.scene.accept()).unwrap();
    painter.forget();
    painter.draw_until_seen(&mut writer, &next, 50);
    drop(worker);
}

#[test]
fn a_reading_cpu_worker_does_not_replace_a_cuda_worker() {
    let Some(mut painter) = painter() else { return };
    let (mut worker, mut writer) = painter.with(Backend::Cuda, Behavior::Reads);
    painter.draw_until_seen(&mut writer, &worker, 3);
    worker.kill();
    painter.lost(&mut writer);
    let _other = Worker::start(&painter.scene.path(), crate::worker::Behavior::Runs, 2);
    let error = writer.reconnect(painter.scene.accept()).unwrap_err().to_string();
    assert!(error.contains("for workers with Cuda, but the next one uses Host"), "{error}");
    let info = bridge::LatestInfo { slots: Some(65), ..Scene::info() };
    let _third = Reading::start(&painter.scene.path(), Backend::Cuda, Behavior::Reads);
    let error = painter.scene.accept().latest_render_first(&info, Painter::spec()).unwrap_err().to_string();
    assert!(error.contains("65 slots") && error.contains("at most 64"), "{error}");
}
