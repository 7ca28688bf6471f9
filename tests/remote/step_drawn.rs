//! In step with reading workers on the CPU: each frame is read once and in order, and the renderer
//! continues when workers end.

use std::time::{Duration, Instant};

use bridge::{Error, ExchangeInfo, LatestInfo};
use bridge_ipc::{ConnectInfo, Connection, Hello, Message, Role};
use bridge_tests::{Gate, Rig};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Worker};
use rustix::process::Signal;

use crate::painter::Painter;
use crate::reading::Report;
use crate::scene::Scene;
use crate::step_painter::{StepPainter, Writer};
use crate::step_reader::Behavior;
use crate::step_worker;
use crate::steps::accept;

/// A limit that no test reaches while it waits for the end of a worker.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn each_frame_that_is_drawn_is_read_once_and_in_order() {
    let mut painter = StepPainter::new();
    let (worker, mut writer) = painter.with(Behavior::Reads, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
    painter.cross(&mut writer, &worker, 100);
    // Several at a time.
    for _ in 0..20 {
        (0..3).for_each(|_| drop(painter.draw(&mut writer)));
        (0..3).for_each(|_| painter.seen(&worker));
    }
    // A skipped turn is not sent to the worker, and a dropped turn is reported once.
    writer.begin(LIMIT).unwrap().unwrap().skip();
    drop(writer.begin(LIMIT).unwrap().unwrap());
    assert!(matches!(writer.begin(LIMIT), Err(Error::TurnLost { .. })));
    painter.next += 2;
    painter.cross(&mut writer, &worker, 20);
    // Only one turn may be open.
    let turn = writer.begin(LIMIT).unwrap().unwrap();
    assert!(matches!(writer.begin(LIMIT), Err(Error::TurnOpen { .. })));
    turn.skip();
    writer.check_worker().unwrap();
    writer.close().unwrap();
}

