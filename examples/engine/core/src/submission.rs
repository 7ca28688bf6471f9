//! The recording and the submissions of a frame.
#![allow(unsafe_code)] // Submissions.

use std::sync::Arc;

use anyhow::{Context, Error, Result};
use ash::vk;

use crate::engine::{Engine, Targets};
use crate::frame::FrameSlot;
use crate::gpu::Gpu;
use crate::recorder::{DESTINATION, PRESENTED, Recorder, Recording, SOURCE, TARGET, TEXTURE, discarded};
use crate::system::{Pass, Semaphores, System};
use crate::window::Acquired;

/// The recording of a scene, which the job thread does.
pub(crate) struct SceneJob {
    pub(crate) systems: Vec<Box<dyn System>>,
    pub(crate) slot: FrameSlot,
    pub(crate) targets: Arc<Targets>,
    pub(crate) sampled: bool,
    pub(crate) recorded: Result<()>,
    pub(crate) gpu: Arc<Gpu>,
}

impl SceneJob {
    /// Records the scene, unless the frame has failed already.
    pub(crate) fn record(&mut self) {
        if self.recorded.is_ok() {
            self.recorded = self.try_record();
        }
    }

    fn try_record(&mut self) -> Result<()> {
        let Self { systems, slot, targets, sampled, gpu, .. } = self;
        let scene = &targets.scene;
        let mut recorder = Recorder::begin(Recording { gpu, slot, scene, sampled: *sampled }, Pass::Scene)?;
        systems.iter_mut().for_each(|system| system.before(Pass::Scene, &mut recorder));
        recorder.transition(scene.raw(), discarded(TEXTURE.0 | SOURCE.0), TARGET);
        recorder.render(scene, |recorder| systems.iter_mut().for_each(|system| system.draw(Pass::Scene, recorder)));
        recorder.transition(scene.raw(), TARGET, SOURCE);
        systems.iter_mut().for_each(|system| system.after(Pass::Scene, &mut recorder));
        recorder.sample_image("scene", scene.raw(), SOURCE.2, scene.extent());
        recorder.transition(scene.raw(), SOURCE, TEXTURE);
        recorder.end()
    }
}

impl Engine {
    /// Submits the scene, then records and submits the picture.
    pub(crate) fn submit(
        &mut self,
        targets: &Targets,
        slot: &mut FrameSlot,
        recorded: Result<()>,
        window: Option<Acquired>,
        sampled: bool,
    ) -> Result<()> {
        let presented = window.is_some();
        let scene = recorded
            .and_then(|()| self.prepare(Pass::Scene, presented))
            .and_then(|()| self.submit_pass(Pass::Scene, slot.commands(Pass::Scene), None, vk::Fence::null()));
        if scene.is_err() {
            return self.tell(Pass::Scene, scene);
        }
        let picture = self
            .tell(Pass::Scene, Ok(()))
            .and_then(|()| self.picture(targets, slot, window, sampled))
            .and_then(|()| self.prepare(Pass::Picture, presented))
            .and_then(|()| self.submit_pass(Pass::Picture, slot.commands(Pass::Picture), window, slot.fence()));
        if picture.is_err() {
            // The scene is on its way: the fence ends it.
            let empty = vk::SubmitInfo2::default();
            // SAFETY: nothing but the fence, which is unsignalled since the slot was reset.
            unsafe { self.gpu.queue().submit(self.gpu.device(), empty, slot.fence()) }?;
        }
        slot.submitted();
        self.tell(Pass::Picture, picture)
    }

    /// A present must not depend on a signal that is still to be submitted
    /// (VUID-vkQueuePresentKHR-pWaitSemaphores-03268).
    fn prepare(&mut self, pass: Pass, presented: bool) -> Result<()> {
        if !presented {
            return Ok(());
        }
        self.systems.iter_mut().try_for_each(|system| system.prepare_present(pass))
    }

    fn submit_pass(
        &self,
        pass: Pass,
        commands: vk::CommandBuffer,
        window: Option<Acquired>,
        fence: vk::Fence,
    ) -> Result<()> {
        let mut semaphores = Semaphores::default();
        self.systems.iter().for_each(|system| system.semaphores(pass, &mut semaphores));
        if let Some(Acquired { acquired, drawn, .. }) = window {
            let info = |semaphore, stages| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stages);
            semaphores.waits.push(info(acquired, vk::PipelineStageFlags2::ALL_TRANSFER));
            semaphores.signals.push(info(drawn, vk::PipelineStageFlags2::ALL_COMMANDS));
        }
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(&infos)
            .wait_semaphore_infos(&semaphores.waits)
            .signal_semaphore_infos(&semaphores.signals);
        // SAFETY: recorded on this device for this queue; the slot keeps them until the fence; the
        // semaphores are the systems' to vouch for.
        unsafe { self.gpu.queue().submit(self.gpu.device(), batch, fence) }
    }

    /// Tells every system what became of a pass; gives the first error.
    fn tell(&mut self, pass: Pass, result: Result<()>) -> Result<()> {
        let accepted = result.is_ok();
        let errors = self
            .systems
            .iter_mut()
            .map(|system| system.submitted(pass, accepted).with_context(|| format!("system {}", system.name())));
        let told: Vec<Result<(), Error>> = errors.collect();
        told.into_iter().fold(result, Result::and)
    }

    /// Records the picture.
    fn picture(
        &mut self,
        targets: &Targets,
        slot: &mut FrameSlot,
        window: Option<Acquired>,
        sampled: bool,
    ) -> Result<()> {
        let recording = Recording { gpu: &self.gpu, slot, scene: &targets.scene, sampled };
        let mut recorder = Recorder::begin(recording, Pass::Picture)?;
        for system in &mut self.systems {
            system.before(Pass::Picture, &mut recorder);
        }
        let shown = self.systems.iter().find_map(|system| system.picture());
        let shown = shown.unwrap_or((targets.scene.view(), TEXTURE.2));
        let picture = &targets.picture;
        recorder.transition(picture.raw(), discarded(SOURCE.0), TARGET);
        let (show, systems) = (&self.show, &mut self.systems);
        recorder.render(picture, |recorder| {
            recorder.draw(show, Some(shown), &[], None, 3);
            systems.iter_mut().for_each(|system| system.draw(Pass::Picture, recorder));
        });
        recorder.transition(picture.raw(), TARGET, SOURCE);
        for system in &mut self.systems {
            system.after(Pass::Picture, &mut recorder);
        }
        recorder.sample_image("picture", picture.raw(), SOURCE.2, picture.extent());
        if let Some(Acquired { image, extent, .. }) = window {
            recorder.transition(image, discarded(DESTINATION.0), DESTINATION);
            recorder.blit(picture, image, extent);
            recorder.transition(image, DESTINATION, PRESENTED);
        }
        recorder.end()
    }
}
