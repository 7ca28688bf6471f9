//! Numbered frames while another thread submits continuously, and the errors with incorrect
//! submissions.
#![allow(unsafe_code, clippy::unwrap_used)] // A test, and submissions that are wrong on purpose.

mod bypassed;
mod counts;
mod ends;
mod gated;
#[path = "../../../tests/support/mod.rs"]
pub(crate) mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge::ExchangeInfo;

use crate::batch::Batch;
use crate::device::Bridge;
use crate::exchange::Exchange;
use crate::frame::Frame;
use crate::parts::Parts;
use crate::shared::buffer::SharedBuffer;
use ends::refused;
use support::{Filler, bridges, info, mapped, staging, validation_messages};

const LEN: usize = 4096;

/// Returns both ways of submitting, for each compute side.
fn ways() -> impl Iterator<Item = Bridge> {
    bridges().flat_map(|gpu| {
        assert!(gpu.splice().is_some(), "wgpu does not submit by the function that it was given");
        let staging = gpu.staging();
        [gpu, staging]
    })
}

/// Runs `work` while another thread submits continuously.
fn beside<R>(gpu: &Bridge, work: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            let buffer = staging_source(gpu, 1 << 16);
            while !stop.load(Ordering::Relaxed) {
                gpu.queue().write_buffer(&buffer, 0, &[1; 64]);
                let mut commands = gpu.device().create_command_encoder(&Default::default());
                commands.clear_buffer(&buffer, 64, None);
                gpu.queue().submit([commands.finish()]);
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
        work()
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

/// Submits frames while another thread submits; returns the number of frames that are read
/// incorrectly.
fn wrong(gpu: &Bridge, frames: u32, delay: Duration) -> usize {
    let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
    let info = ExchangeInfo { slots: 3, frames_in_flight: Some(3), ..info("numbers") };
    let mut exchange = Exchange::new(gpu, &info, spec).unwrap();
    let filler = Filler::new(gpu);
    // The first and the last word of each frame.
    let seen = staging(gpu, 8 * u64::from(frames));
    beside(gpu, || {
        for frame in 0..frames {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, frame << 12, delay);
            let mut commands = gpu.device().create_command_encoder(&Default::default());
            let (buffer, at) = (exchange.objects(), 8 * u64::from(frame));
            commands.copy_buffer_to_buffer(buffer, 0, &seen, at, 4);
            commands.copy_buffer_to_buffer(buffer, 4 * (LEN as u64 - 1), &seen, at + 4, 4);
            gpu.submit([commands.finish()], turn.finish().unwrap()).unwrap();
        }
    });
    drop(exchange);
    let words = mapped(gpu, &seen);
    let right = |(frame, words): &(u32, &[u32])| **words == [frame << 12, (frame << 12) + LEN as u32 - 1];
    frames as usize - (0..frames).zip(words.chunks_exact(2)).filter(right).count()
}

#[test]
fn no_frame_is_wrong_beside_a_thread_that_submits() {
    for gpu in ways() {
        assert_eq!(wrong(&gpu, 2000, Duration::ZERO), 0);
        assert_eq!(wrong(&gpu, 20, Duration::from_millis(5)), 0, "a slow compute side");
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Frames of two exchanges that two threads submit at the same time are read correctly.
#[test]
fn no_frame_is_wrong_beside_another_exchange() {
    for gpu in ways() {
        let wrong = std::thread::scope(|scope| {
            let threads = [0, 1].map(|_| scope.spawn(|| wrong(&gpu, 400, Duration::ZERO)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(wrong, [0, 0]);
    }
    assert_eq!(validation_messages(), [""; 0]);
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
