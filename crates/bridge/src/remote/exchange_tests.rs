//! Tests of successive workers with CUDA, which run in separate processes and whose GPU the test
//! plays.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use bridge_ipc::{Code, ConnectInfo, Connection, Hello, Message, Role};
use vk_export::BufferAccess;

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::LatestInfo;
use crate::remote::listening::test_worker::Peer;
use crate::remote::test_renderer::Renderer;
use crate::timeline::TimelinePoint;

pub(super) type Words = BufferSpec<u32>;

/// A limit that no test reaches if all goes well.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Returns a worker that has announced two frames, finished the first, and closed its connection.
pub(super) fn hung_up(scene: &Renderer) -> (Peer, RemoteExchangeReader<Words>, TimelinePoint) {
    let mut worker = Peer::start(scene.listener.path(), "hangs-up");
    let mut exchange = taken(scene);
    let [first, second] = [(); 2].map(|()| submit(&mut exchange));
    finish(&exchange, 1);
    first.wait(LIMIT).unwrap();
    worker.resume();
    let lost = until(|| exchange.check_worker().err());
    assert!(matches!(&lost, Error::PeerLost { dead: false, owed: 1, signaled: None, .. }), "{lost}");
    (worker, exchange, second)
}

/// Creates the exchange of the next worker.
pub(super) fn taken(scene: &Renderer) -> RemoteExchangeReader<Words> {
    taken_with(scene, None)
}

fn taken_with(scene: &Renderer, frames_in_flight: Option<usize>) -> RemoteExchangeReader<Words> {
    let compute = Compute::remote_unchecked(&scene.device, false, Trust::Simulated).unwrap();
    let info = ExchangeInfo { name: "steps", timeout: LIMIT, frames_in_flight, ..Default::default() };
    let words = Words::new(64, BufferAccess::TRANSFER_READ);
    RemoteExchangeReader { shared: InStep::of(scene.accept(), compute, &info, words).unwrap() }
}

pub(super) fn submit(exchange: &mut RemoteExchangeReader<Words>) -> TimelinePoint {
    let turn = exchange.next(LIMIT).unwrap().expect("no frame is announced");
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { turn.submit(&[]) }.unwrap()
}

/// Signals a value in place of the worker's GPU.
pub(super) fn finish(exchange: &RemoteExchangeReader<Words>, value: u64) {
    let state = exchange.shared.program.state();
    let computed = state.computed_semaphore();
    let info = vk::SemaphoreSignalInfo::default().semaphore(computed.as_raw()).value(value);
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the values rise, and the thread
    // signals the timeline only once the worker is dead and signals no more.
    unsafe { computed.device().as_raw().signal_semaphore(&info) }.unwrap();
}

pub(super) fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The queue waits for a worker that has closed its connection. The program does not wait, and can
/// query the frames that the queue waits for.
#[test]
fn worker_with_pending_frames_cannot_be_replaced() {
    let Some(scene) = Renderer::new("in-step-owes") else { return };
    let (mut worker, mut exchange, point) = hung_up(&scene);
    assert_eq!(*exchange.owed_frames(), [1]);
    let path = scene.listener.path().to_owned();
    let next = std::thread::spawn(move || {
        let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
        let device_uuid = connection.peer_hello().unwrap().device_uuid;
        let hello = Hello { cuda: true, trust: true, device_uuid, ..Hello::new(Role::Worker, "next") };
        connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
        let reported = connection.receive(LIMIT).unwrap();
        let Message::Bye { code: Code::Failure, text } = reported.message else { panic!("{reported:?}") };
        assert!(text.contains("exchange \"steps\"") && text.contains("may wait for its frames"), "{text}");
    });
    let refused = exchange.reconnect(scene.accept()).unwrap_err();
    let Error::FramesOwed { worker: process, frames, limit: LIMIT, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*process, &**frames), (worker.process(), &[1][..]));
    next.join().unwrap();
    // The queue waits for the worker until it finishes.
    assert!(!point.is_reached().unwrap() && worker.is_alive());
    finish(&exchange, 2);
    point.wait(LIMIT).unwrap();
    until(|| exchange.owed_frames().is_empty().then_some(()));
    assert!(worker.is_alive(), "it came in time");
    let reported = exchange.check_worker().unwrap_err();
    assert!(matches!(&reported, Error::PeerLost { signaled: None, torn, .. } if torn.is_empty()), "{reported}");
}

