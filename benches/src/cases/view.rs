//! A frame of an image that a view draws directly from the shared buffer, compared with the same by
//! hand: the hand-over and the view's shader.

use anyhow::Result;
use bridge::{BufferSpec, Exchange, ExchangeInfo, QueueKind};
use bridge_view::{Element, ImageFormat, Look, View, ViewInfo};

use super::handover::compute;
use super::{Bench, Case, Rows};
use crate::harness::LIMIT;
use crate::harness::frames::{FrameLoop, MAX_SMALL_BATCH, compare};
use crate::options::Profile;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::drawing::Kind;
use crate::raw::ring::Ring;
use crate::report::{Goal, RAW, Samples};

/// Number of frames in flight, as in a view.
const SLOTS: usize = 3;
/// Number of channels of each pixel.
const CHANNELS: u32 = 4;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let size = profile.pick([3840, 1080], [64, 32]);
    let of = |name: &str, element: Element, kind: Kind| {
        let what = format!("frame of {}x{} pixels of four {element}, written, handed over and drawn", size[0], size[1]);
        Case::new(format!("view/{name}"), what.clone(), move |bench, rows| {
            run(bench, rows, size, (element, kind), &what)
        })
    };
    vec![of("u8", Element::U8, Kind::U8), of("f16", Element::F16, Kind::F16)]
}

fn run(bench: &Bench, rows: &mut Rows, size: [u32; 2], (element, kind): (Element, Kind), what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    gpu.queue(QueueKind::Graphics)?;
    rows.parameter("width", size[0]);
    rows.parameter("height", size[1]);
    rows.parameter("slots", SLOTS);
    let module = gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = module.as_ref().map(|module| module.kernel(c"touch")).transpose()?;
    let format = ImageFormat::new(size, CHANNELS, element)?;
    let info = ExchangeInfo { name: "shown", slots: SLOTS, timeout: LIMIT, ..Default::default() };
    let mut ours_loop = Drawn {
        view: View::headless(&gpu.compute, &ViewInfo { size, timeout: LIMIT })?,
        exchange: Exchange::new(&gpu.compute, &info, format.spec()?)?,
        format,
        kernel,
    };
    let mut raw_loop = Ring::drawing(gpu, SLOTS, size, kind)?;
    let costs = compare(&bench.profile, MAX_SMALL_BATCH, &mut [&mut ours_loop, &mut raw_loop])?;
    let [ours, raw] = &costs[..] else { anyhow::bail!("two loops were measured") };
    // By hand and without CUDA, one thread does everything.
    let twin = gpu.is_cuda();
    let against =
        |samples| if twin { Samples::rival(RAW, samples) } else { Samples::comparison("on one thread", samples) };
    rows.lower("wall", what, "µs", &ours.wall, &[against(&raw.wall)], twin.then(|| Goal::times(1.05)))?;
    if !ours.cpu.is_empty() {
        rows.lower("cpu", format!("{what}: processor time"), "µs", &ours.cpu, &[against(&raw.cpu)], None)?;
    }
    Ok(())
}

/// Frames through an exchange, drawn by a view. Field order is drop order: dropping the view waits
/// for its frames.
struct Drawn {
    view: View,
    exchange: Exchange<BufferSpec<u32>>,
    format: ImageFormat,
    kernel: Option<Kernel>,
}

impl FrameLoop for Drawn {
    fn frame(&mut self) -> Result<()> {
        let turn = compute(&mut self.exchange, self.kernel)?;
        self.view.show_image(turn, self.format, &Look::default())?;
        self.view.draw()?;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        Ok(self.view.finish()?)
    }
}
