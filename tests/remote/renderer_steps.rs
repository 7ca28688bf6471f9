//! The reverse case in step: this process is the worker, and the renderer is the process that dies.
#![allow(unsafe_code)] // Submitting.

use std::path::Path;
use std::time::{Duration, Instant};

use bridge::{ExchangeInfo, Listener, SubmitInfo};
use bridge_tests::{Gate, Rig};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Error, ExchangeWriter, Work, Worker, WorkerInfo};
use rustix::process::Signal;

use crate::scene::Scene;
use crate::step_worker;
use crate::steps::accept_on;
use crate::worker::{Process, forever, report_state};

/// The address at which the renderer listens, and its behavior.
const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_RENDERER_IN_STEP";
/// The number of slots of the exchange.
const SLOTS: usize = 3;

/// The behavior of a renderer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Reads frame after frame. Has reached its state when it has taken the sixth.
    Reads,
    /// Keeps the turns of all slots, so that the worker has no free slot.
    Keeps,
    /// Submits its turns with a wait for a signal that never comes. Has reached its state with the
    /// fourth turn, whose slot makes the worker's stream wait for the first.
    Stalls,
    /// Shuts down its sockets with the second frame, reports that it has reached its state, and
    /// ends later, like a process whose driver delays its end.
    EndsSlowly,
}

const BEHAVIORS: [Behavior; 4] = [Behavior::Reads, Behavior::Keeps, Behavior::Stalls, Behavior::EndsSlowly];

pub(crate) fn start(path: &Path, behavior: Behavior) -> Process {
    let behavior = BEHAVIORS.iter().position(|one| *one == behavior).unwrap();
    Process::start("renderer_process_in_step", ADDRESS_VARIABLE, format!("{behavior} {}", path.display()))
}

/// Runs the renderer, if this process is one.
pub(crate) fn run_if_child() {
    let Ok(place) = std::env::var(ADDRESS_VARIABLE) else { return };
    let (behavior, path) = place.split_once(' ').unwrap();
    let behavior = BEHAVIORS[behavior.parse::<usize>().unwrap()];
    let device = Rig::open_own();
    let listener = Listener::bind(path).unwrap();
    let remote = accept_on(&listener, &device, true);
    let info = ExchangeInfo { name: "steps", slots: SLOTS, timeout: Rig::LONG, ..Default::default() };
    let mut steps = remote.exchange(&info, Scene::spec()).unwrap();
    let gate = Gate::new(&device);
    let mut kept = Vec::new();
    for frame in 0.. {
        // The worker may end at any time.
        let Ok(Some(turn)) = steps.next(Rig::LONG) else { return };
        match behavior {
            Behavior::Reads => {
                if frame == 5 {
                    report_state();
                }
                turn.read_back(Rig::LONG).unwrap();
            }
            Behavior::Keeps => {
                kept.push(turn);
                if kept.len() == SLOTS {
                    report_state();
                    forever();
                }
            }
            Behavior::Stalls => {
                let info = SubmitInfo { waits: &[gate.wait_info()], ..SubmitInfo::default() };
                // SAFETY: no commands use the slot, so nothing has to be acquired or released; the
                // gate outlives the submission that waits for it, which ends with this process.
                unsafe { turn.submit_with(&info) }.unwrap();
                if frame == SLOTS {
                    report_state();
                    forever();
                }
            }
            Behavior::EndsSlowly => {
                kept.push(turn);
                if kept.len() == 2 {
                    end_slowly();
                }
            }
        }
    }
}

/// Ends this process in the order in which the system ends a killed process: sockets first.
fn end_slowly() -> ! {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap) {
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        if is_socket {
            let socket = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: `BorrowedFd::borrow_raw`: nothing closes it meanwhile, since the only other
            // user, the exchange's listening thread, owns the connection as long as it lives.
            let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(socket) };
            // A listening socket is not connected.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }
    report_state();
    // Far longer than a process takes to end without delays by a driver.
    std::thread::sleep(Duration::from_millis(700));
    rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
    forever()
}

