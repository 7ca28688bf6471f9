//! An exchange whose compute side stalls, beside one that continues.
#![allow(clippy::unwrap_used)] // A test.

use std::time::{Duration, Instant};

use crate::support::gate::Gate;
use crate::support::latest::{LEN, latest};
use crate::support::{Filler, LIMIT, alone, bridges, info, read_buffer, staging, validation_messages};
use bridge_wgpu::{Bridge, Exchange, LatestReader, LatestWriter, SharedBuffer, wgpu};

type Numbers = SharedBuffer<u32>;

/// Many times the duration of a fill.
const A_WHILE: Duration = Duration::from_millis(200);
const STALLED: u32 = 1 << 20;

fn spec() -> Numbers {
    Numbers::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

fn numbers(bridge: &Bridge, name: &str) -> (LatestWriter<Numbers>, LatestReader<Numbers>) {
    Exchange::latest(bridge, &latest(name), spec()).unwrap()
}

/// Submits wgpu's commands without any of the bridge's, as the rest of a program does.
fn submit_own(bridge: &Bridge) {
    let staging = staging(bridge, 16);
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    commands.clear_buffer(&staging, 0, None);
    bridge.queue().submit([commands.finish()]);
}

/// If the compute side of one exchange stalls, another exchange of the same device continues: each
/// latest exchange has its own stream or thread.
#[test]
fn a_stalled_exchange_does_not_delay_others() {
    let _alone = alone();
    for bridge in bridges() {
        let filler = Filler::new(&bridge);
        let (mut stalled, mut waiting) = numbers(&bridge, "stalled");
        let (mut writer, mut reader) = numbers(&bridge, "running");
        let mut publish = |base| {
            let mut turn = writer.begin().unwrap();
            filler.fill_work(turn.work(), base, Duration::ZERO);
            turn.publish().unwrap().wait(LIMIT).unwrap();
        };
        // CUDA loads the kernel at its first launch, which may wait for the held work.
        publish(1);
        let mut turn = stalled.begin().unwrap();
        filler.fill_work(turn.work(), STALLED, Duration::ZERO);
        let gate = Gate::hold(turn.work());
        let held = turn.publish().unwrap();
        gate.await_stop(LIMIT);
        for base in 2..=20 {
            publish(base);
            let turn = reader.newest().unwrap();
            bridge.submit([], turn).unwrap();
            // wgpu's frames continue despite the stalled exchange, which has no frame.
            let nothing = waiting.newest().unwrap();
            assert!(nothing.is_none());
            bridge.submit([], nothing).unwrap();
            submit_own(&bridge);
            assert_eq!(read_buffer(&bridge, reader.objects()), Filler::pattern(LEN, base));
        }
        assert!(!held.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        held.wait(LIMIT).unwrap();
        let turn = waiting.newest().unwrap();
        assert!(turn.as_ref().is_some_and(|turn| turn.is_new()), "the stalled frame never came");
        bridge.submit([], turn).unwrap();
        assert_eq!(read_buffer(&bridge, waiting.objects()), Filler::pattern(LEN, STALLED));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Negative control of the test above: exchanges in step run on the stream or thread of their
/// bridge, so one that stalls does delay another. The same observation shows it.
#[test]
fn on_the_same_stream_a_stalled_exchange_delays_others() {
    let _alone = alone();
    for bridge in bridges() {
        let filler = Filler::new(&bridge);
        let mut stalled = Exchange::new(&bridge, &info("stalled"), spec()).unwrap();
        let mut running = Exchange::new(&bridge, &info("running"), spec()).unwrap();
        let mut begin = |base| {
            let mut turn = running.begin().unwrap();
            filler.fill(&mut turn, base, Duration::ZERO);
            turn.finish().unwrap()
        };
        let frame = begin(1);
        frame.computed().wait(LIMIT).unwrap();
        bridge.submit([], frame).unwrap();
        let mut turn = stalled.begin().unwrap();
        let gate = Gate::hold(turn.work());
        let held = turn.finish().unwrap();
        gate.await_stop(LIMIT);
        let frame = begin(2);
        let computed = frame.computed();
        let start = Instant::now();
        assert!(computed.wait(A_WHILE).is_err() && start.elapsed() >= A_WHILE, "it has a stream of its own");
        assert!(!held.computed().is_reached().unwrap(), "the gate holds nothing");
        submit_own(&bridge);
        gate.open();
        computed.wait(LIMIT).unwrap();
        bridge.submit([], frame).unwrap();
        bridge.submit([], held).unwrap();
        assert_eq!(read_buffer(&bridge, running.objects()), Filler::pattern(LEN, 2));
    }
    assert_eq!(validation_messages(), [""; 0]);
}
