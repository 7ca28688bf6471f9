//! In step with a renderer that draws: this process is the worker, and the renderer is the process
//! that dies.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bridge_ipc::Backend;
use bridge_tests::{Gate, Rig};
use bridge_worker::{Buffer, Error, ExchangeReader, Read, Worker, WorkerInfo};
use rustix::process::Signal;

use crate::painter::Painter;
use crate::scene::Scene;
use crate::step_painter::StepPainter;
use crate::step_worker;
use crate::worker::{Process, forever, report_state};

/// The address at which the renderer listens, and its behavior.
const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_RENDERER_THAT_DRAWS_IN_STEP";

/// The behavior of a renderer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Draws frame after frame. Has reached its state when the sixth is begun.
    Draws,
    /// Draws five frames, and no more.
    Idles,
    /// Submits a sixth frame that waits for a signal that never comes.
    Stalls,
}

const BEHAVIORS: [Behavior; 3] = [Behavior::Draws, Behavior::Idles, Behavior::Stalls];

fn start(path: &Path, behavior: Behavior) -> Process {
    let behavior = BEHAVIORS.iter().position(|one| *one == behavior).unwrap();
    Process::start("drawing_renderer_process_in_step", ADDRESS_VARIABLE, format!("{behavior} {}", path.display()))
}

/// Runs the renderer, if this process is one.
pub(crate) fn run_if_child() {
    let Ok(place) = std::env::var(ADDRESS_VARIABLE) else { return };
    let (behavior, path) = place.split_once(' ').unwrap();
    let behavior = BEHAVIORS[behavior.parse::<usize>().unwrap()];
    let mut painter = StepPainter::of(Scene::at(Path::new(path)), Backend::Host);
    let gate = Gate::new(painter.scene.rig.device());
    let remote = painter.accept();
    let mut writer = remote.exchange_render_first(&StepPainter::info(Rig::LONG), Painter::spec()).unwrap();
    for frame in 0.. {
        let waits = if frame == 5 && behavior == Behavior::Stalls { vec![gate.wait_info()] } else { Vec::new() };
        if frame == 5 && behavior == Behavior::Idles {
            report_state();
            forever();
        }
        // The worker may end at any time.
        if painter.try_draw(&mut writer, &waits).is_none() {
            return;
        }
        if frame == 5 {
            report_state();
            if behavior == Behavior::Stalls {
                forever();
            }
        }
    }
}

/// Connects to the exchange of a renderer, as soon as it listens.
fn connect(path: &Path, backend: Backend) -> (Worker, ExchangeReader<Buffer<u32>>) {
    let start = Instant::now();
    let info = WorkerInfo { timeout: Rig::LONG * 2, ..step_worker::info(backend) };
    loop {
        match Worker::connect_with(path, &info) {
            Ok(worker) => {
                let reader = worker.exchange_reader("steps").unwrap();
                return (worker, reader);
            }
            Err(error) => assert!(start.elapsed() < Rig::LONG, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads the next frame; returns its number. With CUDA the host does not wait for the frame.
fn read(reader: &mut ExchangeReader<Buffer<u32>>) -> Result<u64, Error> {
    let turn = reader.next(Rig::LONG * 2)?.expect("no frame comes");
    let frame = turn.frame();
    if let Read::Host(host) = turn.work() {
        let mut words = vec![0; host.resources.len()];
        host.resources.read_into(0, &mut words)?;
        assert!(words.iter().all(|word| *word == (1 << 20) + frame as u32), "frame {frame} is not whole");
    }
    turn.finish()?;
    Ok(frame)
}

/// Ends a renderer that has reached its state while this process reads, or waits for a frame.
/// Returns the time from the end of the renderer's process to the report of it, the time from the
/// start of the next renderer's process to its frames, and the reported error.
pub(crate) fn end_renderer(backend: Backend, behavior: Behavior, signal: Signal) -> ([Duration; 2], Error) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = start(&path, behavior);
    let (worker, mut reader) = connect(&path, backend);
    // The number of frames of a renderer that stops drawing: with CUDA this includes the stalled
    // frame.
    let all = match behavior {
        Behavior::Draws => 0,
        Behavior::Stalls if backend == Backend::Cuda => 6,
        Behavior::Idles | Behavior::Stalls => 5,
    };
    let (sender, reported) = channel();
    let killing = std::thread::spawn(move || {
        renderer.wait_for_state();
        let _ = reported.iter().take(all).count();
        renderer.end(signal)
    });
    let mut next = 0;
    let error = loop {
        match read(&mut reader) {
            Ok(frame) => {
                assert_eq!(frame, next, "each frame comes once");
                next += 1;
                let _ = sender.send(());
            }
            Err(error) => break error,
        }
    };
    let reported = Instant::now();
    let reported = killing.join().unwrap().until(reported);
    assert!(matches!(error, Error::PeerLost { .. } | Error::Closed { .. }), "{error}");
    // No work of this process waits for the renderer.
    if let Some(stream) = reader.stream() {
        stream.synchronize().unwrap();
    }
    drop((reader, worker));
    let start_of_next = Instant::now();
    let _next = start(&path, Behavior::Draws);
    let (_worker, mut reader) = connect(&path, backend);
    assert!((0..8).all(|frame| read(&mut reader).unwrap() == frame));
    ([reported, start_of_next.elapsed()], error)
}

/// A worker that waits for a frame with a very long timeout is notified of its renderer's end.
#[test]
fn the_end_of_a_renderer_is_reported_to_a_worker_that_waits_for_a_frame() {
    for behavior in [Behavior::Idles, Behavior::Stalls] {
        let (_, error) = end_renderer(Backend::Host, behavior, Signal::KILL);
        assert!(matches!(error, Error::PeerLost { frame: 4, owed: None, .. }), "{error}");
    }
}

#[test]
fn a_worker_that_reads_in_step_outlives_its_renderer() {
    let (_, error) = end_renderer(Backend::Host, Behavior::Draws, Signal::KILL);
    assert!(matches!(error, Error::PeerLost { frame: 2.., owed: None, .. }), "{error}");
}

/// A stream that waits for a frame that is never drawn continues when the renderer ends.
#[test]
fn a_stream_that_waits_for_a_frame_continues_once_the_renderer_is_dead() {
    let rig = Rig::open();
    if bridge_tests::compute(rig.device(), bridge::Backend::Cuda).is_none() {
        return;
    }
    let (took, error) = end_renderer(Backend::Cuda, Behavior::Stalls, Signal::KILL);
    println!("told within {:.1?}, the next renderer has frames within {:.1?}", took[0], took[1]);
    assert!(matches!(error, Error::PeerLost { frame: 5, owed: Some(6), .. }), "{error}");
}