/// Connects to the exchange of a renderer, as soon as it listens.
pub(crate) fn connect(path: &Path, backend: Backend) -> (Worker, ExchangeWriter<Buffer<u32>>) {
    let start = Instant::now();
    // Far longer than any test waits: the end of a renderer is reported before.
    let info = WorkerInfo { timeout: Rig::LONG * 2, ..step_worker::info(backend) };
    loop {
        match Worker::connect_with(path, &info) {
            Ok(worker) => {
                let exchange = worker.exchange("steps").unwrap();
                return (worker, exchange);
            }
            Err(error) => assert!(start.elapsed() < Rig::LONG, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes one frame; with CUDA its contents are not written.
pub(crate) fn write(exchange: &mut ExchangeWriter<Buffer<u32>>) -> Result<(), Error> {
    let mut turn = exchange.begin()?;
    let value = turn.frame() as u32;
    if let Work::Host(mut host) = turn.work() {
        host.resources.write_from(0, &vec![value; host.resources.len()])?;
    }
    turn.finish()
}

/// Ends a renderer that has reached its state while this process writes frames, or, with
/// `announced`, has announced its sixth frame and not finished it. Returns the time from the end of
/// the renderer's process to the report of it, the time from the start of the next renderer's
/// process to its frames, and the reported error.
pub(crate) fn end_renderer(
    backend: Backend,
    behavior: Behavior,
    announced: bool,
    signal: Signal,
) -> ([Duration; 2], Error) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = start(&path, behavior);
    let (worker, mut exchange) = connect(&path, backend);
    let killing = std::thread::spawn(move || {
        renderer.wait_for_state();
        renderer.end(signal)
    });
    let (reported, error) = if announced {
        (0..5).for_each(|_| write(&mut exchange).unwrap());
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        let killed = killing.join().unwrap();
        // The next frame cannot be begun, whether or not this message can still be sent.
        let said = turn.finish();
        let error = said.and_then(|()| write(&mut exchange)).unwrap_err();
        (killed.until(Instant::now()), error)
    } else {
        let error = loop {
            if let Err(error) = write(&mut exchange) {
                break error;
            }
        };
        let reported = Instant::now();
        (killing.join().unwrap().until(reported), error)
    };
    assert!(matches!(error, Error::PeerLost { .. } | Error::Closed { .. }), "{error}");
    // No work of this process waits for the renderer.
    if let Some(stream) = exchange.stream() {
        stream.synchronize().unwrap();
    }
    drop((exchange, worker));
    let start_of_next = Instant::now();
    let _next = start(&path, Behavior::Reads);
    let (_worker, mut exchange) = connect(&path, backend);
    (0..8).for_each(|_| write(&mut exchange).unwrap());
    ([reported, start_of_next.elapsed()], error)
}

/// A worker that waits for a slot with a very long timeout is notified of its renderer's end.
#[test]
fn the_end_of_a_renderer_in_step_is_reported_to_a_worker_that_waits_for_a_slot() {
    let (_, error) = end_renderer(Backend::Host, Behavior::Keeps, false, Signal::KILL);
    let Error::PeerLost { frame, owed: None, .. } = error else { panic!("{error}") };
    // The last frame may have been announced but not reported as done.
    assert!([SLOTS as u64 - 1, SLOTS as u64].contains(&frame), "all slots are with the renderer: {frame}");
}

#[test]
fn a_worker_that_has_announced_a_frame_outlives_its_renderer() {
    let (_, error) = end_renderer(Backend::Host, Behavior::Reads, true, Signal::KILL);
    assert!(matches!(error, Error::PeerLost { frame: 5 | 6, owed: None, .. }), "{error}");
}

/// A stream that waits for commands of the renderer that never end continues when the renderer
/// ends, whatever this process does in the meantime. The driver takes longer for this the more
/// processes end at the same time, and the call has its own limit for this wait.
#[test]
fn a_stream_that_waits_for_a_renderer_continues_once_it_is_dead() {
    let rig = Rig::open();
    if bridge_tests::compute(rig.device(), bridge::Backend::Cuda).is_none() {
        return;
    }
    let (took, error) = end_renderer(Backend::Cuda, Behavior::Stalls, false, Signal::KILL);
    println!("told within {:.1?}, the next renderer has frames within {:.1?}", took[0], took[1]);
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
}

/// The end of the sockets and the end of the process may be seconds apart, and only the latter
/// guarantees that nothing is signaled any more.
#[test]
fn a_slowly_ending_renderer_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: &str| {
        let path = folder.path().join(name);
        let renderer = start(&path, Behavior::EndsSlowly);
        let (worker, mut exchange) = connect(&path, Backend::Host);
        write(&mut exchange).unwrap();
        (renderer, worker, exchange)
    };
    let (mut one, _worker, mut sends) = begin("one");
    let mut turn = sends.begin().unwrap();
    turn.announce().unwrap();
    one.wait_for_state();
    let error = turn.finish().unwrap_err();
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    let (mut other, _worker, mut waits) = begin("other");
    // The renderer may end before the whole frame is sent.
    let said = write(&mut waits);
    assert!(matches!(said, Ok(()) | Err(Error::PeerLost { .. })), "{said:?}");
    other.wait_for_state();
    // Slots that it has given back before its end are still free.
    let error = loop {
        if let Err(error) = write(&mut waits) {
            break error;
        }
    };
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    one.kill();
    other.kill();
}