/// A frame is read only after it is drawn.
#[test]
fn a_worker_waits_for_a_frame_that_is_submitted_and_not_drawn() {
    let mut painter = StepPainter::new();
    let (worker, mut writer) = painter.with(Behavior::Reads, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
    let gate = Gate::new(painter.scene.rig.device());
    painter.draw_after(&mut writer, &[gate.wait_info()]);
    painter.draw(&mut writer);
    std::thread::sleep(Rig::MOMENT);
    assert_eq!(worker.reports_so_far(), [], "it reads what is not drawn");
    gate.open();
    (0..2).for_each(|_| painter.seen(&worker));
    writer.close().unwrap();
}

/// A worker that keeps its slots has no frame due: it may keep them for any time, stopped or not,
/// and no command waits for it.
#[test]
fn a_worker_that_keeps_its_slots_is_not_killed_and_delays_no_queue() {
    let limit = Duration::from_secs(2);
    for behavior in [Behavior::Holds, Behavior::Idles] {
        let mut painter = StepPainter::new();
        let (worker, mut writer) = painter.with(behavior, limit);
        painter.draw_until_state(&mut writer, &worker, behavior);
        worker.signal(Signal::STOP);
        let last = painter.fill_returned(&mut writer, behavior);
        last.wait(Rig::LONG).unwrap();
        assert!(writer.begin(limit + limit / 4).unwrap().is_none(), "the worker has them all");
        writer.check_worker().unwrap();
        worker.signal(Signal::CONT);
        writer.check_worker().unwrap();
    }
}

#[test]
fn a_worker_killed_while_it_holds_a_frame_is_replaced() {
    for behavior in [Behavior::Holds, Behavior::Idles, Behavior::Reads] {
        // On a slow machine, the worker may be killed before all frames have been sent to it.
        let mut rounds = 0..10;
        while kill_a_worker_that_holds_frames(behavior) < if behavior == Behavior::Reads { 0 } else { 3 } {
            rounds.next().expect("the frames are not sent to the worker");
        }
    }
}

/// Kills a worker and replaces it. Returns the number of frames that it held.
fn kill_a_worker_that_holds_frames(behavior: Behavior) -> usize {
    let mut painter = StepPainter::new();
    let (mut worker, mut writer) = painter.with(behavior, LIMIT);
    painter.draw_until_state(&mut writer, &worker, behavior);
    if behavior != Behavior::Reads {
        painter.fill_returned(&mut writer, behavior).wait(Rig::LONG).unwrap();
        // Their copies and messages follow.
        std::thread::sleep(Rig::MOMENT);
    }
    worker.kill();
    let error = StepPainter::dead(&writer);
    let Error::PeerLost { worker: process, held, owed, torn, signaled, frame, .. } = &error else { panic!("{error}") };
    assert_eq!((*process, *owed, *signaled), (worker.pid(), 0, None), "{error}");
    // A reading worker may end before it has returned the last slot.
    assert!(*held <= if behavior == Behavior::Reads { 1 } else { 3 }, "{error}");
    assert!(torn.is_empty() && frame.is_some(), "{error}");
    assert!(matches!(writer.begin(LIMIT), Err(Error::PeerLost { .. })), "nobody reads");
    let _next = painter.accept_next(&mut writer);
    writer.close().unwrap();
    *held
}

/// A turn that was begun for the previous worker can be used for the next one.
#[test]
fn a_turn_outlives_the_worker_that_it_was_begun_for() {
    let mut painter = StepPainter::new();
    let (mut worker, mut writer) = painter.with(Behavior::Reads, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
    let turn = writer.begin(LIMIT).unwrap().unwrap();
    worker.kill();
    StepPainter::dead(&writer);
    turn.skip();
    let _next = painter.accept_next(&mut writer);
    writer.close().unwrap();
}

#[test]
fn a_reader_that_leaves_has_no_frame_due_and_is_replaced() {
    let mut painter = StepPainter::new();
    let (worker, mut writer) = painter.with(Behavior::Leaves, LIMIT);
    painter.draw_until_state(&mut writer, &worker, Behavior::Leaves);
    let error = StepPainter::until(&writer, |_| true);
    assert!(matches!(&error, Error::PeerLost { dead: false, owed: 0, signaled: None, .. }), "{error}");
    let _next = painter.accept_next(&mut writer);
    writer.close().unwrap();
}

/// Closing the exchange does not wait for a worker on the CPU.
#[test]
fn the_renderer_leaves_while_a_worker_holds_frames() {
    for drops in [false, true] {
        let mut painter = StepPainter::new();
        let (worker, mut writer) = painter.with(Behavior::Holds, LIMIT);
        painter.draw_until_state(&mut writer, &worker, Behavior::Holds);
        painter.fill(&mut writer);
        let start = Instant::now();
        if drops {
            drop(writer);
        } else {
            writer.disconnect();
            let error = writer.check_worker().unwrap_err();
            assert!(matches!(&error, Error::PeerLost { dead: false, owed: 0, .. }), "{error}");
            writer.close().unwrap();
        }
        assert!(start.elapsed() < LIMIT, "the end waits for the worker");
        // The worker was not killed.
        worker.signal(Signal::STOP);
    }
}

/// An invalid message of a reader in step ends its connection, and frames continue with the next
/// worker.
#[test]
fn hostile_readers_are_refused_and_the_renderer_continues() {
    let free = |slot, value| Message::Free { exchange: 0, slot, value };
    for said in [
        free(0, 1),
        free(0, u64::MAX),
        free(1, 0),
        free(64, 0),
        Message::Free { exchange: 7, slot: 0, value: 0 },
        Message::Publish { exchange: 0, slot: 0, frame: 1, value: 2 },
        Message::Torn { exchange: 0, slot: 0, frame: 0 },
        Message::Done { exchange: 0, slot: 0, frame: 0 },
        Message::Ready { exchange: 0 },
    ] {
        let scene = Scene::new();
        let path = scene.path();
        let worker = std::thread::spawn(move || {
            let mut connection = accept_exchange(&path);
            let Message::Publish { slot: 0, frame: 0, .. } = connection.receive(LIMIT).unwrap().message else {
                panic!()
            };
            // The session on this side would refuse the message.
            let raw = rustix::io::dup(&connection).unwrap();
            crate::hostile::send_bytes(&raw, &said.encode().unwrap());
            while connection.receive(LIMIT).is_ok() {}
        });
        let remote = accept(&scene.listener, &scene.rig, true);
        let mut painter = StepPainter::of(scene, Backend::Host);
        let mut writer = remote.exchange_render_first(&StepPainter::info(LIMIT), Painter::spec()).unwrap();
        let (_, point) = painter.draw(&mut writer);
        let error = StepPainter::until(&writer, |_| true);
        // This process was the worker, and it is alive.
        assert!(
            error.to_string().contains("cut off") && matches!(error, Error::PeerLost { dead: false, .. }),
            "{error}"
        );
        point.wait(LIMIT).unwrap();
        worker.join().unwrap();
        let _next = painter.accept_next(&mut writer);
    }
}

/// Takes the exchange, as a worker on the CPU with `trust`; its memory is not mapped.
fn accept_exchange(path: &std::path::Path) -> Connection {
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let hello = Hello { host: true, trust: true, ..Hello::new(Role::Worker, "hostile") };
    connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    let Message::Offer(offer) = connection.receive(LIMIT).unwrap().message else { panic!() };
    assert!(offer.trust);
    (0..offer.slots).for_each(|_| drop(connection.receive(LIMIT).unwrap()));
    connection.send(&Message::Ready { exchange: 0 }, None, LIMIT).unwrap();
    connection
}

/// A slot that is freed twice is an error; only the first time counts.
#[test]
fn a_slot_is_given_back_once() {
    let scene = Scene::new();
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let mut connection = accept_exchange(&path);
        let Message::Publish { slot, .. } = connection.receive(LIMIT).unwrap().message else { panic!() };
        connection.send(&Message::Free { exchange: 0, slot, value: 0 }, None, LIMIT).unwrap();
        let raw = rustix::io::dup(&connection).unwrap();
        crate::hostile::send_bytes(&raw, &Message::Free { exchange: 0, slot, value: 0 }.encode().unwrap());
        while connection.receive(LIMIT).is_ok() {}
    });
    let remote = accept(&scene.listener, &scene.rig, true);
    let mut painter = StepPainter::of(scene, Backend::Host);
    let mut writer = remote.exchange_render_first(&StepPainter::info(LIMIT), Painter::spec()).unwrap();
    painter.draw(&mut writer);
    let error = StepPainter::until(&writer, |_| true);
    assert!(error.to_string().contains("cut off"), "{error}");
    worker.join().unwrap();
}

