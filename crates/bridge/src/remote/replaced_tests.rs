//! Tests of replacing a worker and of leaving: neither waits longer than necessary.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bridge_ipc::{Code, ConnectInfo, Connection, Error as IpcError, Hello, Message, Role};
use vk_export::{AdoptInfo, ExportDevice, Semaphore, SemaphoreInfo, SemaphoreKind, required_device_extensions};

use super::tests::{LIMIT, Words, finish, hung_up, submit, taken, until};
use super::*;
use crate::error::Error;
use crate::exchange::{LatestInfo, SubmitInfo};
use crate::observe::steps;
use crate::remote::listening::test_worker::Peer;
use crate::remote::test_renderer::{Renderer, set_back};
use crate::timeline::TimelinePoint;

/// Far less than [`LIMIT`], and far more than a call takes that does not wait for it.
const SOON: Duration = Duration::from_secs(40);

/// Returns `true` for the loss of a worker whose process has ended. The first error may have been
/// made before that is known, because a process closes its socket first.
fn is_dead(error: &Error) -> bool {
    matches!(error, Error::PeerLost { dead: true, .. })
}

/// The death of a replacement is reported while it still waits for the previous worker, which keeps
/// running without its connection and may use the slots.
#[test]
fn worker_death_is_reported_while_waiting_for_its_predecessor() {
    let Some(scene) = Renderer::new("in-step-next") else { return };
    let (mut before, mut exchange, point) = hung_up(&scene);
    finish(&exchange, 2);
    point.wait(LIMIT).unwrap();
    until(|| exchange.owed_frames().is_empty().then_some(()));
    let mut next = Peer::start(scene.listener.path(), "stays");
    let accepted = scene.accept();
    let start = Instant::now();
    exchange.reconnect(accepted).unwrap();
    exchange.check_worker().unwrap();
    next.kill();
    let reported = until(|| exchange.check_worker().err().filter(is_dead));
    assert!(matches!(&reported, Error::PeerLost { worker, .. } if *worker == next.process()), "{reported}");
    assert!(start.elapsed() < SOON && before.is_alive(), "{:?}", start.elapsed());
}

/// The next worker's thread waits for Vulkan, which waits for something unrelated; the program does
/// not wait.
#[test]
fn program_leaves_while_vulkan_still_uses_the_last_workers_frames() {
    let Some(scene) = Renderer::new("in-step-gate") else { return };
    let gate = SemaphoreInfo { name: "gate", kind: SemaphoreKind::Timeline, exportable: false };
    let gate = Semaphore::new(&scene.device, &gate).unwrap();
    let wait = [vk::SemaphoreSubmitInfo::default().semaphore(gate.as_raw()).value(1)];
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken(&scene);
    let turn = exchange.next(LIMIT).unwrap().expect("no frame is announced");
    // SAFETY: no commands use the slot, so nothing has to be acquired or released; the gate is
    // opened below.
    let point = unsafe { turn.submit_with(&SubmitInfo { waits: &wait, ..SubmitInfo::default() }) }.unwrap();
    worker.resume();
    worker.kill();
    until(|| exchange.owed_frames().is_empty().then_some(()).filter(|()| exchange.check_worker().is_err()));
    let device = scene.device.as_raw().handle();
    // One after the other: the thread of the first is in its wait when the second connects.
    for end in ["dies", "is disconnected"] {
        let mut next = Peer::start(scene.listener.path(), "stays");
        let accepted = scene.accept();
        let start = Instant::now();
        let before = steps::count("quiesce", device);
        exchange.reconnect(accepted).unwrap();
        steps::until("quiesce", device, before, || exchange.check_worker().is_err());
        exchange.check_worker().unwrap();
        if end == "dies" {
            next.kill();
            until(|| exchange.check_worker().err().filter(is_dead));
        } else {
            exchange.disconnect();
        }
        assert!(start.elapsed() < SOON, "{end}: {:?}", start.elapsed());
    }
    assert!(!point.is_reached().unwrap());
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: it rises, and nothing else signals
    // it.
    unsafe { gate.signal(1) }.unwrap();
    point.wait(LIMIT).unwrap();
    exchange.close().unwrap();
}

/// Disconnects the worker, and lets its limit expire once it is reported as lost.
pub(super) fn disconnect_at_the_limit(exchange: &mut RemoteExchangeReader<Words>) {
    let status = Arc::clone(exchange.shared.workers.status());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            until(|| status.loss_error());
            status.force_overrun.store(true, Ordering::Relaxed);
        });
        exchange.disconnect();
    });
}

/// Starts a worker that follows `script` and is not killed. Two frames of it are submitted, and the
/// first is finished.
pub(super) fn owing_one_of_two(
    scene: &Renderer,
    script: &str,
) -> (Peer, RemoteExchangeReader<Words>, [TimelinePoint; 2]) {
    let mut worker = Peer::start(scene.listener.path(), script);
    let mut exchange = taken(scene);
    exchange.shared.workers.status().spare_worker.store(true, Ordering::Relaxed);
    let points = std::array::from_fn(|_| submit(&mut exchange));
    finish(&exchange, 1);
    worker.resume();
    (worker, exchange, points)
}

