//! The benchmark as a worker in a separate process, for the cases `processes`.
#![allow(unsafe_code)] // Kernel launches.

use std::ffi::{CString, c_void};
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bridge::cuda_import::cudarc::driver::{CudaSlice, CudaStream, DevicePtr as _, LaunchConfig};
use bridge::cuda_import::{CudaDevice, Kernel, KernelModule};
use bridge::vk_export::Uuid;
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, ExchangeWriter, LatestWriter, Work, Worker, WorkerInfo};

use crate::harness::LIMIT;
use crate::raw::cuda::Module;

/// The kernel that writes a frame of random words.
pub(crate) struct Scrambler(Kernel);

impl Scrambler {
    pub(crate) fn new(device: &CudaDevice) -> Result<Self> {
        let module = KernelModule::new(device, "bench", &CString::new(Module::BENCH)?)?;
        Ok(Self(module.kernel("scramble")?))
    }

    /// Enqueues the writing of a frame, `times` times.
    ///
    /// # Safety
    /// `address` points to `words` words of device memory, which no other work uses before the next
    /// work on `stream`.
    pub(crate) unsafe fn launch(
        &self,
        stream: &CudaStream,
        address: u64,
        words: usize,
        seed: u64,
        times: usize,
    ) -> Result<()> {
        let count = words as u64;
        let args: [*const c_void; 3] =
            [(&raw const address).cast(), (&raw const count).cast(), (&raw const seed).cast()];
        // The kernel loops, so the grid size does not depend on the number of words.
        let config = LaunchConfig { grid_dim: (1024, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        for _ in 0..times {
            // SAFETY: the kernel's three parameters, of these types; the caller guarantees the
            // memory.
            unsafe { self.0.launch(stream, &config, &args) }?;
        }
        Ok(())
    }
}

/// The exchange that frames are written to.
enum Writer {
    Latest(LatestWriter<Buffer<u32>>),
    InStep(ExchangeWriter<Buffer<u32>>),
}

/// Connects to the benchmark that has started this process. Each line on standard input contains a
/// number of frames to publish, and how many times each is written; the frames are in step if the
/// benchmark allows it. Answers each line with the elapsed nanoseconds.
pub(crate) fn run(socket: &Path, backend: bridge::Backend) -> Result<()> {
    let backend = if backend == bridge::Backend::Cuda { Backend::Cuda } else { Backend::Host };
    let info = WorkerInfo { backend: Some(backend), timeout: LIMIT, trust: true, ..Default::default() };
    let worker = Worker::connect_with(socket, &info)?;
    let scrambler = worker.cuda().map(Scrambler::new).transpose()?;
    let mut writer = match worker.renderer().trust {
        true => Writer::InStep(worker.exchange("processes")?),
        false => Writer::Latest(worker.latest("processes")?),
    };
    let (mut words, mut number) = (Vec::new(), 0);
    serve(|frames, times| {
        let begun = Instant::now();
        for _ in 0..frames {
            number += 1;
            frame(&mut writer, scrambler.as_ref(), &mut words, number, times)?;
        }
        Ok(begun.elapsed())
    })
}

/// Writes frames to its own memory, and answers the lines on standard input as [`run`] does.
pub(crate) fn run_alone(gpu: Uuid) -> Result<()> {
    let alone = Alone::new(&CudaDevice::by_uuid(gpu)?)?;
    serve(|frames, times| alone.run(frames, times))
}

/// Reads two numbers from each line on standard input, and answers with the nanoseconds that `work`
/// returns.
fn serve(mut work: impl FnMut(usize, usize) -> Result<Duration>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (frames, times) = line.split_once(' ').context("two numbers")?;
        let took = work(frames.parse()?, times.parse()?)?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", took.as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

/// Frames in memory allocated by CUDA, which are not shared.
pub(crate) struct Alone {
    scrambler: Scrambler,
    stream: Arc<CudaStream>,
    memory: CudaSlice<u32>,
}

impl Alone {
    const WORDS: usize = 4 << 20;
    /// Size of a frame in bytes.
    pub(crate) const BYTES: usize = 4 * Self::WORDS;

    pub(crate) fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.new_stream()?;
        let memory = stream.alloc_zeros(Self::WORDS)?;
        stream.synchronize()?;
        Ok(Self { scrambler: Scrambler::new(device)?, stream, memory })
    }

    /// Writes `frames` frames, each `times` times, and waits for the last one.
    pub(crate) fn run(&self, frames: usize, times: usize) -> Result<Duration> {
        let begun = Instant::now();
        let (address, _use) = self.memory.device_ptr(&self.stream);
        for frame in 0..frames {
            // SAFETY: the memory belongs to this object, has `WORDS` words, and is used on this
            // stream only.
            unsafe { self.scrambler.launch(&self.stream, address, Self::WORDS, frame as u64, times) }?;
        }
        self.stream.synchronize()?;
        Ok(begun.elapsed())
    }
}

fn frame(
    writer: &mut Writer,
    scrambler: Option<&Scrambler>,
    words: &mut Vec<u32>,
    number: u64,
    times: usize,
) -> Result<()> {
    match writer {
        Writer::Latest(writer) => {
            let mut turn = writer.begin()?;
            fill(turn.work(), scrambler, words, number, times)?;
            Ok(turn.publish()?)
        }
        Writer::InStep(exchange) => {
            let mut turn = exchange.begin()?;
            fill(turn.work(), scrambler, words, number, times)?;
            Ok(turn.finish()?)
        }
    }
}

fn fill(
    work: Work<'_, Buffer<u32>>,
    scrambler: Option<&Scrambler>,
    words: &mut Vec<u32>,
    number: u64,
    times: usize,
) -> Result<()> {
    match (work, scrambler) {
        (Work::Cuda(work), Some(scrambler)) => {
            // SAFETY: the slot belongs to this turn, which is handed over on the same stream.
            unsafe { scrambler.launch(work.stream, work.resources.as_raw(), work.resources.len(), number, times) }?;
        }
        (Work::Host(mut work), _) => {
            words.resize(work.resources.len(), 0);
            words.fill(number as u32);
            work.resources.write_from(0, words)?;
        }
        _ => bail!("a worker with CUDA has loaded its kernel"),
    }
    Ok(())
}
