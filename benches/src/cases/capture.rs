//! A frame whose kernels are captured as a CUDA graph and launched for the first time, compared
//! with the same calls by hand.
#![allow(unsafe_code)] // Kernel launches, and graphs that run them.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, FrameGraph};

use super::graph::launch;
use super::handover::Words;
use super::{Bench, Case, Rows};
use crate::harness::LIMIT;
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::cuda::{Kernel, Module, Stream};
use crate::raw::graph::Graph;
use crate::raw::ring::touch;
use crate::raw::shared::{Exports, SharedBuffer};
use crate::raw::timeline::Timeline;
use crate::report::{RAW, Samples};

/// Elements of the buffer.
const LEN: usize = 16 << 10;

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let of = |kernels: usize| {
        let what = format!("capturing a frame of {kernels} kernels as a CUDA graph, and its first launch");
        Case::new(format!("capture/{kernels}"), what.clone(), move |bench, rows| run(bench, rows, kernels, &what))
    };
    [20].map(of).into()
}

fn run(bench: &Bench, rows: &mut Rows, kernels: usize, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let cuda = gpu.cuda()?;
    rows.parameter("kernels", kernels);
    let module = Module::load(cuda, Module::BENCH)?;
    let kernel = module.kernel(c"touch")?;
    let info = ExchangeInfo { name: "capture", slots: 1, timeout: LIMIT, ..Default::default() };
    let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&gpu.compute, &info, spec)?;

    let exports = Exports::new(&gpu.device);
    let buffer = SharedBuffer::new(gpu, &exports, LEN as u64 * 4, BufferAccess::TRANSFER_READ)?;
    let (rendered, computed) = (Timeline::new(gpu, &exports)?, Timeline::new(gpu, &exports)?);
    let stream = Stream::new(cuda)?;
    let mut value = 0;
    let samples = alternate(&bench.profile, bench.profile.rounds, 2, |way| {
        if way == 0 {
            return ours(&mut exchange, kernel, kernels);
        }
        value += 1;
        let pointer = buffer.on_cuda().context("a buffer that is not CUDA's")?;
        let begun = Instant::now();
        let graph = Graph::capture(&stream, |stream| {
            rendered.wait_on(stream, 0)?;
            for _ in 0..kernels {
                // SAFETY: the buffer and the module outlive the launch, for which every sample
                // waits.
                unsafe { touch(kernel, stream, pointer, 1) }?;
            }
            computed.signal_on(stream, value)
        })?;
        // SAFETY: the timeline's value is at least 0 from the start, and the signaled values
        // increase.
        unsafe { graph.launch(&stream) }?;
        let took = begun.elapsed().as_secs_f64() * 1e6;
        computed.spin(value)?;
        Ok(took)
    });
    stream.finish()?;
    let samples = samples?;
    let [ours, raw] = &samples[..] else { bail!("two ways were measured") };
    rows.lower("", what, "µs", ours, &[Samples::rival(RAW, raw)], None)
}

/// Runs a frame through an exchange, with a graph that has not captured anything yet.
fn ours(exchange: &mut Exchange<Words>, kernel: Kernel, kernels: usize) -> Result<f64> {
    let mut graph = FrameGraph::new(exchange);
    let begun = Instant::now();
    // SAFETY: the kernels only use the slot's buffer, on the lent stream; the module outlives the
    // graph.
    let turn = unsafe { exchange.compute_with(&mut graph, |_, work| Ok(launch(work, kernel, kernels, 1)?)) }?;
    let took = begun.elapsed().as_secs_f64() * 1e6;
    turn.computed().wait(LIMIT)?;
    turn.skip();
    Ok(took)
}
