//! Writers and apps that pause and stall.
#![allow(clippy::unwrap_used)] // Tests.

use std::sync::mpsc::{TryRecvError, channel, sync_channel};
use std::time::{Duration, Instant};

use crate::support::simulation::{Filler, hold, numbers, seen};
use crate::support::*;
use bevy::render::RenderApp;
use bevy::render::renderer::{RenderDevice, RenderQueue};
use bevy_vk_cuda::bridge::LiveObjects;
use bevy_vk_cuda::{CudaBuffer, Way};

const LEN: usize = 1000;

/// If either side pauses for a second, the other continues.
#[test]
fn a_paused_side_does_not_delay_the_other() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let filler = Filler::new(&cuda(&app));
        let mut buffer = numbers(&mut app, LEN);
        read_buffer(&mut app, buffer.handle().clone());
        let mut fill = |base| filler.fill(buffer.writer().unwrap(), LEN as u32, base, Duration::ZERO).unwrap();
        assert!(fill(1));
        until(&mut app, "the first frame", |app| seen(app) == Some(1));
        // Bevy draws nothing: more frames are written than there are slots.
        let (start, mut last) = (Instant::now(), 1);
        while last < 20 || start.elapsed() < Duration::from_secs(1) {
            assert!(start.elapsed() < Duration::from_secs(60), "{last} frames were written");
            if fill(last + 1) {
                last += 1;
            } else {
                std::thread::yield_now();
            }
        }
        until(&mut app, "the frame behind the pause", |app| seen(app) == Some(last));
        // Nothing is written: each of Bevy's frames has the last frame.
        let (start, mut frames) = (Instant::now(), 0);
        while frames < 20 || start.elapsed() < Duration::from_secs(1) {
            app.update();
            assert_eq!(seen(&app), Some(last));
            frames += 1;
        }
        until(&mut app, "a free frame", |_| fill(last + 1));
        until(&mut app, "a frame behind both", |app| seen(app) == Some(last + 1));
    }
    assert_eq!(errors(), [""; 0]);
}

/// A frame that does not end delays neither Bevy nor another writer: each buffer has its own stream
/// or thread.
#[test]
fn a_stalled_writer_does_not_delay_others() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let filler = Filler::new(&cuda(&app));
        let (mut stalled, mut running) = (numbers(&mut app, LEN), numbers(&mut app, LEN));
        let reads = read_buffer(&mut app, running.handle().clone());
        let fill = |buffer: &mut CudaBuffer<u32>, base| {
            filler.fill(buffer.writer().unwrap(), LEN as u32, base, Duration::ZERO).unwrap()
        };
        // CUDA loads the kernel at its first launch, which may wait for the held work.
        assert!(fill(&mut running, 1));
        until(&mut app, "the first frame", |app| seen(app) == Some(1));
        let held = hold(stalled.writer().unwrap()).unwrap();
        for base in 2..=10 {
            until(&mut app, "a free frame", |_| fill(&mut running, base));
            until(&mut app, "the frame of the running one", |app| seen(app) == Some(base));
        }
        assert_eq!(stalled.writer().unwrap().presented(), 0, "the gate holds nothing");
        drop(held);
        until(&mut app, "the stalled frame", |_| stalled.writer().unwrap().presented() == 1);
        until(&mut app, "a free frame", |_| fill(&mut stalled, 5000));
        // Read only then, because nothing has written the stalled frame.
        until(&mut app, "a frame behind the stalled one", |_| stalled.writer().unwrap().presented() == 2);
        app.world_mut().despawn(reads);
        read_buffer(&mut app, stalled.handle().clone());
        until(&mut app, "its contents", |app| seen(app) == Some(5000));
    }
    assert_eq!(errors(), [""; 0]);
}