/// Signals in the place of the last worker are reported, whenever the next worker connects.
#[test]
fn torn_frames_are_reported_after_the_next_worker_connects() {
    let Some(scene) = Renderer::new("in-step-torn") else { return };
    for asks in [true, false] {
        let (mut worker, mut exchange, point) = hung_up(&scene);
        worker.kill();
        point.wait(LIMIT).unwrap();
        until(|| exchange.owed_frames().is_empty().then_some(()));
        if asks {
            let reported = exchange.check_worker().unwrap_err();
            assert!(
                matches!(&reported, Error::PeerLost { torn, signaled: Some(2), .. } if **torn == [1]),
                "{reported}"
            );
        }
        let mut next = Peer::start(scene.listener.path(), "stays");
        exchange.reconnect(scene.accept()).unwrap();
        if !asks {
            let reported = exchange.next(LIMIT).unwrap_err();
            let Error::FramesTorn { worker: process, torn, signaled: 2, .. } = &reported else { panic!("{reported}") };
            assert_eq!((*process, &**torn), (worker.process(), &[1][..]));
        }
        exchange.check_worker().unwrap();
        let points = [(); 2].map(|()| submit(&mut exchange));
        finish(&exchange, 2);
        points.iter().for_each(|point| point.wait(LIMIT).unwrap());
        next.kill();
        exchange.close().unwrap();
    }
}

/// A call does not exceed the caller's timeout, whatever the worker does meanwhile.
#[test]
fn wait_respects_the_timeout_with_all_frames_in_flight() {
    let Some(scene) = Renderer::new("in-step-pace") else { return };
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken_with(&scene, Some(1));
    let point = submit(&mut exchange);
    // The second frame is announced, and the first is not finished.
    for timeout in [Duration::ZERO, Duration::from_millis(50)] {
        assert!(matches!(exchange.next(timeout), Ok(None)));
    }
    finish(&exchange, 1);
    point.wait(LIMIT).unwrap();
    let second = submit(&mut exchange);
    worker.kill();
    second.wait(LIMIT).unwrap();
    let reported = until(|| exchange.next(Duration::ZERO).err());
    assert!(matches!(reported, Error::PeerLost { .. }), "{reported}");
}

