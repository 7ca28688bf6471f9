//! A frame of the particle demo without interop: from CUDA to pinned host memory, and from there to
//! Vulkan.
//!
//! This is an optimized implementation: two streams, so that copying overlaps with computing;
//! pinned memory from which Vulkan copies directly if it can (`VK_EXT_external_memory_host`);
//! several frames in flight; and Vulkan one frame behind, so that the host waits for a copy while
//! the next frame is computed.
#![allow(unsafe_code)] // Vulkan and driver calls.

use std::ffi::c_void;

use anyhow::{Context, Result, bail, ensure};
use bridge::ExportDevice;
use bridge::ash::{ext, vk};
use bridge::cuda_import::cudarc::driver::sys;
use bridge_examples::gpu::output::Wanted;
use bridge_examples::particles::compute::{BLOCK, KERNELS};
use bridge_examples::particles::render::{Points, Renderer};
use bridge_examples::particles::scene::Step;
use vk_local::{LocalBuffer, MemoryLocation};

use super::show::{SLOTS, Show};
use crate::gpu::Gpu;
use crate::harness::frames::FrameLoop;
use crate::raw::commands::submit;
use crate::raw::cuda::{DeviceMemory, Event, Kernel, Module, Pinned, Stream, check};
use crate::raw::host_memory::{Imported, alignment};
use crate::raw::shared::Exports;
use crate::raw::timeline::Timeline;

/// Frames that are copied through the host.
pub(super) struct Staged<'s> {
    renderer: Renderer,
    vertices: LocalBuffer,
    slots: Vec<Slot>,
    rendered: Timeline,
    bodies: DeviceMemory,
    encounter: Kernel,
    compute: Stream,
    copy: Stream,
    /// The frame that is computed and will be drawn next.
    pending: Option<u64>,
    frames: u64,
    show: &'s Show,
    device: ExportDevice,
    _module: Module,
}

struct Slot {
    computed: DeviceMemory,
    at: Event,
    copied: Event,
    // Declared before the memory, which it may refer to.
    upload: Upload,
    pinned: Pinned,
}

/// The source of Vulkan's copy.
enum Upload {
    /// The pinned memory itself.
    Imported(Imported),
    /// Memory allocated by Vulkan, which the host fills.
    Filled(LocalBuffer),
}

impl<'s> Staged<'s> {
    pub(super) fn new(gpu: &Gpu, show: &'s Show) -> Result<Self> {
        let cuda = gpu.cuda()?;
        let device = &gpu.device;
        let module = Module::load(cuda, KERNELS)?;
        let bytes: &[u8] = bytemuck::cast_slice(&show.bodies);
        let bodies = DeviceMemory::new(cuda, bytes.len() as u64)?;
        bodies.write(bytes)?;
        let importable = gpu.has(ext::external_memory_host::NAME);
        let slot = || {
            let size = if importable { show.bytes().next_multiple_of(alignment(device)) } else { show.bytes() };
            let pinned = Pinned::new(cuda, size)?;
            let imported = match importable {
                // SAFETY: the slot drops the buffer before the memory.
                true => unsafe { Imported::new(device, pinned.as_ptr(), size) },
                false => Err(anyhow::anyhow!("{:?} is not there", ext::external_memory_host::NAME)),
            };
            let upload = match imported {
                Ok(imported) => Upload::Imported(imported),
                Err(error) => {
                    eprintln!("\nstaging through memory of Vulkan's own: {error:#}");
                    let usage = vk::BufferUsageFlags::TRANSFER_SRC;
                    let location = MemoryLocation::CpuToGpu;
                    Upload::Filled(LocalBuffer::new(device, "staging", show.bytes(), usage, location)?)
                }
            };
            let computed = DeviceMemory::new(cuda, show.bytes())?;
            anyhow::Ok(Slot {
                computed,
                at: Event::plain(cuda.device().context())?,
                copied: Event::plain(cuda.device().context())?,
                upload,
                pinned,
            })
        };
        let usage = vk::BufferUsageFlags::VERTEX_BUFFER | vk::BufferUsageFlags::TRANSFER_DST;
        Ok(Self {
            renderer: show.renderer(device, SLOTS)?,
            vertices: LocalBuffer::new(device, "vertices", show.bytes(), usage, MemoryLocation::GpuOnly)?,
            slots: (0..SLOTS).map(|_| slot()).collect::<Result<_>>()?,
            rendered: Timeline::new(gpu, &Exports::new(device))?,
            bodies,
            encounter: module.kernel(c"encounter")?,
            compute: Stream::new(cuda)?,
            copy: Stream::new(cuda)?,
            pending: None,
            frames: 0,
            show,
            device: device.clone(),
            _module: module,
        })
    }

