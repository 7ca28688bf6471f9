//! The speed of CUDA on shared memory, compared with CUDA's own memory. The copied and read data is
//! random: repeating words would measure how well a driver compresses.
#![allow(unsafe_code)] // Driver calls.

use std::ffi::c_void;

use anyhow::{Context, Result};
use bridge::cuda_import::cudarc::driver::sys::{self, CUdeviceptr};
use bridge::{BufferAccess, CudaCompute, SharedBuffer};

use super::{Bench, Case, Rows, bytes};
use crate::gpu::Gpu;
use crate::harness::Skip;
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::cuda::{DeviceMemory, Event, Kernel, Module, Stream, bound, check};
use crate::raw::patterns::{BLOCK, Scramble, VECTOR, full_blocks};
use crate::report::{Better, Bounded, Goal, Samples};

/// The operation on the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Fill,
    Copy,
    Kernel,
}

impl Work {
    const ALL: [Self; 3] = [Self::Fill, Self::Copy, Self::Kernel];

    fn name(self) -> &'static str {
        match self {
            Self::Fill => "memset",
            Self::Copy => "copy",
            Self::Kernel => "saxpy",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Fill => "cuMemsetD32Async",
            Self::Copy => "cuMemcpyDtoDAsync",
            Self::Kernel => "kernel, y = a x + y",
        }
    }

    /// How many times the bytes of one buffer cross the memory bus.
    fn passes(self) -> f64 {
        match self {
            Self::Fill => 1.0,
            Self::Copy => 2.0,
            Self::Kernel => 3.0,
        }
    }
}

/// Drivers tend to limit an allocation to less than 4 GiB.
const MAX_SIZE: u64 = 3 << 30;
/// Work that takes less time than its launch does not measure memory.
const MIN_SIZE: u64 = 16 << 20;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let sizes: &[u64] = profile.pick(&[MIN_SIZE, 128 << 20, 1 << 30, MAX_SIZE], &[MIN_SIZE]);
    let of = |work: Work, size: u64| {
        let name = format!("bandwidth/{}/{}", work.name(), bytes(size).replace(' ', ""));
        let what = format!("{} on {} of shared memory", work.what(), bytes(size));
        Case::new(name, what.clone(), move |bench, rows| run(bench, rows, work, size, &what))
    };
    Work::ALL.into_iter().flat_map(|work| sizes.iter().map(move |size| of(work, *size))).collect()
}

fn run(bench: &Bench, rows: &mut Rows, work: Work, size: u64, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let cuda = gpu.cuda()?;
    rows.parameter("work", work.name());
    rows.parameter("bytes", size);
    bound(cuda)?;
    check_room(gpu, size)?;
    let shared = [shared(gpu, size)?, shared(gpu, size)?];
    let own = [DeviceMemory::new(cuda, size)?, DeviceMemory::new(cuda, size)?];
    let pointers = [[address(&shared[0])?, address(&shared[1])?], own.each_ref().map(DeviceMemory::as_raw)];
    let timer = Timer::new(cuda, work, size)?;
    for (pointer, seed) in pointers.into_iter().flatten().zip(1..) {
        // SAFETY: the buffer has `size` bytes and lives until the stream is done.
        unsafe { timer.scramble.launch(timer.stream.as_raw(), pointer, size, seed) }?;
    }
    let repeats = timer.repeats(pointers[1], bench.profile.slice.as_secs_f64() * 1e6)?;
    let mut speeds = alternate(&bench.profile, bench.profile.rounds, 2, |way| {
        let [to, from] = *pointers.get(way).context("no such way")?;
        let micros = timer.time(to, from, repeats)? / f64::from(repeats);
        Ok(size as f64 * work.passes() / micros * 1e-3)
    })?
    .into_iter();
    timer.stream.finish()?;
    let (ours, raw) = speeds.next().zip(speeds.next()).context("two ways were measured")?;
    let goal = Goal { of: Bounded::Ratio, bound: 0.99, better: Better::Higher, strict: false };
    rows.higher("", what, "GB/s", &ours, &[Samples::rival("cuMemAlloc", &raw)], Some(goal))
}

