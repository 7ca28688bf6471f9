//! The engine and its frame loop.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ash::vk;

use crate::frame::FrameSlot;
use crate::gpu::Gpu;
use crate::job::JobThread;
use crate::memory::Image;
use crate::pipeline::{Pipeline, PipelineInfo};
use crate::scene::{SceneJob, Targets};
use crate::system::System;
use crate::window::Swapchain;

/// The engine.
pub struct Engine {
    // Field order is drop order: frames in flight end before the resources that they use are freed.
    slots: Vec<Option<FrameSlot>>,
    jobs: JobThread<SceneJob>,
    pub(crate) systems: Vec<Box<dyn System>>,
    swapchain: Option<Swapchain>,
    targets: Option<Arc<Targets>>,
    pub(crate) show: Pipeline,
    frame: u64,
    finished: Vec<Captured>,
    pub(crate) gpu: Arc<Gpu>,
}

/// The host copies of a sampled frame.
pub struct Captured {
    /// The number of the frame.
    pub frame: u64,
    /// The size of the frame.
    pub extent: vk::Extent2D,
    /// Copies by name: the engine's `scene` and `picture`, and those of the systems.
    pub samples: Vec<(&'static str, Vec<u8>)>,
}

impl Captured {
    /// Returns the copy with a name; an empty slice if there is none.
    pub fn sample(&self, name: &str) -> &[u8] {
        self.samples.iter().find(|(one, _)| *one == name).map_or(&[], |(_, bytes)| bytes)
    }
}

/// The outcome of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame was submitted.
    Drawn,
    /// There is nothing to draw to: the window is minimized, its images no longer fit, or a failed
    /// frame left an acquired image behind. [`Engine::resize`] creates the images again.
    Nothing,
    /// The frame was submitted, but the window's images no longer fit.
    Resize,
}

impl Engine {
    /// Creates an engine without systems. `screen` and `copy` are the shaders that show the
    /// picture.
    ///
    /// # Errors
    /// A required resource is not available.
    pub fn new(gpu: &Arc<Gpu>, frames_in_flight: usize, [screen, copy]: [&[u32]; 2]) -> Result<Self> {
        let info = PipelineInfo {
            name: "show",
            vertex: screen,
            fragment: copy,
            topology: vk::PrimitiveTopology::TRIANGLE_LIST,
            stride: 0,
            textured: true,
            constants: 0,
        };
        let slots = (0..frames_in_flight.max(1)).map(|_| FrameSlot::new(gpu).map(Some));
        Ok(Self {
            slots: slots.collect::<Result<_>>()?,
            jobs: JobThread::new("engine job")?,
            systems: vec![],
            swapchain: None,
            targets: None,
            show: Pipeline::new(gpu, &info)?,
            frame: 0,
            finished: vec![],
            gpu: Arc::clone(gpu),
        })
    }

    /// Returns the instance, device and queue that everything is created from.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Presents all further frames to a window.
    pub fn show_in(&mut self, swapchain: Swapchain) {
        self.swapchain = Some(swapchain);
    }

    /// Returns the number of frames that were begun.
    pub fn frames(&self) -> u64 {
        self.frame
    }

