//! Submissions for which wgpu does not report whether they were made: on an adopted device, a
//! callback of the program causes an error while frames are submitted.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::latest::{LEN, write};
use crate::support::{Filler, adopted, alone, await_queue, info, mapped, read_buffer, staging, validation_messages};
use bridge_wgpu::bridge::LiveObjects;
use bridge_wgpu::{
    Bridge, Error, Exchange, ExchangeInfo, Frames, LatestInfo, Newest, SharedBuffer, SharedTexture, Work, wgpu,
};

/// Long enough to be distinguishable from the other waits.
const LIMIT: Duration = Duration::from_secs(60);

fn latest(name: &str) -> LatestInfo<'_> {
    LatestInfo { name, newest: Newest::Published, timeout: LIMIT, ..Default::default() }
}

/// Makes the next submission call a callback that causes a wgpu error.
pub(crate) fn fail_back(bridge: &Bridge) {
    bridge.queue().submit([]);
    let inner = bridge.device().clone();
    bridge.queue().on_submitted_work_done(move || {
        drop(inner.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE,
            mapped_at_creation: false,
        }));
    });
    // The submission is complete by then, so that the next one calls the callback.
    await_queue(bridge);
}

/// Submits the frames on an adopted device in such a way that they are lost.
pub(crate) fn lose<F: Frames>(bridge: &Bridge, frames: F)
where
    F::Submitted: std::fmt::Debug,
{
    fail_back(bridge);
    let error = bridge.submit([], frames).unwrap_err();
    assert!(matches!(error, Error::Unconfirmed { .. }), "{error}");
    assert!(error.to_string().contains("create_buffer"), "the callback's error: {error}");
}

/// Runs `lost` for each compute side, on adopted devices. Checks that all objects that it created
/// are gone.
fn ends(lost: impl Fn(&Bridge)) {
    let _alone = alone();
    for bridge in adopted() {
        // Receives errors of callbacks that another call triggers.
        bridge.device().on_uncaptured_error(Arc::new(|error| eprintln!("{error}")));
        let before = LiveObjects::now();
        lost(&bridge);
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

fn numbers() -> SharedBuffer<u32> {
    SharedBuffer::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

#[test]
fn a_reader_that_loses_frames_goes_on() {
    ends(|bridge| {
        let (mut writer, mut reader) = Exchange::latest(bridge, &latest("numbers"), numbers()).unwrap();
        // More lost frames than there are slots, with two slots each.
        for frame in 1..=24 {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
            let turn = reader.newest().unwrap();
            assert!(turn.as_ref().is_some_and(|turn| turn.is_new()));
            if frame % 4 == 0 {
                bridge.submit([], turn).unwrap();
                assert_eq!(read_buffer(bridge, reader.objects()), [frame; LEN]);
            } else {
                lose(bridge, turn);
                assert!(reader.retired() > 0);
            }
        }
    });
}

/// The error of a writer without a free slot names the reader's call that recovers the slots.
#[test]
fn a_reader_that_pauses_brings_slots_back() {
    ends(|bridge| {
        let (mut writer, mut reader) = Exchange::latest(bridge, &latest("numbers"), numbers()).unwrap();
        let mut turn = writer.begin().unwrap();
        write(&mut turn, 1, Duration::ZERO);
        turn.publish().unwrap();
        lose(bridge, reader.newest().unwrap());
        assert_eq!(reader.retired(), 1);
        reader.initialize().unwrap();
        assert_eq!(reader.retired(), 0);
        reader.initialize().unwrap();
    });
}

#[test]
fn textures_of_frames_that_were_lost_are_handed_over_anew() {
    ends(|bridge| {
        let usage = wgpu::TextureUsages::COPY_SRC;
        let spec = SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, [64, 8], usage);
        let (mut writer, mut reader) = Exchange::latest(bridge, &latest("picture"), spec).unwrap();
        for frame in 1..=24u8 {
            let mut turn = writer.begin().unwrap();
            match turn.work() {
                Work::Host(host) => {
                    host.run(move |mut image| image.rows_mut().for_each(|row| row.fill([frame; 4]))).unwrap();
                }
                Work::Cuda(mut cuda) => cuda.resources.write_from_host(cuda.stream, 0, .., &[[frame; 4]; 512]).unwrap(),
                _ => panic!("no such compute side was asked for"),
            }
            turn.publish().unwrap();
            let turn = reader.newest().unwrap();
            if frame % 3 != 0 {
                lose(bridge, turn);
                continue;
            }
            bridge.submit([], turn).unwrap();
            let seen = staging(bridge, 2048);
            let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
            let mut commands = bridge.device().create_command_encoder(&Default::default());
            let to = wgpu::TexelCopyBufferInfo { buffer: &seen, layout };
            commands.copy_texture_to_buffer(reader.objects().as_image_copy(), to, reader.objects().size());
            bridge.queue().submit([commands.finish()]);
            assert_eq!(mapped(bridge, &seen), [u32::from_ne_bytes([frame; 4]); 512]);
        }
    });
}

/// All frames are lost one after the other, without a submitted one in between.
#[test]
fn a_writer_that_loses_all_its_frames_goes_on() {
    ends(|bridge| {
        let (mut writer, mut reader) = Exchange::latest_render_first(bridge, &latest("scene"), numbers()).unwrap();
        for _ in 0..12 {
            lose(bridge, writer.begin().unwrap());
        }
        let turn = writer.begin().unwrap();
        bridge.submit([], turn).unwrap();
        reader.newest().unwrap().unwrap().finish().unwrap();
    });
}

#[test]
fn an_exchange_in_step_that_loses_all_its_frames_goes_on() {
    ends(|bridge| {
        let filler = Filler::new(bridge);
        let mut exchange = Exchange::new(bridge, &info("numbers"), numbers()).unwrap();
        let mut back = Exchange::render_first(bridge, &info("back"), numbers()).unwrap();
        for base in 0..12 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, base, Duration::ZERO);
            lose(bridge, turn.finish().unwrap());
            lose(bridge, back.begin().unwrap());
        }
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 100, Duration::ZERO);
        bridge.submit([], turn.finish().unwrap()).unwrap();
        assert_eq!(read_buffer(bridge, exchange.objects()), Filler::pattern(LEN, 100));
        let turn = back.begin().unwrap();
        bridge.submit([], turn).unwrap().finish().unwrap();
    });
}

