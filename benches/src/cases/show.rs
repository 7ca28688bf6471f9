//! The frames of the particle demo that cases show, identical for every way of making them.

use anyhow::Result;
use bridge::{BufferSpec, Exchange, ExchangeInfo, ExportDevice};
use bridge_examples::gpu::output::Copies;
use bridge_examples::particles::compute::Shared;
use bridge_examples::particles::particle::{Body, Particle};
use bridge_examples::particles::render::{ACCESSES, Renderer};
use bridge_examples::particles::scene::{Scene, SceneInfo, Step};
use bridge_examples::particles::view::View;

use crate::gpu::Gpu;
use crate::harness::LIMIT;

/// The number of frames of the whole story, and of the frames that are shown, forward and back.
const STORY: u32 = 120;
pub(super) const SHOWN: u64 = 8;

/// Frames in flight.
pub(super) const SLOTS: usize = 3;

/// The shown content: the same particles for every way.
pub(super) struct Show {
    pub(super) scene: Scene,
    pub(super) bodies: Vec<Body>,
    pub(super) size: [u32; 2],
    steps: Vec<Step>,
    views: Vec<View>,
}

impl Show {
    pub(super) fn new(gpu: &Gpu, count: u32, size: [u32; 2]) -> Self {
        let point_limit = gpu.device.physical().limits.point_size_range[1];
        let info = SceneInfo { picture: None, seed: 1, frames: STORY, size, particles: count, point_limit };
        let scene = Scene::new(info);
        let there: Vec<_> = (1..=SHOWN).map(|frame| scene.step(frame)).collect();
        let back = there.iter().rev().map(|step| back(*step));
        let frames = (1..=SHOWN).chain((0..SHOWN).rev());
        Self {
            bodies: scene.bodies(),
            steps: there.iter().copied().chain(back).collect(),
            views: frames.map(|frame| scene.view(frame, size, point_limit)).collect(),
            size,
            scene,
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.scene.particles()
    }

    /// Bytes of one slot.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.count()) * size_of::<Particle>() as u64
    }

    /// Returns the step before frame `frame`.
    pub(super) fn step(&self, frame: u64) -> &Step {
        &self.steps[(frame % (2 * SHOWN)) as usize]
    }

    /// Returns the view of frame `frame`.
    pub(super) fn view(&self, frame: u64) -> &View {
        &self.views[(frame % (2 * SHOWN)) as usize]
    }

    pub(super) fn renderer(&self, device: &ExportDevice, slots: usize) -> Result<Renderer> {
        self.renderer_with(device, slots, Copies::Frame)
    }

    pub(super) fn renderer_with(&self, device: &ExportDevice, slots: usize, copies: Copies) -> Result<Renderer> {
        Renderer::new(device, self.scene.look(), self.count(), self.size, slots, copies)
    }

    /// Creates the exchange; `frames_in_flight` is as in [`ExchangeInfo`].
    pub(super) fn exchange(
        &self,
        gpu: &Gpu,
        slots: usize,
        frames_in_flight: Option<usize>,
    ) -> Result<Exchange<Shared>> {
        let spec = BufferSpec::<Particle>::new(self.count() as usize, ACCESSES);
        let info = ExchangeInfo { name: "particles", slots, frames_in_flight, timeout: LIMIT, ..Default::default() };
        Ok(Exchange::new(&gpu.compute, &info, spec)?)
    }
}

/// Returns the same step in the other direction: the integrator is reversible.
fn back(step: Step) -> Step {
    match step {
        Step::Encounter(mut step) => {
            if let Some(cores) = step.cores.get_mut(..step.substeps as usize) {
                cores.reverse();
            }
            step.duration = -step.duration;
            Step::Encounter(step)
        }
        Step::Mosaic(step) => Step::Mosaic(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_there_and_back_restores_every_star() {
        let info =
            SceneInfo { picture: None, seed: 1, frames: STORY, size: [64, 64], particles: 500, point_limit: 64.0 };
        let scene = Scene::new(info);
        let (mut bodies, mut particles) = (scene.bodies(), vec![Particle::default(); 500]);
        let before = bodies.clone();
        let there: Vec<_> = (1..=SHOWN).map(|frame| scene.step(frame)).collect();
        for step in &there {
            step.advance_all(&mut bodies, &mut particles);
        }
        let far = |bodies: &[Body]| {
            let apart = |(a, b): (&Body, &Body)| (0..3).map(|i| (a.position[i] - b.position[i]).abs()).sum::<f32>();
            bodies.iter().zip(&before).map(apart).fold(0.0, f32::max)
        };
        assert!(far(&bodies) > 0.1);
        for step in there.iter().rev() {
            back(*step).advance_all(&mut bodies, &mut particles);
        }
        assert!(far(&bodies) < 1e-3, "{}", far(&bodies));
    }
}