    /// Changes the size of the pictures. There are no pictures if the area is 0, as for a minimized
    /// window.
    ///
    /// # Errors
    /// A resource of that size is not available.
    pub fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        self.wait()?;
        self.targets = None;
        let [width, height] = size;
        let extent = match &mut self.swapchain {
            Some(swapchain) => swapchain.resize(size)?,
            None => vk::Extent2D { width, height },
        };
        if extent.width == 0 || extent.height == 0 {
            return Ok(());
        }
        use vk::ImageUsageFlags as Usage;
        let usage = Usage::COLOR_ATTACHMENT | Usage::TRANSFER_SRC;
        let targets = Targets {
            scene: Image::new(&self.gpu, "scene", extent, usage | Usage::SAMPLED)?,
            picture: Image::new(&self.gpu, "picture", extent, usage)?,
        };
        self.targets = Some(Arc::new(targets));
        self.systems.iter_mut().try_for_each(|system| system.resize(extent))
    }

    /// Adds a system, which is called after the systems that were added earlier.
    ///
    /// # Errors
    /// The system cannot allocate its resources for the size of the pictures.
    pub fn add(&mut self, mut system: Box<dyn System>) -> Result<()> {
        if let Some(targets) = &self.targets {
            system.resize(targets.scene.extent())?;
        }
        self.systems.push(system);
        Ok(())
    }

    /// Removes a system after the frames in flight are done.
    ///
    /// # Errors
    /// The frames in flight do not complete.
    pub fn remove(&mut self, name: &str) -> Result<Option<Box<dyn System>>> {
        self.wait()?;
        let found = self.systems.iter().position(|system| system.name() == name);
        Ok(found.map(|index| self.systems.remove(index)))
    }

    /// Waits for the frames in flight.
    ///
    /// # Errors
    /// The frames in flight do not complete.
    pub fn wait(&mut self) -> Result<()> {
        // The oldest frame first, so that frames are collected in the order of their numbers.
        let (next, count) = (usize::try_from(self.frame)?, self.slots.len());
        for index in (0..count).map(|behind| (next + behind) % count) {
            let mut slot = self.take(index)?;
            let done = slot.wait();
            self.collect(&mut slot);
            self.slots[index] = Some(slot);
            done?;
        }
        Ok(())
    }

    /// Returns the sampled frames that were completed since the last call, in the order of their
    /// numbers.
    pub fn finished(&mut self) -> Vec<Captured> {
        std::mem::take(&mut self.finished)
    }

    /// Draws a frame. Waits only for the earlier frame that used the same frame slot. `sampled`
    /// frames are copied for the host.
    ///
    /// # Errors
    /// The error of the step that failed; the frame is not shown then.
    pub fn frame(&mut self, sampled: bool) -> Result<Outcome> {
        let Some(targets) = self.targets.clone() else { return Ok(Outcome::Nothing) };
        let index = usize::try_from(self.frame)? % self.slots.len();
        let mut slot = self.take(index)?;
        if let Err(error) = slot.wait() {
            self.slots[index] = Some(slot);
            return Err(error);
        }
        self.collect(&mut slot);
        let window = match self.swapchain.as_ref().map(|swapchain| swapchain.acquire(index)).transpose() {
            Ok(window) => window,
            Err(error) => {
                self.slots[index] = Some(slot);
                return Err(error);
            }
        };
        if let Some(None) = window {
            self.slots[index] = Some(slot);
            return Ok(Outcome::Nothing);
        }
        (slot.frame, slot.extent) = (self.frame, targets.scene.extent());
        let begun = slot.reset().and_then(|()| self.begin());
        self.frame += 1;
        // The job thread takes the slot together with the systems, and returns both.
        let job = SceneJob {
            systems: std::mem::take(&mut self.systems),
            slot,
            targets: Arc::clone(&targets),
            sampled,
            recorded: begun,
            gpu: Arc::clone(&self.gpu),
        };
        let done = self.jobs.start(job, SceneJob::record).and_then(|()| self.jobs.finish());
        let drawn = done.and_then(|SceneJob { systems, mut slot, recorded, .. }| {
            self.systems = systems;
            let drawn = self.submit(&targets, &mut slot, recorded, window.flatten(), sampled);
            self.slots[index] = Some(slot);
            drawn
        });
        let Some((image, swapchain)) = window.flatten().zip(self.swapchain.as_mut()) else {
            return drawn.map(|()| Outcome::Drawn);
        };
        let shown = drawn.and_then(|()| swapchain.present(&image));
        if shown.is_err() {
            swapchain.abandon_image();
        }
        Ok(if shown? { Outcome::Drawn } else { Outcome::Resize })
    }

    fn take(&mut self, index: usize) -> Result<FrameSlot> {
        self.slots.get_mut(index).and_then(Option::take).context("a frame in flight was lost to an earlier error")
    }

    fn begin(&mut self) -> Result<()> {
        let frame = self.frame;
        self.systems
            .iter_mut()
            .try_for_each(|system| system.begin(frame).with_context(|| format!("system {}", system.name())))
    }

    /// Collects the host copies of a finished frame.
    fn collect(&mut self, slot: &mut FrameSlot) {
        if slot.samples.is_empty() {
            return;
        }
        let samples = slot.samples.drain(..);
        let samples = samples.map(|one| (one.name, one.bytes.bytes().unwrap_or_default().to_vec())).collect();
        self.finished.push(Captured { frame: slot.frame, extent: slot.extent, samples });
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            log::error!("frames do not end: {error:#}");
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({}, {} systems, frame {})", self.gpu.name(), self.systems.len(), self.frame)
    }
}

/// Returns an error if the validation layer reported anything; called after a successful run.
///
/// # Errors
/// The messages.
pub fn check_messages(messages: &[String]) -> Result<()> {
    ensure!(messages.is_empty(), "the validation layer said: {}", messages.join("\n"));
    Ok(())
}
