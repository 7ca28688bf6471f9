//! Frames that Vulkan draws for a worker on the CPU.

use std::time::Instant;

use bridge::Error;
use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, ImageAccess, ImageSpec};
use bridge_tests::{Commands, Gate, Rig};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Image, Read};
use rustix::process::Signal;

use crate::death::{ROUNDS, descriptors_of_connections, is_leaking};
use crate::painter::Painter;
use crate::reading::{Behavior, Reading, Report};
use crate::scene::Scene;
use crate::worker::LEN;

#[test]
fn drawn_frames_are_intact_and_never_older() {
    let mut painter = Painter::new();
    let (worker, mut writer) = painter.with(Backend::Host, Behavior::Reads);
    painter.draw_until_seen(&mut writer, &worker, 300);
    painter.wait_until_last_is_seen(&worker);
    writer.check_worker().unwrap();
    writer.close().unwrap();
}

/// A negative control: a worker that reads slots after returning them detects frames that change.
#[test]
fn a_read_after_giving_back_is_detected() {
    let mut painter = Painter::new();
    let (worker, mut writer) = painter.with(Backend::Host, Behavior::ReadsReturnedSlots);
    let start = Instant::now();
    loop {
        painter.draw(&mut writer);
        match worker.reports_so_far().first() {
            Some(Report::Wrong(_)) => return,
            _ => assert!(start.elapsed() < Rig::LONG, "slots are not used again"),
        }
    }
}

/// A frame becomes visible to the worker only after Vulkan has drawn it.
#[test]
fn a_frame_that_is_not_drawn_is_not_shown() {
    let mut painter = Painter::new();
    let (worker, mut writer) = painter.with(Backend::Host, Behavior::Reads);
    painter.draw(&mut writer);
    painter.wait_until_last_is_seen(&worker);
    let gate = Gate::new(painter.scene.rig.device());
    painter.draw_after(&mut writer, &[gate.wait_info()]);
    std::thread::sleep(Rig::MOMENT);
    assert_eq!(worker.reports_so_far(), [], "a frame is shown that is not drawn");
    gate.open();
    painter.wait_until_last_is_seen(&worker);
}

/// A worker that is stopped, or slow, does not delay the renderer, and finally receives the last
/// frame.
#[test]
fn a_slow_worker_does_not_delay_the_renderer() {
    let mut painter = Painter::new();
    let (worker, mut writer) = painter.with(Backend::Host, Behavior::ReadsSlowly);
    painter.draw_until_seen(&mut writer, &worker, 3);
    let stopped_at = painter.word;
    worker.signal(Signal::STOP);
    (0..200).for_each(|_| painter.draw(&mut writer));
    painter.finish();
    assert!(painter.longest < Rig::LONG, "a frame took {:?} to begin", painter.longest);
    writer.check_worker().unwrap();
    worker.signal(Signal::CONT);
    painter.wait_until_last_is_seen(&worker);
    assert!(painter.word >= stopped_at + 200);
    writer.close().unwrap();
}

#[test]
fn a_killed_reading_worker_is_replaced() {
    let mut painter = Painter::new();
    let (mut worker, mut writer) = painter.with(Backend::Host, Behavior::Reads);
    painter.draw_until_seen(&mut writer, &worker, 5);
    worker.kill();
    let (error, took) = painter.dead(&mut writer);
    println!("told after {took:.1?}");
    let Error::PeerLost { worker: process, dead, frame, owed, .. } = error else { panic!("{error}") };
    assert_eq!((process, dead, owed, frame.is_some()), (worker.pid(), true, 0, true));
    // No worker reads, and frames continue.
    (0..20).for_each(|_| painter.draw(&mut writer));
    painter.finish();

    let next = Reading::start(&painter.scene.path(), Backend::Host, Behavior::Reads);
    writer.reconnect(painter.scene.accept()).unwrap();
    // The worker receives the last frame although no new frame is drawn.
    painter.forget();
    painter.wait_until_last_is_seen(&next);
    painter.draw_until_seen(&mut writer, &next, 5);
    writer.check_worker().unwrap();
    let other = Reading::start(&painter.scene.path(), Backend::Host, Behavior::Reads);
    let error = writer.reconnect(painter.scene.accept()).unwrap_err().to_string();
    assert!(error.contains("`disconnect` it first"), "{error}");
    drop(other);
    writer.close().unwrap();
}

#[test]
fn a_worker_that_leaves_is_reported() {
    let mut painter = Painter::new();
    let (worker, mut writer) = painter.with(Backend::Host, Behavior::Leaves);
    let (error, _) = painter.lost(&mut writer);
    assert!(error.to_string().contains("has closed the exchange"), "{error}");
    drop(worker);
    let next = Reading::start(&painter.scene.path(), Backend::Host, Behavior::Reads);
    writer.reconnect(painter.scene.accept()).unwrap();
    painter.draw_until_seen(&mut writer, &next, 5);
}

