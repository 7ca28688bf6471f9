//! In step the other way round: this process is the worker, and the renderer is the one that dies.
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
use crate::worker::{Process, forever, there};

/// Where the renderer listens, and what it does.
const PLACE: &str = "BRIDGE_TEST_RENDERER_IN_STEP";
/// Of the exchange.
const SLOTS: usize = 3;

/// What a renderer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Reads frame after frame. Has come there once it has taken the sixth.
    Reads,
    /// Keeps the turns of all slots, so that the worker has none.
    Keeps,
    /// Submits its turns behind what never comes. Has come there with the fourth, whose slot has
    /// the worker's stream wait for the first.
    Stalls,
    /// Shuts its sockets with the second frame and has come there, and ends a while later, as one
    /// whose driver takes its time.
    EndsSlowly,
}

const HABITS: [Habit; 4] = [Habit::Reads, Habit::Keeps, Habit::Stalls, Habit::EndsSlowly];

pub(crate) fn start(path: &Path, habit: Habit) -> Process {
    let habit = HABITS.iter().position(|one| *one == habit).unwrap();
    Process::start("the_other_renderer_in_step", PLACE, format!("{habit} {}", path.display()))
}

/// The life of a renderer, if this process is one.
pub(crate) fn live() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let (habit, path) = place.split_once(' ').unwrap();
    let habit = HABITS[habit.parse::<usize>().unwrap()];
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
        match habit {
            Habit::Reads => {
                if frame == 5 {
                    there();
                }
                turn.read_back(Rig::LONG).unwrap();
            }
            Habit::Keeps => {
                kept.push(turn);
                if kept.len() == SLOTS {
                    there();
                    forever();
                }
            }
            Habit::Stalls => {
                let info = SubmitInfo { waits: &[gate.wait_info()], ..SubmitInfo::default() };
                // SAFETY: no commands use the slot, so that nothing is to be acquired or released;
                // the gate outlives what waits for it, which ends with this process.
                unsafe { turn.submit_with(&info) }.unwrap();
                if frame == SLOTS {
                    there();
                    forever();
                }
            }
            Habit::EndsSlowly => {
                kept.push(turn);
                if kept.len() == 2 {
                    end_slowly();
                }
            }
        }
    }
}

/// Ends this process in the order in which the system ends one that is killed: sockets first.
fn end_slowly() -> ! {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap) {
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        if is_socket {
            let socket = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: `BorrowedFd::borrow_raw`: nothing closes it meanwhile, since the only other
            // user, the exchange's listening thread, owns the connection as long as it lives.
            let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(socket) };
            // A socket that listens is not connected.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }
    there();
    // Far longer than an end takes that no driver delays.
    std::thread::sleep(Duration::from_millis(700));
    rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
    forever()
}

