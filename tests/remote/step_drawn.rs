//! In step with workers on the CPU that read: each frame that is drawn, once and in order, and what
//! becomes of the renderer when they end.

use std::time::{Duration, Instant};

use bridge::{Error, ExchangeInfo, LatestInfo};
use bridge_ipc::{ConnectInfo, Connection, Hello, Message, Role};
use bridge_tests::{Gate, Rig};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Worker};
use rustix::process::Signal;

use crate::painter::Painter;
use crate::reading::Said;
use crate::scene::Scene;
use crate::step_painter::{StepPainter, Writer};
use crate::step_reader::Habit;
use crate::step_worker;
use crate::steps::accept;

/// No test that waits for the end of a worker has it.
const FAR: Duration = Duration::from_secs(20);
/// The time for what must not be.
const MOMENT: Duration = Duration::from_millis(50);

#[test]
fn each_frame_that_is_drawn_is_read_once_and_in_order() {
    let mut painter = StepPainter::new();
    let (worker, mut writer) = painter.with(Habit::Reads, FAR);
    painter.until_there(&mut writer, &worker, Habit::Reads);
    painter.cross(&mut writer, &worker, 100);
    // Several at a time.
    for _ in 0..20 {
        (0..3).for_each(|_| drop(painter.draw(&mut writer)));
        (0..3).for_each(|_| painter.seen(&worker));
    }
    // What is skipped is shown to nobody, and what is dropped is told once.
    writer.begin(FAR).unwrap().unwrap().skip();
    drop(writer.begin(FAR).unwrap().unwrap());
    assert!(matches!(writer.begin(FAR), Err(Error::TurnLost { .. })));
    painter.next += 2;
    painter.cross(&mut writer, &worker, 20);
    // One turn at a time.
    let turn = writer.begin(FAR).unwrap().unwrap();
    assert!(matches!(writer.begin(FAR), Err(Error::TurnOpen { .. })));
    turn.skip();
    writer.check_worker().unwrap();
    writer.close().unwrap();
}

/// A frame is read once it is drawn, and not before.
#[test]
fn a_worker_waits_for_a_frame_that_is_submitted_and_not_drawn() {
    let mut painter = StepPainter::new();
    let (worker, mut writer) = painter.with(Habit::Reads, FAR);
    painter.until_there(&mut writer, &worker, Habit::Reads);
    let gate = Gate::new(painter.scene.rig.device());
    painter.draw_behind(&mut writer, &[gate.wait_info()]);
    painter.draw(&mut writer);
    std::thread::sleep(MOMENT);
    assert_eq!(worker.so_far(), [], "it reads what is not drawn");
    gate.open();
    (0..2).for_each(|_| painter.seen(&worker));
    writer.close().unwrap();
}

/// It owes nothing: it may keep them for as long as it likes, stopped or not, and no command waits
/// for it.
#[test]
fn a_worker_that_keeps_its_slots_is_not_killed_and_holds_up_no_queue() {
    let limit = Duration::from_secs(2);
    for habit in [Habit::Holds, Habit::Idles] {
        let mut painter = StepPainter::new();
        let (worker, mut writer) = painter.with(habit, limit);
        painter.until_there(&mut writer, &worker, habit);
        worker.signal(Signal::STOP);
        let last = painter.fill(&mut writer).unwrap();
        last.wait(Rig::LONG).unwrap();
        assert!(writer.begin(limit + limit / 4).unwrap().is_none(), "the worker has them all");
        writer.check_worker().unwrap();
        worker.signal(Signal::CONT);
        writer.check_worker().unwrap();
    }
}

#[test]
fn a_worker_is_killed_while_it_holds_a_frame_and_another_takes_its_place() {
    for habit in [Habit::Holds, Habit::Idles, Habit::Reads] {
        let mut painter = StepPainter::new();
        let (mut worker, mut writer) = painter.with(habit, FAR);
        painter.until_there(&mut writer, &worker, habit);
        if habit != Habit::Reads {
            painter.fill(&mut writer);
        }
        worker.kill();
        let error = StepPainter::dead(&writer);
        let Error::PeerLost { worker: process, held, owed, torn, signaled, frame, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*process, *owed, *signaled), (worker.pid(), 0, None), "{error}");
        // One that reads may end before it has given the last one back.
        assert!(if habit == Habit::Reads { *held <= 1 } else { *held == 3 }, "{error}");
        assert!(torn.is_empty() && frame.is_some(), "{error}");
        assert!(matches!(writer.begin(FAR), Err(Error::PeerLost { .. })), "nobody reads");
        let _next = painter.go_on(&mut writer);
        writer.close().unwrap();
    }
}

