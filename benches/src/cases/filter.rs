//! A filter between drawing and showing, at 4K: the time that the filter and the hand-overs to and
//! from its kernel add to a frame.
#![allow(unsafe_code)] // Records, submits and launches.

use anyhow::{Context, Result, bail};
use bridge::ash::vk;
use bridge::half::f16;
use bridge::{
    Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Kernel, LaunchConfig, RenderFirst, TimelinePoint,
    TwinImage,
};

use super::inline::sides;
use super::{Bench, Case, Rows};
use crate::harness::frames::{FrameLoop, MAX_SMALL_BATCH, batch_size, walls};
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::raw::blits::{Alone, Blits, FORMAT};
use crate::raw::commands::Commands;
use crate::raw::cuda::Module;
use crate::report::{Better, Bounded, Goal, Samples};

const STREAM: &str = "on a CUDA stream";

type Image = ImageSpec<[f16; 4]>;
type Texels = TwinImage<[f16; 4]>;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let slots: &[usize] = profile.pick(&[1, 2, 3], &[1]);
    let of = |slots: usize| {
        let plural = if slots == 1 { "" } else { "s" };
        let what = format!("frame of 3840x2160 half floats: drawn, filtered by a kernel, shown, {slots} slot{plural}");
        Case::new(format!("inline/filter/{slots}"), what.clone(), move |bench, rows| run(bench, rows, slots, &what))
    };
    slots.iter().copied().map(of).collect()
}

fn run(bench: &Bench, rows: &mut Rows, slots: usize, what: &str) -> Result<()> {
    rows.parameter("slots", slots);
    let (inline, cuda) = sides(bench)?;
    let size = bench.profile.pick([3840, 2160], [640, 360]);
    let mut ours = Filtered::new(&inline, size, slots)?;
    let mut stream = Filtered::new(&cuda, size, slots)?;
    let mut alone = Alone::new(&bench.gpu.device, size, slots)?;
    let mut loops: [&mut dyn FrameLoop; 3] = [&mut ours, &mut stream, &mut alone];
    let frames = batch_size(bench.profile.slice, MAX_SMALL_BATCH, &mut loops)?;
    let costs = walls(&bench.profile, bench.profile.rounds, &frames, &mut loops)?;
    let [inline, cuda, alone] = &costs[..] else { bail!("three loops were measured") };
    let others = [Samples::rival(STREAM, cuda), Samples::comparison("drawn and shown alone", alone)];
    rows.lower("wall", format!("{what}, in the Vulkan queue"), "µs", inline, &others, None)?;
    let over = |of: &[f64]| of.iter().zip(alone).map(|(frame, alone)| frame - alone).collect::<Vec<_>>();
    let goal = Goal { of: Bounded::Value, bound: 60.0, better: Better::Lower, strict: false };
    let what = format!("{what}: what the filter in the Vulkan queue adds");
    rows.lower("added", what, "µs", &over(inline), &[Samples::rival(STREAM, &over(cuda))], Some(goal))
}

/// Frames that Vulkan draws, a kernel filters and Vulkan shows.
struct Filtered {
    // Field order is drop order: dropping the exchanges waits for the frames, which use the fields
    // after them.
    scene: Exchange<Image, RenderFirst>,
    picture: Exchange<Image>,
    kernel: Kernel,
    drawn: Recorded,
    shown: Recorded,
    blits: Blits,
    config: LaunchConfig,
    size: [u32; 2],
    last: Option<TimelinePoint>,
}

/// A command buffer for each slot, recorded at its first use.
struct Recorded(Commands, Vec<bool>);

impl Recorded {
    /// # Safety
    /// The recorded commands of a slot must be valid to submit repeatedly.
    unsafe fn get(&mut self, slot: usize, record: impl FnOnce(vk::CommandBuffer)) -> Result<vk::CommandBuffer> {
        let recorded = self.1.get_mut(slot).context("no such slot")?;
        if !*recorded {
            // SAFETY: not submitted yet; the caller guarantees the rest.
            unsafe { self.0.record(slot, vk::CommandBufferUsageFlags::SIMULTANEOUS_USE, record) }?;
            *recorded = true;
        }
        self.0.get(slot)
    }
}

