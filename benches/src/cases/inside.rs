//! The GPU cost of a hand-over between a kernel and drawing within one command buffer of the Vulkan
//! queue.
#![allow(unsafe_code)] // Records launches and rendering.

use anyhow::{Context, Result, bail};
use bridge::ExportDevice;
use bridge::ash::vk;
use bridge::vk_export::{Buffer, BufferInfo, Kernel, KernelModule, LaunchConfig, Placement, Ptx};
use vk_local::{LocalImage, LocalImageInfo};

use super::{Bench, Case, Rows};
use crate::harness::rounds::alternate;
use crate::harness::{LIMIT, Skip};
use crate::options::Profile;
use crate::raw::cuda::Module;
use crate::raw::inside::Inside;
use crate::report::{Better, Bounded, Goal, Samples};

/// Number of kernels, passes, or pairs of them in a command buffer.
const COUNT: u32 = 64;
/// Width and height of the image that is drawn to.
const SIDE: u32 = 64;

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let what = "a kernel and a render pass, alternating in one command buffer";
    vec![Case::new("inline/inside", what, move |bench, rows| run(bench, rows, what))]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kernels,
    Passes,
    Pairs,
}

fn run(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    rows.parameter("count", COUNT);
    let device = &bench.gpu.device;
    if !device.has_cuda_kernels() {
        return Skip::because(format!("{} runs no CUDA kernels in its command buffers", device.name()));
    }
    let (inside, work) = (Inside::new(device)?, Work::new(device)?);
    let ways = [Way::Kernels, Way::Passes, Way::Pairs];
    let samples = alternate(&bench.profile, bench.profile.rounds, ways.len(), |way| {
        let way = *ways.get(way).context("no such way")?;
        let mut failed = Ok(());
        let record = |commands| failed = work.record(commands, way);
        // SAFETY: `record` satisfies the Valid Usage of the main queue; `work` lives until the
        // commands have run.
        let took = unsafe { inside.time(record) }?;
        failed.map(|()| took / f64::from(COUNT))
    })?;
    let [kernels, passes, pairs] = &samples[..] else { bail!("three ways were measured") };
    let others =
        [Samples::comparison("a kernel and a barrier", kernels), Samples::comparison("a pass and a barrier", passes)];
    rows.lower("pair", format!("{what}: the two"), "µs", pairs, &others, None)?;
    let added = pairs.iter().zip(kernels.iter().zip(passes)).map(|(pair, (kernel, pass))| pair - kernel - pass);
    let goal = Goal { of: Bounded::Value, bound: 2.0, better: Better::Lower, strict: false };
    let what = format!("{what}: hand-over, beyond as many of each alone");
    rows.lower("handover", what, "µs", &added.collect::<Vec<_>>(), &[], Some(goal))
}

/// A kernel that writes a word, and an image that is cleared as a color attachment.
struct Work {
    // Field order is drop order: all commands have been waited for.
    kernel: Kernel,
    word: Buffer,
    image: LocalImage,
    device: ExportDevice,
}

/// The stages and accesses on one side of a barrier.
type Use = (vk::PipelineStageFlags2, vk::AccessFlags2);

const KERNEL: Use = (vk::PipelineStageFlags2::COMPUTE_SHADER, vk::AccessFlags2::SHADER_STORAGE_WRITE);
const PASS: Use = (vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT, vk::AccessFlags2::COLOR_ATTACHMENT_WRITE);

impl Work {
    fn new(device: &ExportDevice) -> Result<Self> {
        let kernel = KernelModule::new(device, "bench", &Ptx::new(Module::BENCH)?)?.kernel("touch")?;
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
        let info = BufferInfo { name: "word", size: 256, usage, placement: Placement::DeviceLocal };
        let info_of_image = LocalImageInfo {
            name: "drawn",
            format: vk::Format::R8G8B8A8_UNORM,
            extent: vk::Extent2D { width: SIDE, height: SIDE },
            usage: vk::ImageUsageFlags::COLOR_ATTACHMENT,
        };
        let work = Self {
            kernel,
            word: Buffer::new(device, &info)?,
            image: LocalImage::new(device, &info_of_image)?,
            device: device.clone(),
        };
        let to_attachment = |commands| {
            let barrier = [vk::ImageMemoryBarrier2::default()
                .image(work.image.as_raw())
                .subresource_range(vk::ImageSubresourceRange {
                    aspect_mask: vk::ImageAspectFlags::COLOR,
                    level_count: 1,
                    layer_count: 1,
                    ..Default::default()
                })
                .dst_stage_mask(PASS.0)
                .dst_access_mask(PASS.1)
                .new_layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)
                .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)];
            let dependency = vk::DependencyInfo::default().image_memory_barriers(&barrier);
            // SAFETY: recording, outside of rendering.
            unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
        };
        // SAFETY: the image lives until the commands have run.
        unsafe { device.run_once(device.queue(), "layout", LIMIT, to_attachment) }?;
        Ok(work)
    }

    fn record(&self, commands: vk::CommandBuffer, way: Way) -> Result<()> {
        for value in 0..COUNT {
            if way != Way::Passes {
                self.launch(commands, value)?;
                self.barrier(commands, KERNEL, if way == Way::Pairs { PASS } else { KERNEL });
            }
            if way != Way::Kernels {
                self.pass(commands);
                self.barrier(commands, PASS, if way == Way::Pairs { KERNEL } else { PASS });
            }
        }
        Ok(())
    }

    fn launch(&self, commands: vk::CommandBuffer, value: u32) -> Result<()> {
        let address = self.word.device_address().context("a buffer without an address")?;
        let mut args = [0; 12];
        args[..8].copy_from_slice(&address.to_ne_bytes());
        args[8..].copy_from_slice(&value.to_ne_bytes());
        let config = LaunchConfig::new([1; 3], [32, 1, 1]);
        // SAFETY: recording, outside of rendering; the kernel's two parameters, and it writes one
        // word.
        Ok(unsafe { self.kernel.record(commands, &config, &args) }?)
    }

    fn pass(&self, commands: vk::CommandBuffer) {
        let color = [vk::RenderingAttachmentInfo::default()
            .image_view(self.image.view())
            .image_layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)];
        let area = vk::Rect2D { offset: vk::Offset2D::default(), extent: self.image.extent() };
        let info = vk::RenderingInfo::default().render_area(area).layer_count(1).color_attachments(&color);
        // SAFETY: recording; the device has dynamic rendering, and the image is in this layout.
        unsafe { self.device.as_raw().cmd_begin_rendering(commands, &info) };
        // SAFETY: begun above.
        unsafe { self.device.as_raw().cmd_end_rendering(commands) };
    }

    fn barrier(&self, commands: vk::CommandBuffer, from: Use, to: Use) {
        let barrier = [vk::MemoryBarrier2::default()
            .src_stage_mask(from.0)
            .src_access_mask(from.1)
            .dst_stage_mask(to.0)
            .dst_access_mask(to.1)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
        // SAFETY: recording, outside of rendering.
        unsafe { self.device.cmd_pipeline_barrier2(commands, &dependency) };
    }
}
