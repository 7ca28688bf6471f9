//! In-step exchanges with a worker that reads with CUDA: a thread of this process, which knows only
//! what the renderer sends over the socket.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bridge::ash::vk;
use bridge::cudarc::driver::{CudaSlice, CudaStream};
use bridge::{AcceptInfo, Listener, QueueKind, RemoteExchangeWriter, RenderFirstRemote, RenderTurn, TimelinePoint};
use bridge_tests::{Commands, Gate, Rig};
use bridge_worker::{Buffer, ExchangeReader, Read, Worker, WorkerInfo};
use driver_double::Planted;

use crate::in_step::with_device;
use crate::{LEN, Words, double, info, words};

type Writer = RemoteExchangeWriter<Words>;

/// Runs `render` with the renderer's exchange, and `work` on a worker thread.
fn with_worker(rig: &Rig, slots: usize, work: impl FnOnce(&Path) + Send, render: impl FnOnce(&mut Writer)) {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let path = listener.path().to_owned();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || work(&path));
        let accepting = AcceptInfo { timeout: Rig::LONG, trust: true };
        let remote = listener.accept_with(rig.device(), &accepting).unwrap().expect("no worker has come");
        let mut exchange = remote.exchange_render_first(&info(slots), words()).unwrap();
        render(&mut exchange);
        worker.join().unwrap();
        exchange.close().unwrap();
    });
}

/// A worker that copies each frame, on the exchange's stream.
struct Copying {
    // Field order is drop order.
    copy: CudaSlice<u32>,
    stream: Arc<CudaStream>,
    reader: ExchangeReader<Buffer<u32>>,
    _worker: Worker,
}

impl Copying {
    fn connect(path: &Path) -> Self {
        let info = WorkerInfo {
            backend: Some(bridge_ipc::Backend::Cuda),
            timeout: Rig::LONG,
            trust: true,
            ..WorkerInfo::default()
        };
        let worker = Worker::connect_with(path, &info).unwrap();
        let reader = worker.exchange_reader("doubled").unwrap();
        let stream = Arc::clone(reader.stream().unwrap());
        let copy = stream.alloc_zeros(LEN).unwrap();
        Self { copy, stream, reader, _worker: worker }
    }

    /// Enqueues the copy of the next frame and gives its slot back. Returns the frame's number.
    fn read(&mut self) -> u64 {
        let turn = self.reader.next(Rig::LONG).unwrap().expect("no frame comes");
        let Read::Cuda(cuda) = turn.work() else { panic!("it computes on the CPU") };
        self.stream.memcpy_dtod(&cuda.resources, &mut self.copy).unwrap();
        let frame = turn.frame();
        turn.finish().unwrap();
        frame
    }

    /// Returns the copy, once all enqueued work has run.
    fn words(&self) -> Vec<u32> {
        self.stream.clone_dtoh(&self.copy).unwrap()
    }
}

fn begin(exchange: &mut Writer) -> RenderTurn<Words, RenderFirstRemote> {
    exchange.begin(Rig::LONG).unwrap().expect("there is no slot")
}

/// Submits a fill of the turn's buffer.
fn draw(commands: &Commands, exchange: &mut Writer, word: u32) -> TimelinePoint {
    let turn = begin(exchange);
    let recorded = commands.fill(&turn, turn.resources().as_raw(), word);
    // SAFETY: recorded with the turn's barriers; noted, and therefore waited for before the
    // commands are recorded again.
    let point = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands.note(point.clone());
    point
}

#[test]
fn a_worker_in_step_reads_what_vulkan_draws() {
    with_device("in_step_drawn::a_worker_in_step_reads_what_vulkan_draws", |rig| {
        let commands = &Commands::new(rig.device());
        for slots in 1..=3 {
            let (have, had) = channel();
            let reads = move |path: &Path| {
                let mut worker = Copying::connect(path);
                for frame in 0..30 {
                    assert_eq!(worker.read(), frame, "each frame comes once");
                    assert!(worker.words() == [frame as u32 + 7; LEN], "frame {frame} of {slots} slots");
                }
                have.send(()).unwrap();
            };
            with_worker(rig, slots, reads, move |exchange| {
                (0..30).for_each(|frame| drop(draw(commands, exchange, frame + 7)));
                had.recv().unwrap();
            });
            commands.finish();
        }
    });
}

