//! A worker that computes with CUDA, with a scripted renderer: its imports, its signals, and its
//! behavior when the renderer is gone.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::calls::is_refused_in_a_child;
use crate::common::assert_clean;
use crate::common::renderer::{Exports, LEN, LIMIT, Renderer, connect, connect_on};
use bridge_worker::bridge_ipc::{Backend, Error as Ipc, Hello, Listener, Message, Role, Uuid};
use bridge_worker::{Buffer, Error, LatestWriter, Work, Worker, WorkerInfo, WriteTurn};
use cuda_import::report;
use driver_double::Double;

/// `CUDA_ERROR_INVALID_DEVICE`
const INVALID_DEVICE: u32 = 101;
/// `CUDA_ERROR_NOT_READY`
const NOT_READY: u32 = 600;

/// Frames with this time between them do not share a message.
const PAUSE: Duration = Duration::from_millis(1);

/// Returns how often this call returned that the work it queries has not ended.
fn not_ready_calls(double: &Double, name: &str) -> usize {
    double.calls().iter().filter(|call| call.name == name && call.code == NOT_READY).count()
}

fn write(writer: &mut LatestWriter<Buffer<f32>>) -> Result<(), Error> {
    let mut turn = writer.begin()?;
    match turn.work() {
        Work::Cuda(cuda) => assert_eq!(cuda.resources.len() as u64, LEN),
        _ => panic!("computes with CUDA"),
    }
    turn.publish()
}

#[test]
fn frames_are_signaled_after_their_work_and_nothing_is_left() {
    let Some(double) = Double::in_child("frames::frames_are_signaled_after_their_work_and_nothing_is_left") else {
        return;
    };
    frames_cross(&double, None, "cuImportExternalMemory");
}

#[test]
fn a_worker_on_another_gpu_writes_the_renderers_memory() {
    let Some(double) = Double::in_child("frames::a_worker_on_another_gpu_writes_the_renderers_memory") else { return };
    let other = report().unwrap().devices[1].uuid;
    frames_cross(&double, Some(other), "cuMemImportFromShareableHandle");
}

/// A worker gets an error if it does not see the drawing GPU, because the driver does not import
/// timelines of a GPU that it does not see.
#[test]
fn a_worker_that_does_not_see_the_drawing_gpu_gets_an_error() {
    let Some(double) = Double::in_child("frames::a_worker_that_does_not_see_the_drawing_gpu_gets_an_error") else {
        return;
    };
    let (hidden, device) = (Uuid::from_bytes([0xdb; 16]), report().unwrap().devices[1].uuid);
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let error = (1..100).find_map(|nth| {
        std::thread::scope(|scope| {
            let renderer = scope.spawn(|| Renderer::offer(&listener, hidden, false, &exports.all()));
            let worker = connect_on(listener.path(), Some(device)).unwrap();
            // The number of this call depends on the other calls to the driver.
            double.fail_nth(nth, INVALID_DEVICE, false);
            let made = worker.latest::<Buffer<f32>>("x");
            double.disarm();
            drop(renderer.join().unwrap());
            let refused = |error: &Error| error.to_string().contains("cuImportExternalSemaphore");
            made.err().filter(|error| matches!(error, Error::HiddenGpu { .. }) && refused(error))
        })
    });
    let text = error.expect("no call is the import of a timeline").to_string();
    for part in ["CUDA_VISIBLE_DEVICES", "WorkerInfo::device", "Backend::Host", &hidden.to_string()] {
        assert!(text.contains(part), "{text}");
    }
}

/// Without a requested backend, a worker computes on the CPU if CUDA cannot import the timelines; a
/// program that requests CUDA may use another GPU.
#[test]
fn a_worker_that_does_not_see_the_drawing_gpu_computes_on_the_cpu() {
    let Some(double) = Double::in_child("frames::a_worker_that_does_not_see_the_drawing_gpu_computes_on_the_cpu")
    else {
        return;
    };
    let (seen, hidden) = (report().unwrap().devices[0].uuid, Uuid::from_bytes([0xdb; 16]));
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (cpu, gpu) = (Backend::Host, Backend::Cuda);
    for (device_uuid, host, backend, expected) in [
        (hidden, true, None, cpu),
        (hidden, true, Some(gpu), gpu),
        (hidden, false, None, gpu),
        (seen, true, None, gpu),
        (seen, true, Some(cpu), cpu),
    ] {
        std::thread::scope(|scope| {
            let renderer = scope.spawn(|| {
                let mut connection = listener.accept(LIMIT).unwrap().unwrap();
                let hello = Hello { cuda: true, host, device_uuid, ..Hello::new(Role::Renderer, "renderer") };
                connection.handshake(&hello, LIMIT).unwrap().backend()
            });
            let info = WorkerInfo { backend, timeout: LIMIT, ..Default::default() };
            let worker = Worker::connect_with(listener.path(), &info).unwrap();
            assert_eq!((worker.backend(), renderer.join().unwrap()), (expected, Some(expected)));
            let reason = worker.reason();
            match (device_uuid == hidden, backend) {
                (true, None) if host => assert!(reason.contains("Check CUDA_VISIBLE_DEVICES"), "{reason}"),
                (true, _) => assert!(reason.contains("CUDA does not see the GPU that draws"), "{reason}"),
                (false, None) => assert!(reason.contains("it is the GPU that draws"), "{reason}"),
                (false, _) => assert!(reason.contains("was requested"), "{reason}"),
            }
            assert!(device_uuid == seen || reason.contains(&hidden.to_string()), "{reason}");
        });
    }
    drop(double);
}

