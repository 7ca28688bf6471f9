//! A worker process that computes with CUDA: another instance of this program.
//!
//! It writes frames of `u32`s that increase by one from element to element; the first element
//! combines the worker's mark and the frame's number.
#![allow(unsafe_code)] // Kernel launches.

use std::ffi::{CString, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bridge_tests::PROBE;
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::cuda_import::cudarc::driver::{CudaStream, LaunchConfig};
use bridge_worker::cuda_import::{DeviceViewMut, Kernel, KernelModule};
use bridge_worker::{Buffer, Image, LatestWriter, Work, Worker, WorkerInfo};

use crate::standby::{self, Standby};
use crate::worker::{Process, forever, report_state};

const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_CUDA_WORKER";

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(20);

/// The behavior of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Writes frame after frame, as fast as slots become free.
    Runs,
    /// Writes five frames and sends nothing more.
    Idles,
    /// Publishes a sixth frame, whose kernel does not end.
    Hangs,
    /// Publishes a sixth frame, and then fails: the frame is torn.
    Faults,
    /// Publishes frames whose kernels run on an unsynchronized stream.
    IsUnordered,
    /// Writes five frames, closes the exchange after all of its work, and stays alive.
    Leaves,
    /// Writes frames of a buffer and an image.
    WritesBoth,
}

const BEHAVIORS: [Behavior; 7] = [
    Behavior::Runs,
    Behavior::Idles,
    Behavior::Hangs,
    Behavior::Faults,
    Behavior::IsUnordered,
    Behavior::Leaves,
    Behavior::WritesBoth,
];

/// Starts a worker that connects to `path`.
pub(crate) fn start(path: &Path, behavior: Behavior, mark: u32) -> Process {
    start_with(path, behavior, mark, |program| program)
}

pub(crate) fn start_with(
    path: &Path,
    behavior: Behavior,
    mark: u32,
    with: impl FnOnce(&mut Command) -> &mut Command,
) -> Process {
    let place = format!("{} {mark} {}", BEHAVIORS.iter().position(|one| *one == behavior).unwrap(), path.display());
    Process::start_with("worker_process_with_cuda", ADDRESS_VARIABLE, place, with)
}

/// Runs a worker of an earlier case that connects to `path` and writes frame after frame, or starts
/// one.
pub(crate) fn next(path: &Path, mark: u32) -> Standby<Process> {
    let behavior = BEHAVIORS.iter().position(|one| *one == Behavior::Runs).unwrap();
    let place = format!("{behavior} {mark} {}", path.display());
    Standby::run("worker_process_with_cuda", ADDRESS_VARIABLE, Backend::Cuda, &place)
}

/// Runs the worker, if this process is one.
pub(crate) fn run_if_child() {
    standby::run_each(ADDRESS_VARIABLE, run);
}

fn run(place: &str) {
    let [behavior, mark, path] = place.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (behavior, mark) = (BEHAVIORS[behavior.parse::<usize>().unwrap()], mark.parse::<u32>().unwrap());
    let info = WorkerInfo { backend: Some(Backend::Cuda), timeout: LONG, ..Default::default() };
    let worker = Worker::connect_with(path, &info).unwrap();
    standby::keep_context(ADDRESS_VARIABLE, worker.cuda());
    if behavior == Behavior::WritesBoth {
        return write_both(&worker, mark);
    }
    let writer = worker.latest::<Buffer<u32>>("remote").unwrap();
    let kernels = Kernels::new(&worker);
    write(worker, writer, &kernels, behavior, mark);
}

/// Writes the pattern starting at `first`, after a delay in which only one block is busy. The
/// kernel is the probe's `fill_after`.
pub(crate) fn fill(
    kernel: &Kernel,
    stream: &Arc<CudaStream>,
    words: &mut DeviceViewMut<'_, u32>,
    first: u32,
    delay: Duration,
) {
    let words_of = |len: u32, delay: Duration| {
        let (words, nanoseconds) = (words.as_raw(), delay.as_nanos() as u64);
        let args: [*const c_void; 4] = [
            std::ptr::from_ref(&words).cast(),
            std::ptr::from_ref(&len).cast(),
            std::ptr::from_ref(&first).cast(),
            std::ptr::from_ref(&nanoseconds).cast(),
        ];
        // SAFETY: the kernel's four parameters, of these types, and it writes `len` elements of the
        // slot, which lives until the stream is idle.
        unsafe { kernel.launch(stream, &LaunchConfig::for_num_elems(len.max(1)), &args) }.unwrap();
    };
    if !delay.is_zero() {
        words_of(0, delay);
    }
    words_of(words.len() as u32, Duration::ZERO);
}

