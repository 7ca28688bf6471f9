//! Safe code that means harm. One test: the counts of live objects are of the whole process.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bridge::{Backend, BufferSpec, Compute, Consumer, Exchange, ExchangeInfo, LiveObjects, Work};
use bridge_tests::Rig;

#[test]
fn the_bridge_survives_hostile_code() {
    Rig::with(Backend::Host, "an_exchange_may_end_inside_its_own_closure", an_exchange_may_end_inside_its_own_closure);
    Rig::with(Backend::Host, "a_panicking_capture_does_not_stop_vulkan", a_panicking_capture_does_not_stop_vulkan);
}

fn exchange(compute: &Compute) -> Exchange<BufferSpec<u32>> {
    let info = ExchangeInfo { name: "hostile", timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, BufferSpec::new(16, Consumer::TRANSFER_READ)).unwrap()
}

fn no_leak() -> bool {
    let now = LiveObjects::now();
    (now.leaked_buffers, now.leaked_images, now.leaked_timelines) == (0, 0, 0)
}

/// Waits until a count is down to `exchanges`: the end of an exchange may be on another thread.
fn settles(exchanges: usize) -> bool {
    let start = Instant::now();
    while LiveObjects::now().exchanges != exchanges {
        if start.elapsed() > Rig::LONG {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// The closure runs on the thread that the exchange's end waits for.
fn an_exchange_may_end_inside_its_own_closure(_: &Rig, compute: &Compute) {
    let mut running = exchange(compute);
    let mut ending = exchange(compute);
    let mut turn = ending.begin().unwrap();
    let (sender, receiver) = mpsc::channel();
    if let Work::Host(host) = turn.work() {
        host.run(|words| words.fill(1)).unwrap();
    }
    let rest = turn.finish().unwrap();
    let mut turn = running.begin().unwrap();
    if let Work::Host(host) = turn.work() {
        host.run(move |_| {
            let start = Instant::now();
            drop((rest, ending));
            sender.send(start.elapsed()).unwrap();
        })
        .unwrap();
    }
    turn.finish().unwrap().skip();
    let took = receiver.recv_timeout(Rig::LONG).unwrap();
    assert!(took < Rig::LONG / 2, "the closure waited for itself: {took:?}");
    assert!(settles(1), "{}", LiveObjects::now());
    assert!(no_leak(), "{}", LiveObjects::now());
    running.close().unwrap();
    assert!(LiveObjects::now().is_empty(), "{}", LiveObjects::now());
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}

fn a_panicking_capture_does_not_stop_vulkan(rig: &Rig, _: &Compute) {
    let compute = Compute::new(rig.device(), Backend::Host).unwrap();
    let mut exchange = exchange(&compute);
    let mut turn = exchange.begin().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    if let Work::Host(host) = turn.work() {
        host.run(move |_| {
            gate.recv().unwrap();
            panic!("first");
        })
        .unwrap();
        let bomb = Bomb;
        host.run(move |_| {
            let _captured = &bomb;
        })
        .unwrap();
    }
    let turn = turn.finish().unwrap();
    open.send(()).unwrap();
    // Vulkan may wait for this point: it comes although the work before it failed.
    turn.computed().wait(Rig::LONG).unwrap();
    turn.skip();
    assert!(exchange.begin().unwrap_err().to_string().contains("first"));
    drop(exchange);
    assert!(no_leak() && LiveObjects::now().is_empty(), "{}", LiveObjects::now());
}
