//! Expected contents of frames.

use anyhow::{Context, Result, ensure};
use engine_core::Captured;

use crate::filter::filter_row;
use crate::painting::{MARGIN, Painting, SIDE, texel};
use crate::particles::{Particles, advance, bodies};

/// The systems that a frame was drawn with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Systems {
    /// The particles.
    pub particles: bool,
    /// The painted texture.
    pub painting: bool,
    /// The filter.
    pub filter: bool,
}

/// Checks the frames of a run.
pub struct Checker {
    bodies: Vec<[f32; 4]>,
    step: u32,
    /// The number of checks that were made.
    pub checks: u64,
    /// The step of the particles in each checked frame.
    pub steps: Vec<u32>,
}

impl Default for Checker {
    fn default() -> Self {
        Self { bodies: bodies(), step: 0, checks: 0, steps: vec![] }
    }
}

impl Checker {
    /// Restarts the expected particles at step 0.
    pub fn restart_particles(&mut self) {
        (self.bodies, self.step) = (bodies(), 0);
    }

    /// Checks a frame.
    ///
    /// # Errors
    /// The difference to the expected frame.
    pub fn check(&mut self, captured: &Captured, systems: Systems) -> Result<()> {
        self.try_check(captured, systems).with_context(|| format!("frame {}", captured.frame))
    }

    fn try_check(&mut self, captured: &Captured, systems: Systems) -> Result<()> {
        let (scene, picture) = (rgba(captured.sample("scene"))?, rgba(captured.sample("picture"))?);
        let size = [captured.extent.width, captured.extent.height].map(|side| side as usize);
        ensure!(scene.len() == size[0] * size[1] && picture.len() == scene.len(), "its pictures have another size");
        if systems.particles {
            self.check_particles(captured, &scene, size)?;
        }
        ensure!(captured.sample(Painting::NAME).is_empty() != systems.painting, "the texture should be there, or not");
        if systems.painting {
            self.check_painting(captured, &scene, size)?;
        }
        self.checks += 1;
        if !systems.filter {
            ensure!(picture == scene, "the picture is not the scene");
            return Ok(());
        }
        let mut expected = vec![[0; 4]; size[0]];
        let row = |y: usize| scene.chunks_exact(size[0]).nth(y);
        for (y, seen) in (0..).zip(picture.chunks_exact(size[0])) {
            filter_row(y, &mut expected, size[1], row);
            ensure!(seen == expected, "row {y} of the picture is not the filtered scene");
        }
        Ok(())
    }

    /// Checks that the particles are one complete state, not older than the last one, bit-identical
    /// to the twin's, and drawn.
    fn check_particles(&mut self, captured: &Captured, scene: &[[u8; 4]], [width, height]: [usize; 2]) -> Result<()> {
        let bytes = captured.sample(Particles::NAME);
        // Nothing is drawn before the first state is published.
        let Some(vertices) = (!bytes.is_empty()).then(|| vertices(bytes)).transpose()? else { return Ok(()) };
        let step = vertices.first().context("there are no particles")?[2] as u32;
        ensure!(step >= self.step, "step {step} of the particles was drawn behind step {}", self.step);
        let mut expected = vec![[0.0; 4]; vertices.len()];
        advance(&mut self.bodies, step - self.step, step, &mut expected);
        self.step = step;
        let wrong = vertices
            .iter()
            .zip(&expected)
            .position(|(seen, wanted)| seen.map(f32::to_bits) != wanted.map(f32::to_bits));
        if let Some(i) = wrong {
            anyhow::bail!("particle {i} is {:?}, not {:?}, at step {step}", vertices[i], expected[i]);
        }
        let lit = vertices.iter().filter(|vertex| {
            let at = |place: f32, side: usize| (((place * 0.5 + 0.5) * side as f32) as usize).min(side - 1);
            scene[at(vertex[1], height) * width + at(vertex[0], width)][..3] != [0; 3]
        });
        let lit = lit.count();
        ensure!(lit * 100 >= vertices.len() * 98, "only {lit} of {} particles were drawn", vertices.len());
        self.steps.push(step);
        self.checks += 1;
        Ok(())
    }