/// If a driver delays the end of a killed process, the program is notified meanwhile.
#[test]
fn killed_worker_that_does_not_end_is_reported() {
    let Some(scene) = Renderer::new("in-step-told") else { return };
    let (mut worker, exchange, points) = owing_one_of_two(&scene, "stays");
    let status = Arc::clone(exchange.shared.workers.status());
    let start = Instant::now();
    status.force_overrun.store(true, Ordering::Relaxed);
    let reported = until(|| exchange.check_worker().err());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(matches!(&reported, Error::PeerLost { dead: false, owed: 1, signaled: None, .. }), "{reported}");
    assert!(
        reported.to_string().contains("was killed") && *exchange.owed_frames() == [1] && worker.is_alive(),
        "{reported}"
    );
    worker.kill();
    points[1].wait(LIMIT).unwrap();
    let is_settled = |reported: &Error| matches!(reported, Error::PeerLost { dead: true, signaled: Some(2), torn, .. } if **torn == [1]);
    until(|| exchange.check_worker().err().filter(is_settled));
}

/// If a driver delays the end of a killed process, the program can leave, and the queue continues
/// once the process has ended.
#[test]
fn killed_worker_that_does_not_end_is_left_to_a_thread() {
    let Some(scene) = Renderer::new("in-step-held") else { return };
    for ends in ["stays", "hangs-up"] {
        let (mut worker, mut exchange, points) = owing_one_of_two(&scene, ends);
        let start = Instant::now();
        disconnect_at_the_limit(&mut exchange);
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert!(worker.is_alive() && !points[1].is_reached().unwrap());
        assert_eq!(*exchange.owed_frames(), [1]);
        let reported = exchange.check_worker().unwrap_err();
        assert!(reported.to_string().contains("was killed"), "{reported}");
        worker.kill();
        points[1].wait(LIMIT).unwrap();
        until(|| exchange.owed_frames().is_empty().then_some(()));
        // Its thread reports the death after it has signaled the frames.
        let reported = until(|| exchange.check_worker().err().filter(is_dead));
        let Error::PeerLost { torn, signaled: Some(2), .. } = &reported else { panic!("{reported}") };
        assert!(**torn == [1]);
        // The thread returns the slots.
        let mut next = Peer::start(scene.listener.path(), "stays");
        exchange.reconnect(scene.accept()).unwrap();
        let points: [_; 2] = std::array::from_fn(|_| submit(&mut exchange));
        finish(&exchange, 2);
        points.iter().for_each(|point| point.wait(LIMIT).unwrap());
        next.kill();
        exchange.close().unwrap();
    }
}

/// A worker that owes nothing, but has set its timeline back, is still waited for if its driver
/// delays its end: it cannot be replaced meanwhile, and the program can leave.
#[test]
fn killed_worker_that_set_its_timeline_back_cannot_be_replaced_before_it_ends() {
    let Some(scene) = Renderer::new("in-step-fallen") else { return };
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken(&scene);
    let status = Arc::clone(exchange.shared.workers.status());
    status.spare_worker.store(true, Ordering::Relaxed);
    drop(submit(&mut exchange));
    let turn = exchange.next(LIMIT).unwrap().expect("no frame is announced");
    finish(&exchange, 2);
    until(|| (status.last_whole_frame() == Some(1)).then_some(()));
    worker.resume();
    set_back(exchange.shared.program.state().computed_semaphore(), 1);
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    let point = unsafe { turn.submit(&[]) }.unwrap();
    let reported = until(|| exchange.check_worker().err());
    assert!(matches!(&reported, Error::PeerLost { dead: false, owed: 0, .. }), "{reported}");
    // The last frame that it had finished.
    assert_eq!(*exchange.owed_frames(), [1]);
    let start = Instant::now();
    let _next = Peer::start(scene.listener.path(), "stays");
    let refused = exchange.reconnect(scene.accept()).unwrap_err();
    assert!(matches!(&refused, Error::FramesOwed { frames, .. } if **frames == [1]), "{refused}");
    assert!(refused.to_string().contains("unless it was killed already"), "{refused}");
    exchange.disconnect();
    assert!(start.elapsed() < SOON && worker.is_alive() && !point.is_reached().unwrap(), "{:?}", start.elapsed());
    assert_eq!(*exchange.owed_frames(), [1]);
    worker.kill();
    point.wait(LIMIT).unwrap();
    until(|| exchange.owed_frames().is_empty().then_some(()));
    exchange.close().unwrap();
}

