//! The reverse case: this process is the worker, and the renderer is the process that dies.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge::Listener;
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Error, LatestReader, LatestWriter, Work, Worker, WorkerInfo};
use rustix::process::Signal;
use test_support::Task;

use crate::ending::{Ended, end};
use crate::painter::Painter;
use crate::scene::Scene;
use crate::worker::{self, Behavior, send};

/// The address at which the renderer listens.
const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_RENDERER";
/// The same for a renderer that draws for reading workers.
const PAINTS: &str = "BRIDGE_TEST_RENDERER_THAT_DRAWS";

/// Runs the renderer, if this process is one: it draws until it is killed.
pub(crate) fn run_if_child() {
    if let Ok(path) = std::env::var(PAINTS) {
        paint(Path::new(&path));
    }
    let Ok(path) = std::env::var(ADDRESS_VARIABLE) else { return };
    let device = Rig::open_own();
    let listener = Listener::bind(path).unwrap();
    let mut readers = Vec::new();
    loop {
        if let Some(remote) = listener.accept(&device, Duration::from_millis(1)).unwrap() {
            readers.push(remote.latest(&Scene::info(), Scene::spec()).unwrap());
        }
        for reader in &mut readers {
            if let Some(turn) = reader.newest().unwrap() {
                turn.read_back(Rig::LONG).unwrap();
            }
        }
    }
}

fn paint(path: &Path) -> ! {
    let mut painter = Painter::of(Scene::at(path));
    let mut writer = painter.scene.accept().latest_render_first(&Scene::info(), Painter::spec()).unwrap();
    loop {
        painter.draw(&mut writer);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A renderer's process, which is killed when dropped.
pub(crate) struct Renderer(Child);

impl Renderer {
    pub(crate) fn start(path: &Path) -> Self {
        Self::start_as(ADDRESS_VARIABLE, path, |program| program)
    }

    pub(crate) fn start_with(path: &Path, with: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        Self::start_as(ADDRESS_VARIABLE, path, with)
    }

    /// Starts a renderer that draws.
    pub(crate) fn start_painting(path: &Path) -> Self {
        Self::start_as(PAINTS, path, |program| program)
    }

    fn start_as(place: &str, path: &Path, with: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "renderer_process", "--nocapture"]).env(place, path).stdout(Stdio::null());
        Self(with(&mut program).spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.0, signal);
    }

    /// Ends the process with a signal.
    pub(crate) fn end(&mut self, signal: Signal) -> Ended {
        end(&mut self.0, signal)
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the parameters of a worker on the CPU, whatever the renderer allows.
pub(crate) fn on_the_cpu() -> WorkerInfo<'static> {
    WorkerInfo { backend: Some(Backend::Host), timeout: Rig::LONG, ..Default::default() }
}

/// Connects as soon as the renderer listens.
pub(crate) fn connect(path: &Path, backend: Backend) -> (Worker, LatestWriter<Buffer<u32>>) {
    let worker = connected(path, backend);
    let writer = worker.latest("remote").unwrap();
    (worker, writer)
}

/// The same for a reading worker.
pub(crate) fn connect_to_read(path: &Path, backend: Backend) -> (Worker, LatestReader<Buffer<u32>>) {
    let worker = connected(path, backend);
    let reader = worker.latest_reader("remote").unwrap();
    (worker, reader)
}

fn connected(path: &Path, backend: Backend) -> Worker {
    let start = Instant::now();
    let info = WorkerInfo { backend: Some(backend), ..on_the_cpu() };
    loop {
        match Worker::connect_with(path, &info) {
            Ok(worker) => return worker,
            Err(error) => assert!(start.elapsed() < Rig::LONG, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes one frame.
pub(crate) fn write(writer: &mut LatestWriter<Buffer<u32>>) -> Result<(), Error> {
    let mut turn = writer.begin()?;
    let value = turn.frame() as u32;
    let Work::Host(mut host) = turn.work() else { panic!("it computes with CUDA") };
    host.resources.write_from(0, &vec![value; host.resources.len()])?;
    turn.publish()
}

/// Writes until the renderer's end is reported; returns how long that took.
pub(crate) fn lost(writer: &mut LatestWriter<Buffer<u32>>) -> Duration {
    let start = Instant::now();
    loop {
        match write(writer) {
            Ok(()) => assert!(start.elapsed() < Rig::LONG, "the renderer's end is not reported"),
            Err(Error::PeerLost { .. } | Error::Closed { .. }) => return start.elapsed(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_worker_outlives_its_renderer_and_connects_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = Renderer::start(&path);
    let (_worker, mut writer) = connect(&path, Backend::Host);
    (0..20).for_each(|_| write(&mut writer).unwrap());
    renderer.kill();
    println!("told after {:.1?}", lost(&mut writer));
    // A socket that a dead renderer left behind is replaced.
    let _next = Renderer::start(&path);
    let (_worker, mut writer) = connect(&path, Backend::Host);
    (0..20).for_each(|_| write(&mut writer).unwrap());
}

/// After both processes were killed, a new renderer and a new worker can take their place.
#[test]
fn both_processes_are_killed_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    for mark in 1..4 {
        let mut renderer = Renderer::start(&path);
        // The renderer listens when this connection is accepted.
        let (_own, mut writer) = connect(&path, Backend::Host);
        write(&mut writer).unwrap();
        let mut worker = worker::Worker::start(&path, Behavior::Runs, mark);
        // More frames than there are slots: the renderer has taken some and returned them.
        worker.wait_for_state();
        renderer.signal(Signal::KILL);
        worker.signal(Signal::KILL);
        renderer.kill();
        worker.kill();
    }
}

/// A stopped renderer is not dead: the worker waits, and continues when the renderer does.
#[test]
fn a_stopped_renderer_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let renderer = Renderer::start(&path);
    let (_worker, mut writer) = connect(&path, Backend::Host);
    (0..20).for_each(|_| write(&mut writer).unwrap());
    renderer.signal(Signal::STOP);
    let (waited, written, worker) = (AtomicBool::new(false), AtomicBool::new(false), Task::current());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let waits = worker.wait_until_it_waits(|| written.load(Ordering::SeqCst), Rig::LONG);
            waited.store(waits, Ordering::SeqCst);
            renderer.signal(Signal::CONT);
        });
        // More frames than there are slots.
        (0..20).for_each(|_| write(&mut writer).unwrap());
        written.store(true, Ordering::SeqCst);
    });
    assert!(waited.into_inner(), "frames went to a stopped renderer");
}