impl Filtered {
    fn new(compute: &Compute, size: [u32; 2], slots: usize) -> Result<Self> {
        let info = |name| ExchangeInfo { name, slots, timeout: LIMIT, ..Default::default() };
        let spec = |accesses| Image::new(FORMAT, size, accesses);
        let device = compute.device();
        let recorded =
            || Ok::<_, anyhow::Error>(Recorded(Commands::new(device, device.queue(), slots)?, vec![false; slots]));
        Ok(Self {
            scene: Exchange::render_first(compute, &info("scene"), spec(ImageAccess::TRANSFER_WRITE))?,
            picture: Exchange::new(compute, &info("picture"), spec(ImageAccess::TRANSFER_READ))?,
            kernel: compute
                .load("bench", Module::BENCH)?
                // The CPU implementation, for tests without a GPU.
                .with_twin::<(Texels, Texels, u32, u32)>("exchange_channels", |_, (mut to, mut from, ..)| {
                    for (to, from) in to.rows_mut().zip(from.rows_mut()) {
                        to.iter_mut().zip(from).for_each(|(to, [r, g, b, a])| *to = [*b, *g, *r, *a]);
                    }
                })?
                .kernel("exchange_channels")?,
            drawn: recorded()?,
            shown: recorded()?,
            blits: Blits::new(device, size)?,
            config: LaunchConfig::new([size[0].div_ceil(32), size[1].div_ceil(8), 1], [32, 8, 1]),
            size,
            last: None,
        })
    }
}

impl FrameLoop for Filtered {
    fn frame(&mut self) -> Result<()> {
        let (blits, [width, height]) = (&self.blits, self.size);
        let turn = self.scene.begin()?;
        let record = |commands| {
            let image = turn.resources();
            // SAFETY: recording, for the exchange's queue; valid with every turn of the slot, whose
            // barriers are the same.
            unsafe { turn.record_acquire(commands) };
            blits.draw(commands, image.as_raw(), image.layout());
            // SAFETY: as above.
            unsafe { turn.record_release(commands) };
        };
        // SAFETY: as above.
        let commands = unsafe { self.drawn.get(turn.slot(), record) }?;
        // SAFETY: recorded for this slot, with its barriers; outlives the frames, which the
        // exchange waits for.
        let mut scene = unsafe { turn.submit(&[commands]) }?;
        let mut picture = self.picture.begin()?;
        {
            let (from, to) = (scene.work().kernels()?, picture.work().kernels()?);
            let (source, target) = (from.resources.surface(0)?, to.resources.surface(0)?);
            // SAFETY: two surfaces of the turns' own images, and their width and height, within
            // which the kernel stays.
            unsafe { to.launch(&self.kernel, &self.config, (target, source, width, height)) }?;
        }
        scene.finish()?;
        let turn = picture.finish()?;
        let record = |commands| {
            let image = turn.resources();
            // SAFETY: as for the scene.
            unsafe { turn.record_acquire(commands) };
            blits.show(commands, image.as_raw(), image.layout());
            // SAFETY: as above.
            unsafe { turn.record_release(commands) };
        };
        // SAFETY: as for the scene.
        let commands = unsafe { self.shown.get(turn.slot(), record) }?;
        // SAFETY: recorded for this slot, as for the scene.
        self.last = Some(unsafe { turn.submit(&[commands]) }?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        spin_until("the last frame", || Ok(last.is_reached()?))
    }
}

#[cfg(test)]
mod tests {
    use bridge::Backend;
    use bridge_tests::Rig;

    use super::*;

    /// The frames cause no validation messages; they run on the CPU, with the kernel's CPU
    /// implementation.
    #[test]
    fn frames_are_drawn_filtered_and_shown() {
        let rig = Rig::open();
        let compute = Compute::new(rig.device(), Backend::Host).unwrap();
        for slots in 1..=3 {
            let mut filtered = Filtered::new(&compute, [64, 36], slots).unwrap();
            let mut alone = Alone::new(rig.device(), [64, 36], slots).unwrap();
            for frames in [1, 7] {
                for one in [&mut filtered as &mut dyn FrameLoop, &mut alone] {
                    (0..frames).for_each(|_| one.frame().unwrap());
                    one.drain().unwrap();
                }
            }
        }
    }
}