/// Neither side can force the other into it, and an exchange of another kind is refused with an
/// explanation.
#[test]
fn both_sides_must_request_an_exchange_in_step() {
    let scene = Scene::new();
    for (renderer, worker) in [(false, true), (true, false)] {
        let path = scene.path();
        let other = std::thread::spawn(move || {
            let info = bridge_worker::WorkerInfo { trust: worker, ..step_worker::info(Backend::Host) };
            let connected = Worker::connect_with(path, &info).unwrap();
            connected.exchange_reader::<Buffer<u32>>("steps").map(drop).unwrap_err()
        });
        let remote = accept(&scene.listener, &scene.rig, renderer);
        let refused = remote.exchange_render_first(&ExchangeInfo::default(), Painter::spec()).unwrap_err();
        assert!(matches!(&refused, Error::InvalidArgument { reason, .. } if reason.contains("AcceptInfo::trust")));
        let reported = other.join().unwrap();
        let side = if worker { "AcceptInfo::trust" } else { "WorkerInfo::trust" };
        assert!(reported.to_string().contains(side), "{reported}");
    }
    let latest = LatestInfo { name: "steps", ..Default::default() };
    let in_step = StepPainter::info(LIMIT);
    for (case, part) in [
        "it is in step, but `Worker::latest_reader` was called",
        "it is a latest exchange, but `Worker::exchange_reader` was called",
        "the renderer writes it, but its writer was requested",
        "the worker writes it, but its reader was requested",
    ]
    .into_iter()
    .enumerate()
    {
        let path = scene.path();
        let other = std::thread::spawn(move || {
            let worker = Worker::connect_with(path, &step_worker::info(Backend::Host)).unwrap();
            match case {
                0 => worker.latest_reader::<Buffer<u32>>("steps").map(drop).unwrap_err(),
                2 => worker.exchange::<Buffer<u32>>("steps").map(drop).unwrap_err(),
                _ => worker.exchange_reader::<Buffer<u32>>("steps").map(drop).unwrap_err(),
            }
        });
        let remote = accept(&scene.listener, &scene.rig, true);
        let offered = match case {
            0 | 2 => remote.exchange_render_first(&in_step, Painter::spec()).map(drop),
            1 => remote.latest_render_first(&latest, Painter::spec()).map(drop),
            _ => remote.exchange(&in_step, Scene::spec()).map(drop),
        };
        let (refused, reported) = (offered.unwrap_err().to_string(), other.join().unwrap().to_string());
        assert!(refused.contains(&reported) && reported.contains(part), "{refused}: {reported}");
    }
}