/// If no thread can be started for the next worker, that of the previous worker is still waited for
/// in the end.
#[test]
fn failed_thread_start_does_not_affect_the_previous_thread() {
    let Some(scene) = Renderer::new("in-step-no-thread") else { return };
    let (mut worker, mut exchange, points) = owing_one_of_two(&scene, "stays");
    disconnect_at_the_limit(&mut exchange);
    assert!(exchange.shared.workers.has_leaving_thread());
    worker.kill();
    points[1].wait(LIMIT).unwrap();
    until(|| exchange.owed_frames().is_empty().then_some(()));
    let _next = Peer::start(scene.listener.path(), "stays");
    let accepted = scene.accept();
    exchange.shared.workers.status().fail_thread_start.store(true, Ordering::Relaxed);
    let error = exchange.reconnect(accepted).unwrap_err();
    assert!(matches!(&error, Error::HostFailed { reason } if reason.contains("no thread could be started")), "{error}");
    assert!(exchange.shared.workers.has_leaving_thread(), "nobody waits for it");
    exchange.close().unwrap();
}

/// Adopts the device again, as an engine does. With `keep_alive`, the bridge keeps it alive.
fn adopted(device: &ExportDevice, keep_alive: bool) -> ExportDevice {
    let (handles, physical) = (device.queue().with(|queue| queue).unwrap(), device.physical());
    let instance = (device.entry().clone(), device.instance().clone(), device.api_version());
    let queue = (handles, device.queue().family());
    let has: Vec<_> =
        required_device_extensions(device.api_version()).filter(|name| physical.has_extension(name)).collect();
    let mut info = AdoptInfo::new(instance, physical.handle, device.as_raw().clone(), queue);
    info.device_extensions = &has;
    (info.features.timeline_semaphore, info.features.synchronization2) = (true, true);
    info.keep_alive = keep_alive.then(|| Box::new(device.clone()) as _);
    // SAFETY: the handles are those of a device that is never destroyed, with what was enabled on
    // it; nothing else uses the queue.
    unsafe { ExportDevice::adopt(info) }.unwrap()
}

/// An engine destroys its device once everything that was created from it is dropped, unless the
/// bridge keeps it alive.
#[test]
fn thread_does_not_outlive_a_device_without_keep_alive() {
    for keep_alive in [true, false] {
        let Some(opened) = Renderer::new("in-step-adopted") else { return };
        let scene = Renderer { device: adopted(&opened.device, keep_alive), listener: opened.listener };
        let mut worker = Peer::start(scene.listener.path(), "stays");
        let mut exchange = taken(&scene);
        exchange.shared.workers.status().spare_worker.store(true, Ordering::Relaxed);
        (0..2).for_each(|_| drop(submit(&mut exchange)));
        finish(&exchange, 1);
        worker.resume();
        // From here on, a thread waits for the worker's end.
        disconnect_at_the_limit(&mut exchange);
        assert_eq!(*exchange.owed_frames(), [1]);
        let device = scene.device;
        let ended = std::thread::spawn(move || {
            drop(exchange);
            device.try_release()
        });
        if keep_alive {
            let mut device = ended.join().unwrap().unwrap_err().device;
            assert!(worker.is_alive(), "it is not waited for");
            worker.kill();
            // Once the thread has freed its objects.
            let start = Instant::now();
            while let Err(in_use) = device.try_release() {
                assert!(start.elapsed() < LIMIT, "{in_use}");
                device = in_use.device;
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            for _ in 0..200 {
                assert!(!ended.is_finished(), "the worker may still end");
                std::thread::sleep(Duration::from_millis(1));
            }
            worker.kill();
            ended.join().unwrap().unwrap();
        }
    }
}

/// A worker that is refused receives the reason.
#[test]
fn refused_worker_receives_the_reason() {
    let Some(scene) = Renderer::new("in-step-refused") else { return };
    let worker = |trust: bool| {
        let path = scene.listener.path().to_owned();
        std::thread::spawn(move || {
            let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
            let device_uuid = connection.peer_hello().unwrap().device_uuid;
            let hello = Hello { cuda: true, trust, device_uuid, ..Hello::new(Role::Worker, "worker") };
            connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
            match connection.receive(LIMIT).map(|received| received.message) {
                Ok(Message::Bye { code, text }) | Err(IpcError::Closed { reason: Some((code, text)), .. }) => {
                    (code, text)
                }
                other => panic!("{other:?}"),
            }
        })
    };
    let words = || Words::new(64, vk_export::BufferAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "steps", ..Default::default() };
    let one = worker(false);
    let refused = scene.accept().exchange(&info, words()).unwrap_err();
    let (code, text) = one.join().unwrap();
    // A message has room only for a part of the text.
    assert!(code == Code::Failure && refused.to_string().starts_with(text.trim_end_matches('…')), "{code}, {text}");
    assert!(text.contains("in step"), "{text}");
    let one = worker(false);
    scene.accept().latest(&LatestInfo { name: "frames", slots: Some(65), ..Default::default() }, words()).unwrap_err();
    let (code, text) = one.join().unwrap();
    assert!(code == Code::Failure && text.contains("65 slots"), "{code}, {text}");
    let mut there = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken(&scene);
    let one = worker(true);
    exchange.reconnect(scene.accept()).unwrap_err();
    let (code, text) = one.join().unwrap();
    assert!(code == Code::Failure && text.contains("`disconnect` it first"), "{code}, {text}");
    // Otherwise its frames would be waited for.
    there.kill();
}
