//! Copies on the bridge's queue run only after the computation of their frame.
//!
//! The plugin shows finished frames only, so its copies never have to wait. Here, a separate
//! exchange submits a frame that a gate holds to the same queue, for a copy into the texture that
//! Bevy shows.

use std::time::Duration;

use ash::vk;
use bevy::asset::RenderAssetUsages;
use bevy::prelude::*;
use bevy::render::RenderApp;
use bevy::render::render_asset::RenderAssets;
use bevy::render::render_resource::{Extent3d, TextureDimension, TextureFormat};
use bevy::render::renderer::RenderDevice;
use bevy::render::texture::GpuImage;
use bevy_vk_cuda::Way;
use bridge::vk_export::ExportDevice;
use bridge::{Compute, Exchange, ImageAccess, ImageSpec, LatestInfo, Newest, QueueKind, RenderRead, TimelinePoint};
use wgpu::hal::api::Vulkan;

use crate::support::gate::Gate;
use crate::support::simulation::{Painter, TEXELS, shows};
use crate::support::*;

type Spec = ImageSpec<[u8; 4]>;

/// A queue of the family that Bevy draws with, because wgpu cannot acquire its texture from another.
const QUEUE: QueueKind = QueueKind::Additional(0);
const LONG: Duration = Duration::from_secs(60);
/// Many times the duration of a copy.
const A_WHILE: Duration = Duration::from_millis(300);
/// The frame that Bevy's texture contains at first.
const FIRST: u32 = 200;
/// The frame that is late.
const LATE: u32 = 100;

/// Copies of frames into a Bevy texture, on the bridge's queue.
struct Copies {
    device: ExportDevice,
    pool: vk::CommandPool,
    target: vk::Image,
}

impl Copies {
    fn new(compute: &Compute, target: vk::Image) -> Self {
        let device = compute.device().clone();
        let queue = device.queue_of(QUEUE).unwrap();
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(queue.family());
        // SAFETY: the family is that of the queue.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }.unwrap();
        Self { device, pool, target }
    }

    fn record(&self, turn: &RenderRead<Spec>) -> vk::CommandBuffer {
        let raw = self.device.as_raw();
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        // SAFETY: from the pool, which only one thread uses.
        let commands = unsafe { raw.allocate_command_buffers(&info) }.unwrap()[0];
        let begin = vk::CommandBufferBeginInfo::default();
        // SAFETY: just allocated.
        unsafe { raw.begin_command_buffer(commands, &begin) }.unwrap();
        // SAFETY: recording, for the queue's family; submitted with the turn.
        unsafe { turn.record_acquire(commands) };
        let (written, shown) = (vk::ImageLayout::TRANSFER_DST_OPTIMAL, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
        self.barrier(commands, vk::ImageLayout::UNDEFINED, written);
        let (slot, layers) = (turn.resources(), vk::ImageSubresourceLayers::default());
        let layers = layers.aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
        let extent = vk::Extent3D { width: TEXELS, height: TEXELS, depth: 1 };
        let region = vk::ImageCopy::default().src_subresource(layers).dst_subresource(layers).extent(extent);
        // SAFETY: both images have this size, and are in these layouts.
        unsafe { raw.cmd_copy_image(commands, slot.as_raw(), slot.layout(), self.target, written, &[region]) };
        // The layout in which wgpu samples the texture.
        self.barrier(commands, written, shown);
        // SAFETY: the command buffer is recording.
        unsafe { raw.end_command_buffer(commands) }.unwrap();
        commands
    }

    fn barrier(&self, commands: vk::CommandBuffer, from: vk::ImageLayout, to: vk::ImageLayout) {
        let range = vk::ImageSubresourceRange::default();
        let barrier = vk::ImageMemoryBarrier::default()
            .image(self.target)
            .subresource_range(range.aspect_mask(vk::ImageAspectFlags::COLOR).level_count(1).layer_count(1))
            .old_layout(from)
            .new_layout(to)
            .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
            .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED);
        let (all, none) = (vk::PipelineStageFlags::ALL_COMMANDS, vk::DependencyFlags::empty());
        // SAFETY: recording; Bevy's queue is idle, and both queues have the same family.
        unsafe { self.device.as_raw().cmd_pipeline_barrier(commands, all, all, none, &[], &[], &[barrier]) };
    }

