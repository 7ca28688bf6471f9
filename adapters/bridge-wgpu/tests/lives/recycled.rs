//! Command buffers of a refused submission that wgpu reuses before `submit` has returned. They no
//! longer belong to the frames.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::mpsc;
use std::time::Duration;

use bridge_wgpu::{Bridge, Error, Exchange, Frames, LatestInfo, Newest, SharedBuffer, SharedTexture, Work, wgpu};

use crate::refused::read_texture;
use crate::support::latest::{LEN, latest, write};
use crate::support::{Filler, alone, bridges, info, read_buffer, staging, validation_messages};

/// Records commands that wgpu refuses, because they map a destroyed buffer; a callback of the
/// program then submits other commands instead. The receiver gets a message when it has done so.
fn falling_back(bridge: &Bridge, elsewhere: bool) -> (wgpu::CommandBuffer, mpsc::Receiver<()>) {
    let destroyed = staging(bridge, 16);
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    commands.clear_buffer(&destroyed, 0, None);
    let (inner, (sender, receiver)) = (bridge.clone(), mpsc::channel());
    commands.map_buffer_on_submit(&destroyed, wgpu::MapMode::Read, .., move |mapped| {
        mapped.unwrap_err();
        let fallback = match elsewhere {
            true => std::thread::scope(|scope| scope.spawn(|| record(&inner)).join().unwrap()),
            false => record(&inner),
        };
        inner.queue().submit(fallback);
        sender.send(()).unwrap();
    });
    destroyed.destroy();
    (commands.finish(), receiver)
}

/// Records at least as many command buffers as a refused submission returns.
fn record(bridge: &Bridge) -> Vec<wgpu::CommandBuffer> {
    let buffer = staging(bridge, 16);
    let record = |_| {
        let mut commands = bridge.device().create_command_encoder(&Default::default());
        commands.clear_buffer(&buffer, 0, None);
        commands.finish()
    };
    (0..12).map(record).collect()
}

/// Submits the frames with commands that are refused and replaced in a callback.
fn fall_back<F: Frames>(bridge: &Bridge, elsewhere: bool, frames: F)
where
    F::Submitted: std::fmt::Debug,
{
    let (commands, fell_back) = falling_back(bridge, elsewhere);
    let error = bridge.submit([commands], frames).unwrap_err();
    assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
    fell_back.try_recv().expect("the callback was called elsewhere");
}

#[test]
fn a_refused_buffer_does_not_go_with_what_a_callback_submits() {
    let _alone = alone();
    for bridge in bridges() {
        let filler = Filler::new(&bridge);
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let mut exchange = Exchange::new(&bridge, &info("numbers"), spec).unwrap();
        let mut frame = |base| {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, base, Duration::ZERO);
            (turn.finish().unwrap(), exchange.objects().clone())
        };
        for round in 0..6 {
            let (first, numbers) = frame(10 * round);
            bridge.submit([], first).unwrap();
            let (lost, _) = frame(10 * round + 1);
            fall_back(&bridge, round % 2 == 1, lost);
            assert_eq!(read_buffer(&bridge, &numbers), Filler::pattern(LEN, 10 * round), "what it held");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn a_refused_texture_does_not_go_with_what_a_callback_submits() {
    const WORDS: usize = 512;
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedTexture::<u32>::new(wgpu::TextureFormat::R32Uint, [64, 8], wgpu::TextureUsages::COPY_SRC);
        let mut exchange = Exchange::new(&bridge, &info("picture"), spec).unwrap();
        let mut frame = |word| {
            let mut turn = exchange.begin().unwrap();
            match turn.work() {
                Work::Host(host) => {
                    host.run(move |mut image| image.rows_mut().for_each(|row| row.fill(word))).unwrap();
                }
                Work::Cuda(mut cuda) => {
                    cuda.resources.write_from_host(cuda.stream, 0, .., &[word; WORDS]).unwrap();
                }
                _ => panic!("no such compute side was asked for"),
            }
            (turn.finish().unwrap(), exchange.objects().clone())
        };
        for round in 0..6 {
            let (first, picture) = frame(10 * round + 1);
            bridge.submit([], first).unwrap();
            assert_eq!(read_texture(&bridge, &picture), [10 * round + 1; WORDS]);
            let (lost, _) = frame(10 * round + 2);
            fall_back(&bridge, round % 2 == 1, lost);
            assert_eq!(read_texture(&bridge, &picture), [0; WORDS], "it was repaired");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn a_refused_newest_frame_does_not_go_with_what_a_callback_submits() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let info = LatestInfo { newest: Newest::Published, ..latest("newest") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, spec).unwrap();
        for frame in 1..6 {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
            // A new frame, which is returned to the exchange, and the same frame again.
            for is_new in [true, false] {
                let turn = reader.newest().unwrap().unwrap();
                assert_eq!(turn.is_new(), is_new);
                fall_back(&bridge, frame % 2 == 1, turn);
                let turn = reader.newest().unwrap().unwrap();
                assert_eq!(turn.is_new(), is_new);
                bridge.submit([], turn).unwrap();
                assert_eq!(read_buffer(&bridge, reader.objects()), [frame; LEN]);
                assert_eq!(reader.retired(), 0);
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
