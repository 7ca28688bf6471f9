//! Errors of callbacks, which wgpu reports during a submission that was made. They are not errors
//! of the submitted commands.
#![allow(clippy::unwrap_used)] // A test.

use std::time::Duration;

use bridge_wgpu::{Bridge, Exchange, LatestInfo, Newest, SharedBuffer, SharedTexture, wgpu};

use crate::lost::{fail_back, lose};
use crate::support::latest::{LEN, latest, write};
use crate::support::{Filler, adopted, alone, bridges, info, logged, read_buffer, validation_messages, ways};

fn numbers() -> SharedBuffer<u32> {
    SharedBuffer::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

/// Checks that the error is in the log.
fn is_logged() {
    assert!(logged("such as that of a callback, during a submission that was made"));
}

#[test]
fn frames_go_on_where_a_callback_fails() {
    let _alone = alone();
    for bridge in bridges() {
        let filler = Filler::new(&bridge);
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut back = Exchange::render_first(&bridge, &info("back"), numbers()).unwrap();
        // More frames than there are slots.
        for base in 0..8 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, base, Duration::ZERO);
            let frames = (turn.finish().unwrap(), back.begin().unwrap());
            fail_back(&bridge);
            let (_, turn) = bridge.submit([], frames).unwrap();
            turn.finish().unwrap();
            assert_eq!(read_buffer(&bridge, exchange.objects()), Filler::pattern(LEN, base));
        }
        is_logged();
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn newest_frames_go_on_where_a_callback_fails() {
    let _alone = alone();
    for bridge in bridges() {
        let info = LatestInfo { newest: Newest::Published, ..latest("numbers") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, numbers()).unwrap();
        for frame in 1..8 {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
            for is_new in [true, false] {
                let turn = reader.newest().unwrap().unwrap();
                assert_eq!(turn.is_new(), is_new);
                fail_back(&bridge);
                bridge.submit([], turn).unwrap();
                assert_eq!(reader.retired(), 0);
            }
            assert_eq!(read_buffer(&bridge, reader.objects()), [frame; LEN]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// An error of a callback does not affect the first hand-over of images.
#[test]
fn an_exchange_is_made_where_a_callback_fails() {
    let _alone = alone();
    for bridge in ways() {
        let picture = SharedTexture::<u32>::new(wgpu::TextureFormat::R32Uint, [64, 8], wgpu::TextureUsages::COPY_SRC);
        fail_back(&bridge);
        let mut exchange = Exchange::new(&bridge, &info("picture"), picture).unwrap();
        is_logged();
        let frame = exchange.begin().unwrap().finish().unwrap();
        bridge.submit([], frame).unwrap();
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// An error of a callback does not affect the signal after lost frames.
#[test]
fn a_flush_succeeds_where_a_callback_fails() {
    let _alone = alone();
    let flushes = |bridge: &Bridge| {
        let mut exchange = Exchange::new(bridge, &info("numbers"), numbers()).unwrap();
        let frame = exchange.begin().unwrap().finish().unwrap();
        lose(bridge, frame);
        fail_back(bridge);
        // Waits for the signal: before it, the frame may use the replaced resources.
        exchange.grow(2 * LEN).unwrap();
        is_logged();
        let frame = exchange.begin().unwrap().finish().unwrap();
        bridge.submit([], frame).unwrap();
    };
    adopted().for_each(|bridge| flushes(&bridge));
    assert_eq!(validation_messages(), [""; 0]);
}
