//! A worker in step that computes with CUDA, with a scripted renderer: it announces values that its
//! stream will signal, and waits on the GPU for values that the renderer has announced.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::common::assert_clean;
use crate::common::renderer::{Exports, LEN, LIMIT, Renderer, connect};
use bridge_worker::bridge_ipc::{Listener, Message};
use bridge_worker::{Buffer, Error, ExchangeWriter, Work, Worker};
use cuda_import::report;
use driver_double::Double;

fn write(exchange: &mut ExchangeWriter<Buffer<f32>>) -> Result<(), Error> {
    let mut turn = exchange.begin()?;
    match turn.work() {
        Work::Cuda(cuda) => assert_eq!(cuda.resources.len() as u64, LEN),
        _ => panic!("computes with CUDA"),
    }
    turn.finish()
}

/// Runs a renderer that has offered its exchange in step, and `work` on the worker's exchange.
fn in_step(
    double: &Double,
    render: impl Fn(&mut Renderer, &Exports) + Sync,
    work: impl FnOnce(&mut ExchangeWriter<Buffer<f32>>),
) {
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, true, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            render(&mut renderer, &exports);
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut exchange = worker.exchange("x").unwrap();
        work(&mut exchange);
        drop((exchange, worker));
        renderer.join().unwrap();
    });
    drop(exports);
    assert_clean(double);
}

fn free(slot: u32, value: u64) -> Message {
    Message::Free { exchange: 1, slot, value }
}

/// Frames are announced ahead of the GPUs, whose waits order them.
#[test]
fn frames_are_announced_while_the_stream_waits_for_the_renderer() {
    const NAME: &str = "steps::frames_are_announced_while_the_stream_waits_for_the_renderer";
    const FRAMES: u64 = 20;
    let Some(double) = Double::in_child(NAME) else { return };
    let (end, ended) = channel();
    let render = |renderer: &mut Renderer, exports: &Exports| {
        let mut announced = Vec::new();
        for frame in 0..FRAMES {
            // Vulkan's commands on the slot are submitted, but have not run.
            let drawn = if frame < 2 { 0 } else { frame - 1 };
            renderer.send(free((frame % 2) as u32, drawn));
            let Message::Publish { slot, frame: of, value, .. } = renderer.receive() else { panic!() };
            assert_eq!((u64::from(slot), of, value), (frame % 2, frame, frame + 1));
            announced.push((drawn, value));
            if frame >= 2 {
                std::thread::sleep(Duration::from_millis(1));
                assert!(double.value(exports.computed.1) < value, "frame {frame} did not wait for the renderer");
                double.signal(exports.rendered.1, drawn);
            }
            double.wait_until("the frame to be whole", |double| double.value(exports.computed.1) >= value);
        }
        end.send(()).unwrap();
    };
    in_step(&double, render, |exchange| {
        (0..FRAMES).for_each(|_| write(exchange).unwrap());
        // Dropping the exchange waits for the last frame only up to a limit.
        ended.recv_timeout(LIMIT).unwrap();
    });
}

/// A frame that is announced and then taken back is torn, and its value is still signaled.
#[test]
fn a_frame_that_is_taken_back_is_torn_and_signaled() {
    let Some(double) = Double::in_child("steps::a_frame_that_is_taken_back_is_torn_and_signaled") else { return };
    let render = |renderer: &mut Renderer, exports: &Exports| {
        (0..2).for_each(|slot| renderer.send(free(slot, 0)));
        for frame in 0..2 {
            let Message::Publish { frame: of, value, .. } = renderer.receive() else { panic!() };
            assert_eq!((of, value), (frame, frame + 1));
            assert!(matches!(renderer.receive(), Message::Torn { frame: of, .. } if of == frame));
            double.wait_until("its value", |double| double.value(exports.computed.1) >= value);
            if frame == 0 {
                // The slot of the last two frames. The worker may have ended when the renderer has
                // observed the second torn frame.
                renderer.send(free(0, 0));
            }
        }
        let Message::Publish { frame, value, .. } = renderer.receive() else { panic!() };
        assert_eq!((frame, value), (2, 3));
        double.wait_until("its value", |double| double.value(exports.computed.1) >= value);
    };
    in_step(&double, render, |exchange| {
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        turn.skip().unwrap();
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        drop(turn);
        // The renderer is not notified of this frame, which was not announced.
        exchange.begin().unwrap().skip().unwrap();
        write(exchange).unwrap();
    });
}

