//! A frame's kernels as one CUDA graph, compared with launching them one by one.
#![allow(unsafe_code)] // Kernel launches, and graphs that run them again.

use anyhow::{Result, bail};
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, FrameGraph, QueueKind, RenderTurn, Work};

use super::frames::Frames;
use super::{Bench, Case, Rows};
use crate::harness::LIMIT;
use crate::harness::frames::{MAX_BATCH, compare};
use crate::options::Profile;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::ring::{Recording, Ring, touch};
use crate::report::{RAW, Samples};

const SLOTS: usize = 3;
/// Number of elements in a slot's buffer.
const LEN: usize = 16 << 10;

/// Resources of a slot.
type Words = BufferSpec<u32>;

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let of = |kernels: usize| {
        let what = format!("frame of {kernels} kernel{} as a CUDA graph", if kernels == 1 { "" } else { "s" });
        Case::new(format!("graph/{kernels}"), what.clone(), move |bench, rows| run(bench, rows, kernels, &what))
    };
    [1, 20].map(of).into()
}

fn run(bench: &Bench, rows: &mut Rows, kernels: usize, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("kernels", kernels);
    rows.parameter("slots", SLOTS);
    let module = Module::load(gpu.cuda()?, Module::BENCH)?;
    let kernel = module.kernel(c"touch")?;
    let info = ExchangeInfo { name: "graph", slots: SLOTS, timeout: LIMIT, ..Default::default() };
    let spec = || BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);

    let mut graph = None;
    let compute = move |exchange: &mut Exchange<Words>| {
        let graph = graph.get_or_insert_with(|| FrameGraph::new(exchange));
        let record = |_, work: Work<'_, Words>| Ok(launch(work, kernel, kernels, 1)?);
        // SAFETY: the kernels only use the slot's buffer, on the lent stream; the module outlives
        // the graph.
        Ok(unsafe { exchange.compute_with(graph, record) }?)
    };
    let mut graphs = Frames::new(gpu, &info, spec(), compute, |_, _| {})?;

    let compute = |exchange: &mut Exchange<Words>| -> Result<RenderTurn<Words>> {
        let mut turn = exchange.begin()?;
        let value = turn.frame() as u32;
        launch(turn.work(), kernel, kernels, value)?;
        Ok(turn.finish()?)
    };
    let mut launches = Frames::new(gpu, &info, spec(), compute, |_, _| {})?;
    let size = LEN as u64 * 4;
    let mut raw = Ring::new(gpu, QueueKind::Graphics, SLOTS, 1, size, Recording::Once)?.kernels(kernels);

    let costs = compare(&bench.profile, MAX_BATCH, &mut [&mut graphs, &mut launches, &mut raw])?;
    let [graphs, launches, raw] = &costs[..] else { bail!("three loops were measured") };
    let others =
        |launches, raw| [Samples::rival(RAW, raw), Samples::rival("the bridge, launched one by one", launches)];
    rows.lower("wall", what, "µs", &graphs.wall, &others(&launches.wall, &raw.wall), None)?;
    if graphs.cpu.is_empty() {
        return Ok(());
    }
    rows.lower("cpu", format!("{what}: processor time"), "µs", &graphs.cpu, &others(&launches.cpu, &raw.cpu), None)
}

/// Launches `kernels` kernels, each of which writes one word.
pub(super) fn launch(work: Work<'_, Words>, kernel: Kernel, kernels: usize, value: u32) -> Result<()> {
    let Work::Cuda(cuda) = work else { bail!("CUDA computes here") };
    for _ in 0..kernels {
        // SAFETY: the slot belongs to the turn, or to the graph, and the stream is the lent one.
        unsafe { touch(kernel, cuda.stream.cu_stream(), cuda.resources.as_raw(), value) }?;
    }
    Ok(())
}
