//! Hostile safe code. A single test, because the counts of live objects are global to the process.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LiveObjects, Work};
use bridge_tests::{Gate, Readback, Rig};

#[test]
fn the_bridge_survives_hostile_code() {
    Rig::case(Backend::Host, "an_exchange_may_end_inside_its_own_closure", an_exchange_may_end_inside_its_own_closure);
    Rig::case(Backend::Host, "a_panicking_capture_does_not_stop_vulkan", a_panicking_capture_does_not_stop_vulkan);
    for backend in [Backend::Host, Backend::Cuda] {
        Rig::case(
            backend,
            "nothing_waits_for_a_queue_that_its_thread_holds",
            nothing_waits_for_a_queue_that_its_thread_holds,
        );
    }
    // Last, because its leaks stay counted.
    for backend in [Backend::Host, Backend::Cuda] {
        Rig::case(backend, "every_frame_that_was_lent_is_waited_for", every_frame_that_was_lent_is_waited_for);
    }
}

fn exchange(compute: &Compute) -> Exchange<BufferSpec<u32>> {
    let info = ExchangeInfo { name: "hostile", timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, BufferSpec::new(16, BufferAccess::TRANSFER_READ)).unwrap()
}

fn no_leak() -> bool {
    let now = LiveObjects::now();
    (now.leaked_buffers, now.leaked_images, now.leaked_timelines) == (0, 0, 0)
}

/// Waits until the number of exchanges is down to `exchanges`, because an exchange may end on
/// another thread. Returns `false` on a timeout.
fn wait_for_exchanges(exchanges: usize) -> bool {
    let start = Instant::now();
    while LiveObjects::now().exchanges != exchanges {
        if start.elapsed() > Rig::LONG {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Inside `Queue::with`, a submission is refused, because it would wait for its own thread or for a
/// thread that waits for the queue.
fn nothing_waits_for_a_queue_that_its_thread_holds(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute);
    let queue = rig.device().queue();
    let turn = exchange.begin().unwrap().finish().unwrap();
    // SAFETY: nothing is submitted.
    let refused = queue.with(|_| unsafe { turn.submit(&[]) }.unwrap_err()).unwrap();
    assert!(refused.to_string().contains("already locked by this thread"), "{refused}");
    let error = exchange.begin().err().unwrap().to_string();
    assert!(error.contains("frame 0"), "the frame is lost: {error}");
    let turn = exchange.begin().unwrap().finish().unwrap();
    let refused = queue.with(|_| turn.lend().unwrap_err()).unwrap();
    assert!(refused.to_string().contains("already locked by this thread"), "{refused}");
    exchange.begin().err().unwrap();
    assert!(queue.with(|_| exchange.flush_parts().unwrap_err()).is_ok());

    // Outside, everything works.
    let turn = exchange.begin().unwrap().finish().unwrap();
    // SAFETY: no commands.
    let point = unsafe { turn.submit(&[]) }.unwrap();
    point.wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
    an_idle_exchange_ends_on_a_thread_that_holds_its_queue(rig, compute);
}

/// Ending or growing an idle exchange submits nothing, so it works while its thread holds the
/// queue.
fn an_idle_exchange_ends_on_a_thread_that_holds_its_queue(rig: &Rig, compute: &Compute) {
    let (queue, before) = (rig.device().queue(), LiveObjects::now());
    let used = || {
        let mut exchange = exchange(compute);
        // SAFETY: no commands.
        unsafe { exchange.begin().unwrap().finish().unwrap().submit(&[]) }.unwrap();
        exchange
    };
    let (mut grows, closes, dropped) = (used(), used(), used());
    queue.with(|_| grows.grow(32).unwrap()).unwrap();
    queue.with(|_| closes.close().unwrap()).unwrap();
    queue.with(|_| drop(dropped)).unwrap();
    grows.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// An exchange can end inside a closure on the thread that its end would wait for.
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
    assert!(wait_for_exchanges(1), "{}", LiveObjects::now());
    assert!(no_leak(), "{}", LiveObjects::now());
    running.close().unwrap();
    assert!(LiveObjects::now().is_empty(), "{}", LiveObjects::now());
}

/// An engine submits two frames and reports neither; the second is still pending when the exchange
/// is dropped.
fn every_frame_that_was_lent_is_waited_for(rig: &Rig, compute: &Compute) {
    let device = rig.device();
    let info = ExchangeInfo { name: "lent", slots: 2, timeout: Duration::from_millis(200), ..Default::default() };
    let spec = BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let gate = Gate::new(device);
    let readbacks = [Readback::new(device, 64), Readback::new(device, 64)];
    let turns = [(); 2].map(|()| exchange.begin().unwrap().finish().unwrap());
    for (index, turn) in turns.into_iter().enumerate() {
        let commands = readbacks[index].record(&turn, &[(turn.resources().as_raw(), 64)]);
        let lent = turn.lend().unwrap();
        let parts = lent.parts();
        let waits = [parts.waits()[0], gate.wait_info()];
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let signals = [parts.signal()];
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(&commands)
            .wait_semaphore_infos(&waits[..=index])
            .signal_semaphore_infos(&signals);
        // SAFETY: recorded with the turn's barriers; everything outlives the idle device below.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        drop(lent);
    }
    let leaked = LiveObjects::now().leaked_buffers;
    drop(exchange);
    // The second frame cannot have ended, so none of its resources may be freed.
    assert_eq!(LiveObjects::now().leaked_buffers, leaked + 2, "{}", LiveObjects::now());
    gate.open();
    // SAFETY: no other thread uses the device's queues, because tests of a program run one at a
    // time.
    unsafe { device.as_raw().device_wait_idle() }.unwrap();
}

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
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
        let bomb = PanicsOnDrop;
        host.run(move |_| {
            let _captured = &bomb;
        })
        .unwrap();
    }
    let turn = turn.finish().unwrap();
    open.send(()).unwrap();
    // Vulkan may wait for this point, which is reached although the work before it failed.
    turn.computed().wait(Rig::LONG).unwrap();
    turn.skip();
    assert!(exchange.begin().unwrap_err().to_string().contains("first"));
    drop(exchange);
    assert!(no_leak() && LiveObjects::now().is_empty(), "{}", LiveObjects::now());
}
