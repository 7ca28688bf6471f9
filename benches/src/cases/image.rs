//! A frame whose image the compute side writes and of which Vulkan copies a corner: shared,
//! compared with the same calls by hand and with a shared buffer that Vulkan copies into its own
//! image.
#![allow(unsafe_code)] // Records, and launches kernels.

use anyhow::{Context, Result, bail};
use bridge::ash::vk;
use bridge::cuda_import::half::f16;
use bridge::{
    BufferAccess, BufferSpec, Exchange, ExchangeInfo, ExportDevice, ImageAccess, ImageSpec, RenderTurn, Work,
};
use vk_local::{LocalBuffer, LocalImage, LocalImageInfo, MemoryLocation};

use super::frames::Frames;
use super::{Bench, Case, Rows};
use crate::harness::LIMIT;
use crate::harness::frames::{FrameCosts, FrameLoop, MAX_BATCH, compare};
use crate::options::Profile;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::image::{FORMAT, Target, paint};
use crate::raw::image_ring::ImageRing;
use crate::report::{Goal, RAW, Samples};

const SLOTS: usize = 3;
/// Width and height of the corner that Vulkan copies, in texels.
const CORNER: u32 = 128;
/// A texel as an element of the buffer: 8 bytes.
pub(super) type Packed = u64;

type Images = ImageSpec<[f16; 4]>;
type Buffers = BufferSpec<Packed>;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let [width, height] = profile.pick([3840, 2160], [320, 180]);
    let what = format!("frame with an image of {width}x{height} RGBA16F, all of it written, a corner copied out");
    let name = format!("image/{width}x{height}");
    vec![Case::new(name, what.clone(), move |bench, rows| run(bench, rows, [width, height], &what))]
}

