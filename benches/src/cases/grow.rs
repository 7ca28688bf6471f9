//! Growing a buffer and resizing an image of an exchange, compared with the same by hand: a new
//! exported allocation, its import, the copy of the contents or the first hand-over, and the end of
//! the old allocation.
#![allow(unsafe_code)] // Records, submits and copies.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::sys;
use bridge::cuda_import::half::f16;
use bridge::{BufferSpec, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LiveObjects, Resources, TimelinePoint, Work};

use super::setup::ACCESSES;
use super::{Bench, Case, Rows, bytes};
use crate::gpu::Gpu;
use crate::harness::rounds::alternate;
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::raw::commands::{Commands, submit};
use crate::raw::cuda::{Stream, check};
use crate::raw::image::{FORMAT, SharedImage};
use crate::raw::image_ring::barriers;
use crate::raw::shared::{Exports, SharedBuffer};
use crate::raw::timeline::Timeline;
use crate::report::{RAW, Samples};

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let sizes: &[u64] = profile.pick(&[1 << 20, 64 << 20], &[64 << 10]);
    let buffer = |size: u64| {
        let what = format!("buffer grown from {} to {}", bytes(size), bytes(2 * size));
        let name = format!("grow/buffer/{}", bytes(size).replace(' ', ""));
        Case::new(name, what.clone(), move |bench, rows| buffers(bench, rows, size, &what))
    };
    let [width, height] = profile.pick([1920, 1080], [320, 180]);
    let what = format!("image resized from {width}x{height} RGBA16F to {}x{}", width + 64, height + 64);
    let image = Case::new(format!("grow/image/{width}x{height}"), what.clone(), move |bench, rows| {
        images(bench, rows, [width, height], &what)
    });
    sizes.iter().copied().map(buffer).chain([image]).collect()
}

/// Microseconds from the start of a call.
struct Times {
    /// Until it returned.
    call: f64,
    /// Until the new resource is usable and the old one is freed.
    done: f64,
}

impl Times {
    fn new(start: Instant, returned: Instant) -> Self {
        let since = |end: Instant| (end - start).as_secs_f64() * 1e6;
        Self { call: since(returned), done: since(Instant::now()) }
    }
}

fn buffers(bench: &Bench, rows: &mut Rows, size: u64, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("bytes", size);
    let exports = Exports::new(&gpu.device);
    let stream = gpu.compute.cuda().map(Stream::new).transpose()?;
    let len = usize::try_from(size)?;
    let times = alternate(&bench.profile, bench.profile.rounds, 2, |way| match way {
        0 => by_the_bridge(gpu, BufferSpec::<u8>::new(len, ACCESSES), |exchange| Ok(exchange.grow(2 * len)?)),
        _ => buffer_by_hand(gpu, &exports, stream.as_ref(), size),
    })?;
    report(rows, gpu, &times, [format!("{what}: the call"), format!("{what}: until the old one is freed")])
}

fn images(bench: &Bench, rows: &mut Rows, extent: [u32; 2], what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    gpu.cuda()?;
    rows.parameter("width", extent[0]);
    rows.parameter("height", extent[1]);
    let exports = Exports::new(&gpu.device);
    let larger = extent.map(|side| side + 64);
    let resize = |exchange: &mut Exchange<ImageSpec<[f16; 4]>>| {
        exchange.resize(larger)?;
        // By hand, the surface exists from the start.
        let mut turn = exchange.begin()?;
        let Work::Cuda(cuda) = turn.work() else { bail!("CUDA was opened") };
        cuda.resources.surface(0)?;
        Ok(turn.skip()?)
    };
    let times = alternate(&bench.profile, bench.profile.rounds, 2, |way| match way {
        0 => by_the_bridge(gpu, ImageSpec::new(FORMAT, extent, ImageAccess::TRANSFER_READ), resize),
        _ => image_by_hand(gpu, &exports, extent, larger),
    })?;
    report(
        rows,
        gpu,
        &times,
        [format!("{what}: until its surface exists"), format!("{what}: until the old one is freed")],
    )
}

