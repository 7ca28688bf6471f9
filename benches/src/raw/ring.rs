//! Frames by hand: slots of shared buffers that alternate between CUDA and a Vulkan queue.
//!
//! A frame consists of the same work as with the bridge: the stream waits for the slot, a kernel
//! writes to it, and the stream signals; one submission waits for that signal, runs the barriers,
//! and signals back. With `render_first`, the order of the two sides is reversed. The host does not
//! wait. Without CUDA, the calling thread is the compute side.
#![allow(unsafe_code)] // Vulkan and driver calls.

use std::ffi::c_void;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::sys;
use bridge::vk_export::Queue;
use bridge::{BufferAccess, ExportDevice, QueueKind};

use super::commands::{Commands, barriers, submit};
use super::cuda::{Kernel, Module, Stream};
use super::drawing::{Drawing, Kind};
use super::shared::{Exports, SharedBuffer};
use super::timeline::Timeline;
use crate::gpu::Gpu;
use crate::harness::frames::FrameLoop;

/// When the commands of a frame are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// Once for each slot.
    Once,
    /// Again for each frame, into one of this many command buffers, which limits the frames in a
    /// batch.
    EachFrame(usize),
}

/// The part of a frame that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The parts of both sides.
    Frame,
    /// The compute side's work and its signal, without a wait.
    Compute,
    /// A submission without commands, and its signal, without a wait.
    Submission,
}

/// The ring. Dropping it waits for its frames.
pub(crate) struct Ring<'g> {
    // Field order is drop order: resources that frames use are dropped before their parents.
    slots: Vec<Vec<SharedBuffer>>,
    /// The barriers of each slot that acquire its buffers, and those that release them; the same in
    /// every frame.
    barriers: Vec<[Vec<vk::BufferMemoryBarrier2<'static>>; 2]>,
    /// The drawing of frames, if they draw.
    drawing: Option<Drawing>,
    commands: Commands,
    computed: Timeline,
    rendered: Timeline,
    cuda: Option<Cuda>,
    recording: Recording,
    /// Number of kernel launches in a frame.
    kernels: usize,
    /// Additional processor time of each frame.
    delay: Duration,
    /// `true` if Vulkan begins the frames.
    render_first: bool,
    part: Part,
    /// Vulkan's accesses to the buffers.
    access: BufferAccess,
    /// Number of frames made, in total and since the last drain.
    frames: u64,
    batch: usize,
    queue: &'g Queue,
    device: &'g ExportDevice,
}

/// The objects that a program creates once, rather than for each ring.
pub(crate) struct Once {
    stream: Option<Stream>,
    exports: Exports,
}

impl Once {
    pub(crate) fn new(gpu: &Gpu) -> Result<Self> {
        let stream = gpu.compute.cuda().map(Stream::new).transpose()?;
        Ok(Self { stream, exports: Exports::new(&gpu.device) })
    }
}

struct Cuda {
    touch: Kernel,
    stream: Stream,
    _module: Module,
}

impl<'g> Ring<'g> {
    /// Creates `slots` slots of `resources` buffers of `size` bytes each.
    pub(crate) fn new(
        gpu: &'g Gpu,
        queue: QueueKind,
        slots: usize,
        resources: usize,
        size: u64,
        recording: Recording,
    ) -> Result<Self> {
        Self::with(gpu, Once::new(gpu)?, queue, slots, (resources, size), recording)
    }

    /// Like [`new`](Self::new), with existing objects.
    pub(crate) fn with(
        gpu: &'g Gpu,
        once: Once,
        queue: QueueKind,
        slots: usize,
        resources: (usize, u64),
        recording: Recording,
    ) -> Result<Self> {
        let ring = Self::unrecorded(gpu, once, queue, slots, resources, recording, BufferAccess::TRANSFER_READ)?;
        ring.record_once()?;
        Ok(ring)
    }