/// The lost frame is the last one of its exchange, so no later signal shows that it has ended.
#[test]
fn the_end_behind_a_lost_frame_is_seen_at_once() {
    ends(|bridge| {
        let (mut writer, mut reader) = Exchange::latest(bridge, &latest("numbers"), numbers()).unwrap();
        let mut turn = writer.begin().unwrap();
        write(&mut turn, 1, Duration::ZERO);
        turn.publish().unwrap();
        lose(bridge, reader.newest().unwrap());
        let (mut written, read) = Exchange::latest_render_first(bridge, &latest("scene"), numbers()).unwrap();
        lose(bridge, written.begin().unwrap());
        let start = Instant::now();
        drop((reader, writer));
        drop((read, written));
        assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    });
}

/// The last owner of the exchange ends it, even if its handle was dropped before the frame was
/// lost.
#[test]
fn the_end_of_a_lost_frame_that_outlives_its_exchange_is_seen_at_once() {
    ends(|bridge| {
        let info = |name| ExchangeInfo { timeout: LIMIT, ..info(name) };
        let start = Instant::now();
        let mut exchange = Exchange::new(bridge, &info("numbers"), numbers()).unwrap();
        let frame = exchange.begin().unwrap().finish().unwrap();
        drop(exchange);
        lose(bridge, frame);
        let mut back = Exchange::render_first(bridge, &info("back"), numbers()).unwrap();
        let frame = back.begin().unwrap();
        drop(back);
        lose(bridge, frame);
        let (mut writer, mut reader) = Exchange::latest(bridge, &latest("newest"), numbers()).unwrap();
        let mut turn = writer.begin().unwrap();
        write(&mut turn, 1, Duration::ZERO);
        turn.publish().unwrap();
        let frame = reader.newest().unwrap();
        drop((reader, writer));
        lose(bridge, frame);
        let (mut writer, reader) = Exchange::latest_render_first(bridge, &latest("scene"), numbers()).unwrap();
        let frame = writer.begin().unwrap();
        drop((reader, writer));
        lose(bridge, frame);
        assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    });
}
