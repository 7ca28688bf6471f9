//! Observation from outside: the trace, and the counts of live objects. A single test, because both
//! are global to the process.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LiveObjects, SharedPool, SharedPoolInfo, Work,
    trace_off, trace_to,
};
use bridge_tests::{Events as _, Readback, Rig, Sink};
use serde_json::Value;

#[test]
fn the_bridge_can_be_watched() {
    for backend in [Backend::Host, Backend::Cuda] {
        Rig::case(backend, "everything_is_traced_once_and_in_order", everything_is_traced_once_and_in_order);
        Rig::case(backend, "nothing_stays_alive", nothing_stays_alive);
    }
    for backend in [Backend::Host, Backend::Cuda] {
        Rig::case(backend, "a_sink_that_panics_changes_no_frame", a_sink_that_panics_changes_no_frame);
        Rig::case(backend, "a_sink_may_use_the_bridge", a_sink_may_use_the_bridge);
    }
    // Last, because its leaks stay counted.
    Rig::case(Backend::Host, "leaks_are_counted", leaks_are_counted);
}

fn exchange(compute: &Compute) -> Exchange<BufferSpec<u32>> {
    with_limit(compute, Rig::LONG)
}

fn with_limit(compute: &Compute, timeout: Duration) -> Exchange<BufferSpec<u32>> {
    with_pool(compute, timeout, 1, None)
}

fn with_pool(
    compute: &Compute,
    timeout: Duration,
    slots: usize,
    pool: Option<&SharedPool>,
) -> Exchange<BufferSpec<u32>> {
    let info = ExchangeInfo { name: "watched \"twice\"", slots, timeout, pool, ..Default::default() };
    Exchange::new(compute, &info, BufferSpec::new(16, BufferAccess::TRANSFER_READ)).unwrap()
}

fn two_frames(rig: &Rig, exchange: &mut Exchange<BufferSpec<u32>>) {
    let readback = Readback::new(rig.device(), 64);
    for _ in 0..2 {
        let turn = exchange.begin().unwrap().finish().unwrap();
        let source = (turn.resources().as_raw(), 64);
        readback.run(turn, &[source]);
    }
}