    /// Creates `slots` slots of an image with four channels, which Vulkan's graphics queue draws
    /// into a picture of its size.
    pub(crate) fn drawing(gpu: &'g Gpu, slots: usize, size: [u32; 2], kind: Kind) -> Result<Self> {
        let bytes = u64::from(size[0]) * u64::from(size[1]) * 4 * kind.size();
        let (queue, access) = (QueueKind::Graphics, BufferAccess::COMPUTE_READ);
        let mut ring = Self::unrecorded(gpu, Once::new(gpu)?, queue, slots, (1, bytes), Recording::Once, access)?;
        let sources: Vec<_> = ring.slots.iter().flatten().map(SharedBuffer::as_raw).collect();
        ring.drawing = Some(Drawing::new(&gpu.device, size, kind, &sources)?);
        ring.record_once()?;
        Ok(ring)
    }

    fn unrecorded(
        gpu: &'g Gpu,
        Once { stream, exports }: Once,
        queue: QueueKind,
        slots: usize,
        (resources, size): (usize, u64),
        recording: Recording,
        access: BufferAccess,
    ) -> Result<Self> {
        let queue = gpu.queue(queue)?;
        let buffer = || SharedBuffer::new(gpu, &exports, size, access);
        let slot = || (0..resources).map(|_| buffer()).collect::<Result<Vec<_>>>();
        let count = match recording {
            Recording::Once => slots,
            Recording::EachFrame(count) => count,
        };
        let cuda = gpu.compute.cuda().zip(stream).map(|(cuda, stream)| {
            let module = Module::load(cuda, Module::BENCH)?;
            anyhow::Ok(Cuda { touch: module.kernel(c"touch")?, stream, _module: module })
        });
        let cuda = cuda.transpose()?;
        let slots = (0..slots).map(|_| slot()).collect::<Result<Vec<_>>>()?;
        let of_slot = |buffers: &Vec<SharedBuffer>| {
            let of_buffer = |buffer: &SharedBuffer| barriers(buffer.as_raw(), access, queue.family(), cuda.is_some());
            let (acquires, releases) = buffers.iter().map(|buffer| of_buffer(buffer).into()).unzip();
            [acquires, releases]
        };
        Ok(Self {
            barriers: slots.iter().map(of_slot).collect(),
            slots,
            drawing: None,
            commands: Commands::new(&gpu.device, queue, count)?,
            computed: Timeline::new(gpu, &exports)?,
            rendered: Timeline::new(gpu, &exports)?,
            cuda,
            recording,
            kernels: 1,
            delay: Duration::ZERO,
            render_first: false,
            part: Part::Frame,
            access,
            frames: 0,
            batch: 0,
            queue,
            device: &gpu.device,
        })
    }

    /// Records the commands of each slot, if they are the same in every frame.
    fn record_once(&self) -> Result<()> {
        if self.recording == Recording::Once {
            for slot in 0..self.slots.len() {
                self.record(slot, slot, vk::CommandBufferUsageFlags::SIMULTANEOUS_USE)?;
            }
        }
        Ok(())
    }

    /// Sets the number of kernel launches per frame; the default is one.
    pub(crate) fn kernels(mut self, kernels: usize) -> Self {
        self.kernels = kernels;
        self
    }

    /// Adds processor time to each further frame.
    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// Makes Vulkan begin the frames.
    pub(crate) fn render_first(mut self) -> Self {
        self.render_first = true;
        self
    }

    /// Makes only a part of each frame.
    pub(crate) fn part(mut self, part: Part) -> Self {
        self.part = part;
        self
    }

    /// Makes one side's part of a frame.
    fn half(&mut self, slot: usize, value: u64) -> Result<()> {
        if self.part == Part::Compute {
            self.compute(slot, None, value)?;
        } else {
            let signal = self.rendered.info(value, vk::PipelineStageFlags2::ALL_COMMANDS);
            // SAFETY: no commands; the values increase.
            unsafe { submit(self.device, self.queue, None, &[], Some(signal), vk::Fence::null()) }?;
        }
        self.frames = value;
        Ok(())
    }