/// Kernels, loaded before the first frame.
struct Kernels {
    fill: Kernel,
    fault: Kernel,
}

impl Kernels {
    fn new(worker: &Worker) -> Self {
        let module = KernelModule::new(worker.cuda().unwrap(), "probe", &CString::new(PROBE).unwrap()).unwrap();
        Self { fill: module.kernel("fill_after").unwrap(), fault: module.kernel("fault").unwrap() }
    }

    fn fill(&self, stream: &Arc<CudaStream>, words: &mut DeviceViewMut<'_, u32>, first: u32, delay: Duration) {
        fill(&self.fill, stream, words, first, delay);
    }

    /// Ends the context with a fault.
    fn fail(&self, stream: &CudaStream, words: u64) {
        let args: [*const c_void; 1] = [std::ptr::from_ref(&words).cast()];
        // SAFETY: wrong on purpose: the write is far outside of all memory, which ends only the
        // context of this process.
        unsafe { self.fault.launch(stream, &LaunchConfig::for_num_elems(1), &args) }.unwrap();
    }
}

fn write(worker: Worker, mut writer: LatestWriter<Buffer<u32>>, kernels: &Kernels, behavior: Behavior, mark: u32) {
    let stream = writer.stream().unwrap().clone();
    let unordered = worker.cuda().unwrap().new_stream().unwrap();
    for frame in 0u32.. {
        let stops = frame == 5 && !matches!(behavior, Behavior::Runs | Behavior::IsUnordered);
        match behavior {
            Behavior::Idles if stops => {
                report_state();
                forever();
            }
            Behavior::Leaves if stops => {
                drop(writer);
                drop(worker);
                report_state();
                forever();
            }
            _ => {}
        }
        if behavior == Behavior::Faults && stops {
            // If a context fails, every frame that is not known to be complete is lost.
            std::thread::sleep(Duration::from_millis(200));
        }
        // The renderer may end at any time.
        let Ok(mut turn) = writer.begin() else { return };
        let Work::Cuda(mut work) = turn.work() else { panic!("it computes on the CPU") };
        let delay = match behavior {
            Behavior::Hangs if stops => LONG,
            Behavior::IsUnordered => Duration::from_millis(3),
            _ => Duration::ZERO,
        };
        let on = if behavior == Behavior::IsUnordered { &unordered } else { &stream };
        kernels.fill(on, &mut work.resources, (mark << 20) + frame, delay);
        if behavior == Behavior::Faults && stops {
            kernels.fail(&stream, work.resources.as_raw());
        }
        if turn.publish().is_err() && behavior != Behavior::Faults {
            return;
        }
        if stops {
            // A worker that has failed reports it with its next frame.
            let _ = (behavior == Behavior::Faults).then(|| while writer.begin().is_ok() {});
            report_state();
            forever();
        }
        if frame == 5 {
            report_state();
        }
    }
}

fn write_both(worker: &Worker, mark: u32) {
    let mut writer = worker.latest::<(Buffer<u32>, Image<[u8; 4]>)>("remote").unwrap();
    let kernels = Kernels::new(worker);
    let stream = writer.stream().unwrap().clone();
    for frame in 0u32.. {
        let Ok(mut turn) = writer.begin() else { return };
        let Work::Cuda(mut work) = turn.work() else { panic!("it computes on the CPU") };
        let first = (mark << 20) + frame;
        let [width, height, _] = work.resources.1.image().extent();
        kernels.fill(&stream, &mut work.resources.0, first, Duration::ZERO);
        let texels = vec![first.to_ne_bytes(); (width * height) as usize];
        work.resources.1.write_from_host(&stream, 0, .., &texels).unwrap();
        if turn.publish().is_err() {
            return;
        }
        if frame == 5 {
            report_state();
        }
    }
}
