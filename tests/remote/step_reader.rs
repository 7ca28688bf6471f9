//! A worker process that reads in step: another instance of this program.
//!
//! It checks each frame, and prints what it saw.

#![allow(unsafe_code)] // Copies without synchronization.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bridge_tests::PROBE;
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::cuda_import::cudarc::driver::{CudaStream, PinnedHostSlice, result};
use bridge_worker::cuda_import::{CudaDevice, Kernel, KernelModule};
use bridge_worker::{Buffer, ExchangeReader, Read, Worker};

use crate::reading::{Reading, check, launch, report_line};
use crate::standby::{self, Standby};
use crate::step_worker::info;
use crate::worker::{LEN, forever};

const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_READING_WORKER_IN_STEP";

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(40);

/// The behavior of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Reads frame after frame. Has reached its state when it waits for the first.
    Reads,
    /// Reads five frames, and keeps the sixth.
    Holds,
    /// Reads five frames and sends nothing more.
    Idles,
    /// Reads five frames, leaves properly, and stays alive.
    Leaves,
    /// With CUDA: has returned the fifth frame after a kernel that does not end.
    HasFrameDue,
    /// With CUDA: reads frames on an unsynchronized stream.
    IsUnordered,
}

const BEHAVIORS: [Behavior; 6] =
    [Behavior::Reads, Behavior::Holds, Behavior::Idles, Behavior::Leaves, Behavior::HasFrameDue, Behavior::IsUnordered];

/// Starts a worker that connects to `path`.
pub(crate) fn start(path: &Path, backend: Backend, behavior: Behavior) -> Reading {
    let behavior = BEHAVIORS.iter().position(|one| *one == behavior).unwrap();
    let place = format!("{behavior} {} {}", backend == Backend::Cuda, path.display());
    Reading::start_as("reading_worker_process_in_step", ADDRESS_VARIABLE, &place)
}

/// Runs a worker of an earlier case that connects to `path` and reads frame after frame, or starts
/// one.
pub(crate) fn next(path: &Path, backend: Backend) -> Standby<Reading> {
    let behavior = BEHAVIORS.iter().position(|one| *one == Behavior::Reads).unwrap();
    let place = format!("{behavior} {} {}", backend == Backend::Cuda, path.display());
    Standby::run("reading_worker_process_in_step", ADDRESS_VARIABLE, backend, &place)
}

/// Runs the worker, if this process is one.
pub(crate) fn run_if_child() {
    standby::run_each(ADDRESS_VARIABLE, run);
}

fn run(place: &str) {
    let [behavior, cuda, path] = place.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let behavior = BEHAVIORS[behavior.parse::<usize>().unwrap()];
    let backend = if cuda.parse().unwrap() { Backend::Cuda } else { Backend::Host };
    let worker = Worker::connect_with(path, &info(backend)).unwrap();
    standby::keep_context(ADDRESS_VARIABLE, worker.cuda());
    let reader = worker.exchange_reader("steps").unwrap();
    // Loaded before the first frame.
    let kernel = worker.cuda().map(|cuda| {
        let module = KernelModule::new(cuda, "probe", &CString::new(PROBE).unwrap()).unwrap();
        module.kernel("fill_after").unwrap()
    });
    if behavior == Behavior::Reads {
        report_line("@there");
    }
    // The renderer may end at any time.
    let _ = read(worker, reader, kernel.as_ref(), behavior);
}

/// An unsynchronized stream, and pinned memory, because other copies may wait.
struct Unordered {
    stream: Arc<CudaStream>,
    words: PinnedHostSlice<u32>,
}

impl Unordered {
    fn new(cuda: &CudaDevice) -> Self {
        let stream = cuda.new_stream().unwrap();
        // SAFETY: the words are written before they are read.
        let words = unsafe { stream.context().alloc_pinned(LEN) }.unwrap();
        Self { stream, words }
    }

    /// Returns the current contents of an address.
    fn read(&mut self, address: u64) -> &[u32] {
        let words = self.words.as_mut_slice().unwrap();
        // SAFETY: the address holds the words of a slot; both live until the stream is idle.
        // Another process may write the slot in the meantime, which is what the test checks.
        unsafe { result::memcpy_dtoh_async(words, address, self.stream.cu_stream()) }.unwrap();
        self.stream.synchronize().unwrap();
        words
    }
}

fn read(
    worker: Worker,
    mut reader: ExchangeReader<Buffer<u32>>,
    spin: Option<&Kernel>,
    behavior: Behavior,
) -> Result<(), bridge_worker::Error> {
    let mut unordered = worker.cuda().filter(|_| behavior == Behavior::IsUnordered).map(Unordered::new);
    let mut frames = 0;
    loop {
        if frames == 5 && behavior == Behavior::Leaves {
            drop((reader, worker));
            report_line("@there");
            forever();
        }
        if frames == 5 && behavior == Behavior::Idles {
            report_line("@there");
            forever();
        }
        let Some(turn) = reader.next(LONG)? else { continue };
        frames += 1;
        if frames == 6 && behavior == Behavior::Holds {
            report_line("@there");
            forever();
        }
        match turn.work() {
            Read::Host(host) => {
                let mut words = vec![0; host.resources.len()];
                host.resources.read_into(0, &mut words)?;
                check(turn.frame(), &words);
            }
            Read::Cuda(cuda) => {
                match &mut unordered {
                    Some(unordered) => check(turn.frame(), unordered.read(cuda.resources.as_raw())),
                    None => check(turn.frame(), &cuda.stream.clone_dtoh(&cuda.resources).unwrap()),
                }
                if frames == 5 && behavior == Behavior::HasFrameDue {
                    launch(spin.unwrap(), &cuda, LONG);
                }
            }
            _ => panic!("no other backend"),
        }
        turn.finish()?;
        if frames == 5 && behavior == Behavior::HasFrameDue {
            report_line("@there");
            forever();
        }
    }
}
