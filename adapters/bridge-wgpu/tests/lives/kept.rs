//! Objects that keep their contents or stay alive: those that wgpu hands to the compute side in a
//! refused submission, and the queue of an exchange whose work does not end.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::mpsc;
use std::time::Duration;

use bridge_wgpu::{Backend, Error, Exchange, ExchangeInfo, LatestInfo, SharedBuffer, SharedTexture, wgpu};

use crate::refused::read_texture;
use crate::support::gate::Gate;
use crate::support::latest::latest;
use crate::support::{alone, bridge_on, info, validation_messages, ways};

const LEN: usize = 512;

/// wgpu refuses a frame's copy because a buffer is mapped or a texture is destroyed; the texture of
/// another exchange's earlier frame in the same submission does not count as copied.
#[test]
fn textures_that_wgpu_hands_over_keep_what_they_hold() {
    let _alone = alone();
    for bridge in ways() {
        let usage = wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST;
        let spec = || SharedTexture::<u32>::new(wgpu::TextureFormat::R32Uint, [64, 8], usage);
        let mut first = Exchange::render_first(&bridge, &info("first"), spec()).unwrap();
        let mut gone = Exchange::render_first(&bridge, &info("gone"), spec()).unwrap();
        let mappable = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::MAP_WRITE);
        let mut mapped = Exchange::render_first(&bridge, &info("mapped"), mappable).unwrap();
        let seen = first.objects().clone();
        gone.objects().destroy();
        for word in 1..4u32 {
            // The write makes the texture a copy destination; before, it was not initialized.
            let words = [word; LEN];
            let bytes: Vec<_> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
            bridge.queue().write_texture(seen.as_image_copy(), &bytes, layout, seen.size());
            bridge.queue().submit([]);
            let frames = (first.begin().unwrap(), gone.begin().unwrap());
            let error = bridge.submit([], frames).unwrap_err();
            assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
            assert_eq!(read_texture(&bridge, &seen), words);
            bridge.queue().write_texture(seen.as_image_copy(), &bytes, layout, seen.size());
            bridge.queue().submit([]);
            mapped.objects().map_async(wgpu::MapMode::Write, .., |result| result.unwrap());
            bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            let frames = (first.begin().unwrap(), mapped.begin().unwrap());
            let error = bridge.submit([], frames).unwrap_err();
            assert!(error.to_string().contains("mapped"), "{error}");
            mapped.objects().unmap();
            assert_eq!(read_texture(&bridge, &seen), words);
            let frames = (first.begin().unwrap(), mapped.begin().unwrap());
            let (one, other) = bridge.submit([], frames).unwrap();
            one.finish().unwrap();
            other.finish().unwrap();
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu waits for its queue without a limit when the last reference to it is dropped. After an
/// exchange whose work has not completed in time, that wait may never end.
#[test]
fn the_queue_of_an_exchange_that_is_leaked_is_never_dropped() {
    let _alone = alone();
    let numbers = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
    for (is_late, is_latest) in [(false, false), (true, false), (false, true), (true, true)] {
        let bridge = bridge_on(Backend::Host).unwrap();
        // The wait for the submission must end within it, too.
        let timeout = Duration::from_secs(if is_late { 5 } else { 60 });
        let gate = if is_latest {
            let info = LatestInfo { timeout, ..latest("late") };
            let (mut writer, mut reader) = Exchange::latest_render_first(&bridge, &info, numbers()).unwrap();
            let turn = writer.begin().unwrap();
            bridge.submit([], turn).unwrap().wait(Duration::from_secs(60)).unwrap();
            let mut turn = reader.newest().unwrap().unwrap();
            let gate = is_late.then(|| Gate::hold(turn.work()));
            turn.finish().unwrap();
            drop((writer, reader));
            gate
        } else {
            let info = ExchangeInfo { timeout, ..info("late") };
            let mut exchange = Exchange::render_first(&bridge, &info, numbers()).unwrap();
            let frame = exchange.begin().unwrap();
            let mut turn = bridge.submit([], frame).unwrap();
            let gate = is_late.then(|| Gate::hold(turn.work()));
            turn.finish().unwrap();
            drop(exchange);
            gate
        };
        // Called when the queue is dropped, because nothing polls the device before.
        let (called, is_called) = mpsc::channel();
        bridge.queue().submit([]);
        bridge.queue().on_submitted_work_done(move || called.send(()).unwrap());
        drop(bridge);
        let expected = if is_late { Err(mpsc::TryRecvError::Empty) } else { Ok(()) };
        assert_eq!(is_called.try_recv(), expected, "latest: {is_latest}");
        drop(gate);
    }
    assert_eq!(validation_messages(), [""; 0]);
}