fn run(bench: &Bench, rows: &mut Rows, extent: [u32; 2], what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("width", extent[0]);
    rows.parameter("height", extent[1]);
    rows.parameter("slots", SLOTS);
    let module = gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = |name| module.as_ref().map(|module| module.kernel(name)).transpose();
    let info = ExchangeInfo { name: "image", slots: SLOTS, timeout: LIMIT, ..Default::default() };
    // One per slot and way: frames of different slots may run at the same time.
    let corners = |name| -> Result<Vec<LocalBuffer>> { (0..SLOTS).map(|_| corner(&gpu.device, name)).collect() };
    let (shared_corners, copied_corners, raw_corners) = (corners("shared")?, corners("copied")?, corners("raw")?);

    let paint_image = kernel(c"paint")?;
    let spec = Images::new(FORMAT, extent, ImageAccess::TRANSFER_READ);
    let record = |turn: &RenderTurn<Images>, commands| {
        let image = turn.resources();
        copy_corner(&gpu.device, commands, (image.as_raw(), image.layout()), &shared_corners[turn.slot()]);
    };
    let mut shared = Frames::new(gpu, &info, spec, |exchange| write_image(exchange, paint_image, extent), record)?;

    let images = (0..SLOTS).map(|_| local_image(&gpu.device, extent)).collect::<Result<Vec<_>>>()?;
    let paint_buffer = kernel(c"paint_buffer")?;
    let spec = Buffers::new(extent[0] as usize * extent[1] as usize, BufferAccess::TRANSFER_READ);
    let record = |turn: &RenderTurn<Buffers>, commands| {
        let slot = turn.slot();
        let image = &images[slot];
        fill_image(&gpu.device, commands, turn.resources().as_raw(), image);
        let source = (image.as_raw(), vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
        copy_corner(&gpu.device, commands, source, &copied_corners[slot]);
    };
    let mut copied = Frames::new(gpu, &info, spec, |exchange| write_buffer(exchange, paint_buffer, extent), record)?;

    let record = |slot: usize, image, commands| {
        let source = (image, vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
        copy_corner(&gpu.device, commands, source, &raw_corners[slot]);
    };
    let mut raw = gpu.is_cuda().then(|| ImageRing::new(gpu, SLOTS, extent, record)).transpose()?;

    let mut loops: Vec<&mut dyn FrameLoop> = vec![&mut shared, &mut copied];
    if let Some(raw) = &mut raw {
        loops.push(raw);
    }
    let costs = compare(&bench.profile, MAX_BATCH, &mut loops)?;
    let [shared, copied, raw @ ..] = &costs[..] else { bail!("two loops were measured at least") };
    let raw = raw.first();
    let goal = raw.map(|_| Goal::times(1.02));
    let name = "a shared buffer that Vulkan copies into an image";
    for (part, what, of) in [
        ("wall", what.to_owned(), (|costs| &costs.wall) as fn(&FrameCosts) -> &Vec<f64>),
        ("cpu", format!("{what}: processor time"), |costs| &costs.cpu),
    ] {
        if of(shared).is_empty() {
            continue;
        }
        let raw = raw.map(|raw| Samples::rival(RAW, of(raw)));
        let others: Vec<_> = raw.into_iter().chain([Samples::comparison(name, of(copied))]).collect();
        rows.lower(part, what, "µs", of(shared), &others, goal.filter(|_| part == "wall"))?;
    }
    Ok(())
}

/// The compute side's part of a frame with a shared image.
fn write_image(
    exchange: &mut Exchange<Images>,
    kernel: Option<Kernel>,
    extent: [u32; 2],
) -> Result<RenderTurn<Images>> {
    let mut turn = exchange.begin()?;
    let value = turn.frame() as u16;
    match turn.work() {
        Work::Cuda(cuda) => {
            let target = Target::Surface(cuda.resources.surface(0)?.as_raw());
            // SAFETY: the slot belongs to this turn, and the stream is the turn's; its image has
            // this extent.
            unsafe { paint(kernel.context("no kernel")?, cuda.stream.cu_stream(), target, extent, value) }?;
        }
        Work::Host(host) => {
            host.run(move |mut image| image.rows_mut().for_each(|row| row.fill([f16::from_bits(value); 4])))?;
        }
        _ => bail!("no bench of this backend"),
    }
    Ok(turn.finish()?)
}

/// The compute side's part of a frame with a shared buffer.
fn write_buffer(
    exchange: &mut Exchange<Buffers>,
    kernel: Option<Kernel>,
    extent: [u32; 2],
) -> Result<RenderTurn<Buffers>> {
    let mut turn = exchange.begin()?;
    let value = turn.frame() as u16;
    match turn.work() {
        Work::Cuda(cuda) => {
            let target = Target::Buffer(cuda.resources.as_raw());
            // SAFETY: the slot belongs to this turn, and the stream is the turn's; its buffer has
            // this many texels.
            unsafe { paint(kernel.context("no kernel")?, cuda.stream.cu_stream(), target, extent, value) }?;
        }
        Work::Host(host) => host.run(move |texels| texels.fill(Packed::from(value) * 0x0001_0001_0001_0001))?,
        _ => bail!("no bench of this backend"),
    }
    Ok(turn.finish()?)
}

pub(super) fn corner(device: &ExportDevice, name: &str) -> Result<LocalBuffer> {
    let size = u64::from(CORNER * CORNER) * size_of::<Packed>() as u64;
    Ok(LocalBuffer::new(device, name, size, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuOnly)?)
}

pub(super) fn local_image(device: &ExportDevice, [width, height]: [u32; 2]) -> Result<LocalImage> {
    let info = LocalImageInfo {
        name: "copied",
        format: FORMAT,
        extent: vk::Extent2D { width, height },
        usage: vk::ImageUsageFlags::TRANSFER_DST | vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::SAMPLED,
    };
    Ok(LocalImage::new(device, &info)?)
}

fn region(width: u32, height: u32) -> vk::BufferImageCopy {
    let layers = vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
    vk::BufferImageCopy::default().image_subresource(layers).image_extent(vk::Extent3D { width, height, depth: 1 })
}

/// Records the copy of a corner of an image, which is in `layout`; both resources belong to the
/// slot that is recorded.
pub(super) fn copy_corner(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    (image, layout): (vk::Image, vk::ImageLayout),
    to: &LocalBuffer,
) {
    let regions = [region(CORNER, CORNER)];
    // SAFETY: recording; VUID-vkCmdCopyImageToBuffer-pRegions-00183: the buffer holds the corner;
    // -srcImageLayout-00189: the image is in that layout at this point.
    unsafe { device.as_raw().cmd_copy_image_to_buffer(commands, image, layout, to.as_raw(), &regions) };
}

/// Records the copy of a slot's buffer into its image, which is then in `TRANSFER_SRC_OPTIMAL`.
pub(super) fn fill_image(device: &ExportDevice, commands: vk::CommandBuffer, from: vk::Buffer, to: &LocalImage) {
    use vk::{AccessFlags2 as Access, ImageLayout as Layout};
    let range =
        vk::ImageSubresourceRange::default().aspect_mask(vk::ImageAspectFlags::COLOR).level_count(1).layer_count(1);
    let barrier = |old: (Layout, Access), new: (Layout, Access)| {
        let barriers = [vk::ImageMemoryBarrier2::default()
            .image(to.as_raw())
            .subresource_range(range)
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .dst_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .old_layout(old.0)
            .src_access_mask(old.1)
            .new_layout(new.0)
            .dst_access_mask(new.1)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)];
        let dependency = vk::DependencyInfo::default().image_memory_barriers(&barriers);
        // SAFETY: recording; VUID-VkImageMemoryBarrier2-image-01932: a live image with memory.
        unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
    };
    let written = (Layout::TRANSFER_DST_OPTIMAL, Access::TRANSFER_WRITE);
    // The contents from the slot's last frame are discarded.
    barrier((Layout::UNDEFINED, Access::NONE), written);
    let vk::Extent2D { width, height } = to.extent();
    let regions = [region(width, height)];
    // SAFETY: recording; VUID-vkCmdCopyBufferToImage-pRegions-00171: the buffer holds as many
    // texels as the image.
    unsafe { device.as_raw().cmd_copy_buffer_to_image(commands, from, to.as_raw(), written.0, &regions) };
    barrier(written, (Layout::TRANSFER_SRC_OPTIMAL, Access::TRANSFER_READ));
}
