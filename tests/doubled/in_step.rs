//! In-step exchanges with a worker that computes with CUDA: a thread of this process, which knows
//! only what the renderer sends over the socket.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use bridge::ash::vk;
use bridge::cudarc::driver::result::{memcpy_htod_async, memset_d8_async};
use bridge::{AcceptInfo, Error, ExportDevice, Listener, RemoteExchangeReader, RenderTurn, TimelinePoint};
use bridge_ipc::{ConnectInfo, Connection, Hello, Message, Role, Side, Timeline};
use bridge_tests::{Readback, Rig, assert_silent};
use bridge_worker::cuda_import::{CudaDevice, ImportedSemaphore, SemaphoreKind, signal_one};
use bridge_worker::{Buffer, ExchangeWriter, Work, Worker, WorkerInfo};

use crate::compute_first::written;
use crate::{LEN, SIZE, Words, double, info, words};

/// Runs a test with a device in its own process, and checks that no rule of the drivers is broken.
pub(crate) fn with_device(name: &str, test: fn(&Rig)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    test(&rig);
    let findings = double.findings_at_exit();
    assert!(findings.is_empty(), "{findings:#?}");
    assert_silent(rig.device());
}

/// Runs `render` with the renderer's exchange, and `work` on a worker thread.
fn with_worker(
    rig: &Rig,
    slots: usize,
    work: impl FnOnce(&Path) + Send,
    render: impl FnOnce(&mut RemoteExchangeReader<Words>),
) {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let path = listener.path().to_owned();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || work(&path));
        let mut exchange = accept(&listener, rig.device(), slots);
        render(&mut exchange);
        worker.join().unwrap();
        exchange.close().unwrap();
    });
}

fn accept(listener: &Listener, device: &ExportDevice, slots: usize) -> RemoteExchangeReader<Words> {
    let accepting = AcceptInfo { timeout: Rig::LONG, trust: true };
    let remote = listener.accept_with(device, &accepting).unwrap().expect("no worker has come");
    remote.exchange(&info(slots), words()).unwrap()
}

/// Writes a frame: fills the buffer with one byte, then sets the first word to the frame's number.
fn write(exchange: &mut ExchangeWriter<Buffer<u32>>, frame: u32) {
    let mut turn = exchange.begin().unwrap();
    let Work::Cuda(cuda) = turn.work() else { panic!("it computes on the CPU") };
    let (stream, address) = (cuda.stream, cuda.resources.as_raw());
    stream.context().bind_to_thread().unwrap();
    // SAFETY: the turn's own buffer, on the exchange's own stream.
    unsafe { memset_d8_async(address, frame as u8 + 1, 4 * LEN, stream.cu_stream()) }.unwrap();
    // SAFETY: as above; the word is copied before the call returns.
    unsafe { memcpy_htod_async(address, &[frame], stream.cu_stream()) }.unwrap();
    turn.finish().unwrap();
}

/// Writes `frames` frames, and disconnects once the renderer has received them.
fn writes(path: &Path, frames: u32, had: &Receiver<()>) {
    let info = WorkerInfo {
        backend: Some(bridge_ipc::Backend::Cuda),
        timeout: Rig::LONG,
        trust: true,
        ..WorkerInfo::default()
    };
    let worker = Worker::connect_with(path, &info).unwrap();
    let mut exchange = worker.exchange("doubled").unwrap();
    (0..frames).for_each(|frame| write(&mut exchange, frame));
    // This is an error if the test has failed.
    let _ = had.recv();
}

fn next(exchange: &mut RemoteExchangeReader<Words>) -> RenderTurn<Words> {
    exchange.next(Rig::LONG).unwrap().expect("no frame is announced")
}

#[test]
fn vulkan_reads_what_a_worker_in_step_writes() {
    with_device("in_step::vulkan_reads_what_a_worker_in_step_writes", |rig| {
        let readback = &Readback::new(rig.device(), SIZE);
        for slots in 1..=3 {
            let (have, had) = channel();
            with_worker(
                rig,
                slots,
                move |path| writes(path, 30, &had),
                move |exchange| {
                    for frame in 0..30 {
                        let turn = next(exchange);
                        let source = (turn.resources().as_raw(), SIZE);
                        let read = readback.run(turn, &[source]);
                        assert!(read == written(frame as u8 + 1, frame), "frame {frame} of {slots} slots");
                    }
                    have.send(()).unwrap();
                },
            );
        }
    });
}

