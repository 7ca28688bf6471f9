//! Large amounts of shared memory in many buffers, with dedicated memory and from a pool, compared
//! with CUDA's own memory: how fast CUDA reads incompressible contents, sequentially and at random
//! places.
//!
//! Memory that a driver compresses is fast while little of it is in use, and slow beyond:
//! measurements of one buffer, or of equal words, do not show that.
#![allow(unsafe_code)] // Driver calls.

use anyhow::{Context, Result};
use bridge::cuda_import::cudarc::driver::sys::{self, CUdeviceptr};
use bridge::{BufferAccess, CudaCompute, SharedBuffer, SharedPool, SharedPoolInfo};

use super::bandwidth::address;
use super::{Bench, Case, Rows, bytes};
use crate::harness::Skip;
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::cuda::{DeviceMemory, Event, Module, Stream, bound, check};
use crate::raw::patterns::{Pattern, Reads, Scramble};
use crate::report::{Better, Bounded, Goal, Samples};

/// Bytes of one buffer: a few buffers fill a block of a pool.
const BUFFER: u64 = 16 << 20;
/// How many times a sample reads all the memory.
const PASSES: u32 = 4;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let totals: &[u64] = profile.pick(&[1 << 30, 2 << 30, 4 << 30, 8 << 30], &[64 << 20]);
    let of = |total: u64| {
        let what = format!("{} of shared memory in buffers of {}", bytes(total), bytes(BUFFER));
        let name = format!("memory/{}", bytes(total).replace(' ', ""));
        Case::new(name, what.clone(), move |bench, rows| run(bench, rows, total, &what))
    };
    totals.iter().copied().map(of).collect()
}

fn run(bench: &Bench, rows: &mut Rows, total: u64, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let cuda = gpu.cuda()?;
    bound(cuda)?;
    check_room(total)?;
    let count = u32::try_from(total / BUFFER)?;
    let pool = SharedPool::new(&gpu.compute, &SharedPoolInfo { name: "memory", ..Default::default() })?;
    let len = usize::try_from(BUFFER / 4)?;
    let accesses = BufferAccess::TRANSFER_READ;
    let own = |_| Ok(SharedBuffer::<u32>::new(&gpu.compute, "memory", len, accesses)?);
    let own = (0..count).map(own).collect::<Result<Vec<_>>>()?;
    let pooled = |_| Ok(SharedBuffer::<u32>::new_in(&pool, "memory", len, accesses)?);
    let pooled = (0..count).map(pooled).collect::<Result<Vec<_>>>()?;
    let cudas = (0..count).map(|_| DeviceMemory::new(cuda, BUFFER)).collect::<Result<Vec<_>>>()?;
    rows.parameter("bytes", total);
    rows.parameter("buffer_bytes", BUFFER);
    rows.parameter("pool_blocks", pool.report().blocks);

    let addresses = |buffers: &[SharedBuffer<u32>]| buffers.iter().map(address).collect::<Result<Vec<_>>>();
    let kinds = [addresses(&own)?, addresses(&pooled)?, cudas.iter().map(DeviceMemory::as_raw).collect()];
    let reader = Reader::new(cuda, &kinds)?;
    let patterns = [Pattern::Through, Pattern::Scattered];
    let ways = kinds.len() * patterns.len();
    let speeds = alternate(&bench.profile, bench.profile.rounds, ways, |way| {
        let pattern = patterns.get(way % patterns.len()).context("no such pattern")?;
        reader.speed(way / patterns.len(), *pattern)
    })?;
    reader.stream.finish()?;
    let goal = Goal { of: Bounded::Ratio, bound: 0.99, better: Better::Higher, strict: false };
    for (kind, kind_name, said) in [(0, "own", "memory of their own"), (1, "pool", "from a pool")] {
        for (pattern, pattern_name, read) in [(0, "through", "read through"), (1, "scattered", "128 B at random")] {
            let of = |kind: usize| speeds.get(kind * patterns.len() + pattern).context("every way was measured");
            let (part, what) = (format!("{kind_name}/{pattern_name}"), format!("{what}, {said}: {read}"));
            rows.higher(&part, what, "GB/s", of(kind)?, &[Samples::rival("cuMemAlloc", of(2)?)], Some(goal))?;
        }
    }
    Ok(())
}

/// Skips the case unless three times `total`, with some memory for other programs, is free.
fn check_room(total: u64) -> Result<()> {
    let (mut free, mut all) = (0, 0);
    // SAFETY: a context is bound.
    check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut all) })?;
    let wanted = 3 * total + (256 << 20);
    if wanted > free as u64 {
        let (wanted, free) = (bytes(wanted), bytes(free as u64));
        return Skip::because(format!("three kinds of memory want {wanted} on the GPU, {free} are free"));
    }
    Ok(())
}

/// Times reads with CUDA events.
struct Reader {
    /// For each kind of memory, the addresses of its buffers.
    tables: Vec<DeviceMemory>,
    out: DeviceMemory,
    count: u32,
    reads: Reads,
    from: Event,
    to: Event,
    stream: Stream,
    _module: Module,
}

impl Reader {
    /// Creates a reader and fills all buffers with random words.
    fn new(cuda: &CudaCompute, kinds: &[Vec<CUdeviceptr>]) -> Result<Self> {
        let module = Module::load(cuda, Module::BENCH)?;
        let (stream, scramble) = (Stream::new(cuda)?, Scramble::new(cuda, &module)?);
        let count = kinds.first().context("no memory")?.len();
        let mut tables = Vec::new();
        for kind in kinds {
            let table = DeviceMemory::new(cuda, (count * size_of::<CUdeviceptr>()) as u64)?;
            table.write(&kind.iter().flat_map(|address| address.to_ne_bytes()).collect::<Vec<_>>())?;
            tables.push(table);
            for (address, seed) in kind.iter().zip(1..) {
                // SAFETY: the buffers have `BUFFER` bytes and live until the stream is done, which
                // is waited for below.
                unsafe { scramble.launch(stream.as_raw(), *address, BUFFER, seed) }?;
            }
        }
        stream.finish()?;
        Ok(Self {
            tables,
            out: DeviceMemory::new(cuda, 4)?,
            count: u32::try_from(count)?,
            reads: Reads::new(cuda, &module, BUFFER)?,
            from: Event::timing(cuda.device().context())?,
            to: Event::timing(cuda.device().context())?,
            stream,
            _module: module,
        })
    }

    /// Returns the GB/s of reading one kind of memory.
    fn speed(&self, kind: usize, pattern: Pattern) -> Result<f64> {
        let table = self.tables.get(kind).context("no such memory")?.as_raw();
        let stream = self.stream.as_raw();
        self.from.record(stream)?;
        let mut read = 0;
        for _ in 0..PASSES {
            // SAFETY: the table, the buffers and the result live until the stream is done, for
            // which every sample waits.
            read += unsafe { self.reads.launch(stream, pattern, table, self.count, self.out.as_raw()) }?;
        }
        self.to.record(stream)?;
        self.to.spin()?;
        Ok(read as f64 / self.to.since(&self.from)? * 1e-3)
    }
}

/// Waits for the work that a failed sample leaves enqueued, before the memory is freed.
impl Drop for Reader {
    fn drop(&mut self) {
        crate::raw::cuda::warn(self.stream.finish());
    }
}