/// Whichever driver call fails, an announced value is signaled, once.
#[test]
fn an_announced_value_is_signaled_once_whatever_fails() {
    const NAME: &str = "steps::an_announced_value_is_signaled_once_whatever_fails";
    let Some(double) = Double::in_child(NAME) else { return };
    let mut torn = 0;
    for nth in 1.. {
        // cudarc leaves its context current on the thread, even if it is destroyed.
        let (hit, failed) =
            std::thread::scope(|scope| scope.spawn(|| finish_with_a_failure(&double, nth)).join().unwrap());
        torn += usize::from(failed);
        if !hit {
            break;
        }
    }
    assert!(torn > 0, "no call was the signal");
}

/// Finishes a frame while the `nth` driver call from `finish` on fails, after a frame without
/// failures. Returns whether there is such a call, and whether `finish` failed.
fn finish_with_a_failure(double: &Double, nth: u64) -> (bool, bool) {
    let (end, ended) = std::sync::mpsc::channel();
    let ended = Mutex::new(ended);
    let looked = std::sync::Barrier::new(2);
    let render = |renderer: &mut Renderer, exports: &Exports| {
        (0..2).for_each(|slot| renderer.send(free(slot, 0)));
        for frame in 0..2 {
            assert!(matches!(renderer.receive(), Message::Publish { frame: of, .. } if of == frame));
        }
        // When the value is reached, the renderer considers the frame complete unless it was
        // notified otherwise before. A check with a sleep would be too late.
        let start = Instant::now();
        while double.value(exports.computed.1) < 2 {
            assert!(start.elapsed() < LIMIT, "its value does not come");
            std::hint::spin_loop();
        }
        let message = renderer.connection.try_receive().unwrap().map(|received| received.message);
        looked.wait();
        let failed = ended.lock().unwrap().recv().unwrap();
        assert_eq!(matches!(message, Some(Message::Torn { frame: 1, .. })), failed, "{message:?}");
    };
    let mut outcome = (false, false);
    in_step(double, render, |exchange| {
        write(exchange).unwrap();
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        double.fail_nth(nth, INVALID_VALUE, false);
        let failed = turn.finish().is_err();
        outcome = (double.disarm().is_some(), failed);
        looked.wait();
        end.send(failed).unwrap();
    });
    outcome
}

/// `CUDA_ERROR_INVALID_VALUE`
const INVALID_VALUE: u32 = 1;

/// Environment variable of a renderer process: its socket path, its GPU and the paths of its
/// descriptors.
const RENDERER: &str = "WORKER_TEST_RENDERER";

/// Returns the renderer if this process is one, once its exchange is accepted.
fn renderer_of_this_process() -> Option<Renderer> {
    let arguments = std::env::var(RENDERER).ok()?;
    let mut arguments = arguments.split(',');
    let (path, gpu) = (arguments.next().unwrap().to_owned(), arguments.next().unwrap().parse().unwrap());
    let descriptors: Vec<OwnedFd> =
        arguments.map(|path| File::options().read(true).write(true).open(path).unwrap().into()).collect();
    let listener = Listener::bind(path).unwrap();
    let mut renderer = Renderer::offer(&listener, gpu, true, &descriptors.iter().collect::<Vec<_>>());
    renderer.receive();
    Some(renderer)
}

