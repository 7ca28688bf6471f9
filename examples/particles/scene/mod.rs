//! The two scenes: stars, and the pixels of a picture.

pub mod camera;
pub mod encounter;
pub mod grid;
pub mod mosaic;

use rayon::prelude::*;

use crate::particles::particle::{Body, Particle};
use crate::particles::view::{Look, Style, View};
use crate::picture::Picture;

use encounter::{Encounter, EncounterStep};
use mosaic::{Mosaic, MosaicStep};

/// The light between the stars. With its own glow it becomes exactly the sRGB values 2, 3 and 8,
/// which dithering leaves unchanged.
const NIGHT: [f32; 3] = [0.000_207_33, 0.000_311_00, 0.000_829_33];

/// A scene: its particles, their movement and the camera.
pub enum Scene {
    /// Two galaxies.
    Encounter(Encounter, u32),
    /// A picture.
    Mosaic(Mosaic),
}

/// The parameters of both scenes.
#[derive(Clone, Debug)]
pub struct SceneInfo {
    /// The picture to take apart; `None` for the galaxies.
    pub picture: Option<Picture>,
    /// The random seed.
    pub seed: u64,
    /// The number of frames of the story.
    pub frames: u32,
    /// Width and height of the frame, in pixels.
    pub size: [u32; 2],
    /// The number of particles; for a picture, the maximum.
    pub particles: u32,
    /// The largest point that the device draws, in pixels.
    pub point_limit: f32,
}

impl Scene {
    /// Creates the scene.
    pub fn new(info: SceneInfo) -> Self {
        let SceneInfo { seed, frames, size, particles, point_limit, .. } = info;
        match info.picture {
            None => Self::Encounter(Encounter::new(seed, frames), particles),
            Some(picture) => Self::Mosaic(Mosaic::new(picture, seed, frames, size, particles, point_limit)),
        }
    }

    /// Returns the number of particles.
    pub fn particles(&self) -> u32 {
        match self {
            Self::Encounter(_, particles) => *particles,
            Self::Mosaic(mosaic) => mosaic.grid().particles(),
        }
    }

    /// Returns the state of all particles before the first frame.
    pub fn bodies(&self) -> Vec<Body> {
        match self {
            Self::Encounter(encounter, particles) => encounter.bodies(*particles),
            Self::Mosaic(mosaic) => mosaic.bodies(),
        }
    }

    /// Returns the step to frame `frame`. Frame 0 shows the beginning, and every step continues the
    /// previous one.
    pub fn step(&self, frame: u64) -> Step {
        match self {
            Self::Encounter(encounter, _) => Step::Encounter(encounter.step(frame)),
            Self::Mosaic(mosaic) => Step::Mosaic(mosaic.step(frame)),
        }
    }

    /// Returns the view of frame `frame`, for a target of `size` pixels.
    pub fn view(&self, frame: u64, size: [u32; 2], point_limit: f32) -> View {
        match self {
            Self::Encounter(encounter, particles) => {
                camera::view(encounter.progress(frame), *particles, size, point_limit)
            }
            Self::Mosaic(mosaic) => mosaic.view(point_limit),
        }
    }

    /// Returns how the particles are drawn.
    pub fn look(&self) -> Look {
        match self {
            Self::Encounter(..) => Look { style: Style::Sparks, background: NIGHT },
            Self::Mosaic(_) => Look { style: Style::Tiles, background: mosaic::BACKGROUND },
        }
    }

    /// Returns the expected first and last frame, if it is known without computing it.
    pub fn reference(&self) -> Option<Vec<u8>> {
        match self {
            Self::Encounter(..) => None,
            Self::Mosaic(mosaic) => Some(mosaic.reference()),
        }
    }
}

/// The parameters of a kernel, or of its Rust twin, for one frame.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "one exists per frame, on the stack")]
pub enum Step {
    /// For the kernel `encounter`.
    Encounter(EncounterStep),
    /// For the kernel `mosaic`.
    Mosaic(MosaicStep),
}

impl Step {
    /// The names of all kernels in `shaders/particles.cu`.
    pub const KERNELS: [&'static str; 2] = ["encounter", "mosaic"];

    /// Returns the index in [`KERNELS`](Self::KERNELS).
    pub fn kernel(&self) -> usize {
        match self {
            Self::Encounter(_) => 0,
            Self::Mosaic(_) => 1,
        }
    }

    /// Returns the step for a kernel whose first particle has the number `first`.
    #[must_use]
    pub fn from(self, first: u32) -> Self {
        match self {
            Self::Mosaic(step) => Self::Mosaic(MosaicStep { from: first, ..step }),
            // Its particles do not depend on their numbers.
            encounter @ Self::Encounter(_) => encounter,
        }
    }

    /// Moves the particle `id` and returns its output.
    #[inline]
    pub fn advance(&self, id: u32, body: &mut Body) -> Particle {
        match self {
            Self::Encounter(step) => step.advance(body),
            Self::Mosaic(step) => step.advance(id, body),
        }
    }

    /// Moves all particles and writes their output to `particles`, on all threads of the machine.
    /// Both slices have one element per particle.
    pub fn advance_all(&self, bodies: &mut [Body], particles: &mut [Particle]) {
        const CHUNK: usize = 4096;
        let chunks = bodies.par_chunks_mut(CHUNK).zip(particles.par_chunks_mut(CHUNK)).enumerate();
        chunks.for_each(|(chunk, (bodies, particles))| {
            let ids = (chunk * CHUNK) as u32..;
            for ((id, body), particle) in ids.zip(bodies).zip(particles) {
                *particle = self.advance(id, body);
            }
        });
    }
}
