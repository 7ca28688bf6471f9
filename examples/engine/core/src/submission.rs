//! The submissions of a frame, and the recording of the picture.
#![allow(unsafe_code)] // Submissions.

use anyhow::{Context, Error, Result};
use ash::vk;

use crate::engine::Engine;
use crate::frame::FrameSlot;
use crate::pass::Pass;
use crate::recorder::{DESTINATION, PRESENTED, Recorder, Recording, SOURCE, TARGET, TEXTURE, discarded};
use crate::scene::Targets;
use crate::system::Semaphores;
use crate::window::Acquired;

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
            // Nothing of the frame was submitted. The fence is not used: it may not have been
            // reset.
            if window.is_some()
                && let Err(error) = self.submit_nothing(window, vk::Fence::null())
            {
                log::error!("an image that was acquired is not waited for: {error:#}");
            }
            return self.notify_systems(Pass::Scene, scene);
        }
        let picture = self
            .notify_systems(Pass::Scene, Ok(()))
            .and_then(|()| self.picture(targets, slot, window, sampled))
            .and_then(|()| self.prepare(Pass::Picture, presented))
            .and_then(|()| self.submit_pass(Pass::Picture, slot.commands(Pass::Picture), window, slot.fence()));
        if picture.is_err() {
            // The scene was submitted: the fence signals its completion.
            if let Err(error) = self.submit_nothing(window, slot.fence()) {
                log::error!("the scene is waited for, since no fence ends it: {error:#}");
                let idle = self.gpu.queue().wait_idle(self.gpu.device());
                return self.notify_systems(Pass::Picture, picture.and(idle));
            }
        }
        slot.submitted();
        self.notify_systems(Pass::Picture, picture)
    }

    /// Submits, in place of the picture's commands, a wait for the window's image, so that its
    /// semaphore can be signaled again, and the fence.
    fn submit_nothing(&self, window: Option<Acquired>, fence: vk::Fence) -> Result<()> {
        let all = vk::PipelineStageFlags2::ALL_COMMANDS;
        let wait = |window: Acquired| vk::SemaphoreSubmitInfo::default().semaphore(window.acquired).stage_mask(all);
        let waits: Vec<_> = window.map(wait).into_iter().collect();
        let empty = vk::SubmitInfo2::default().wait_semaphore_infos(&waits);
        // SAFETY: VUID-vkQueueSubmit2-semaphore-03873: the image was acquired with the semaphore,
        // and no submission has waited for it. The fence is null, or unsignaled since the slot was
        // reset.
        unsafe { self.gpu.queue().submit(self.gpu.device(), empty, fence) }
    }

    /// Prepares the systems for a present, which must not depend on a signal that is not yet
    /// submitted (VUID-vkQueuePresentKHR-pWaitSemaphores-03268).
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
        // SAFETY: recorded on this device for this queue; the slot keeps the commands until the
        // fence; the systems guarantee their semaphores.
        unsafe { self.gpu.queue().submit(self.gpu.device(), batch, fence) }
    }

    /// Notifies every system of the result of a pass; returns the first error.
    fn notify_systems(&mut self, pass: Pass, result: Result<()>) -> Result<()> {
        let accepted = result.is_ok();
        let errors = self
            .systems
            .iter_mut()
            .map(|system| system.submitted(pass, accepted).with_context(|| format!("system {}", system.name())));
        let results: Vec<Result<(), Error>> = errors.collect();
        results.into_iter().fold(result, Result::and)
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
