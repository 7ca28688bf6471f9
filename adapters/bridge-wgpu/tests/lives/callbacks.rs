//! Calls made from callbacks that wgpu calls while frames are submitted.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bridge_wgpu::bridge::LiveObjects;
use bridge_wgpu::{Bridge, Exchange, ExchangeInfo, Frame, SharedBuffer, wgpu};

use crate::lost::lose;
use crate::support::{
    Filler, adopted, alone, await_queue, bridges, info, logged, read_buffer, staging, validation_messages, ways,
};

const LEN: usize = 256;
/// Longer than any wait here takes, and shorter than an exchange's timeout.
const LIMIT: Duration = Duration::from_secs(20);

type Numbers = SharedBuffer<u32>;

fn numbers() -> Numbers {
    SharedBuffer::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

fn frame(exchange: &mut Exchange<Numbers>, filler: &Filler, base: u32) -> Frame<Numbers> {
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, base, Duration::ZERO);
    turn.finish().unwrap()
}

/// Makes the next submission call `callback`.
fn call_back(bridge: &Bridge, callback: impl FnOnce() + Send + 'static) {
    bridge.queue().submit([]);
    bridge.queue().on_submitted_work_done(callback);
    await_queue(bridge);
}

#[test]
fn a_callback_may_wait_for_a_submission_of_another_exchange() {
    let _alone = alone();
    for bridge in ways() {
        let filler = Filler::new(&bridge);
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut other = Exchange::new(&bridge, &info("others"), numbers()).unwrap();
        let (start, started) = mpsc::channel();
        let (done, is_done) = mpsc::channel();
        let (seen, is_seen) = mpsc::channel();
        let (first, second) = (frame(&mut exchange, &filler, 1), frame(&mut other, &filler, 1000));
        call_back(&bridge, move || {
            start.send(()).unwrap();
            seen.send(is_done.recv_timeout(LIMIT).is_ok()).unwrap();
        });
        std::thread::scope(|scope| {
            let bridge = &bridge;
            scope.spawn(move || {
                started.recv_timeout(LIMIT).unwrap();
                bridge.submit([], second).unwrap();
                // The receiver may have stopped waiting.
                let _ = done.send(());
            });
            bridge.submit([], first).unwrap();
        });
        assert!(is_seen.recv_timeout(LIMIT).unwrap(), "the other submission waited for the callback");
        assert_eq!(read_buffer(&bridge, exchange.objects()), Filler::pattern(LEN, 1));
        assert_eq!(read_buffer(&bridge, other.objects()), Filler::pattern(LEN, 1000));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// An exchange can be dropped in a callback, even with a frame for which it is unknown whether it
/// was submitted.
#[test]
fn an_exchange_may_be_dropped_in_a_callback() {
    let _alone = alone();
    let all = ways().map(|bridge| (bridge, false)).chain(adopted().map(|bridge| (bridge, true)));
    for (bridge, is_lost) in all {
        bridge.device().on_uncaptured_error(std::sync::Arc::new(|error| eprintln!("{error}")));
        let filler = Filler::new(&bridge);
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let before = LiveObjects::now();
        let name = if is_lost { "dropped, with a lost frame" } else { "dropped" };
        let mut other = Exchange::new(&bridge, &info(name), numbers()).unwrap();
        let last = frame(&mut other, &filler, 1);
        match is_lost {
            true => lose(&bridge, last),
            false => drop(bridge.submit([], last).unwrap()),
        }
        let (ended, has_ended) = mpsc::channel();
        let first = frame(&mut exchange, &filler, 2);
        call_back(&bridge, move || {
            let start = Instant::now();
            drop(other);
            ended.send(start.elapsed()).unwrap();
        });
        bridge.submit([], first).unwrap();
        let took = has_ended.recv_timeout(LIMIT).unwrap();
        assert!(took < LIMIT, "{name}: {took:?}");
        assert_eq!(LiveObjects::now(), before, "{name}");
        assert!(!logged(&format!("\"{name}\": its last frames may not be seen to end")));
        assert_eq!(read_buffer(&bridge, exchange.objects()), Filler::pattern(LEN, 2));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// If an exchange is dropped while its own submission is refused, no other submission shows that
/// its lost frames have ended.
#[test]
fn an_exchange_may_be_dropped_while_its_submission_is_refused() {
    const TIMEOUT: Duration = Duration::from_secs(60);
    let _alone = alone();
    let all = bridges().map(|bridge| (bridge, false)).chain(adopted().map(|bridge| (bridge, true)));
    for (bridge, is_lost) in all {
        bridge.device().on_uncaptured_error(std::sync::Arc::new(|error| eprintln!("{error}")));
        let filler = Filler::new(&bridge);
        let before = LiveObjects::now();
        let info = ExchangeInfo { timeout: TIMEOUT, ..info("refused") };
        let mut exchange = Exchange::new(&bridge, &info, numbers()).unwrap();
        let last = frame(&mut exchange, &filler, 1);
        match is_lost {
            true => lose(&bridge, last),
            false => drop(bridge.submit([], last).unwrap()),
        }
        let next = frame(&mut exchange, &filler, 2);
        let destroyed = staging(&bridge, 16);
        let mut commands = bridge.device().create_command_encoder(&Default::default());
        commands.clear_buffer(&destroyed, 0, None);
        // The commands are refused, and their deferred action then fails immediately.
        let (dropped, is_dropped) = mpsc::channel();
        commands.map_buffer_on_submit(&destroyed, wgpu::MapMode::Read, .., move |mapped| {
            drop(exchange);
            dropped.send(mapped.is_err()).unwrap();
        });
        destroyed.destroy();
        let start = Instant::now();
        bridge.submit([commands.finish()], next).unwrap_err();
        assert_eq!(is_dropped.try_recv(), Ok(true), "the callback was called elsewhere");
        assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}