/// Complete frames of a lost worker remain available, even if the program has to wait for earlier
/// ones first.
#[test]
fn worker_loss_is_reported_after_its_complete_frames_were_taken() {
    let Some(scene) = Renderer::new("in-step-whole") else { return };
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = taken_with(&scene, Some(1));
    let first = exchange.next(LIMIT).unwrap().expect("no frame is announced");
    // The queue is blocked, whatever the worker does.
    let raw = scene.device.as_raw();
    let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
    // SAFETY: the device is valid and has timeline semaphores.
    let gate = unsafe { raw.create_semaphore(&vk::SemaphoreCreateInfo::default().push_next(&mut kind), None) }.unwrap();
    let waits =
        [vk::SemaphoreSubmitInfo::default().semaphore(gate).value(1).stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let batch = [vk::SubmitInfo2::default().wait_semaphore_infos(&waits)];
    let submitted = scene.device.queue().with(|queue| {
        // SAFETY: the semaphore lives until the queue has continued, and its lock is held.
        unsafe { raw.queue_submit2(queue, &batch, vk::Fence::null()) }
    });
    submitted.unwrap().unwrap();
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    let point = unsafe { first.submit(&[]) }.unwrap();
    worker.resume();
    finish(&exchange, 1);
    finish(&exchange, 2);
    worker.kill();
    until(|| exchange.shared.workers.status().is_lost().then_some(()));
    assert!(matches!(exchange.next(Duration::ZERO), Ok(None)));
    let info = vk::SemaphoreSignalInfo::default().semaphore(gate).value(1);
    // SAFETY: nothing else signals the semaphore.
    unsafe { raw.signal_semaphore(&info) }.unwrap();
    point.wait(LIMIT).unwrap();
    let whole = exchange.next(LIMIT).unwrap().expect("it is whole");
    assert_eq!(whole.frame(), 1);
    whole.skip();
    let reported = exchange.next(Duration::ZERO).unwrap_err();
    assert!(matches!(&reported, Error::PeerLost { torn, .. } if torn.is_empty()), "{reported}");
    exchange.close().unwrap();
    // SAFETY: the queue has continued, and nothing else uses the semaphore.
    unsafe { raw.destroy_semaphore(gate, None) };
}

/// A forked child that drops or closes its copy of an exchange whose worker is lost, so that no
/// thread has the exchange, waits for nothing and leaves the parent's alone.
#[test]
fn forked_child_leaves_the_exchange_of_its_parent_alone() {
    let Some(scene) = Renderer::new("in-step-forks") else { return };
    let mut worker = Peer::start(scene.listener.path(), "stays");
    let mut exchange = Some(taken(&scene));
    worker.resume();
    worker.kill();
    for disconnects in [false, true] {
        until(|| exchange.as_ref().filter(|exchange| exchange.shared.workers.has_handle()).map(|_| ()));
        if disconnects {
            exchange.as_mut().unwrap().disconnect();
        }
        test_support::in_a_child(|| drop(exchange.take()));
        test_support::in_a_child(|| {
            let closed = exchange.take().unwrap().close();
            assert!(matches!(closed, Err(Error::Connection(bridge_ipc::Error::Forked { .. }))));
        });
    }
    let mut next = Peer::start(scene.listener.path(), "stays");
    let mut remote = Some(scene.accept());
    test_support::in_a_child(|| {
        let connected = exchange.as_mut().unwrap().reconnect(remote.take().unwrap());
        assert!(matches!(connected, Err(Error::Connection(bridge_ipc::Error::Forked { .. }))));
    });
    // Checked before anything is created: with these slots, that would fail with another error.
    let (exchange_info, latest_info) = (
        ExchangeInfo { name: "steps", slots: 65, ..Default::default() },
        LatestInfo { name: "frames", slots: Some(65), ..Default::default() },
    );
    let words = || Words::new(64, BufferAccess::TRANSFER_READ);
    let creates: [&dyn Fn(Remote) -> Option<Error>; 4] = [
        &|remote| remote.exchange(&exchange_info, words()).err(),
        &|remote| remote.exchange_render_first(&exchange_info, words()).err(),
        &|remote| remote.latest(&latest_info, words()).err(),
        &|remote| remote.latest_render_first(&latest_info, words()).err(),
    ];
    for create in creates {
        test_support::in_a_child(|| {
            let error = create(remote.take().unwrap()).unwrap();
            assert!(matches!(error, Error::Connection(bridge_ipc::Error::Forked { .. })), "{error}");
        });
    }
    exchange.as_mut().unwrap().reconnect(remote.unwrap()).unwrap();
    // Those of the first worker.
    assert!(matches!(exchange.as_ref().unwrap().check_worker(), Err(Error::FramesTorn { .. })));
    test_support::in_a_child(|| {
        exchange.as_mut().unwrap().disconnect();
        assert!(!exchange.as_ref().unwrap().shared.workers.status().is_lost(), "it took the locks of the exchange");
    });
    exchange.as_ref().unwrap().check_worker().unwrap();
    next.kill();
    exchange.unwrap().close().unwrap();
}
