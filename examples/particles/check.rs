//! Checks of what was drawn.
//!
//! There are two checks, each of which computes the same result independently. *Data*: some
//! particles are replayed in Rust and compared bit for bit with the shared buffer, as Vulkan read
//! it. *Picture*: the CPU draws the particles that Vulkan read, and the result is compared with the
//! GPU's picture; a scene whose picture is known in advance is compared with that picture as well.

use anyhow::{Result, bail};

use crate::particles::finish::finish;
use crate::particles::particle::{Body, Particle};
use crate::particles::raster::draw;
use crate::particles::scene::{Scene, Step};
use crate::particles::view::{Style, View};
use crate::psnr::{coarse, compare, compare_small};

/// The maximum number of particles that are replayed.
const REPLAYED: usize = 4096;

/// The minimum similarity of the GPU's picture and the CPU's, in decibels. For sparks it is above
/// 55, limited by half floats and rounded positions.
pub const LEAST_DRAWN: f64 = 45.0;
/// The minimum similarity of a picture at home and its source, in decibels; normally they are
/// identical.
pub const LEAST_HOME: f64 = 45.0;
/// The minimum similarity of a picture in flight and the CPU's, both reduced with [`coarse`],
/// because each GPU rounds the edges of squares to a different fraction of a pixel.
const LEAST_COARSE: f64 = 34.0;

/// A sample of the particles that is computed a second time, in Rust.
pub struct Replay {
    ids: Vec<u32>,
    bodies: Vec<Body>,
    shown: Vec<Particle>,
}

impl Replay {
    /// Selects evenly distributed particles, including the first and the last, from all `bodies`
    /// before frame 0.
    pub fn new(bodies: &[Body]) -> Self {
        let count = bodies.len().min(REPLAYED);
        let last = bodies.len().saturating_sub(1);
        let ids: Vec<u32> = (0..count).map(|i| (i * last / (count - 1).max(1)) as u32).collect();
        let bodies = ids.iter().map(|&id| bodies[id as usize]).collect();
        Self { shown: vec![Particle::default(); ids.len()], ids, bodies }
    }

    /// Computes the next frame.
    pub fn advance(&mut self, step: &Step) {
        for ((&id, body), shown) in self.ids.iter().zip(&mut self.bodies).zip(&mut self.shown) {
            *shown = step.advance(id, body);
        }
    }

    /// Compares with all `particles` of the same frame. Returns the number of particles that were
    /// compared.
    ///
    /// # Errors
    /// The error names the first particle that differs, with both values.
    pub fn compare(&self, frame: u64, particles: &[Particle]) -> Result<usize> {
        for (&id, expected) in self.ids.iter().zip(&self.shown) {
            match particles.get(id as usize) {
                Some(found) if bytemuck::bytes_of(found) == bytemuck::bytes_of(expected) => {}
                Some(found) => bail!(
                    "frame {frame}: particle {id} in the shared buffer is not what the same maths gives on the CPU\n  \
                     expected {expected:?}\n  found    {found:?}"
                ),
                None => bail!("frame {frame}: the shared buffer ends before particle {id}"),
            }
        }
        Ok(self.ids.len())
    }
}

/// Returns the picture that the CPU draws from the particles that Vulkan read, as RGBA8.
pub fn expected_picture(scene: &Scene, view: &View, size: [u32; 2], particles: &[Particle]) -> Vec<u8> {
    let look = scene.look();
    finish(&draw(particles, view, &look, size), size, look.style)
}

/// Compares the picture `found` of frame `frame` with the picture that the CPU draws from the
/// `particles` that Vulkan read. Returns the similarity in decibels, and an error if it is too low.
pub fn compare_drawn(
    frame: u64,
    scene: &Scene,
    view: &View,
    size: [u32; 2],
    particles: &[Particle],
    found: &[u8],
) -> (f64, Result<()>) {
    const WHAT: &str = "what the CPU draws from the same particles";
    let expected = expected_picture(scene, view, size, particles);
    let (likeness, result) = compare_small(frame, WHAT, found, &expected, LEAST_DRAWN);
    let [coarse_found, coarse_expected] = [found, &expected].map(|rgba| coarse(rgba, size[0] as usize));
    if result.is_ok() || scene.look().style == Style::Sparks || coarse_found.is_empty() {
        return (likeness, result);
    }
    let (_, result) = compare(frame, WHAT, &coarse_found, &coarse_expected, LEAST_COARSE);
    (likeness, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::particles::scene::SceneInfo;

    const SIZE: [u32; 2] = [160, 90];

    fn run(frames: u32, upto: u64) -> (Scene, Replay, Vec<Particle>) {
        let info = SceneInfo { picture: None, seed: 3, frames, size: SIZE, particles: 9000, point_limit: 64.0 };
        let scene = Scene::new(info);
        let mut bodies = scene.bodies();
        let mut replay = Replay::new(&bodies);
        let mut particles = vec![Particle::default(); bodies.len()];
        for frame in 0..=upto {
            let step = scene.step(frame);
            step.advance_all(&mut bodies, &mut particles);
            replay.advance(&step);
        }
        (scene, replay, particles)
    }

    #[test]
    fn a_replay_finds_one_wrong_bit_and_a_missed_frame() {
        let (scene, mut replay, mut particles) = run(6, 5);
        assert_eq!(replay.compare(5, &particles).unwrap(), REPLAYED);
        let last = particles.len() - 1;
        particles[last].position[1] = f32::from_bits(particles[last].position[1].to_bits() ^ 1);
        let error = replay.compare(5, &particles).unwrap_err().to_string();
        assert!(error.contains("particle 8999"), "{error}");
        particles[last].position[1] = f32::from_bits(particles[last].position[1].to_bits() ^ 1);
        replay.advance(&scene.step(5));
        assert!(replay.compare(6, &particles).is_err());
        assert!(replay.compare(5, &[]).is_err());
    }

    #[test]
    fn a_wrong_picture_is_far_below_the_threshold() {
        let (scene, _, particles) = run(40, 39);
        let least = LEAST_DRAWN;
        let picture =
            |particles: &[Particle], frame| expected_picture(&scene, &scene.view(frame, SIZE, 64.0), SIZE, particles);
        let right = picture(&particles, 39);
        assert!(compare(39, "itself", &right, &right, least).1.is_ok());
        let black = right.iter().map(|_| 0).collect::<Vec<u8>>();
        for wrong in [picture(&particles[..4500], 39), picture(&run(40, 38).2, 39), black] {
            let error = compare(39, "it", &wrong, &right, least).1.unwrap_err().to_string();
            assert!(error.contains("frame 39") && error.contains("dB"), "{error}");
        }
    }
}
