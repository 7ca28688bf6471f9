//! Many buffers in one exchange: one wait and one signal per side, regardless of the number of
//! buffers.
#![allow(unsafe_code)] // Records and submits.

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, QueueKind, TimelinePoint, Work};

use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::frames::{FrameLoop, MAX_SMALL_BATCH, compare};
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::raw::commands::Commands;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::ring::{Recording, Ring, touch};
use crate::report::{Goal, RAW, Samples};

const SLOTS: usize = 3;
/// The count that is measured against a ratio: by hand, this many buffers cost more than the calls
/// of a frame.
const MANY: usize = 64;
/// Number of elements in each buffer.
const LEN: usize = 1024;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let counts: &[usize] = profile.pick(&[1, 16, MANY], &[1, 16]);
    let of = |count: usize| {
        let what = format!("frame of {count} buffer{}, recorded each time", if count == 1 { "" } else { "s" });
        Case::new(format!("resources/{count}"), what.clone(), move |bench, rows| run(bench, rows, count, &what))
    };
    counts.iter().copied().map(of).collect()
}

fn run(bench: &Bench, rows: &mut Rows, count: usize, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("resources", count);
    rows.parameter("slots", SLOTS);
    let mut ours = Frames::new(gpu, count)?;
    let mut raw =
        Ring::new(gpu, QueueKind::Graphics, SLOTS, count, LEN as u64 * 4, Recording::EachFrame(MAX_SMALL_BATCH))?;
    let costs = compare(&bench.profile, MAX_SMALL_BATCH, &mut [&mut ours, &mut raw])?;
    let [ours, raw] = &costs[..] else { anyhow::bail!("two loops were measured") };
    let twin = gpu.is_cuda();
    let against =
        |samples| if twin { Samples::rival(RAW, samples) } else { Samples::comparison("on one thread", samples) };
    rows.lower("wall", what, "µs", &ours.wall, &[against(&raw.wall)], twin.then(|| Goal::times(1.02)))?;
    if !ours.cpu.is_empty() {
        let goal = if count == MANY { Goal::times(1.05) } else { Goal::adds(0.3) };
        let what = format!("{what}: processor time");
        rows.lower("cpu", what, "µs", &ours.cpu, &[against(&raw.cpu)], twin.then_some(goal))?;
    }
    Ok(())
}

/// Frames through an exchange, each recorded into a separate command buffer.
struct Frames {
    // Field order is drop order: dropping the exchange waits for the frames, which use the fields
    // after it.
    exchange: Exchange<Vec<BufferSpec<u32>>>,
    commands: Commands,
    batch: usize,
    last: Option<TimelinePoint>,
    touch: Option<(Kernel, Module)>,
}

impl Frames {
    fn new(gpu: &Gpu, count: usize) -> Result<Self> {
        let specs = vec![BufferSpec::new(LEN, BufferAccess::TRANSFER_READ); count];
        let info = ExchangeInfo { name: "many", slots: SLOTS, timeout: LIMIT, ..Default::default() };
        let touch = gpu.compute.cuda().map(|cuda| {
            let module = Module::load(cuda, Module::BENCH)?;
            anyhow::Ok((module.kernel(c"touch")?, module))
        });
        Ok(Self {
            exchange: Exchange::new(&gpu.compute, &info, specs)?,
            commands: Commands::new(&gpu.device, gpu.device.queue(), MAX_SMALL_BATCH)?,
            batch: 0,
            last: None,
            touch: touch.transpose()?,
        })
    }
}

impl FrameLoop for Frames {
    fn frame(&mut self) -> Result<()> {
        let mut turn = self.exchange.begin()?;
        let value = turn.frame() as u32;
        match turn.work() {
            Work::Cuda(mut cuda) => {
                let (kernel, _) = self.touch.as_ref().context("no kernel")?;
                let first = cuda.resources.next().context("no buffers")?;
                // SAFETY: the slot belongs to this turn, and the stream is the turn's.
                unsafe { touch(*kernel, cuda.stream.cu_stream(), first.as_raw(), value) }?;
            }
            Work::Host(host) => host.run(move |mut buffers| {
                buffers.next().into_iter().flatten().take(1).for_each(|word| *word = value);
            })?,
            _ => anyhow::bail!("no bench of this backend"),
        }
        let turn = turn.finish()?;
        let record = |commands| {
            // SAFETY: recording, for the family of the device's queue; submitted with this turn.
            unsafe { turn.record_acquire(commands) };
            // SAFETY: as above.
            unsafe { turn.record_release(commands) };
        };
        let commands =
            // SAFETY: every batch ends with a drain, and has no more frames than command buffers.
            unsafe { self.commands.record(self.batch, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, record) }?;
        // SAFETY: recorded with the turn's barriers; outlives the frames, for which the exchange
        // waits.
        self.last = Some(unsafe { turn.submit(&[commands]) }?);
        self.batch += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.batch = 0;
        let Some(last) = self.last.take() else { return Ok(()) };
        spin_until("the last frame", || Ok(last.is_reached()?))
    }
}