    /// Records the acquire and the release of a slot, with the drawing between, if any.
    fn record(&self, index: usize, slot: usize, usage: vk::CommandBufferUsageFlags) -> Result<vk::CommandBuffer> {
        let [acquires, releases] = self.barriers.get(slot).context("no such slot")?;
        let mut drawn = Ok(());
        let record = |commands| {
            let hand_over = |barriers: &[vk::BufferMemoryBarrier2<'_>]| {
                let dependency = vk::DependencyInfo::default().buffer_memory_barriers(barriers);
                // SAFETY: recording; VUID-VkBufferMemoryBarrier2-buffer-01931: live buffers with
                // memory.
                unsafe { self.device.as_raw().cmd_pipeline_barrier2(commands, &dependency) };
            };
            hand_over(acquires);
            if let Some(drawing) = &self.drawing {
                // SAFETY: recording; the slot was acquired.
                drawn = unsafe { drawing.record(commands, slot) };
            }
            hand_over(releases);
        };
        // SAFETY: a command buffer is recorded before its first submission, or after a drain.
        let commands = unsafe { self.commands.record(index, usage, record) }?;
        drawn?;
        Ok(commands)
    }

    /// Runs the compute side's part of a frame, after a value of the other side.
    fn compute(&self, slot: usize, after: Option<u64>, value: u64) -> Result<()> {
        let buffer = self.slots.get(slot).and_then(|buffers| buffers.first()).context("no such slot")?;
        let Some(cuda) = &self.cuda else {
            if let Some(after) = after {
                self.rendered.spin(after)?;
            }
            let word = buffer.on_host().context("a slot that is not the host's")?.cast::<u32>();
            // SAFETY: the start of a mapping, aligned by the driver; Vulkan is done with it.
            unsafe { word.write(value as u32) };
            return self.computed.signal_from_host(value);
        };
        let stream = cuda.stream.as_raw();
        if let Some(after) = after {
            self.rendered.wait_on(stream, after)?;
        }
        let pointer = buffer.on_cuda().context("a slot that is not CUDA's")?;
        for _ in 0..self.kernels {
            // SAFETY: the buffer outlives the frame; the stream has waited for Vulkan.
            unsafe { touch(cuda.touch, stream, pointer, value as u32) }?;
        }
        self.computed.signal_on(stream, value)
    }
}

/// Launches `touch`, which writes one word: the kernel of frames whose contents do not matter.
///
/// # Safety
/// `pointer` points to memory that the stream may write, and that lives until the kernel is done.
pub(crate) unsafe fn touch(
    kernel: Kernel,
    stream: sys::CUstream,
    mut pointer: sys::CUdeviceptr,
    mut value: u32,
) -> Result<()> {
    let arguments: [*mut c_void; 2] = [(&raw mut pointer).cast(), (&raw mut value).cast()];
    // SAFETY: the kernel's two parameters, of these types; it writes one word.
    unsafe { kernel.launch(stream, 1, 32, arguments) }
}

impl FrameLoop for Ring<'_> {
    fn frame(&mut self) -> Result<()> {
        let slot = (self.frames % self.slots.len() as u64) as usize;
        let value = self.frames + 1;
        if !self.delay.is_zero() {
            let start = Instant::now();
            while start.elapsed() < self.delay {
                std::hint::spin_loop();
            }
        }
        if self.part != Part::Frame {
            return self.half(slot, value);
        }
        // The slot's last use by the side that is second in a frame.
        let before = value.checked_sub(self.slots.len() as u64).filter(|value| *value > 0);
        if !self.render_first {
            self.compute(slot, before, value)?;
        }
        let commands = match self.recording {
            Recording::Once => self.commands.get(slot)?,
            Recording::EachFrame(_) => self.record(self.batch, slot, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT)?,
        };
        // The acquire from another API happens in no narrower stage.
        let stages = match self.cuda {
            Some(_) => vk::PipelineStageFlags2::ALL_COMMANDS,
            None => self.access.stages,
        };
        let after = if self.render_first { before } else { Some(value) };
        let wait = after.map(|after| self.computed.info(after, stages));
        let signal = self.rendered.info(value, vk::PipelineStageFlags2::ALL_COMMANDS);
        // SAFETY: the commands were recorded for this queue; their resources are dropped after a
        // drain; the values increase.
        unsafe { submit(self.device, self.queue, wait, &[commands], Some(signal), vk::Fence::null()) }?;
        if self.render_first {
            self.compute(slot, Some(value), value)?;
        }
        self.frames = value;
        self.batch += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.batch = 0;
        let computed = self.part == Part::Compute || self.part == Part::Frame && self.render_first;
        if computed { self.computed.spin(self.frames) } else { self.rendered.spin(self.frames) }
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.drain() {
            eprintln!("warning: frames by hand may still be running: {error:#}");
        }
    }
}