/// Runs 20 frames of a worker on this device, which must import memory with this call.
fn frames_cross(double: &Double, device: Option<Uuid>, import: &str) {
    const FRAMES: u64 = 20;
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, false, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            for slot in 0..2 {
                renderer.send(Message::Free { exchange: 1, slot, value: 0 });
            }
            for expected in 0..FRAMES {
                let Message::Publish { slot, frame, value, .. } = renderer.receive() else { panic!() };
                assert_eq!((frame, value), (expected, expected + 1));
                double.wait_until("the frame to be whole", |double| double.value(exports.computed.1) >= value);
                // One frame in four is drawn, and reported as drawn.
                if value % 4 == 0 {
                    double.signal(exports.rendered.1, value);
                }
                if frame + 2 < FRAMES {
                    renderer.send(Message::Free { exchange: 1, slot, value: value / 4 * 4 });
                }
            }
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect_on(listener.path(), device).unwrap();
        assert_eq!(worker.backend(), Backend::Cuda);
        let mut writer = worker.latest("x").unwrap();
        for _ in 0..FRAMES {
            write(&mut writer).unwrap();
            // Each frame gets a message.
            std::thread::sleep(PAUSE);
        }
        drop((writer, worker));
        renderer.join().unwrap();
    });
    drop(exports);
    let count = |name| double.calls().iter().filter(|call| call.name == name).count();
    assert_eq!(count(import), 2, "one for each slot");
    assert_eq!(count("cuWaitExternalSemaphoresAsync"), 4, "each value of the renderer's is waited for once");
    let events = count("cuEventCreate");
    assert!(events <= 2, "{events} events for {FRAMES} frames, of which 2 are in flight");
    assert_clean(double);
}

/// A forked child gets errors instead of driver calls, and the parent goes on with its turn.
#[test]
fn a_forked_child_ends_no_turn_of_its_parent() {
    let Some(double) = Double::in_child("frames::a_forked_child_ends_no_turn_of_its_parent") else { return };
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, false, &exports.all());
            renderer.receive();
            renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
            assert!(matches!(renderer.receive(), Message::Publish { value: 1, .. }));
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut writer = worker.latest::<Buffer<f32>>("x").unwrap();
        let mut turn = Some(writer.begin().unwrap());
        for end in [WriteTurn::publish, WriteTurn::skip] {
            is_refused_in_a_child(&double, || end(turn.take().unwrap()));
        }
        turn.unwrap().publish().unwrap();
        is_refused_in_a_child(&double, || writer.begin().map(drop));
        drop((writer, worker));
        renderer.join().unwrap();
    });
    drop(exports);
    assert_clean(&double);
}

#[test]
fn frames_in_flight_are_bounded_and_torn_where_the_context_is_lost() {
    let Some(double) = Double::in_child("frames::frames_in_flight_are_bounded_and_torn_where_the_context_is_lost")
    else {
        return;
    };
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let announced = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, false, &exports.all());
            renderer.receive();
            for slot in 0..2 {
                renderer.send(Message::Free { exchange: 1, slot, value: 0 });
            }
            for _ in 0..2 {
                assert!(matches!(renderer.receive(), Message::Publish { .. }));
            }
            announced.store(true, Ordering::Release);
            for frame in 0..2 {
                assert!(matches!(renderer.receive(), Message::Torn { frame: of, .. } if of == frame));
            }
        });
        let worker = connect(listener.path()).unwrap();
        let mut writer = worker.latest("x").unwrap();
        double.hold_work();
        write(&mut writer).unwrap();
        write(&mut writer).unwrap();
        // A frame with a free slot queries the end of the oldest frame only once.
        double.forget_calls();
        let lost = scope.spawn(|| {
            double.wait_until("the third frame to wait for the first", |double| {
                announced.load(Ordering::Acquire) && not_ready_calls(double, "cuEventQuery") >= 3
            });
            double.lose_context(0, 700);
        });
        assert!(matches!(write(&mut writer), Err(Error::Cuda(_))));
        lost.join().unwrap();
        renderer.join().unwrap();
    });
}

/// A killed renderer's socket is closed before its process has ended. A call that waits for this
/// side's frames meanwhile times out if it has too little time to tell the one from the other.
#[test]
fn a_wait_for_a_frame_times_out_while_the_renderer_may_be_ending() {
    const NAME: &str = "frames::a_wait_for_a_frame_times_out_while_the_renderer_may_be_ending";
    /// Shorter than the time that a killed process may take.
    const SHORT: Duration = Duration::from_millis(50);
    fn in_the_end<T>(mut call: impl FnMut() -> Result<T, Error>) -> T {
        loop {
            match call() {
                Err(Error::Timeout { .. } | Error::Connection(Ipc::Timeout { .. })) => {}
                other => return other.unwrap(),
            }
        }
    }
    let Some(double) = Double::in_child(NAME) else { return };
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer_to_any(&listener, gpu, &exports.all());
            renderer.receive();
            (0..2).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
            for _ in 0..2 {
                assert!(matches!(renderer.receive(), Message::Publish { .. }));
            }
            let socket = renderer.connection.as_fd().try_clone_to_owned().unwrap();
            UnixStream::from(socket).shutdown(Shutdown::Both).unwrap();
            renderer
        });
        let info = WorkerInfo { backend: Some(Backend::Cuda), timeout: SHORT, ..Default::default() };
        let worker = in_the_end(|| Worker::connect_with(listener.path(), &info));
        let mut writer = in_the_end(|| worker.latest("x"));
        double.hold_work();
        (0..2).for_each(|_| in_the_end(|| write(&mut writer)));
        let _renderer = renderer.join().unwrap();
        let error = writer.begin().unwrap_err();
        assert!(matches!(&error, Error::Timeout { what, .. } if what.contains("oldest of 2 frames")), "{error:?}");
        double.release_work();
        drop((writer, worker));
    });
    drop(exports);
    assert_clean(&double);
}
