//! Overhead of cuda-import over the driver's own calls, in nanoseconds on this machine. The
//! durations of the double's calls are arbitrary, so the figures only compare two builds and do not
//! represent a driver. Ignored: run with `--ignored --nocapture`.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and signals are unsafe")]
#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use common::world::{device, import_memory, import_semaphore, map};
use common::{assert_clean, raw};
use cuda_import::{MappedBuffer, SemaphoreKind, signal_one, wait_one};
use driver_double::Double;

const ROUNDS: usize = 15;

/// Returns the fastest round, in nanoseconds per item, because other load on the machine only adds
/// time.
fn fastest_round(mut round: impl FnMut() -> Duration, per_round: usize) -> f64 {
    (0..ROUNDS).map(|_| round().as_nanos() as f64 / per_round as f64).fold(f64::INFINITY, f64::min)
}

/// Measures how much longer a free takes because it runs on the freeing thread: in a row, and after
/// a pause.
#[test]
#[ignore = "measures"]
fn cost_of_freeing_on_another_thread() {
    let Some(double) = Double::in_child("cost_of_freeing_on_another_thread") else { return };
    let device = device();
    for (what, count, pause) in [("one after the other", 64, None), ("after 5 ms", 8, Some(Duration::from_millis(5)))] {
        let timed = |free: Box<dyn FnOnce()>| {
            if let Some(pause) = pause {
                std::thread::sleep(pause);
            }
            let start = Instant::now();
            free();
            start.elapsed()
        };
        let ours = || {
            let made =
                (0..count).map(|_| import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline));
            let made: Vec<_> = made.collect();
            double.forget_calls();
            made.into_iter().map(|it| timed(Box::new(move || drop(it)))).sum()
        };
        let ours = fastest_round(ours, count);
        raw::retain(0);
        let by_hand = || {
            let made: Vec<_> =
                (0..count).map(|_| raw::import_semaphore(double.export_semaphore(true), true).unwrap()).collect();
            double.forget_calls();
            made.into_iter().map(|it| timed(Box::new(move || assert_eq!(raw::destroy_semaphore(it), 0)))).sum()
        };
        let by_hand = fastest_round(by_hand, count);
        raw::release(0);
        println!("free, {what}: {ours:.0} ns, by hand {by_hand:.0} ns, the hop {:.0} ns", ours - by_hand);
    }
    drop(device);
    assert_clean(&double);
}

/// Measures the wait, joins and signal of a frame.
#[test]
#[ignore = "measures"]
fn cost_of_a_frame() {
    let Some(double) = Double::in_child("cost_of_a_frame") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let exported = [(); 2].map(|()| double.export_semaphore(true));
    let numbers = [exported[0].number, exported[1].number];
    let [rendered, computed] = exported.map(|it| import_semaphore(&device, it, SemaphoreKind::Timeline));
    double.signal(numbers[0], 1);
    let mut value = 0;
    for count in [1, 64] {
        let buffers: Vec<MappedBuffer<u32>> =
            (0..count).map(|_| map(&import_memory(&double, &device), &home)).collect();
        device.context().bind_to_thread().unwrap();
        const FRAMES: usize = 500;
        let ours = || {
            double.forget_calls();
            let start = Instant::now();
            for _ in 0..FRAMES {
                value += 1;
                // SAFETY: the value was signaled, and the timelines outlive the frames.
                unsafe { wait_one(&home, &rendered, 1) }.unwrap();
                let joined = buffers.iter().filter(|buffer| buffer.has_foreign_work());
                joined.for_each(|buffer| buffer.join_foreign_work().unwrap());
                // SAFETY: the values increase, and the timelines outlive the frames.
                unsafe { signal_one(&home, &computed, value) }.unwrap();
            }
            start.elapsed()
        };
        let ours = fastest_round(ours, FRAMES);
        let calls = double.calls().len() as f64 / FRAMES as f64;
        let one_call = || {
            double.forget_calls();
            let start = Instant::now();
            (0..FRAMES).for_each(|_| assert_eq!(raw::capture_status(home.cu_stream() as u64), Ok(0)));
            start.elapsed()
        };
        let one_call = fastest_round(one_call, FRAMES);
        println!("a frame of {count}: {ours:.0} ns, {calls} calls; a call that asks {one_call:.0} ns");
        drop(buffers);
    }
    drop((rendered, computed, home, device));
    assert_clean(&double);
}
