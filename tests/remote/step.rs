//! In step with workers on the CPU: announced frames, and what happens to them when workers end.

use std::time::{Duration, Instant};

use bridge::{Error, ExchangeInfo, LatestInfo};
use bridge_ipc::{ConnectInfo, Connection, Hello, Message, Role};
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Worker, WorkerInfo};
use rustix::process::Signal;

use crate::scene::Scene;
use crate::step_worker::{self, Behavior, start};
use crate::steps::{Stepping, accept, submit};

/// A limit that no test reaches while it waits for the end of a worker.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn each_frame_arrives_once_and_in_order() {
    let mut stepping = Stepping::new();
    let (_worker, mut steps) = stepping.with(Behavior::Runs, 1, LIMIT);
    (0..200).for_each(|_| stepping.read(&mut steps, 1));
    // Several turns at a time, whose commands are submitted in another order.
    let mut turns = [(); 3].map(|()| stepping.turn(&mut steps));
    turns.reverse();
    let points = turns.map(submit);
    points.iter().for_each(|point| point.wait(Rig::LONG).unwrap());
    (0..20).for_each(|_| stepping.read(&mut steps, 1));
    // A skipped turn returns its slot, and a dropped turn is reported once.
    stepping.turn(&mut steps).skip();
    drop(stepping.turn(&mut steps));
    assert!(matches!(steps.next(LIMIT), Err(Error::TurnLost { .. })));
    (0..20).for_each(|_| stepping.read(&mut steps, 1));
    steps.check_worker().unwrap();
    steps.close().unwrap();
}

/// The queue waits for a frame that the worker has not finished, and continues as soon as the
/// worker is dead.
#[test]
fn a_worker_killed_while_the_queue_waits_for_it_is_replaced() {
    for (behavior, whole) in [(Behavior::HasFrameDue, 5), (Behavior::HasTwoFramesDue, 6)] {
        let mut stepping = Stepping::new();
        let (mut worker, mut steps) = stepping.with(behavior, 1, LIMIT);
        (0..whole).for_each(|_| stepping.read(&mut steps, 1));
        worker.wait_for_state();
        let point = submit(stepping.turn(&mut steps));
        // Only the worker, or its end, lets the queue continue.
        assert!(matches!(point.wait(Rig::MOMENT), Err(Error::Timeout { .. })), "the queue does not wait");
        steps.check_worker().unwrap();
        worker.kill();
        point.wait(LIMIT).unwrap();
        let error = Stepping::dead(&steps);
        let Error::PeerLost { worker: process, dead, frame, owed, torn, signaled, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*process, *dead, *frame, *owed), (worker.pid(), true, Some(whole - 1), 1), "{error}");
        assert_eq!((&**torn, *signaled), (&[whole][..], Some(whole + 1)), "{error}");
        assert!(matches!(steps.next(LIMIT), Err(Error::PeerLost { .. })), "no frame comes any more");
        let _next = stepping.accept_next(&mut steps, 2);
        steps.close().unwrap();
    }
}

/// A frame that is torn before the program has taken it is not returned; the frames before it are.
#[test]
fn complete_frames_are_returned_after_the_end_and_torn_ones_are_not() {
    let mut stepping = Stepping::new();
    let (mut worker, mut steps) = stepping.with(Behavior::Idles, 1, LIMIT);
    // The program has not yet taken the other frames when the worker ends.
    (0..3).for_each(|_| stepping.read(&mut steps, 1));
    worker.wait_for_state();
    worker.kill();
    let error = Stepping::lost(&steps);
    assert!(matches!(&error, Error::PeerLost { owed: 0, signaled: None, .. }), "{error}");
    (3..5).for_each(|_| stepping.read(&mut steps, 1));
    assert!(matches!(steps.next(LIMIT), Err(Error::PeerLost { .. })));
    steps.close().unwrap();
    // Tests use the device one at a time.
    drop(stepping);

    let mut stepping = Stepping::new();
    let (mut worker, mut steps) = stepping.with(Behavior::HasFrameDue, 1, LIMIT);
    (0..5).for_each(|_| stepping.read(&mut steps, 1));
    worker.wait_for_state();
    worker.kill();
    Stepping::lost(&steps);
    assert!(matches!(steps.next(LIMIT), Err(Error::PeerLost { .. })), "the torn frame is given out");
    steps.close().unwrap();
}

