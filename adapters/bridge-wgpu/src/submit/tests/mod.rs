//! Numbered frames while another thread submits continuously, and the errors with incorrect
//! submissions.
#![allow(unsafe_code, clippy::unwrap_used)] // A test, and submissions that are wrong on purpose.

mod bypassed;
mod counts;
mod ends;
#[path = "../../../tests/support/mod.rs"]
pub(crate) mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bridge::{Backend, ExchangeInfo, TimelinePoint};

use crate::batch::Batch;
use crate::device::Bridge;
use crate::exchange::Exchange;
use crate::frame::Frame;
use crate::parts::Parts;
use crate::shared::buffer::SharedBuffer;
use ends::refused;
use support::{Filler, bridges, info, mapped, staging, validation_messages};

const LEN: usize = 4096;

/// The way in which the frames are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Splice {
    Right,
    /// Neither the host nor the queue waits for the compute side.
    WithoutWait,
    /// The host does not wait, but the submission does, as is correct with CUDA.
    WithoutHostWait,
    /// The host does not wait, and neither does the submission.
    WithoutQueueWait,
    /// The signal is staged before the commands are submitted, and another thread's submission
    /// takes it.
    SignalTakenByAnother,
    /// The semaphores are added for any thread's submission, and another thread's takes them.
    AddedForAll,
}

/// Returns both ways of submitting, for each compute side.
fn ways() -> impl Iterator<Item = Bridge> {
    bridges().flat_map(|gpu| {
        assert!(gpu.splice().is_some(), "wgpu does not submit by the function that it was given");
        let staging = gpu.staging();
        [gpu, staging]
    })
}