    /// Checks that the texture is bit-identical to the twin's and is drawn on its panel.
    fn check_painting(&mut self, captured: &Captured, scene: &[[u8; 4]], [width, height]: [usize; 2]) -> Result<()> {
        let painted = rgba(captured.sample(Painting::NAME))?;
        let frame = captured.frame as u32;
        for (i, seen) in (0..).zip(&painted) {
            let (x, y) = (i % SIDE, i / SIDE);
            let wanted = texel(x, y, frame);
            ensure!(*seen == wanted, "texel {x}, {y} of the texture is {seen:?}, not {wanted:?}");
            let (column, row) = ((x + MARGIN) as usize, (y + MARGIN) as usize);
            if column < width && row < height {
                let pixel = scene[row * width + column];
                ensure!(pixel == wanted, "pixel {column}, {row} of the panel is {pixel:?}, not {wanted:?}");
            }
        }
        self.checks += 1;
        Ok(())
    }
}

fn rgba(bytes: &[u8]) -> Result<Vec<[u8; 4]>> {
    ensure!(bytes.len().is_multiple_of(4), "not whole pixels");
    Ok(bytes.chunks_exact(4).map(|texel| [texel[0], texel[1], texel[2], texel[3]]).collect())
}

fn vertices(bytes: &[u8]) -> Result<Vec<[f32; 4]>> {
    ensure!(bytes.len().is_multiple_of(16), "not whole vertices");
    Ok(bytes.chunks_exact(16).map(bytemuck::pod_read_unaligned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ash::vk;

    /// Returns a correct frame of painting and filter, 80 x 80 pixels.
    fn right() -> (Captured, Systems) {
        let side = 80;
        let mut scene = vec![[0, 0, 0, 255]; 80 * 80];
        let mut painted = vec![];
        for (x, y) in (0..SIDE * SIDE).map(|i| (i % SIDE, i / SIDE)) {
            painted.push(texel(x, y, 3));
            scene[((y + MARGIN) * side + x + MARGIN) as usize] = texel(x, y, 3);
        }
        let mut picture = vec![[0; 4]; 80 * 80];
        for (y, row) in (0..).zip(picture.chunks_exact_mut(80)) {
            filter_row(y, row, 80, |y| scene.chunks_exact(80).nth(y));
        }
        let samples =
            [("scene", scene), ("picture", picture), ("painting", painted)].map(|(name, all)| (name, all.concat()));
        let extent = vk::Extent2D { width: side, height: side };
        let captured = Captured { frame: 3, extent, samples: samples.into() };
        (captured, Systems { particles: false, painting: true, filter: true })
    }

    #[test]
    fn a_wrong_byte_anywhere_is_found() {
        let (frame, systems) = right();
        Checker::default().check(&frame, systems).unwrap();
        for sample in 0..3 {
            let (mut frame, systems) = right();
            let middle = frame.samples[sample].1.len() / 2 + 40 * 4 + 1;
            frame.samples[sample].1[middle] ^= 1;
            Checker::default().check(&frame, systems).unwrap_err();
        }
        let without = Systems { painting: false, ..systems };
        Checker::default().check(&frame, without).unwrap_err();
    }

    #[test]
    fn torn_and_old_particles_are_found() {
        let mut all = vec![[0.0; 4]; crate::particles::LEN];
        advance(&mut bodies(), 5, 5, &mut all);
        let white = vec![[255; 4]; 64];
        let frame = |vertices: &[[f32; 4]]| Captured {
            frame: 0,
            extent: vk::Extent2D { width: 8, height: 8 },
            samples: vec![
                ("scene", white.concat()),
                ("picture", white.concat()),
                ("particles", bytemuck::cast_slice(vertices).to_vec()),
            ],
        };
        let systems = Systems { particles: true, ..Systems::default() };
        let mut checker = Checker::default();
        checker.check(&frame(&all), systems).unwrap();
        let mut torn = all.clone();
        torn[700][2] = 4.0;
        assert!(
            checker.check(&frame(&torn), systems).unwrap_err().chain().any(|e| e.to_string().contains("particle 700"))
        );
        let mut older = vec![[0.0; 4]; all.len()];
        advance(&mut bodies(), 4, 4, &mut older);
        let error = format!("{:#}", checker.check(&frame(&older), systems).unwrap_err());
        assert!(error.contains("step 4 of the particles was drawn behind step 5"), "{error}");
    }
}