/// The number of slots limits the frames, so `frames_in_flight` is refused.
#[test]
fn frames_in_flight_are_refused() {
    let scene = Scene::new();
    let path = scene.path();
    let other = std::thread::spawn(move || {
        let worker = Worker::connect_with(path, &step_worker::info(Backend::Host)).unwrap();
        worker.exchange_reader::<Buffer<u32>>("steps").map(drop).unwrap_err()
    });
    let remote = accept(&scene.listener, &scene.rig, true);
    let info = ExchangeInfo { frames_in_flight: Some(1), ..StepPainter::info(LIMIT) };
    let refused = remote.exchange_render_first(&info, Painter::spec()).unwrap_err();
    let is_named = |reason: &str| reason.contains("`ExchangeInfo::frames_in_flight`");
    assert!(matches!(&refused, Error::InvalidArgument { reason, .. } if is_named(reason)), "{refused}");
    // The worker is notified immediately with the reason, and does not wait for the end of this
    // process.
    let reported = other.join().unwrap();
    assert!(matches!(&reported, bridge_worker::Error::Closed { reason, .. } if is_named(reason)), "{reported}");
}

/// Peers of an older version are refused with an explanation, and receive no offer that they do not
/// know.
#[test]
fn an_older_peer_gets_an_explanation() {
    let scene = Scene::new();
    let path = scene.path();
    let old = |role| Hello { version: 2, host: true, trust: true, ..Hello::new(role, "old") };
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        connection.send(&Message::Hello(old(Role::Worker)), None, LIMIT).unwrap();
        let reported = connection.receive(LIMIT).unwrap().message;
        assert!(matches!(reported, Message::Bye { .. }), "it is offered nothing: {reported:?}");
    });
    let remote = accept(&scene.listener, &scene.rig, true);
    let refused = remote.exchange_render_first(&StepPainter::info(LIMIT), Painter::spec()).unwrap_err().to_string();
    assert!(refused.contains("version 3") && refused.contains("uses version 2"), "{refused}");
    worker.join().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let listener = bridge_ipc::Listener::bind(folder.path().join("old")).unwrap();
    let path = listener.path().to_owned();
    let worker = std::thread::spawn(move || {
        let worker = Worker::connect_with(path, &step_worker::info(Backend::Host)).unwrap();
        worker.exchange_reader::<Buffer<u32>>("steps").map(drop).unwrap_err().to_string()
    });
    let mut connection = listener.accept(LIMIT).unwrap().unwrap();
    connection.handshake(&old(Role::Renderer), LIMIT).unwrap();
    let reported = worker.join().unwrap();
    assert!(reported.contains("requires version 3") && reported.contains("uses version 2"), "{reported}");
}

/// A worker that reads more slowly than the renderer draws still receives every frame.
#[test]
fn a_renderer_that_runs_ahead_waits_for_a_slot_on_the_host() {
    let mut painter = StepPainter::new();
    let (worker, mut writer): (_, Writer) = painter.with(Behavior::Reads, LIMIT);
    assert_eq!(worker.next(), Report::StateReached);
    worker.signal(Signal::STOP);
    painter.fill(&mut writer).unwrap();
    assert!(writer.begin(Rig::MOMENT).unwrap().is_none());
    worker.signal(Signal::CONT);
    (0..3).for_each(|_| painter.seen(&worker));
    painter.cross(&mut writer, &worker, 3);
    writer.close().unwrap();
}