/// Runs `work` while another thread submits continuously; passes it the number of that thread's
/// submissions.
fn beside<R>(gpu: &Bridge, work: impl FnOnce(&AtomicU64) -> R) -> R {
    let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (count, stop) = (&count, &stop);
        scope.spawn(move || {
            let buffer = staging_source(gpu, 1 << 16);
            while !stop.load(Ordering::Relaxed) {
                gpu.queue().write_buffer(&buffer, 0, &[1; 64]);
                let mut commands = gpu.device().create_command_encoder(&Default::default());
                commands.clear_buffer(&buffer, 64, None);
                gpu.queue().submit([commands.finish()]);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Stops the thread even if `work` panics.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(stop);
        work(count)
    })
}

fn staging_source(gpu: &Bridge, size: u64) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("beside"),
        size,
        usage: wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// Submits frames that wgpu reads late, because the queue has other work to do first; returns the
/// number of frames that are read incorrectly.
fn wrong(gpu: &Bridge, frames: u32, delay: Duration, busy: bool, splice: Splice) -> usize {
    let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
    let info = ExchangeInfo { slots: if busy { 1 } else { 3 }, frames_in_flight: Some(3), ..info("numbers") };
    let mut exchange = Exchange::new(gpu, &info, spec).unwrap();
    let filler = Filler::new(gpu);
    // The first and the last word of each frame.
    let seen = staging(gpu, 8 * u64::from(frames));
    let heavy = staging_source(gpu, 64 << 20);
    beside(gpu, |count| {
        for frame in 0..frames {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, frame << 12, delay);
            let mut commands = gpu.device().create_command_encoder(&Default::default());
            let (buffer, at) = (exchange.objects(), 8 * u64::from(frame));
            commands.copy_buffer_to_buffer(buffer, 0, &seen, at, 4);
            commands.copy_buffer_to_buffer(buffer, 4 * (LEN as u64 - 1), &seen, at + 4, 4);
            let (commands, turn) = (commands.finish(), turn.finish().unwrap());
            let busy = busy.then(|| {
                let mut commands = gpu.device().create_command_encoder(&Default::default());
                // Enough work that the GPU is slower than the compute side's next frame.
                let times = if gpu.backend() == Backend::Host { 1 } else { 200 };
                (0..times).for_each(|_| commands.clear_buffer(&heavy, 0, None));
                commands.finish()
            });
            if splice == Splice::Right {
                gpu.queue().submit(busy);
                gpu.submit([commands], turn).unwrap();
            } else {
                submit_wrongly(gpu, busy, commands, turn, splice, count);
            }
        }
    });
    if splice != Splice::Right {
        // The exchange does not know when these frames end.
        gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
    drop(exchange);
    let words = mapped(gpu, &seen);
    let right = |(frame, words): &(u32, &[u32])| **words == [frame << 12, (frame << 12) + LEN as u32 - 1];
    frames as usize - (0..frames).zip(words.chunks_exact(2)).filter(right).count()
}

/// The steps of `Bridge::submit`, one of which is incorrect.
fn submit_wrongly(
    gpu: &Bridge,
    busy: Option<wgpu::CommandBuffer>,
    commands: wgpu::CommandBuffer,
    frame: Frame<SharedBuffer<u32>>,
    splice: Splice,
    others: &AtomicU64,
) -> TimelinePoint {
    let mut parts = Parts::default();
    let host_waits = matches!(splice, Splice::SignalTakenByAnother | Splice::AddedForAll);
    if host_waits {
        Batch::prepare(&frame, gpu).unwrap();
    }
    let lent = Batch::lend(frame, &mut parts).unwrap();
    if splice == Splice::SignalTakenByAnother {
        gpu.stage_waits("frame", &parts.waits).unwrap();
    }
    if splice == Splice::AddedForAll {
        let splice = gpu.splice().unwrap();
        splice.add_for_all(&parts.waits, &parts.signals);
        while splice.is_for_all() {
            std::thread::yield_now();
        }
    }
    if splice == Splice::SignalTakenByAnother {
        let queue = gpu.hal_queue("frame").unwrap();
        parts.signals.iter().for_each(|signal| queue.add_signal_semaphore(signal.semaphore, Some(signal.value)));
        let submitted = others.load(Ordering::SeqCst);
        // The second of these submissions began after the signal was staged.
        while others.load(Ordering::SeqCst) < submitted + 2 {
            std::thread::yield_now();
        }
        assert!(!queue.remove_signal_semaphore(parts.signals[0].semaphore), "no submission took the signal");
    }
    gpu.queue().submit(busy);
    let commands = parts.before.drain(..).chain([commands]);
    if matches!(splice, Splice::WithoutHostWait | Splice::WithoutQueueWait) {
        let waits = if splice == Splice::WithoutHostWait { &parts.waits[..] } else { &[] };
        let push = || gpu.push("frame", commands);
        let (pushed, answer) = gpu.splice().unwrap().during(waits, &parts.signals, &parts.own, push);
        pushed.unwrap();
        answer.unwrap().result().unwrap();
    } else {
        gpu.push("frame", commands).unwrap();
    }
    if splice == Splice::WithoutWait {
        gpu.signal("frame", &parts.signals).unwrap();
    }
    // SAFETY: incorrect on purpose. Only plain words are read, and the queue is waited for before
    // the exchange is closed.
    unsafe { <Frame<SharedBuffer<u32>> as Batch>::submitted(lent) }.unwrap()
}

#[test]
fn no_frame_is_wrong_beside_a_thread_that_submits() {
    for gpu in ways() {
        assert_eq!(wrong(&gpu, 2000, Duration::ZERO, false, Splice::Right), 0);
        assert_eq!(wrong(&gpu, 20, Duration::from_millis(5), false, Splice::Right), 0, "a slow compute side");
        assert_eq!(wrong(&gpu, 20, Duration::ZERO, true, Splice::Right), 0, "a busy queue");
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Frames of two exchanges that two threads submit at the same time are read correctly.
#[test]
fn no_frame_is_wrong_beside_another_exchange() {
    for gpu in ways() {
        let wrong = std::thread::scope(|scope| {
            let threads = [0, 1].map(|_| scope.spawn(|| wrong(&gpu, 400, Duration::ZERO, false, Splice::Right)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(wrong, [0, 0]);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Returns `true` if a fault that depends on a race occurs in one of many tries.
fn is_seen(is_wrong: impl FnMut() -> bool) -> bool {
    std::iter::repeat_with(is_wrong).take(50).any(|wrong| wrong)
}

#[test]
fn without_the_wait_frames_are_wrong() {
    for gpu in bridges() {
        let is_wrong = || wrong(&gpu, 20, Duration::from_millis(20), false, Splice::WithoutWait) > 0;
        assert!(is_seen(is_wrong), "the wait is not what makes frames right");
    }
}

/// The wait in the submission is sufficient without a wait on the host. The test runs in a separate
/// process because of validation messages: wgpu's next submission depends on a signal that the CPU
/// has not made yet.
#[test]
fn the_wait_of_the_submission_is_what_makes_frames_right() {
    const ALONE: &str = "BRIDGE_WGPU_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "submit::tests::the_wait_of_the_submission_is_what_makes_frames_right";
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        let output = test.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    for gpu in bridges() {
        let wrong = |splice| wrong(&gpu, 20, Duration::from_millis(20), false, splice);
        assert_eq!(wrong(Splice::WithoutHostWait), 0);
        assert!(is_seen(|| wrong(Splice::WithoutQueueWait) > 0), "frames are right without it");
    }
}

#[test]
fn with_a_signal_that_another_submission_takes_frames_are_wrong() {
    for gpu in bridges() {
        let is_wrong = || wrong(&gpu, 20, Duration::ZERO, true, Splice::SignalTakenByAnother) > 0;
        assert!(is_seen(is_wrong), "the place of the signal is not what makes frames right");
    }
}

#[test]
fn with_semaphores_that_are_any_threads_frames_are_wrong() {
    for gpu in bridges() {
        let is_wrong = || wrong(&gpu, 20, Duration::ZERO, true, Splice::AddedForAll) > 0;
        assert!(is_seen(is_wrong), "whose submission takes the semaphores is not what makes frames right");
    }
}

/// A frame is one driver call, which wgpu makes through this crate's function.
#[test]
fn a_frame_is_one_submission() {
    for gpu in bridges() {
        let spec = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let splice = gpu.splice().unwrap();
        for (gpu, calls) in [(gpu.clone(), 1), (gpu.staging(), 2)] {
            let mut exchange = Exchange::new(&gpu, &info("counted"), spec()).unwrap();
            for _ in 0..3 {
                let before = splice.calls();
                let frame = exchange.begin().unwrap().finish().unwrap();
                gpu.submit([], frame).unwrap();
                assert_eq!(splice.calls() - before, calls);
            }
            let before = splice.calls();
            let frame = exchange.begin().unwrap().finish().unwrap();
            gpu.submit([refused(&gpu)], frame).unwrap_err();
            assert_eq!(splice.calls() - before, 0);
        }
    }
}

/// With two compute sides of one wgpu device, as [`Bridge::on_stream`] creates them, one submission
/// can contain frames of both, whichever `Bridge` submits it.
#[test]
fn frames_of_two_compute_sides_go_together() {
    for first in ways() {
        let second = first.beside(bridge::Compute::new(first.compute().device(), first.backend()).unwrap());
        let spec = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let mut there = Exchange::new(&first, &info("first"), spec()).unwrap();
        let mut beside = Exchange::new(&second, &info("second"), spec()).unwrap();
        let fillers = [&first, &second].map(Filler::new);
        for frame in 0..6 {
            let (mut one, mut other) = (there.begin().unwrap(), beside.begin().unwrap());
            fillers[0].fill(&mut one, frame, Duration::ZERO);
            fillers[1].fill(&mut other, 1000 + frame, Duration::from_millis(5));
            let frames = (one.finish().unwrap(), other.finish().unwrap());
            [&first, &second][frame as usize % 2].submit([], frames).unwrap();
            assert_eq!(support::read_buffer(&first, there.objects()), Filler::pattern(LEN, frame));
            assert_eq!(support::read_buffer(&first, beside.objects()), Filler::pattern(LEN, 1000 + frame));
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
