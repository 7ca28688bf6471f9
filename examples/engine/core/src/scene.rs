//! The recording of the scene, and the images that a frame is drawn to.

use std::sync::Arc;

use anyhow::Result;

use crate::frame::FrameSlot;
use crate::gpu::Gpu;
use crate::memory::Image;
use crate::pass::Pass;
use crate::recorder::{Recorder, Recording, SOURCE, TARGET, TEXTURE, discarded};
use crate::system::System;

/// The images that a frame is drawn to.
pub(crate) struct Targets {
    pub(crate) scene: Image,
    pub(crate) picture: Image,
}

/// The recording of a scene, which runs on the job thread.
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