fn everything_is_traced_once_and_in_order(rig: &Rig, compute: &Compute) {
    let sink = Sink::default();
    trace_to(sink.clone());
    let mut watched = exchange(compute);
    two_frames(rig, &mut watched);
    watched.close().unwrap();
    trace_off();
    two_frames(rig, &mut exchange(compute));

    let lines = sink.lines();
    let side = compute.backend().to_string();
    let told: Vec<(String, String, String, Option<u64>)> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("event"), text("side"), text("object"), line["value"].as_u64())
        })
        .collect();
    let expect = |event: &str, side: &str, what: &str, value| {
        (event.to_owned(), side.to_owned(), format!("watched \"twice\"{what}"), value)
    };
    let frame = |value: u64| {
        let mut frame = Vec::new();
        if value > 1 {
            frame.push(expect("wait", &side, ".rendered", Some(value - 1)));
        }
        frame.extend([
            expect("signal", &side, ".computed", Some(value)),
            expect("wait", "vulkan", ".computed", Some(value)),
            expect("signal", "vulkan", ".rendered", Some(value)),
        ]);
        frame
    };
    let frames: Vec<_> = [frame(1), frame(2)].concat();
    let signals_and_waits: Vec<_> =
        told.iter().filter(|line| line.0 == "signal" || line.0 == "wait").cloned().collect();
    assert_eq!(signals_and_waits, frames);

    for (object, both) in [(".computed", false), (".rendered", false), ("[0]", true)] {
        let count = |event: &str| told.iter().filter(|l| l.0 == event && l.2.ends_with(object)).count();
        let crossings = usize::from(compute.backend() == Backend::Cuda);
        assert_eq!((count("create"), count("destroy")), (1, 1), "{object}");
        assert_eq!((count("export"), count("import")), (crossings, crossings), "{object}");
        let created = lines.iter().find(|l| l["event"] == "create" && l["object"].as_str().unwrap().ends_with(object));
        assert_eq!(created.unwrap()["bytes"].as_u64(), both.then_some(64));
    }
    let times: Vec<u64> = lines.iter().map(|line| line["us"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

fn nothing_stays_alive(rig: &Rig, compute: &Compute) {
    assert!(LiveObjects::now().is_empty(), "{}", LiveObjects::now());
    let mut watched = exchange(compute);
    let turn = watched.begin().unwrap();
    let now = LiveObjects::now();
    assert_eq!((now.exchanges, now.turns, now.buffers, now.timelines), (1, 1, 1, 2), "{now}");
    turn.finish().unwrap().skip();
    two_frames(rig, &mut watched);
    // A turn keeps its resources alive when its exchange is dropped.
    let turn = watched.begin().unwrap();
    drop(watched);
    assert_eq!(LiveObjects::now().buffers, 1);
    drop(turn);
    assert!(LiveObjects::now().is_empty(), "{}", LiveObjects::now());
}

/// A sink that panics at the first signal of the compute side.
struct Panicking;

impl Write for Panicking {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line: Value = serde_json::from_slice(bytes).unwrap();
        let is_signal = line["event"] == "signal" && line["object"].as_str().unwrap().ends_with(".computed");
        assert!(!is_signal, "sink");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn a_sink_that_panics_changes_no_frame(rig: &Rig, compute: &Compute) {
    let mut watched = exchange(compute);
    trace_to(Panicking);
    let readback = Readback::new(rig.device(), 64);
    for frame in 0..3 {
        let turn = watched.begin().unwrap();
        assert_eq!(turn.frame(), frame);
        let turn = turn.finish().unwrap();
        assert_eq!(turn.computed().value(), frame + 1, "one signal a value");
        let source = (turn.resources().as_raw(), 64);
        readback.run(turn, &[source]);
    }
    watched.close().unwrap();
    // The panic ended the trace; the next trace works.
    let sink = Sink::default();
    trace_to(sink.clone());
    two_frames(rig, &mut exchange(compute));
    trace_off();
    assert!(!sink.lines().is_empty());
}

/// A sink that creates a shared buffer for every line.
struct Sharing(Compute, Arc<Mutex<usize>>);

impl Write for Sharing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(exchange(&self.0));
        *self.1.lock().unwrap() += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn a_sink_may_use_the_bridge(rig: &Rig, compute: &Compute) {
    let lines = Arc::new(Mutex::new(0));
    trace_to(Sharing(compute.clone(), Arc::clone(&lines)));
    two_frames(rig, &mut exchange(compute));
    trace_off();
    assert!(*lines.lock().unwrap() > 0);
}

fn leaks_are_counted(rig: &Rig, compute: &Compute) {
    let pool = SharedPool::new(compute, &SharedPoolInfo::default()).unwrap();
    // Two slots in one block that was used by another exchange before.
    with_pool(compute, Rig::LONG, 1, Some(&pool)).close().unwrap();
    let mut watched = with_pool(compute, Duration::from_millis(500), 2, Some(&pool));
    let mut turn = watched.begin().unwrap();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let Work::Host(host) = turn.work() else { unreachable!("the CPU was asked for") };
    host.run(move |_| gate.recv().unwrap()).unwrap();
    turn.finish().unwrap().skip();
    // The signal does not happen in time, so closing times out and reports the state.
    let error = watched.close().unwrap_err().to_string();
    for part in
        ["watched", "point 1", "the compute side signals", "last value seen: 0", "computed: signal 1, wait none"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let now = LiveObjects::now();
    assert_eq!((now.leaked_buffers, now.leaked_timelines, now.leaked_blocks), (2, 2, 1), "{now}");
    assert_eq!((now.buffers, now.timelines, now.turns, now.blocks), (2, 2, 0, 1), "{now}");
    drop(pool);
    assert_eq!(LiveObjects::now(), now, "what is leaked keeps its block");
    release.send(()).unwrap();
    // The compute thread has finished with the leaked resources once a later frame is done. The
    // process must not end, and run the layer's destructors, while the thread signals.
    two_frames(rig, &mut exchange(compute));
}