/// Negative control of the test above: frames of one buffer are on one stream or thread, so one
/// that stalls does delay the next, which the same updates of Bevy then do not show.
#[test]
fn on_the_same_stream_a_stalled_frame_delays_others() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let filler = Filler::new(&cuda(&app));
        let mut buffer = numbers(&mut app, LEN);
        read_buffer(&mut app, buffer.handle().clone());
        let fill = |buffer: &mut CudaBuffer<u32>, base| {
            filler.fill(buffer.writer().unwrap(), LEN as u32, base, Duration::ZERO).unwrap()
        };
        assert!(fill(&mut buffer, 1));
        until(&mut app, "the first frame", |app| seen(app) == Some(1));
        let mut held = None;
        until(&mut app, "a frame that is held", |_| {
            held = hold(buffer.writer().unwrap());
            held.is_some()
        });
        until(&mut app, "a free frame", |_| fill(&mut buffer, 2));
        for _ in 0..50 {
            app.update();
            assert_eq!((seen(&app), buffer.writer().unwrap().presented()), (Some(1), 1), "it did not wait");
        }
        drop(held);
        until(&mut app, "the frame behind the held one", |app| seen(app) == Some(2));
    }
    assert_eq!(errors(), [""; 0]);
}

/// A system does not wait for a slow kernel.
#[test]
fn a_writer_with_two_unfinished_frames_does_not_wait() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let filler = Filler::new(&cuda(&app));
        let mut buffer = numbers(&mut app, LEN);
        let fill = |buffer: &mut CudaBuffer<u32>, base| {
            filler.fill(buffer.writer().unwrap(), LEN as u32, base, Duration::ZERO)
        };
        // CUDA loads the kernel at its first launch, which may wait for the held work.
        assert!(fill(&mut buffer, 1).unwrap());
        until(&mut app, "the first frame", |_| buffer.writer().unwrap().presented() == 1);
        let mut held = None;
        until(&mut app, "a frame that is held", |_| {
            held = hold(buffer.writer().unwrap());
            held.is_some()
        });
        until(&mut app, "a frame behind it", |_| fill(&mut buffer, 2).unwrap());
        assert!(!fill(&mut buffer, 3).unwrap(), "two are unfinished");
        drop(held);
        until(&mut app, "a free frame", |_| fill(&mut buffer, 3).unwrap());
    }
    assert_eq!(errors(), [""; 0]);
}

/// Bevy does not wait for a frame that is being computed when its buffer is dropped, and the
/// frame's resources are freed after it. A futile wait would log an error.
#[test]
fn what_is_dropped_while_it_computes_delays_nothing() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let before = LiveObjects::now();
        let mut buffer = numbers(&mut app, LEN);
        let held = hold(buffer.writer().unwrap());
        app.update();
        drop(buffer);
        (0..5).for_each(|_| app.update());
        assert_eq!(errors(), [""; 0], "it was waited for");
        let exchanges = usize::from(cuda(&app).way() != Way::Upload);
        assert_eq!(LiveObjects::now().exchanges, before.exchanges + exchanges, "it is in use");
        drop(held);
        until(&mut app, "its end", |_| LiveObjects::now().exchanges == before.exchanges);
    }
    assert_eq!(errors(), [""; 0]);
}

/// Another thread of the program can submit to Bevy's queue continuously.
#[test]
fn another_thread_may_submit_concurrently() {
    let _alone = alone();
    // Not the way that shares Bevy's queue, for which the program guarantees not to do this.
    for (_, plugin) in ways().into_iter().enumerate().filter(|(way, _)| *way != 1) {
        let mut app = app(plugin);
        let render = app.sub_app(RenderApp).world();
        let (device, queue) = (render.resource::<RenderDevice>().clone(), render.resource::<RenderQueue>().clone());
        let (stop, stopped) = channel::<()>();
        let (submit, submitted) = sync_channel(0);
        let thread = std::thread::spawn(move || {
            let usage = wgpu::BufferUsages::COPY_DST;
            let descriptor = wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false };
            let buffer = device.create_buffer(&descriptor);
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let mut commands = device.create_command_encoder(&Default::default());
                commands.clear_buffer(&buffer, 0, None);
                queue.submit([commands.finish()]);
                let _ = submit.try_send(());
            }
        });
        let filler = Filler::new(&cuda(&app));
        for round in 1..=5 {
            let mut buffer = numbers(&mut app, LEN);
            let reads = read_buffer(&mut app, buffer.handle().clone());
            for base in [1000 * round, 1000 * round + 500] {
                let mut fill = || filler.fill(buffer.writer().unwrap(), LEN as u32, base, Duration::ZERO).unwrap();
                until(&mut app, "a free frame", |_| fill());
                until(&mut app, "the frame", |app| seen(app) == Some(base));
            }
            app.world_mut().despawn(reads);
            submitted.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        drop(stop);
        thread.join().unwrap();
    }
    assert_eq!(errors(), [""; 0]);
}