/// The engine's parts signal a timeline that the worker does not see: the worker still gets the
/// slot, and does not wait for a signal that never comes.
#[test]
fn a_worker_in_step_has_the_slots_that_an_engine_has_submitted() {
    with_device("in_step::a_worker_in_step_has_the_slots_that_an_engine_has_submitted", |rig| {
        for slots in 1..=3 {
            let (have, had) = channel();
            with_worker(
                rig,
                slots,
                move |path| writes(path, 40, &had),
                move |exchange| {
                    for frame in 0..40 {
                        let turn = next(exchange);
                        assert_eq!(turn.frame(), frame);
                        // In pairs, so that each kind follows each kind.
                        let point = if frame % 4 < 2 { lend(turn) } else { submit(turn) };
                        if frame % 8 == 7 {
                            point.wait(Rig::LONG).unwrap();
                        }
                    }
                    have.send(()).unwrap();
                },
            );
        }
    });
}

fn submit(turn: RenderTurn<Words>) -> TimelinePoint {
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { turn.submit(&[]) }.unwrap()
}

fn lend(turn: RenderTurn<Words>) -> TimelinePoint {
    let lent = turn.lend().unwrap();
    let (parts, signals) = (lent.parts(), [lent.parts().signal()]);
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
    // SAFETY: as above; the parts are submitted unchanged, to the turn's queue.
    unsafe { lent.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: they were submitted by the call above.
    unsafe { lent.submitted() }
}

/// The value that the worker falsely signals for Vulkan.
const FALSE_VALUE: u64 = 1000;

/// A worker that announces a frame, and then signals, on the timeline that it was given, that
/// Vulkan is done.
fn signal_falsely(path: &Path, announced: &std::sync::mpsc::Sender<()>, ends: &Receiver<()>) {
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let device_uuid = connection.peer_hello().unwrap().device_uuid;
    let hello = Hello { cuda: true, trust: true, device_uuid, ..Hello::new(Role::Worker, "liar") };
    connection.send(&Message::Hello(hello), None, Rig::LONG).unwrap();
    let device = CudaDevice::by_uuid(device_uuid).unwrap();
    let mut timelines = Vec::new();
    while timelines.len() < 2 {
        let received = connection.receive(Rig::LONG).unwrap();
        if let Message::Timeline(Timeline { side, .. }) = received.message {
            let handle = received.descriptor.unwrap();
            // SAFETY: a timeline that Vulkan has exported on this GPU, as the message says.
            let imported = unsafe { ImportedSemaphore::import(&device, handle, SemaphoreKind::Timeline, "liar") };
            timelines.push((side, imported.unwrap()));
        }
    }
    let [(Side::Computed, computed), (Side::Rendered, rendered)] = &timelines[..] else { panic!("{timelines:?}") };
    connection.send(&Message::Ready { exchange: 0 }, None, Rig::LONG).unwrap();
    let Message::Free { slot, .. } = connection.receive(Rig::LONG).unwrap().message else { panic!() };
    connection.send(&Message::Publish { exchange: 0, slot, frame: 0, value: 1 }, None, Rig::LONG).unwrap();
    let stream = device.new_stream().unwrap();
    let signal = |timeline: &ImportedSemaphore, value| {
        // SAFETY: the timelines live until the stream is idle, below. That the wrong side signals
        // one of them is what is tested.
        unsafe { signal_one(&stream, timeline, value) }.unwrap();
        stream.synchronize().unwrap();
    };
    signal(rendered, FALSE_VALUE);
    announced.send(()).unwrap();
    // This is an error if the test has failed.
    let _ = ends.recv();
    signal(computed, 1);
    let _ = ends.recv();
}

#[test]
fn a_false_signal_of_a_worker_in_step_is_ignored() {
    let Some(_double) = double("in_step::a_false_signal_of_a_worker_in_step_is_ignored") else { return };
    let rig = Rig::open();
    let ((sender, announced), (end, ends)) = (channel(), channel());
    with_worker(
        &rig,
        3,
        move |path| signal_falsely(path, &sender, &ends),
        // If this fails, the worker continues: nothing more is sent to it.
        move |exchange| {
            let point = submit(next(exchange));
            announced.recv().unwrap();
            assert!(!point.is_reached().unwrap(), "the worker's word is taken for Vulkan's");
            // The signal has already been made, so a longer wait would not show more.
            let waited = point.wait(std::time::Duration::ZERO);
            assert!(matches!(waited, Err(Error::Timeout { last_seen: 0, .. })), "{waited:?}");
            end.send(()).unwrap();
            point.wait(Rig::LONG).unwrap();
            end.send(()).unwrap();
        },
    );
}