/// The engine's parts signal a timeline that the worker does not see: the worker still gets the
/// frame, and does not wait for a signal that never comes.
#[test]
fn a_worker_in_step_has_the_frames_that_an_engine_has_submitted() {
    with_device("in_step_drawn::a_worker_in_step_has_the_frames_that_an_engine_has_submitted", |rig| {
        for slots in 1..=3 {
            let (have, had) = channel();
            let reads = move |path: &Path| {
                let mut worker = Copying::connect(path);
                assert!((0..40).all(|frame| worker.read() == frame));
                worker.words();
                have.send(()).unwrap();
            };
            with_worker(rig, slots, reads, move |exchange| {
                for frame in 0..40 {
                    // In pairs, so that each kind follows each kind.
                    let point = if frame % 4 < 2 { lend(exchange) } else { submit(exchange) };
                    if frame % 8 == 7 {
                        point.wait(Rig::LONG).unwrap();
                    }
                }
                had.recv().unwrap();
            });
        }
    });
}

fn submit(exchange: &mut Writer) -> TimelinePoint {
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { begin(exchange).submit(&[]) }.unwrap()
}

fn lend(exchange: &mut Writer) -> TimelinePoint {
    let lent = begin(exchange).lend().unwrap();
    let (parts, signals) = (lent.parts(), [lent.parts().signal()]);
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
    // SAFETY: as above; the parts are submitted unchanged, to the turn's queue.
    unsafe { lent.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: they were submitted by the call above.
    unsafe { lent.submitted() }
}

/// Reads while the queue has not overwritten frame 1 with frame 2 yet: the reader sees frame
/// `seen`.
fn after_slow_commands(rig: &Rig, seen: u32) {
    let ((sender, progress), (open, opened)) = (channel(), channel());
    let commands = &Commands::new(rig.device());
    let reads = move |path: &Path| read_after_slow_commands(path, seen, &sender, &opened);
    with_worker(rig, 1, reads, move |exchange| {
        draw(commands, exchange, 1).wait(Rig::LONG).unwrap();
        open.send(()).unwrap();
        progress.recv().unwrap();
        let gate = Gate::new(rig.device());
        gate.hold_queue(rig.device(), QueueKind::Graphics);
        let point = draw(commands, exchange, 2);
        progress.recv().unwrap();
        assert!(!point.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        open.send(()).unwrap();
        point.wait(Rig::LONG).unwrap();
        progress.recv().unwrap();
    });
    commands.finish();
}

fn read_after_slow_commands(path: &Path, seen: u32, sender: &Sender<()>, opened: &Receiver<()>) {
    let mut worker = Copying::connect(path);
    // The negative control does not wait for it.
    opened.recv().unwrap();
    worker.read();
    assert!(worker.words() == [1; LEN]);
    sender.send(()).unwrap();
    worker.read();
    if seen == 1 {
        // The read happens before the gate opens.
        worker.words();
    }
    sender.send(()).unwrap();
    opened.recv().unwrap();
    assert!(worker.words() == [seen; LEN], "{}", worker.words()[0]);
    sender.send(()).unwrap();
}

#[test]
fn a_worker_in_step_waits_for_slow_commands() {
    with_device("in_step_drawn::a_worker_in_step_waits_for_slow_commands", |rig| after_slow_commands(rig, 2));
}

/// The negative control.
#[test]
fn without_its_wait_a_worker_in_step_reads_the_previous_frame() {
    let name = "in_step_drawn::without_its_wait_a_worker_in_step_reads_the_previous_frame";
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    double.plant(Planted::Skipped, "cuWaitExternalSemaphoresAsync", 0);
    after_slow_commands(&rig, 1);
}
