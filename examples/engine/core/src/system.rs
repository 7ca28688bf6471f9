//! The interface between the engine's core and its parts.
#![allow(unsafe_code)] // Contracts between the core and its parts.

use anyhow::Result;
use ash::vk;

use crate::pass::Pass;
use crate::recorder::Recorder;

/// The waits and signals of a submission, in addition to the engine's own.
#[derive(Default)]
pub struct Semaphores {
    /// Waits.
    pub waits: Vec<vk::SemaphoreSubmitInfo<'static>>,
    /// Signals.
    pub signals: Vec<vk::SemaphoreSubmitInfo<'static>>,
}

/// A part of the engine that can be added and removed while the engine runs. All optional methods
/// do nothing by default.
///
/// The methods are called in the order of their declaration, on the engine's thread, except that
/// the job thread records the scene.
///
/// # Safety
/// The recorded commands and the returned handles satisfy Vulkan's Valid Usage, on the queue that
/// the engine submits to. Dropping a system frees nothing that a submission reported to
/// [`submitted`](Self::submitted) still uses, unless the engine has waited for that submission.
pub unsafe trait System: Send {
    /// Returns the name, which identifies the system for removal.
    fn name(&self) -> &'static str;

    /// Changes the size of the pictures; the GPU has finished all earlier frames.
    ///
    /// # Errors
    /// A resource of that size is not available.
    fn resize(&mut self, extent: vk::Extent2D) -> Result<()> {
        let _ = extent;
        Ok(())
    }

    /// Begins a frame.
    ///
    /// # Errors
    /// The frame is then skipped.
    fn begin(&mut self, frame: u64) -> Result<()> {
        let _ = frame;
        Ok(())
    }

    /// Called before the rendering of a pass begins.
    fn before(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        let _ = (pass, recorder);
    }

    /// Called inside the rendering of a pass.
    fn draw(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        let _ = (pass, recorder);
    }

    /// Called after the rendering of a pass. The scene is then in `TRANSFER_SRC_OPTIMAL`.
    fn after(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        let _ = (pass, recorder);
    }

    /// Adds the waits and signals of the pass's submission.
    fn semaphores(&self, pass: Pass, semaphores: &mut Semaphores) {
        let _ = (pass, semaphores);
    }

    /// Called before the pass is submitted in a frame that will be presented: everything that the
    /// pass waits for must have been submitted.
    ///
    /// # Errors
    /// The submission that the pass waits for will not be made.
    fn prepare_present(&mut self, pass: Pass) -> Result<()> {
        let _ = pass;
        Ok(())
    }

    /// Called after the pass was submitted, or after the driver refused the submission.
    ///
    /// # Errors
    /// The frame then ends.
    fn submitted(&mut self, pass: Pass, accepted: bool) -> Result<()> {
        let _ = (pass, accepted);
        Ok(())
    }

    /// Returns the image that is shown in place of the scene, with its layout during
    /// [`Pass::Picture`].
    fn picture(&self) -> Option<(vk::ImageView, vk::ImageLayout)> {
        None
    }
}