/// A stopped worker is not dead, and a worker with no frame due may be stopped for any time.
#[test]
fn a_stopped_worker_overruns_its_limit_only_if_a_frame_is_due() {
    let limit = Duration::from_secs(8);
    let mut stepping = Stepping::new();
    let (mut idle, mut idles) = stepping.with(Behavior::Idles, 1, limit);
    for frame in 0..5 {
        let turn = idles.next(Rig::LONG).unwrap().unwrap();
        assert_eq!(turn.frame(), frame);
        turn.read_back(Rig::LONG).unwrap();
    }
    idle.wait_for_state();
    idle.signal(Signal::STOP);

    let (mut worker, mut steps) = stepping.with(Behavior::HasFrameDue, 1, limit);
    (0..5).for_each(|_| stepping.read(&mut steps, 1));
    let point = submit(stepping.turn(&mut steps));
    worker.wait_for_state();
    worker.signal(Signal::STOP);
    // Only the renderer ends the worker.
    point.wait(Rig::LONG).unwrap();
    // The other worker has been stopped for longer than its limit by now.
    assert!(idles.next(Duration::ZERO).unwrap().is_none());
    idles.check_worker().unwrap();
    let error = Stepping::dead(&steps);
    let Error::PeerLost { reason, dead: true, torn, signaled: Some(6), .. } = &error else { panic!("{error}") };
    assert!(reason.contains("frame 5") && reason.contains("was killed") && **torn == [5], "{error}");
    let _next = stepping.accept_next(&mut steps, 2);
    steps.close().unwrap();
}

#[test]
fn a_frame_that_is_taken_back_is_torn_and_the_next_arrive() {
    let stepping = Stepping::new();
    let (_worker, mut steps) = stepping.with(Behavior::Tears, 1, LIMIT);
    let mut seen = Vec::new();
    while seen.len() < 20 {
        // Frames that are withdrawn in time are not returned; the others do not wait.
        let turn = steps.next(Rig::LONG).unwrap().unwrap();
        seen.push(turn.frame());
        turn.read_back(Rig::LONG).unwrap();
    }
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    let whole = seen.iter().filter(|frame| *frame % 3 != 2).count() as u64;
    assert!(*seen.last().unwrap() < 2 * whole, "whole frames are left out: {seen:?}");
    steps.check_worker().unwrap();
    steps.close().unwrap();
}

/// Closing the exchange does not wait for a worker on the CPU, and leaves no queue waiting.
#[test]
fn the_renderer_leaves_while_its_queue_waits_for_a_worker() {
    for drops in [false, true] {
        let mut stepping = Stepping::new();
        let (mut worker, mut steps) = stepping.with(Behavior::HasFrameDue, 1, LIMIT);
        (0..5).for_each(|_| stepping.read(&mut steps, 1));
        worker.wait_for_state();
        let point = submit(stepping.turn(&mut steps));
        let start = Instant::now();
        if drops {
            drop(steps);
        } else {
            steps.disconnect();
            point.wait(LIMIT).unwrap();
            let error = Stepping::lost(&steps);
            assert!(matches!(&error, Error::PeerLost { dead: false, signaled: Some(6), .. }), "{error}");
            steps.close().unwrap();
        }
        assert!(start.elapsed() < LIMIT, "the end waits for the worker");
        assert!(point.is_reached().unwrap());
        // The worker was not killed.
        worker.signal(Signal::STOP);
    }
}