/// The program continues, and ends, with a worker that is stopped permanently.
#[test]
fn nothing_waits_for_a_stopped_worker_that_reads() {
    let mut painter = Painter::new();
    let (worker, mut writer) = painter.with(Backend::Host, Behavior::Reads);
    painter.draw_until_seen(&mut writer, &worker, 3);
    worker.signal(Signal::STOP);
    (0..20).for_each(|_| painter.draw(&mut writer));
    let start = Instant::now();
    writer.close().unwrap();
    assert!(start.elapsed() < Rig::LONG, "closing took {:?}", start.elapsed());
}

#[test]
fn many_reading_workers_leave_no_descriptors() {
    let mut painter = Painter::new();
    let (mut worker, mut writer) = painter.with(Backend::Host, Behavior::Reads);
    let mut counts = Vec::new();
    for _ in 0..ROUNDS {
        painter.forget();
        painter.draw_until_seen(&mut writer, &worker, 2);
        worker.kill();
        painter.lost(&mut writer);
        worker = Reading::start(&painter.scene.path(), Backend::Host, Behavior::Reads);
        writer.reconnect(painter.scene.accept()).unwrap();
        counts.push(descriptors_of_connections());
    }
    assert!(!is_leaking(&counts), "{counts:?}");
}

/// A worker that requests a writer for an exchange that the renderer writes refuses the offer.
#[test]
fn a_worker_that_would_write_refuses_the_offer() {
    let scene = Scene::new();
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let worker = bridge_worker::Worker::connect_with(&path, &crate::renderer::on_the_cpu()).unwrap();
        worker.latest::<Buffer<u32>>("remote").map(drop).unwrap_err().to_string()
    });
    let error = scene.accept().latest_render_first(&Scene::info(), Painter::spec()).unwrap_err().to_string();
    assert!(error.contains("the renderer writes it, but its writer was requested"), "{error}");
    let error = worker.join().unwrap();
    assert!(error.contains("its writer was requested"), "{error}");
}

/// A buffer and an image of a slot belong to the same frame.
#[test]
#[allow(unsafe_code)] // Recording and submitting.
fn a_buffer_and_an_image_are_of_one_frame() {
    const EXTENT: [u32; 2] = [37, 21];
    let scene = Scene::new();
    let path = scene.path();
    let (saw, sees) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let worker = bridge_worker::Worker::connect_with(&path, &crate::renderer::on_the_cpu()).unwrap();
        let mut reader = worker.latest_reader::<(Buffer<u32>, Image<u32>)>("remote").unwrap();
        while reader.wait_for_newer(Rig::LONG).is_ok_and(|newer| newer) {
            let turn = reader.newest().unwrap().unwrap();
            let Read::Host(host) = turn.work() else { panic!("it computes with CUDA") };
            let mut words = vec![0; LEN + (EXTENT[0] * EXTENT[1]) as usize];
            let (buffer, image) = words.split_at_mut(LEN);
            host.resources.0.read_into(0, buffer).unwrap();
            host.resources.1.read_into(0, 0, image).unwrap();
            assert!(words.iter().all(|word| *word == words[0]), "frame {}: {:x?}", turn.frame(), &words[LEN - 1..]);
            saw.send(words[0]).unwrap();
            turn.finish().unwrap();
        }
    });
    let image = ImageSpec::<u32>::new(vk::Format::R32_UINT, EXTENT, ImageAccess::TRANSFER_WRITE);
    let spec = (BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_WRITE), image);
    let mut writer = scene.accept().latest_render_first(&Scene::info(), spec).unwrap();
    let commands = Commands::new(scene.rig.device());
    let device = scene.rig.device().as_raw();
    let mut seen = Vec::new();
    for word in 1..=60u32 {
        let turn = writer.begin().unwrap();
        let raw = commands.begin();
        let (buffer, image) = turn.resources();
        let color = vk::ClearColorValue { uint32: [word; 4] };
        let all =
            vk::ImageSubresourceRange::default().aspect_mask(vk::ImageAspectFlags::COLOR).level_count(1).layer_count(1);
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(raw) };
        // SAFETY: recording; the buffer may be filled.
        unsafe { device.cmd_fill_buffer(raw, buffer.as_raw(), 0, vk::WHOLE_SIZE, word) };
        // SAFETY: recording; the image may be cleared, in the layout that its turn gives it.
        unsafe { device.cmd_clear_color_image(raw, image.as_raw(), image.layout(), &color, &[all]) };
        // SAFETY: as above.
        unsafe { turn.record_release(raw) };
        commands.end();
        // SAFETY: recorded with the turn's barriers, and waited for before it is recorded again.
        commands.note(unsafe { turn.submit(&[raw]) }.unwrap());
        // Frames may be superseded; the last one is always read.
        while word % 10 == 0 && seen.last() != Some(&word) {
            seen.push(sees.recv_timeout(Rig::LONG).unwrap());
        }
    }
    commands.finish();
    writer.close().unwrap();
    worker.join().unwrap();
    assert!(seen.len() > 5 && seen.windows(2).all(|two| two[0] < two[1]), "{seen:?}");
}