    /// Submits a copy of the turn's frame, with the turn's wait if `waits`, and otherwise without,
    /// which is wrong on purpose.
    fn submit(&self, turn: RenderRead<Spec>, waits: bool) -> TimelinePoint {
        let commands = self.record(&turn);
        if waits {
            // SAFETY: recorded with the turn's barriers; the pool lives until the queue is idle.
            return unsafe { turn.submit(&[commands]) }.unwrap();
        }
        let turn = turn.lend().unwrap();
        let (infos, signals) =
            ([vk::CommandBufferSubmitInfo::default().command_buffer(commands)], [turn.parts().signal()]);
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
        // SAFETY: wrong on purpose: the waits are missing. Reading texels too early only gives
        // wrong data.
        unsafe { self.device.queue_of(QUEUE).unwrap().submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: the turn was submitted, although without its wait.
        unsafe { turn.submitted() }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // SAFETY: created from this device; each copy was waited for.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}

/// Creates a Bevy texture that the camera sees; returns it with its raw handle.
fn shown_texture(app: &mut App) -> (GpuImage, vk::Image) {
    camera(app);
    let texels = |at: u32| Painter::texel((at % TEXELS) as usize, (at / TEXELS) as usize, FIRST);
    let image = Image::new(
        Extent3d { width: TEXELS, height: TEXELS, depth_or_array_layers: 1 },
        TextureDimension::D2,
        (0..TEXELS * TEXELS).flat_map(texels).collect(),
        TextureFormat::Rgba8UnormSrgb,
        RenderAssetUsages::RENDER_WORLD,
    );
    let handle = app.world_mut().resource_mut::<Assets<Image>>().add(image);
    square(app, handle.clone());
    until(app, "the first picture", |app| shows(app, FIRST));
    let gpu = app.sub_app(RenderApp).world().resource::<RenderAssets<GpuImage>>().get(&handle).unwrap().clone();
    // SAFETY: the texture lives as long as the clone.
    let raw = unsafe { gpu.texture.as_hal::<Vulkan>() }.map(|texture| {
        // SAFETY: the handle is not destroyed.
        unsafe { texture.raw_handle() }
    });
    (gpu, raw.unwrap())
}

fn idle(app: &App) {
    let device = app.sub_app(RenderApp).world().resource::<RenderDevice>();
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
}

/// Returns the frame that Bevy shows for the held one, and the frame that the slot contained
/// before.
fn show_late(app: &mut App, waits: bool) -> (u32, u32) {
    let compute = cuda(app).compute().unwrap().clone();
    let (_texture, target) = shown_texture(app);
    let (painter, copies) = (Painter::new(&cuda(app)), Copies::new(&compute, target));
    let spec = Spec::new(vk::Format::R8G8B8A8_UNORM, [TEXELS; 2], ImageAccess::TRANSFER_READ);
    let info =
        LatestInfo { name: "late", queue: QUEUE, newest: Newest::Published, timeout: LONG, ..Default::default() };
    let (mut writer, mut reader) = Exchange::latest(&compute, &info, spec).unwrap();
    let mut held = vec![0; writer.slots()];
    idle(app);
    for frame in 1..=writer.slots() as u32 {
        let mut turn = writer.begin().unwrap();
        painter.paint_work(turn.work(), TEXELS, frame);
        turn.publish().unwrap();
        let turn = reader.newest().unwrap().unwrap();
        held[turn.slot()] = frame;
        copies.submit(turn, true).wait(LONG).unwrap();
    }
    assert!(held.iter().all(|frame| *frame > 0), "a slot was left out: {held:?}");
    let mut turn = writer.begin().unwrap();
    let before = held[turn.slot()];
    let gate = Gate::hold(turn.work());
    painter.paint_work(turn.work(), TEXELS, LATE);
    let computed = turn.publish().unwrap();
    let turn = reader.newest().unwrap().unwrap();
    assert!(turn.is_new());
    let copied = copies.submit(turn, waits);
    if waits {
        // The wait of a queue cannot be observed directly, but a copy without the wait would
        // complete much earlier.
        assert!(copied.wait(A_WHILE).is_err() && !copied.is_reached().unwrap(), "the copy did not wait");
        assert!(!computed.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        copied.wait(LONG).unwrap();
    } else {
        copied.wait(LONG).unwrap();
        assert!(!computed.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        computed.wait(LONG).unwrap();
    }
    let mut shown = None;
    until(app, "the copied frame", |app| {
        shown = [LATE, before].into_iter().find(|frame| shows(app, *frame));
        shown.is_some()
    });
    writer.close(reader).unwrap();
    (shown.unwrap(), before)
}

/// Returns the apps in which a queue of the bridge makes the copies.
fn apps() -> impl Iterator<Item = App> {
    ways().into_iter().map(app).filter(|app| cuda(app).way() != Way::Upload)
}

#[test]
fn a_copy_waits_for_a_frame_that_is_late() {
    let _alone = alone();
    for mut app in apps() {
        assert_eq!(show_late(&mut app, true).0, LATE);
    }
    assert_eq!(errors(), [""; 0]);
}

/// Negative control of the test above.
#[test]
fn without_its_wait_a_stale_frame_is_copied_and_shown() {
    let _alone = alone();
    for mut app in apps() {
        let (shown, before) = show_late(&mut app, false);
        assert_eq!(shown, before, "it has to be the frame that the slot held");
    }
    assert_eq!(errors(), [""; 0]);
}