    /// Returns a description.
    pub(super) fn name(&self) -> &'static str {
        match self.slots.first().map(|slot| &slot.upload) {
            Some(Upload::Imported(_)) => "staging through pinned memory",
            _ => "staging through pinned memory, copied by the host",
        }
    }

    fn slot(&self, frame: u64) -> usize {
        (frame % SLOTS as u64) as usize
    }

    /// Computes frame `frame` and copies it to the host; does not wait for either.
    fn compute(&self, frame: u64) -> Result<()> {
        let slot = &self.slots[self.slot(frame)];
        let Step::Encounter(step) = self.show.step(frame) else { bail!("the demo shows galaxies here") };
        let (mut step, mut count) = (*step, self.show.count());
        let (mut particles, mut bodies) = (slot.computed.as_raw(), self.bodies.as_raw());
        let arguments: [*mut c_void; 4] =
            [(&raw mut particles).cast(), (&raw mut bodies).cast(), (&raw mut count).cast(), (&raw mut step).cast()];
        // SAFETY: the kernel's four parameters, of these types: `count` particles, as many bodies,
        // and the step, whose size both sources assert. The slot's last copy has been waited for.
        unsafe { self.encounter.launch(self.compute.as_raw(), count.div_ceil(BLOCK), BLOCK, arguments) }?;
        slot.at.record(self.compute.as_raw())?;
        slot.at.hold(self.copy.as_raw())?;
        let size = usize::try_from(self.show.bytes())?;
        // SAFETY: both hold `size` bytes and live until the stream is done.
        let code = unsafe {
            sys::cuMemcpyDtoHAsync_v2(slot.pinned.as_ptr().cast(), slot.computed.as_raw(), size, self.copy.as_raw())
        };
        check("cuMemcpyDtoHAsync", code)?;
        slot.copied.record(self.copy.as_raw())
    }

    /// Waits for frame `frame` on the host, and submits its upload and its drawing.
    fn draw(&mut self, frame: u64) -> Result<()> {
        let index = self.slot(frame);
        let slot = &mut self.slots[index];
        slot.copied.spin()?;
        let from = match &mut slot.upload {
            Upload::Imported(imported) => imported.as_raw(),
            Upload::Filled(buffer) => {
                let size = usize::try_from(self.show.bytes())?;
                ensure!(size <= slot.pinned.size(), "the pinned memory is too small");
                // SAFETY: `size` bytes, written by the copy that was waited for above.
                let bytes = unsafe { std::slice::from_raw_parts(slot.pinned.as_ptr(), size) };
                // SAFETY: the frame that copied out of this slot's buffer is done before the slot
                // is filled again.
                let staging = unsafe { buffer.bytes_mut() };
                staging.context("staging memory is not mapped")?.copy_from_slice(bytes);
                buffer.as_raw()
            }
        };
        let points = Uploaded {
            slot: index,
            from,
            to: self.vertices.as_raw(),
            size: self.show.bytes(),
            count: self.show.count(),
            device: &self.device,
        };
        // SAFETY: `frame` waited for the slot's last frame.
        let commands = unsafe { self.renderer.record(&points, self.show.view(frame), Wanted::default()) }?;
        let signal = self.rendered.info(frame + 1, vk::PipelineStageFlags2::ALL_COMMANDS);
        // SAFETY: recorded for this queue; its resources are freed after a drain; the values
        // increase.
        unsafe { submit(&self.device, self.device.queue(), None, &[commands], Some(signal), vk::Fence::null()) }
    }
}

impl FrameLoop for Staged<'_> {
    fn frame(&mut self) -> Result<()> {
        let frame = self.frames;
        if let Some(before) = (frame + 1).checked_sub(SLOTS as u64) {
            self.rendered.wait(before)?;
        }
        self.compute(frame)?;
        self.frames += 1;
        match self.pending.replace(frame) {
            Some(before) => self.draw(before),
            None => Ok(()),
        }
    }

    fn drain(&mut self) -> Result<()> {
        if let Some(last) = self.pending.take() {
            self.draw(last)?;
        }
        self.rendered.wait(self.frames)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.drain().and_then(|()| self.compute.finish()).and_then(|()| self.copy.finish()) {
            eprintln!("warning: frames by way of the host may still be running: {error:#}");
        }
    }
}

/// Particles that the frame uploads before it draws them.
struct Uploaded<'d> {
    slot: usize,
    from: vk::Buffer,
    to: vk::Buffer,
    size: u64,
    count: u32,
    device: &'d ExportDevice,
}

impl Points for Uploaded<'_> {
    fn slot(&self) -> usize {
        self.slot
    }

    fn buffer(&self) -> vk::Buffer {
        self.to
    }

    fn count(&self) -> u32 {
        self.count
    }

    unsafe fn record_before(&self, commands: vk::CommandBuffer) {
        use vk::{AccessFlags2 as Access, PipelineStageFlags2 as Stage};
        let barrier = |from: (Stage, Access), to: (Stage, Access)| {
            let barriers = [vk::MemoryBarrier2::default()
                .src_stage_mask(from.0)
                .src_access_mask(from.1)
                .dst_stage_mask(to.0)
                .dst_access_mask(to.1)];
            let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
            // SAFETY: the caller guarantees that `commands` is recording.
            unsafe { self.device.cmd_pipeline_barrier2(commands, &dependency) };
        };
        let copied = (Stage::ALL_TRANSFER, Access::TRANSFER_WRITE);
        // The previous frame may still be drawing.
        barrier((Stage::VERTEX_INPUT, Access::NONE), copied);
        let regions = [vk::BufferCopy::default().size(self.size)];
        // SAFETY: recording; VUID-vkCmdCopyBuffer-size-00115, -00116: both buffers hold `size`
        // bytes.
        unsafe { self.device.as_raw().cmd_copy_buffer(commands, self.from, self.to, &regions) };
        barrier(copied, (Stage::VERTEX_INPUT, Access::VERTEX_ATTRIBUTE_READ));
    }

    unsafe fn record_after(&self, _: vk::CommandBuffer) {}
}
