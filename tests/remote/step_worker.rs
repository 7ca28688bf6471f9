//! A worker process in step: another instance of this program.
//!
//! It writes frames of `u32`s that increase by one from element to element; the first element
//! combines the worker's mark and the frame's number.

use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

use bridge_tests::PROBE;
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::cuda_import::KernelModule;
use bridge_worker::{Buffer, ExchangeTurn, ExchangeWriter, Work, Worker, WorkerInfo};

use crate::cuda_worker::fill;
use crate::standby::{self, Standby};
use crate::worker::{Process, forever, report_state};

const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_STEP_WORKER";

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(40);

/// The behavior of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Writes frame after frame. Every second frame is announced before it is written.
    Runs,
    /// Writes five frames and sends nothing more.
    Idles,
    /// Has announced a sixth frame, which does not end: on the CPU half of it is written, with CUDA
    /// its kernel continues to run.
    HasFrameDue,
    /// As `HasFrameDue`, with two frames, only the first of which is reported as done.
    HasTwoFramesDue,
    /// Withdraws every third frame after it was announced.
    Tears,
    /// Writes five frames, leaves properly, and stays alive.
    Leaves,
    /// With CUDA: frames whose kernels run on an unsynchronized stream.
    IsUnordered,
}

const BEHAVIORS: [Behavior; 7] = [
    Behavior::Runs,
    Behavior::Idles,
    Behavior::HasFrameDue,
    Behavior::HasTwoFramesDue,
    Behavior::Tears,
    Behavior::Leaves,
    Behavior::IsUnordered,
];

/// Starts a worker that connects to `path`.
pub(crate) fn start(path: &Path, backend: Backend, behavior: Behavior, mark: u32) -> Process {
    let (behavior, cuda) = (BEHAVIORS.iter().position(|one| *one == behavior).unwrap(), backend == Backend::Cuda);
    Process::start("worker_process_in_step", ADDRESS_VARIABLE, format!("{behavior} {mark} {cuda} {}", path.display()))
}

/// Runs a worker of an earlier case that connects to `path` and writes frame after frame, or starts
/// one.
pub(crate) fn next(path: &Path, backend: Backend, mark: u32) -> Standby<Process> {
    let (behavior, cuda) = (BEHAVIORS.iter().position(|one| *one == Behavior::Runs).unwrap(), backend == Backend::Cuda);
    let place = format!("{behavior} {mark} {cuda} {}", path.display());
    Standby::run("worker_process_in_step", ADDRESS_VARIABLE, backend, &place)
}

/// Returns the parameters of a worker in step that computes with this backend.
pub(crate) fn info(backend: Backend) -> WorkerInfo<'static> {
    WorkerInfo { backend: Some(backend), timeout: LONG, trust: true, ..Default::default() }
}

/// Runs the worker, if this process is one.
pub(crate) fn run_if_child() {
    standby::run_each(ADDRESS_VARIABLE, run);
}

fn run(place: &str) {
    let [behavior, mark, cuda, path] = place.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (behavior, mark) = (BEHAVIORS[behavior.parse::<usize>().unwrap()], mark.parse::<u32>().unwrap());
    let backend = if cuda.parse().unwrap() { Backend::Cuda } else { Backend::Host };
    let worker = Worker::connect_with(path, &info(backend)).unwrap();
    standby::keep_context(ADDRESS_VARIABLE, worker.cuda());
    let exchange = worker.exchange("steps").unwrap();
    // Loaded before the first frame.
    let kernel = worker.cuda().map(|cuda| {
        let module = KernelModule::new(cuda, "probe", &CString::new(PROBE).unwrap()).unwrap();
        let unordered = cuda.new_stream().unwrap();
        (module.kernel("fill_after").unwrap(), unordered)
    });
    // The renderer may end at any time.
    let _ = write(worker, exchange, kernel.as_ref(), behavior, mark);
}

type Kernel =
    (bridge_worker::cuda_import::Kernel, std::sync::Arc<bridge_worker::cuda_import::cudarc::driver::CudaStream>);

fn write(
    worker: Worker,
    mut exchange: ExchangeWriter<Buffer<u32>>,
    kernel: Option<&Kernel>,
    behavior: Behavior,
    mark: u32,
) -> Result<(), bridge_worker::Error> {
    for frame in 0u32.. {
        let stops = frame == 5;
        if stops && behavior == Behavior::Leaves {
            drop(exchange);
            drop(worker);
            report_state();
            forever();
        }
        if stops && behavior == Behavior::Idles {
            report_state();
            forever();
        }
        let mut turn = exchange.begin()?;
        assert_eq!(turn.frame(), u64::from(frame));
        if frame % 2 == 1 {
            turn.announce()?;
        }
        let first = (mark << 20) + frame;
        match behavior {
            Behavior::HasFrameDue if stops => {
                announce_unfinished(turn, kernel, first)?;
                report_state();
                forever();
            }
            Behavior::HasTwoFramesDue if stops => {
                fill_turn(&mut turn, kernel, first, Duration::ZERO, false);
                turn.finish()?;
                announce_unfinished(exchange.begin()?, kernel, first + 1)?;
                report_state();
                forever();
            }
            Behavior::Tears if frame % 3 == 2 => {
                turn.announce()?;
                turn.skip()?;
            }
            _ => {
                let unordered = behavior == Behavior::IsUnordered;
                let delay = if unordered { Duration::from_millis(3) } else { Duration::ZERO };
                fill_turn(&mut turn, kernel, first, delay, unordered);
                turn.finish()?;
            }
        }
        if stops {
            report_state();
        }
    }
    Ok(())
}

/// Announces a frame that will not be finished.
fn announce_unfinished(
    mut turn: ExchangeTurn<'_, Buffer<u32>>,
    kernel: Option<&Kernel>,
    first: u32,
) -> Result<(), bridge_worker::Error> {
    if kernel.is_some() {
        fill_turn(&mut turn, kernel, first, LONG, false);
        return turn.finish();
    }
    turn.announce()?;
    let Work::Host(mut host) = turn.work() else { panic!("it computes with CUDA") };
    let half: Vec<u32> = (first..).take(host.resources.len() / 2).collect();
    host.resources.write_from(0, &half)?;
    // Neither finished nor dropped.
    std::mem::forget(turn);
    Ok(())
}

fn fill_turn(
    turn: &mut ExchangeTurn<'_, Buffer<u32>>,
    kernel: Option<&Kernel>,
    first: u32,
    delay: Duration,
    is_unordered: bool,
) {
    match (turn.work(), kernel) {
        (Work::Cuda(mut work), Some((kernel, unordered))) => {
            let stream = if is_unordered { unordered } else { work.stream };
            fill(kernel, stream, &mut work.resources, first, delay);
        }
        (Work::Host(mut host), None) => {
            let words: Vec<u32> = (first..).take(host.resources.len()).collect();
            host.resources.write_from(0, &words).unwrap();
        }
        _ => panic!("it computes with another backend"),
    }
}