/// The exchange of a renderer, once it listens.
pub(crate) fn connect(path: &Path, backend: Backend) -> (Worker, ExchangeWriter<Buffer<u32>>) {
    let start = Instant::now();
    // Far more than any test waits: a renderer that is gone is told before.
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

/// Writes one frame; with CUDA nothing is in it.
pub(crate) fn write(exchange: &mut ExchangeWriter<Buffer<u32>>) -> Result<(), Error> {
    let mut turn = exchange.begin()?;
    let value = turn.frame() as u32;
    if let Work::Host(mut host) = turn.work() {
        host.resources.write_from(0, &vec![value; host.resources.len()])?;
    }
    turn.finish()
}

/// Ends a renderer that has come there while this process writes frames, or, with `announced`, has
/// announced its sixth and not finished it. Gives how long it was from the end of the renderer's
/// process to the word of it, and from the start of the next one's to its frames; and the word.
pub(crate) fn outlive(backend: Backend, habit: Habit, announced: bool, signal: Signal) -> ([Duration; 2], Error) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = start(&path, habit);
    let (worker, mut exchange) = connect(&path, backend);
    let killing = std::thread::spawn(move || {
        renderer.is_there();
        renderer.signal(signal);
        if signal == Signal::STOP {
            // Stopped is not dead.
            std::thread::sleep(Duration::from_millis(30));
        }
        renderer.kill();
        Instant::now()
    });
    let (told, error) = if announced {
        (0..5).for_each(|_| write(&mut exchange).unwrap());
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        let killed = killing.join().unwrap();
        // Whether it can still be said or not, the next frame cannot be begun.
        let said = turn.finish();
        let error = said.and_then(|()| write(&mut exchange)).unwrap_err();
        (killed.elapsed(), error)
    } else {
        let error = loop {
            if let Err(error) = write(&mut exchange) {
                break error;
            }
        };
        let told = Instant::now();
        // It may be told before the process is reaped.
        (told.saturating_duration_since(killing.join().unwrap()), error)
    };
    assert!(matches!(error, Error::PeerLost { .. } | Error::Closed { .. }), "{error}");
    // Nothing of this process waits for it.
    if let Some(stream) = exchange.stream() {
        stream.synchronize().unwrap();
    }
    drop((exchange, worker));
    let start_of_next = Instant::now();
    let _next = start(&path, Habit::Reads);
    let (_worker, mut exchange) = connect(&path, backend);
    (0..8).for_each(|_| write(&mut exchange).unwrap());
    ([told, start_of_next.elapsed()], error)
}

/// A worker that waits for a slot, with no limit that any test comes to, is told.
#[test]
fn the_end_of_a_renderer_in_step_is_told_to_a_worker_that_waits_for_a_slot() {
    let (_, error) = outlive(Backend::Host, Habit::Keeps, false, Signal::KILL);
    let Error::PeerLost { frame, owed: None, .. } = error else { panic!("{error}") };
    // The last one may have been announced and not told to be done.
    assert!([SLOTS as u64 - 1, SLOTS as u64].contains(&frame), "all slots are with the renderer: {frame}");
}

#[test]
fn a_worker_that_has_announced_a_frame_outlives_its_renderer() {
    let (_, error) = outlive(Backend::Host, Habit::Reads, true, Signal::KILL);
    assert!(matches!(error, Error::PeerLost { frame: 5 | 6, owed: None, .. }), "{error}");
}

/// The stream waits for commands of the renderer's that never end: it is freed as the renderer
/// ends, whatever this process does meanwhile. The driver takes its time for that, the longer the
/// more processes it ends at once, and the call has its own limit to wait for it.
#[test]
fn a_stream_that_waits_for_a_renderer_goes_on_once_that_is_dead() {
    let rig = Rig::open();
    if bridge_tests::compute(rig.device(), bridge::Backend::Cuda).is_none() {
        return;
    }
    let (took, error) = outlive(Backend::Cuda, Habit::Stalls, false, Signal::KILL);
    println!("told within {:.1?}, the next renderer has frames within {:.1?}", took[0], took[1]);
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
}

/// The end of the sockets and of the process may be seconds apart, and only the latter says that
/// nothing is signaled any more.
#[test]
fn the_end_of_a_renderer_that_ends_slowly_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: &str| {
        let path = folder.path().join(name);
        let renderer = start(&path, Habit::EndsSlowly);
        let (worker, mut exchange) = connect(&path, Backend::Host);
        write(&mut exchange).unwrap();
        (renderer, worker, exchange)
    };
    let (mut one, _worker, mut sends) = begin("one");
    let mut turn = sends.begin().unwrap();
    turn.announce().unwrap();
    one.is_there();
    let error = turn.finish().unwrap_err();
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    let (mut other, _worker, mut waits) = begin("other");
    // The renderer may end before all of the frame is said.
    let said = write(&mut waits);
    assert!(matches!(said, Ok(()) | Err(Error::PeerLost { .. })), "{said:?}");
    other.is_there();
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
