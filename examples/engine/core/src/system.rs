//! What an engine's parts look like to its core.
#![allow(unsafe_code)] // Promises between the core and its parts.

use anyhow::Result;
use ash::vk;

use crate::pass::Pass;
use crate::recorder::Recorder;

/// Waits and signals of a submission, besides the engine's own.
#[derive(Default)]
pub struct Semaphores {
    /// Waits.
    pub waits: Vec<vk::SemaphoreSubmitInfo<'static>>,
    /// Signals.
    pub signals: Vec<vk::SemaphoreSubmitInfo<'static>>,
}

/// A part of the engine that is added and removed while it runs. Everything has a default that does
/// nothing.
///
/// The methods are called in the order in which they stand here, on the engine's thread but for the
/// recording of the scene, which the job thread does.
///
/// # Safety
/// What is recorded and handed out keeps Vulkan's Valid Usage, on the queue that the engine submits
/// to. Dropping a system frees nothing that a submission told to [`submitted`](Self::submitted)
/// still uses, or the engine was told to wait before.
pub unsafe trait System: Send {
    /// Its name, by which it is removed.
    fn name(&self) -> &'static str;

    /// The pictures have another size from here on; the GPU is done with the frames before.
    ///
    /// # Errors
    /// What cannot be had in that size.
    fn resize(&mut self, extent: vk::Extent2D) -> Result<()> {
        let _ = extent;
        Ok(())
    }

    /// A frame begins.
    ///
    /// # Errors
    /// The frame is then left out.
    fn begin(&mut self, frame: u64) -> Result<()> {
        let _ = frame;
        Ok(())
    }

    /// Before the rendering of a pass begins.
    fn before(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        let _ = (pass, recorder);
    }

    /// Inside of the rendering of a pass.
    fn draw(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        let _ = (pass, recorder);
    }

    /// Behind the rendering of a pass. The scene is in `TRANSFER_SRC_OPTIMAL` then.
    fn after(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        let _ = (pass, recorder);
    }

    /// What the pass's submission waits for and signals.
    fn semaphores(&self, pass: Pass, semaphores: &mut Semaphores) {
        let _ = (pass, semaphores);
    }

    /// The pass is about to be submitted in a frame that will be presented: everything that it
    /// waits for has to be on its way.
    ///
    /// # Errors
    /// It will not be.
    fn prepare_present(&mut self, pass: Pass) -> Result<()> {
        let _ = pass;
        Ok(())
    }

    /// The pass was submitted, or the driver refused it.
    ///
    /// # Errors
    /// The frame ends here then.
    fn submitted(&mut self, pass: Pass, accepted: bool) -> Result<()> {
        let _ = (pass, accepted);
        Ok(())
    }

    /// What is shown in place of the scene, with the layout that it is in during [`Pass::Picture`].
    fn picture(&self) -> Option<(vk::ImageView, vk::ImageLayout)> {
        None
    }
}