/// A turn that was begun for the last worker is the next one's.
#[test]
fn a_turn_outlives_the_worker_that_it_was_begun_for() {
    let mut painter = StepPainter::new();
    let (mut worker, mut writer) = painter.with(Habit::Reads, FAR);
    painter.until_there(&mut writer, &worker, Habit::Reads);
    let turn = writer.begin(FAR).unwrap().unwrap();
    worker.kill();
    StepPainter::dead(&writer);
    turn.skip();
    let _next = painter.go_on(&mut writer);
    writer.close().unwrap();
}

#[test]
fn a_reader_that_leaves_owes_nothing_and_another_goes_on() {
    let mut painter = StepPainter::new();
    let (worker, mut writer) = painter.with(Habit::Leaves, FAR);
    painter.until_there(&mut writer, &worker, Habit::Leaves);
    let error = StepPainter::until(&writer, |_| true);
    assert!(matches!(&error, Error::PeerLost { dead: false, owed: 0, signaled: None, .. }), "{error}");
    let _next = painter.go_on(&mut writer);
    writer.close().unwrap();
}

/// Leaving the program waits for no worker on the CPU.
#[test]
fn the_renderer_leaves_while_a_worker_holds_frames() {
    for drops in [false, true] {
        let mut painter = StepPainter::new();
        let (worker, mut writer) = painter.with(Habit::Holds, FAR);
        painter.until_there(&mut writer, &worker, Habit::Holds);
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
        assert!(start.elapsed() < FAR, "the end waits for the worker");
        // It was not killed.
        worker.signal(Signal::STOP);
    }
}

/// What a reader in step may not say ends its connection, and frames go on with the next.
#[test]
fn hostile_readers_are_refused_and_the_renderer_goes_on() {
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
            let mut connection = taken(&path);
            let Message::Publish { slot: 0, frame: 0, .. } = connection.receive(FAR).unwrap().message else { panic!() };
            // This side's session would not let it pass.
            let raw = rustix::io::dup(&connection).unwrap();
            crate::hostile::say(&raw, &said.encode().unwrap());
            while connection.receive(FAR).is_ok() {}
        });
        let remote = accept(&scene.listener, &scene.rig, true);
        let mut painter = StepPainter::of(scene, Backend::Host);
        let mut writer = remote.exchange_render_first(&StepPainter::info(FAR), Painter::spec()).unwrap();
        let (_, point) = painter.draw(&mut writer);
        let error = StepPainter::until(&writer, |_| true);
        // This very process was the worker, and it lives.
        assert!(
            error.to_string().contains("cut off") && matches!(error, Error::PeerLost { dead: false, .. }),
            "{error}"
        );
        point.wait(FAR).unwrap();
        worker.join().unwrap();
        let _next = painter.go_on(&mut writer);
    }
}

/// Takes the exchange, as a worker on the CPU that trusts; its memory is not mapped.
fn taken(path: &std::path::Path) -> Connection {
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let hello = Hello { host: true, trust: true, ..Hello::new(Role::Worker, "hostile") };
    connection.send(&Message::Hello(hello), None, FAR).unwrap();
    let Message::Offer(offer) = connection.receive(FAR).unwrap().message else { panic!() };
    assert!(offer.trust);
    (0..offer.slots).for_each(|_| drop(connection.receive(FAR).unwrap()));
    connection.send(&Message::Ready { exchange: 0 }, None, FAR).unwrap();
    connection
}

/// A slot that was freed twice, of which the first time counts.
#[test]
fn a_slot_is_given_back_once() {
    let scene = Scene::new();
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let mut connection = taken(&path);
        let Message::Publish { slot, .. } = connection.receive(FAR).unwrap().message else { panic!() };
        connection.send(&Message::Free { exchange: 0, slot, value: 0 }, None, FAR).unwrap();
        let raw = rustix::io::dup(&connection).unwrap();
        crate::hostile::say(&raw, &Message::Free { exchange: 0, slot, value: 0 }.encode().unwrap());
        while connection.receive(FAR).is_ok() {}
    });
    let remote = accept(&scene.listener, &scene.rig, true);
    let mut painter = StepPainter::of(scene, Backend::Host);
    let mut writer = remote.exchange_render_first(&StepPainter::info(FAR), Painter::spec()).unwrap();
    painter.draw(&mut writer);
    let error = StepPainter::until(&writer, |_| true);
    assert!(error.to_string().contains("cut off"), "{error}");
    worker.join().unwrap();
}

