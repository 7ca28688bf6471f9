//! A frame whose image the CPU writes and of which Vulkan copies a corner: through an exchange on
//! the CPU backend, compared with a staging buffer and the same copies by hand. The parameter
//! `staged` says whether the exchange stages the image too, or maps it. In `host_image/staged`, it
//! stages it on every device.
#![allow(unsafe_code)] // Records and submits.

use std::cell::Cell;

use anyhow::{Context, Result, bail, ensure};
use bridge::ash::vk;
use bridge::cuda_import::half::f16;
use bridge::{Backend, Compute, Exchange, ExchangeInfo, ExportDevice, ImageAccess, ImageSpec, RenderTurn, Work};
use bridge_tests::{Linear, device_with};
use vk_local::{LocalBuffer, LocalImage, MemoryLocation};

use super::frames::Frames;
use super::image::{Packed, copy_corner, corner, fill_image, local_image};
use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::LIMIT;
use crate::harness::frames::{FrameLoop, MAX_SMALL_BATCH, compare};
use crate::options::Profile;
use crate::raw::commands::{Commands, submit};
use crate::raw::image::FORMAT;
use crate::raw::shared::Exports;
use crate::raw::timeline::Timeline;
use crate::report::{Goal, Samples};

const SLOTS: usize = 3;
const BY_HAND: &str = "a staging buffer by hand";

type Images = ImageSpec<[f16; 4]>;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let [width, height] = profile.pick([1280, 720], [320, 180]);
    let what =
        format!("frame with an image of {width}x{height} RGBA16F that the processor writes, a corner copied out");
    let own = Case::new(format!("host_image/{width}x{height}"), what.clone(), {
        let what = what.clone();
        move |bench, rows| run(bench, rows, [width, height], &bench.gpu.device, &what)
    });
    let what = format!("{what}, staged");
    let staged = Case::new(format!("host_image/staged/{width}x{height}"), what.clone(), move |bench, rows| {
        // The same device, whose driver seems to have no LINEAR images.
        run(bench, rows, [width, height], &device_with(Linear::Missing, &bench.gpu.device), &what)?;
        ensure!(rows.rows.iter().all(|row| row.parameters.get("staged") == Some(&true.into())), "it was mapped");
        Ok(())
    });
    vec![own, staged]
}

/// Measures the exchange on `device`, which has the same queue as the benchmark's device.
fn run(bench: &Bench, rows: &mut Rows, extent: [u32; 2], device: &ExportDevice, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("width", extent[0]);
    rows.parameter("height", extent[1]);
    rows.parameter("slots", SLOTS);
    let side = Compute::new(device, Backend::Host)?;
    let corners = (0..SLOTS).map(|_| corner(&gpu.device, "shared")).collect::<Result<Vec<_>>>()?;
    let info = ExchangeInfo { name: "host image", slots: SLOTS, timeout: LIMIT, ..Default::default() };
    let spec = Images::new(FORMAT, extent, ImageAccess::TRANSFER_READ);
    let staged = Cell::new(false);
    let record = |turn: &RenderTurn<Images>, commands| {
        let image = turn.resources();
        staged.set(image.is_staged());
        copy_corner(&gpu.device, commands, (image.as_raw(), image.layout()), &corners[turn.slot()]);
    };
    let mut ours = Frames::on(&side, &info, spec, write, record)?.blocking();
    rows.parameter("staged", staged.get());
    let mut by_hand = Staging::new(gpu, extent)?;
    let costs = compare(&bench.profile, MAX_SMALL_BATCH, &mut [&mut ours, &mut by_hand])?;
    let [ours, by_hand] = &costs[..] else { bail!("two loops were measured") };
    rows.lower("wall", what, "µs", &ours.wall, &[Samples::rival(BY_HAND, &by_hand.wall)], Some(Goal::times(1.5)))
}

fn write(exchange: &mut Exchange<Images>) -> Result<RenderTurn<Images>> {
    let mut turn = exchange.begin()?;
    let value = turn.frame() as u16;
    let Work::Host(host) = turn.work() else { bail!("the CPU backend was opened") };
    host.run(move |mut image| image.rows_mut().for_each(|row| row.fill([f16::from_bits(value); 4])))?;
    Ok(turn.finish()?)
}

/// Frames by hand: the calling thread fills mapped memory, and Vulkan copies it into an image.
/// Dropping this value waits for the frames.
struct Staging<'g> {
    // Field order is drop order: resources that frames use are dropped before their parents.
    slots: Vec<Slot>,
    commands: Commands,
    rendered: Timeline,
    frames: u64,
    device: &'g ExportDevice,
}

struct Slot {
    staging: LocalBuffer,
    // Used by the commands.
    _image: LocalImage,
    _corner: LocalBuffer,
}

impl<'g> Staging<'g> {
    fn new(gpu: &'g Gpu, extent: [u32; 2]) -> Result<Self> {
        let device = &gpu.device;
        let commands = Commands::new(device, device.queue(), SLOTS)?;
        let size = u64::from(extent[0]) * u64::from(extent[1]) * size_of::<Packed>() as u64;
        let slot = |index| {
            let usage = vk::BufferUsageFlags::TRANSFER_SRC;
            let staging = LocalBuffer::new(device, "staging", size, usage, MemoryLocation::CpuToGpu)?;
            let (image, corner) = (local_image(device, extent)?, corner(device, "by hand")?);
            let record = |commands| {
                fill_image(device, commands, staging.as_raw(), &image);
                copy_corner(device, commands, (image.as_raw(), vk::ImageLayout::TRANSFER_SRC_OPTIMAL), &corner);
            };
            // SAFETY: not submitted yet.
            unsafe { commands.record(index, vk::CommandBufferUsageFlags::empty(), record) }?;
            anyhow::Ok(Slot { staging, _image: image, _corner: corner })
        };
        Ok(Self {
            slots: (0..SLOTS).map(slot).collect::<Result<_>>()?,
            commands,
            rendered: Timeline::new(gpu, &Exports::new(device))?,
            frames: 0,
            device,
        })
    }
}

impl FrameLoop for Staging<'_> {
    fn frame(&mut self) -> Result<()> {
        let index = (self.frames % SLOTS as u64) as usize;
        let value = self.frames + 1;
        if let Some(before) = value.checked_sub(SLOTS as u64).filter(|value| *value > 0) {
            self.rendered.wait(before)?;
        }
        let slot = self.slots.get_mut(index).context("no such slot")?;
        // SAFETY: the last frame of the slot has been waited for.
        let bytes = unsafe { slot.staging.bytes_mut() }.context("staging memory is not mapped")?;
        let texel = [value as u16; 4];
        bytemuck::try_cast_slice_mut(bytes).map_err(anyhow::Error::msg)?.fill(texel);
        let signal = self.rendered.info(value, vk::PipelineStageFlags2::ALL_COMMANDS);
        let (queue, commands) = (self.device.queue(), [self.commands.get(index)?]);
        // SAFETY: recorded for this queue; the resources of the commands are dropped after a drain;
        // the values increase.
        unsafe { submit(self.device, queue, None, &commands, Some(signal), vk::Fence::null()) }?;
        self.frames = value;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.rendered.wait(self.frames)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.drain() {
            eprintln!("warning: frames by hand may still be running: {error:#}");
        }
    }
}