/// Skips the case unless two buffers of each kind fit into the free memory.
fn check_room(gpu: &Gpu, size: u64) -> Result<()> {
    let (mut free, mut total) = (0, 0);
    // SAFETY: a context is bound.
    check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
    let largest = gpu.device.physical().max_allocation_size;
    if size > largest {
        let limit = bytes(largest);
        return Skip::because(format!("one allocation has at most {limit} here (maxMemoryAllocationSize)"));
    }
    // Leaves some memory for other programs.
    let wanted = 4 * size + (256 << 20);
    if wanted > free as u64 {
        let (wanted, free) = (bytes(wanted), bytes(free as u64));
        return Skip::because(format!("four buffers of {} want {wanted} of GPU memory, {free} are free", bytes(size)));
    }
    Ok(())
}

fn shared(gpu: &Gpu, size: u64) -> Result<SharedBuffer<u32>> {
    Ok(SharedBuffer::new(&gpu.compute, "bandwidth", usize::try_from(size / 4)?, BufferAccess::TRANSFER_READ)?)
}

pub(super) fn address(buffer: &SharedBuffer<u32>) -> Result<CUdeviceptr> {
    // SAFETY: Vulkan never uses the buffer; enqueued work is waited for before the buffer is
    // dropped, and ordered by one stream.
    let view = unsafe { buffer.cuda_mut() };
    Ok(view.context("a buffer that CUDA does not see")?.as_raw())
}

/// Times work on memory with CUDA events.
struct Timer {
    work: Work,
    size: u64,
    saxpy: Kernel,
    scramble: Scramble,
    blocks: u32,
    from: Event,
    to: Event,
    stream: Stream,
    _module: Module,
}

impl Timer {
    fn new(cuda: &CudaCompute, work: Work, size: u64) -> Result<Self> {
        let module = Module::load(cuda, Module::BENCH)?;
        let blocks = (size / VECTOR).div_ceil(u64::from(BLOCK)).clamp(1, full_blocks(cuda)?.into());
        Ok(Self {
            work,
            size,
            saxpy: module.kernel(c"saxpy")?,
            scramble: Scramble::new(cuda, &module)?,
            blocks: u32::try_from(blocks)?,
            from: Event::timing(cuda.device().context())?,
            to: Event::timing(cuda.device().context())?,
            stream: Stream::new(cuda)?,
            _module: module,
        })
    }

    /// Returns the number of repetitions that fill a slice, from the time of one.
    fn repeats(&self, [to, from]: [CUdeviceptr; 2], slice: f64) -> Result<u32> {
        const TRIAL: u32 = 3;
        self.time(to, from, TRIAL)?;
        let one = self.time(to, from, TRIAL)? / f64::from(TRIAL);
        Ok((slice / one.max(0.1)).clamp(2.0, 500.0) as u32)
    }

    /// Returns the microseconds that `repeats` repetitions of the work take.
    fn time(&self, to: CUdeviceptr, from: CUdeviceptr, repeats: u32) -> Result<f64> {
        let stream = self.stream.as_raw();
        self.from.record(stream)?;
        for _ in 0..repeats {
            match self.work {
                Work::Fill => self.fill(to)?,
                Work::Copy => self.copy(to, from)?,
                Work::Kernel => self.saxpy(to, from)?,
            }
        }
        self.to.record(stream)?;
        self.to.spin()?;
        self.to.since(&self.from)
    }

    fn fill(&self, to: CUdeviceptr) -> Result<()> {
        let words = usize::try_from(self.size / 4)?;
        // SAFETY: the buffer has `size` bytes, is aligned, and lives until the stream is done.
        let code = unsafe { sys::cuMemsetD32Async(to, 0, words, self.stream.as_raw()) };
        check("cuMemsetD32Async", code)
    }

    fn copy(&self, to: CUdeviceptr, from: CUdeviceptr) -> Result<()> {
        // SAFETY: two buffers of `size` bytes, which live until the stream is done.
        let code = unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, usize::try_from(self.size)?, self.stream.as_raw()) };
        check("cuMemcpyDtoDAsync", code)
    }

    fn saxpy(&self, mut to: CUdeviceptr, mut from: CUdeviceptr) -> Result<()> {
        let (mut a, mut vectors) = (0.5f32, self.size / VECTOR);
        let arguments: [*mut c_void; 4] =
            [(&raw mut to).cast(), (&raw mut from).cast(), (&raw mut a).cast(), (&raw mut vectors).cast()];
        // SAFETY: the kernel's four parameters, of these types; both buffers hold `vectors`
        // vectors, and live until the stream is done.
        unsafe { self.saxpy.launch(self.stream.as_raw(), self.blocks, BLOCK, arguments) }
    }
}