/// Frames that a worker announced before it disconnected, or sent an invalid message, do not
/// arrive.
#[test]
fn hostile_announcements_are_refused_and_the_queue_continues() {
    let publish = |slot, frame, value| Message::Publish { exchange: 0, slot, frame, value };
    let done = |slot, frame| Message::Done { exchange: 0, slot, frame };
    let (nothing, own) = (None, Some(publish(0, 0, 1)));
    for (announced, said) in [
        (nothing.clone(), publish(0, 0, 2)),
        (nothing.clone(), publish(0, 1, 1)),
        (nothing.clone(), publish(64, 0, 1)),
        (nothing, done(0, 0)),
        (own.clone(), publish(0, 1, 2)),
        (own.clone(), publish(1, 1, 1 << 20)),
        (own.clone(), publish(1, 1, u64::MAX)),
        (own.clone(), publish(1, 0, 2)),
        (own.clone(), done(0, 1)),
        (own.clone(), done(1, 0)),
        (own, Message::Free { exchange: 0, slot: 0, value: 0 }),
    ] {
        let scene = Scene::new();
        let path = scene.path();
        let (owes, last) = (announced.is_some(), said.clone());
        let worker = std::thread::spawn(move || {
            let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
            let hello = Hello { host: true, trust: true, ..Hello::new(Role::Worker, "hostile") };
            connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
            let Message::Offer(offer) = connection.receive(LIMIT).unwrap().message else { panic!() };
            assert!(offer.trust);
            (0..offer.slots).for_each(|_| drop(connection.receive(LIMIT).unwrap()));
            connection.send(&Message::Ready { exchange: 0 }, None, LIMIT).unwrap();
            (0..offer.slots).for_each(|_| drop(connection.receive(LIMIT).unwrap()));
            // The session on this side would refuse the message.
            let raw = rustix::io::dup(&connection).unwrap();
            announced.iter().chain([&last]).for_each(|said| crate::hostile::send_bytes(&raw, &said.encode().unwrap()));
            while connection.receive(LIMIT).is_ok() {}
        });
        let info = ExchangeInfo { name: "steps", timeout: LIMIT, ..Default::default() };
        let mut steps = accept(&scene.listener, &scene.rig, true).exchange(&info, Scene::spec()).unwrap();
        // The frame is torn already, or its commands wait until it is.
        let point = if owes { steps.next(LIMIT).ok().flatten().map(submit) } else { None };
        let error = Stepping::lost(&steps);
        // This process was the worker, and it is alive.
        assert!(
            error.to_string().contains("cut off") && matches!(error, Error::PeerLost { dead: false, .. }),
            "{error}"
        );
        point.iter().for_each(|point| point.wait(LIMIT).unwrap());
        assert!(matches!(steps.next(LIMIT), Err(Error::PeerLost { .. })));
        worker.join().unwrap();
        if matches!(said, Message::Free { .. }) {
            let _next = Stepping::of(scene).accept_next(&mut steps, 9);
        }
    }
}

/// Neither side can force the other into an exchange in step.
#[test]
fn both_sides_must_allow_an_exchange_in_step() {
    let scene = Scene::new();
    for (renderer, worker) in [(false, true), (true, false), (false, false)] {
        let path = scene.path();
        let other = std::thread::spawn(move || {
            let info = WorkerInfo { trust: worker, ..step_worker::info(Backend::Host) };
            let connected = Worker::connect_with(path, &info).unwrap();
            connected.exchange::<Buffer<u32>>("steps").map(drop).unwrap_err()
        });
        let remote = accept(&scene.listener, &scene.rig, renderer);
        assert!(!remote.has_trust());
        let refused = remote.exchange(&ExchangeInfo::default(), Scene::spec()).unwrap_err();
        assert!(matches!(&refused, Error::InvalidArgument { reason, .. } if reason.contains("AcceptInfo::trust")));
        let reported = other.join().unwrap();
        let side = if worker { "AcceptInfo::trust" } else { "WorkerInfo::trust" };
        assert!(reported.to_string().contains(side), "{reported}");
    }
    // An exchange of the other kind is refused with an explanation.
    for in_step in [false, true] {
        let path = scene.path();
        let other = std::thread::spawn(move || {
            let worker = Worker::connect_with(path, &step_worker::info(Backend::Host)).unwrap();
            match in_step {
                true => worker.latest::<Buffer<u32>>("steps").map(drop).unwrap_err(),
                false => worker.exchange::<Buffer<u32>>("steps").map(drop).unwrap_err(),
            }
        });
        let remote = accept(&scene.listener, &scene.rig, true);
        let offered = match in_step {
            true => remote.exchange(&ExchangeInfo { name: "steps", ..Default::default() }, Scene::spec()).map(drop),
            false => remote.latest(&LatestInfo { name: "steps", ..Default::default() }, Scene::spec()).map(drop),
        };
        let (refused, reported) = (offered.unwrap_err().to_string(), other.join().unwrap().to_string());
        assert!(refused.contains(&reported), "{refused}: {reported}");
        assert!(reported.contains(if in_step { "it is in step" } else { "a latest exchange" }), "{reported}");
    }
    let too_many = ExchangeInfo { slots: 65, ..Default::default() };
    let _worker = start(&scene.path(), Backend::Host, Behavior::Runs, 1);
    let refused = accept(&scene.listener, &scene.rig, true).exchange(&too_many, Scene::spec()).unwrap_err();
    assert!(refused.to_string().contains("at most 64"), "{refused}");
}

#[test]
fn a_worker_that_leaves_has_no_frame_due_and_is_replaced() {
    let mut stepping = Stepping::new();
    let (mut worker, mut steps) = stepping.with(Behavior::Leaves, 1, LIMIT);
    (0..5).for_each(|_| stepping.read(&mut steps, 1));
    worker.wait_for_state();
    let error = Stepping::lost(&steps);
    assert!(matches!(&error, Error::PeerLost { dead: false, owed: 0, signaled: None, .. }), "{error}");
    let _next = stepping.accept_next(&mut steps, 2);
    steps.close().unwrap();
}