/// Starts the renderer process of a test and connects to it.
fn with_renderer(test: &str, exports: &Exports) -> (Child, Worker) {
    let gpu = report().unwrap().devices[0].uuid;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let own = format!("/proc/{}/fd", std::process::id());
    let mut arguments = vec![path.display().to_string(), gpu.to_string()];
    arguments.extend(exports.all().iter().map(|descriptor| format!("{own}/{}", descriptor.as_raw_fd())));
    let child = spawn(test, RENDERER, &arguments.join(","));
    let start = Instant::now();
    loop {
        match connect(&path) {
            Ok(worker) => return (child, worker),
            Err(_) if start.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// How long `bridge-worker` waits in each call for the end of a process whose socket is closed.
const END_TIMEOUT: Duration = Duration::from_millis(100);

/// The renderer process announces a value and is killed before it signals it; the worker signals it
/// instead.
#[test]
fn pending_values_of_a_dead_renderer_are_signaled_by_the_worker() {
    const NAME: &str = "steps::pending_values_of_a_dead_renderer_are_signaled_by_the_worker";
    if let Some(mut renderer) = renderer_of_this_process() {
        renderer.send(free(0, 5));
        wait_for_end_of_input();
        return;
    }
    let Some(double) = Double::in_child(NAME) else { return };
    let exports = Exports::new(&double);
    let (mut child, worker) = with_renderer(NAME, &exports);
    let mut exchange = worker.exchange("x").unwrap();
    // Its work waits for the renderer, which never signals.
    write(&mut exchange).unwrap();
    assert_eq!(double.value(exports.computed.1), 0);
    child.kill().unwrap();
    // This must not depend on further calls: the program may be blocked on the stream itself.
    double.wait_until("the stream to go on", |double| double.value(exports.computed.1) == 1);
    let killed = Instant::now();
    let error = exchange.begin().err().unwrap();
    assert!(matches!(&error, Error::PeerLost { frame: 1, owed: Some(5), .. }), "{error}");
    assert!(killed.elapsed() < LIMIT / 2, "it waits for what never comes: {:?}", killed.elapsed());
    assert_eq!(double.value(exports.rendered.1), 5);
    assert!(matches!(exchange.begin(), Err(Error::PeerLost { owed: None, .. })), "signaled once");
    child.wait().unwrap();
    drop((exchange, worker, exports));
    assert_clean(&double);
}

/// The renderer process may end long after its socket. A worker that waits for its own frame, which
/// waits for the renderer, allows it the time limit of the call.
#[test]
fn a_slowly_ending_renderer_is_waited_for_if_a_frame_waits_for_it() {
    const NAME: &str = "steps::a_slowly_ending_renderer_is_waited_for_if_a_frame_waits_for_it";
    if let Some(mut renderer) = renderer_of_this_process() {
        (0..2).for_each(|slot| renderer.send(free(slot, 5)));
        (0..2).for_each(|_| assert!(matches!(renderer.receive(), Message::Publish { .. })));
        // Closes the socket without a message, as if killed.
        let socket = renderer.connection.as_fd().try_clone_to_owned().unwrap();
        UnixStream::from(socket).shutdown(Shutdown::Both).unwrap();
        // Not with `println!`, whose output the test harness captures.
        std::io::stdout().write_all(b"\n@gone\n").unwrap();
        wait_for_end_of_input();
        std::process::exit(0);
    }
    let Some(double) = Double::in_child(NAME) else { return };
    let exports = Exports::new(&double);
    let (mut child, worker) = with_renderer(NAME, &exports);
    let mut exchange = worker.exchange("x").unwrap();
    // The maximum number of unfinished frames.
    (0..2).for_each(|_| write(&mut exchange).unwrap());
    let said = BufReader::new(child.stdout.take().unwrap());
    assert!(said.lines().any(|line| line.unwrap() == "@gone"), "the renderer has not hung up");
    double.forget_calls();
    let error = std::thread::scope(|scope| {
        let begun = scope.spawn(|| exchange.begin().err().unwrap());
        // After this, the worker detects that the connection has ended.
        double.wait_until("the third frame to wait for the first", |double| {
            begun.is_finished() || double.calls().iter().any(|call| call.name == "cuEventQuery")
        });
        // Longer than the time that every call allows; a call that allows no more would have
        // returned.
        std::thread::sleep(7 * END_TIMEOUT);
        assert!(!begun.is_finished(), "it does not wait for the end of the process: {}", begun.join().unwrap());
        drop(child.stdin.take());
        begun.join().unwrap()
    });
    assert!(matches!(&error, Error::PeerLost { frame: 2, .. }), "{error}");
    child.wait().unwrap();
    drop((exchange, worker, exports));
    assert_clean(&double);
}

/// Starts a process that [`wait_for_end_of_input`] ends when its input is closed, or when this
/// process ends.
fn spawn(test: &str, variable: &str, value: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(variable, value).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for the end of the input.
fn wait_for_end_of_input() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