/// Neither side is drawn into it by the other, and an exchange of another kind is refused in words.
#[test]
fn both_sides_have_to_ask_for_it() {
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
        let told = other.join().unwrap();
        let side = if worker { "AcceptInfo::trust" } else { "WorkerInfo::trust" };
        assert!(told.to_string().contains(side), "{told}");
    }
    let latest = LatestInfo { name: "steps", ..Default::default() };
    let in_step = StepPainter::info(FAR);
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
        let (refused, told) = (offered.unwrap_err().to_string(), other.join().unwrap().to_string());
        assert!(refused.contains(&told) && told.contains(part), "{refused}: {told}");
    }
}

/// What bounds its frames are its slots.
#[test]
fn frames_in_flight_are_refused() {
    let scene = Scene::new();
    let path = scene.path();
    let other = std::thread::spawn(move || {
        let worker = Worker::connect_with(path, &step_worker::info(Backend::Host)).unwrap();
        worker.exchange_reader::<Buffer<u32>>("steps").map(drop).unwrap_err()
    });
    let remote = accept(&scene.listener, &scene.rig, true);
    let info = ExchangeInfo { frames_in_flight: Some(1), ..StepPainter::info(FAR) };
    let refused = remote.exchange_render_first(&info, Painter::spec()).unwrap_err();
    let is_named = |reason: &str| reason.contains("`ExchangeInfo::frames_in_flight`");
    assert!(matches!(&refused, Error::InvalidArgument { reason, .. } if is_named(reason)), "{refused}");
    // It is told at once and why, and does not wait for the end of this process.
    let told = other.join().unwrap();
    assert!(matches!(&told, bridge_worker::Error::Closed { reason, .. } if is_named(reason)), "{told}");
}

/// Peers of an older version are told so, and are not offered what they do not know.
#[test]
fn an_older_peer_is_refused_in_words() {
    let scene = Scene::new();
    let path = scene.path();
    let old = |role| Hello { version: 2, host: true, trust: true, ..Hello::new(role, "old") };
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        connection.send(&Message::Hello(old(Role::Worker)), None, FAR).unwrap();
        let told = connection.receive(FAR).unwrap().message;
        assert!(matches!(told, Message::Bye { .. }), "it is offered nothing: {told:?}");
    });
    let remote = accept(&scene.listener, &scene.rig, true);
    let refused = remote.exchange_render_first(&StepPainter::info(FAR), Painter::spec()).unwrap_err().to_string();
    assert!(refused.contains("version 3") && refused.contains("uses version 2"), "{refused}");
    worker.join().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let listener = bridge_ipc::Listener::bind(folder.path().join("old")).unwrap();
    let path = listener.path().to_owned();
    let worker = std::thread::spawn(move || {
        let worker = Worker::connect_with(path, &step_worker::info(Backend::Host)).unwrap();
        worker.exchange_reader::<Buffer<u32>>("steps").map(drop).unwrap_err().to_string()
    });
    let mut connection = listener.accept(FAR).unwrap().unwrap();
    connection.greet(&old(Role::Renderer), FAR).unwrap();
    let told = worker.join().unwrap();
    assert!(told.contains("requires version 3") && told.contains("uses version 2"), "{told}");
}

/// A worker that reads more slowly than the renderer draws has every frame all the same.
#[test]
fn a_renderer_that_runs_ahead_waits_for_a_slot_on_the_host() {
    let mut painter = StepPainter::new();
    let (worker, mut writer): (_, Writer) = painter.with(Habit::Reads, FAR);
    assert_eq!(worker.next(), Said::There);
    worker.signal(Signal::STOP);
    painter.fill(&mut writer).unwrap();
    assert!(writer.begin(MOMENT).unwrap().is_none());
    worker.signal(Signal::CONT);
    (0..3).for_each(|_| painter.seen(&worker));
    painter.cross(&mut writer, &worker, 3);
    writer.close().unwrap();
}
