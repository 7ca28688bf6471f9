//! Creating shared resources: importing and mapping buffers and images, creating and dropping
//! exchanges.
#![allow(unsafe_code)] // Asks for a surface outside of turns.

use std::time::Instant;

use anyhow::{Context, Result};
use bridge::cuda_import::half::f16;
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, ImageAccess, ImageSpec, SharedBuffer, SharedImage};

use super::{Bench, Case, Rows, bytes};
use crate::gpu::Gpu;
use crate::harness::LIMIT;
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::image::{self, FORMAT};
use crate::raw::shared::{self, Exports};
use crate::raw::timeline::Timeline;
use crate::report::{RAW, Samples};

/// The Vulkan accesses of the created resources.
pub(super) const ACCESSES: BufferAccess = BufferAccess::VERTEX_INPUT;
/// Number of slots of the exchanges, and their size in bytes.
const SLOTS: usize = 3;
const SLOT: u64 = 1 << 20;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let sizes: &[u64] = profile.pick(&[64 << 10, 1 << 20, 64 << 20], &[64 << 10]);
    let buffer = |size: u64| {
        let name = format!("setup/buffer/{}", bytes(size).replace(' ', ""));
        let what = format!("shared buffer of {}", bytes(size));
        Case::new(name, what.clone(), move |bench, rows| one_buffer(bench, rows, size, &what))
    };
    let exchange = Case::new("setup/exchange", "exchange", one_exchange);
    let [width, height] = profile.pick([1920, 1080], [320, 180]);
    let what = format!("shared image of {width}x{height} RGBA16F with a surface");
    let image = Case::new(format!("setup/image/{width}x{height}"), what.clone(), move |bench, rows| {
        one_image(bench, rows, [width, height], &what)
    });
    sizes.iter().copied().map(buffer).chain([image, exchange]).collect()
}

/// The microseconds to create and to drop a value, averaged over a few.
pub(super) struct Times {
    pub(super) made: f64,
    pub(super) dropped: f64,
}

pub(super) fn timed<T>(count: usize, mut make: impl FnMut() -> Result<T>) -> Result<Times> {
    let mut things = Vec::with_capacity(count);
    let begun = Instant::now();
    for _ in 0..count {
        things.push(make()?);
    }
    let made = Instant::now();
    drop(things);
    let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / count as f64;
    Ok(Times { made: each(made - begun), dropped: each(made.elapsed()) })
}

fn one_buffer(bench: &Bench, rows: &mut Rows, size: u64, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("bytes", size);
    let exports = Exports::new(&gpu.device);
    let len = usize::try_from(size)?;
    let count = bench.profile.pick(8, 2);
    let times = alternate(&bench.profile, bench.profile.rounds, 2, |way| match way {
        0 => timed(count, || Ok(SharedBuffer::<u8>::new(&gpu.compute, "shared", len, ACCESSES)?)),
        _ => timed(count, || shared::SharedBuffer::new(gpu, &exports, size, ACCESSES)),
    })?;
    report(rows, gpu, &times, [format!("{what}: make, import, map"), format!("{what}: unmap, free")])
}

/// Measures an image that CUDA can write: by hand, the surface exists from the start; through the
/// bridge, it is created at the first request.
fn one_image(bench: &Bench, rows: &mut Rows, extent: [u32; 2], what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let cuda = gpu.cuda()?;
    rows.parameter("width", extent[0]);
    rows.parameter("height", extent[1]);
    let exports = Exports::new(&gpu.device);
    let spec = ImageSpec::<[f16; 4]>::new(FORMAT, extent, ImageAccess::TRANSFER_READ);
    let count = bench.profile.pick(4, 2);
    let times = alternate(&bench.profile, bench.profile.rounds, 2, |way| match way {
        0 => timed(count, || {
            let image = SharedImage::new(&gpu.compute, "shared", &spec)?;
            // SAFETY: nothing is enqueued on either side.
            let view = unsafe { image.cuda_mut() }.context("an image that CUDA does not see")?;
            view.surface(0)?;
            Ok(image)
        }),
        _ => timed(count, || image::SharedImage::new(&gpu.device, cuda, &exports, extent)),
    })?;
    report(rows, gpu, &times, [format!("{what}: make, import, map"), format!("{what}: unmap, free")])
}

/// The same resources by hand: buffers for all slots, and two timelines.
struct ByHand {
    _buffers: Vec<shared::SharedBuffer>,
    _computed: Timeline,
    _rendered: Timeline,
}

fn one_exchange(bench: &Bench, rows: &mut Rows) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("slots", SLOTS);
    rows.parameter("bytes", SLOT);
    let exports = Exports::new(&gpu.device);
    let info = ExchangeInfo { name: "exchange", slots: SLOTS, timeout: LIMIT, ..Default::default() };
    let spec = BufferSpec::<u8>::new(usize::try_from(SLOT)?, ACCESSES);
    let times = alternate(&bench.profile, bench.profile.rounds, 2, |way| match way {
        0 => timed(1, || Ok(Exchange::new(&gpu.compute, &info, spec.clone())?)),
        _ => timed(1, || {
            let buffer = || shared::SharedBuffer::new(gpu, &exports, SLOT, ACCESSES);
            Ok(ByHand {
                _buffers: (0..SLOTS).map(|_| buffer()).collect::<Result<_>>()?,
                _computed: Timeline::new(gpu, &exports)?,
                _rendered: Timeline::new(gpu, &exports)?,
            })
        }),
    })?;
    let what = format!("exchange of {SLOTS} slots of {}", bytes(SLOT));
    report(rows, gpu, &times, [format!("{what}: make"), format!("{what}: drop")])
}

fn report(rows: &mut Rows, gpu: &Gpu, times: &[Vec<Times>], what: [String; 2]) -> Result<()> {
    let [ours, raw] = times else { anyhow::bail!("two ways were measured") };
    let name = if gpu.is_cuda() { RAW } else { "raw calls, Vulkan alone" };
    let [made, dropped] = what;
    for (part, what, of) in
        [("make", made, (|times| times.made) as fn(&Times) -> f64), ("drop", dropped, |times| times.dropped)]
    {
        let [ours, raw] = [ours, raw].map(|times| times.iter().map(of).collect::<Vec<_>>());
        rows.lower(part, what, "µs", &ours, &[Samples::rival(name, &raw)], None)?;
    }
    Ok(())
}
