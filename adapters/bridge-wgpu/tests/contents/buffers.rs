//! Buffers in both directions.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::{Filler, bridges, info, read_buffer, validation_messages};
use bridge_wgpu::{Error, Exchange, SharedBuffer, Work, wgpu};

const LEN: usize = 1024;

#[test]
fn what_the_compute_side_fills_is_in_wgpus_buffer() {
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let mut exchange = Exchange::new(&bridge, &info("numbers"), spec).unwrap();
        let (filler, buffer) = (Filler::new(&bridge), exchange.objects().clone());
        for frame in 0..8u32 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, frame * 1000, Duration::from_millis(2));
            bridge.submit([], turn.finish().unwrap()).unwrap();
            assert_eq!(read_buffer(&bridge, &buffer), Filler::pattern(LEN, frame * 1000), "frame {frame}");
        }
        // A skipped frame is not copied to the buffer.
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 99, Duration::ZERO);
        turn.finish().unwrap().skip();
        assert_eq!(read_buffer(&bridge, &buffer), Filler::pattern(LEN, 7000));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn what_wgpu_writes_reaches_the_compute_side() {
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_DST);
        let mut exchange = Exchange::render_first(&bridge, &info("numbers"), spec).unwrap();
        for frame in 0..8u32 {
            let written = Filler::pattern(LEN, frame * 1000);
            let bytes: Vec<u8> = written.iter().flat_map(|word| word.to_ne_bytes()).collect();
            bridge.queue().write_buffer(exchange.objects(), 0, &bytes);
            let frame = exchange.begin().unwrap();
            let mut turn = bridge.submit([], frame).unwrap();
            let seen = match turn.work() {
                Work::Host(host) => {
                    let (sender, receiver) = mpsc::channel();
                    host.run(move |words| sender.send(words.to_vec()).unwrap()).unwrap();
                    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
                }
                Work::Cuda(cuda) => cuda.stream.clone_dtoh(&cuda.resources).unwrap(),
                _ => panic!("no such compute side was asked for"),
            };
            turn.finish().unwrap();
            assert_eq!(seen, written);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Frames of up to four exchanges are submitted together as a tuple, which returns theirs in the
/// same order. If wgpu refuses one, all are skipped.
#[test]
fn frames_of_several_exchanges_are_submitted_together() {
    for bridge in bridges() {
        let spec = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
        let mut filled = ["a", "b", "c"].map(|name| Exchange::new(&bridge, &info(name), spec()).unwrap());
        let mut written = Exchange::render_first(&bridge, &info("written"), spec()).unwrap();
        let mut gone = Exchange::render_first(&bridge, &info("gone"), spec()).unwrap();
        gone.objects().destroy();
        let filler = Filler::new(&bridge);
        for round in 0..4u32 {
            let mut bases = (0..3u32).map(|index| 10_000 * round + 1000 * index);
            let mut frames = || {
                filled.each_mut().map(|exchange| {
                    let mut turn = exchange.begin().unwrap();
                    filler.fill(&mut turn, bases.next().unwrap(), Duration::ZERO);
                    turn.finish().unwrap()
                })
            };
            let [a, b, c] = frames();
            match round {
                0 | 3 => drop(bridge.submit([], (a, b, c)).unwrap()),
                1 => {
                    let frame = written.begin().unwrap();
                    let (.., turn) = bridge.submit([], (a, b, c, frame)).unwrap();
                    turn.finish().unwrap();
                }
                _ => {
                    let frame = gone.begin().unwrap();
                    let error = bridge.submit([], (a, b, c, frame)).unwrap_err();
                    assert!(matches!(error, Error::Refused { .. }), "{error}");
                    continue;
                }
            }
            for (index, exchange) in (0..3u32).zip(&filled) {
                let expected = Filler::pattern(LEN, 10_000 * round + 1000 * index);
                assert_eq!(read_buffer(&bridge, exchange.objects()), expected, "round {round}");
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