/// Replaces the resource of an exchange that has run a frame.
fn by_the_bridge<R: Resources>(
    gpu: &Gpu,
    resources: R,
    replace: impl FnOnce(&mut Exchange<R>) -> Result<()>,
) -> Result<Times> {
    // One slot: the call replaces all of them.
    let info = ExchangeInfo { name: "grow", slots: 1, timeout: LIMIT, ..Default::default() };
    let mut exchange = Exchange::new(&gpu.compute, &info, resources)?;
    let point = skipped_frame(&mut exchange)?;
    spin_until("the first frame", || Ok(point.is_reached()?))?;
    let alive = live();
    let start = Instant::now();
    replace(&mut exchange)?;
    let returned = Instant::now();
    let point = skipped_frame(&mut exchange)?;
    spin_until("the copy", || Ok(point.is_reached()?))?;
    spin_until("the end of what was replaced", || {
        exchange.begin()?.skip()?;
        Ok(live() <= alive)
    })?;
    let times = Times::new(start, returned);
    exchange.close()?;
    Ok(times)
}

/// Runs a frame without work, and returns the point after it and all earlier work.
fn skipped_frame<R: Resources>(exchange: &mut Exchange<R>) -> Result<TimelinePoint> {
    let turn = exchange.begin()?.finish()?;
    let point = turn.computed().clone();
    turn.skip();
    Ok(point)
}

/// Returns the number of live resources.
fn live() -> usize {
    let live = LiveObjects::now();
    live.buffers + live.images
}

fn buffer_by_hand(gpu: &Gpu, exports: &Exports, stream: Option<&Stream>, size: u64) -> Result<Times> {
    let computed = Timeline::new(gpu, exports)?;
    let old = SharedBuffer::new(gpu, exports, size, ACCESSES)?;
    let start = Instant::now();
    let new = SharedBuffer::new(gpu, exports, 2 * size, ACCESSES)?;
    let bytes = usize::try_from(size)?;
    let returned = match (old.on_cuda().zip(new.on_cuda()), stream) {
        (Some((from, to)), Some(stream)) => {
            // SAFETY: both mappings have this size, and live until the timeline is reached below.
            let code = unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream.as_raw()) };
            check("cuMemcpyDtoDAsync", code)?;
            computed.signal_on(stream.as_raw(), 1)?;
            let returned = Instant::now();
            computed.spin(1)?;
            returned
        }
        _ => {
            let returned = Instant::now();
            let (from, to) = old.on_host().zip(new.on_host()).context("neither CUDA nor the host maps it")?;
            // SAFETY: two different mappings of at least this size, which nothing else uses.
            unsafe { from.copy_to_nonoverlapping(to, bytes) };
            returned
        }
    };
    drop(old);
    let times = Times::new(start, returned);
    drop(new);
    Ok(times)
}

fn image_by_hand(gpu: &Gpu, exports: &Exports, extent: [u32; 2], larger: [u32; 2]) -> Result<Times> {
    let (device, cuda, queue) = (&gpu.device, gpu.cuda()?, gpu.device.queue());
    let rendered = Timeline::new(gpu, exports)?;
    let commands = Commands::new(device, queue, 1)?;
    let old = SharedImage::new(device, cuda, exports, extent)?;
    let start = Instant::now();
    let new = SharedImage::new(device, cuda, exports, larger)?;
    let [initial, .., release] = barriers(new.as_raw(), queue.family());
    let give = |commands| {
        for barrier in [[initial], [release]] {
            let dependency = vk::DependencyInfo::default().image_memory_barriers(&barrier);
            // SAFETY: recording; VUID-VkImageMemoryBarrier2-image-01932: a live image with memory.
            unsafe { device.as_raw().cmd_pipeline_barrier2(commands, &dependency) };
        }
    };
    // SAFETY: not submitted yet.
    let recorded = unsafe { commands.record(0, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, give) }?;
    let signal = rendered.info(1, vk::PipelineStageFlags2::ALL_COMMANDS);
    // SAFETY: recorded for this queue; waited for below, before anything is dropped.
    unsafe { submit(device, queue, None, &[recorded], Some(signal), vk::Fence::null()) }?;
    let returned = Instant::now();
    rendered.spin(1)?;
    drop(old);
    let times = Times::new(start, returned);
    drop(new);
    Ok(times)
}

fn report(rows: &mut Rows, gpu: &Gpu, times: &[Vec<Times>], what: [String; 2]) -> Result<()> {
    let [ours, raw] = times else { bail!("two ways were measured") };
    let name = if gpu.is_cuda() { RAW } else { "raw calls, Vulkan alone" };
    let [call, done] = what;
    for (part, what, of) in
        [("call", call, (|times| times.call) as fn(&Times) -> f64), ("done", done, |times| times.done)]
    {
        let [ours, raw] = [ours, raw].map(|times| times.iter().map(of).collect::<Vec<_>>());
        rows.lower(part, what, "µs", &ours, &[Samples::rival(name, &raw)], None)?;
    }
    Ok(())
}
