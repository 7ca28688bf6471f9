//! The two things that particles can be: stars, and the pixels of a picture.

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

/// The light between the stars. With its own glow it becomes the sRGB values 2, 3 and 8 exactly,
/// which dithering leaves plain.
const NIGHT: [f32; 3] = [0.000_207_33, 0.000_311_00, 0.000_829_33];

/// What a run shows: which particles there are, how they move, how they are looked at.
pub enum Scene {
    /// Two galaxies.
    Encounter(Encounter, u32),
    /// A picture.
    Mosaic(Mosaic),
}

/// What both scenes are made from.
#[derive(Clone, Debug)]
pub struct SceneInfo {
    /// The picture to take apart; none for the galaxies.
    pub picture: Option<Picture>,
    /// Everything random follows from it.
    pub seed: u64,
    /// In how many frames the story is told.
    pub frames: u32,
    /// Width and height of the frame, in pixels.
    pub size: [u32; 2],
    /// How many particles; the most, for a picture.
    pub particles: u32,
    /// The largest point that the device draws, in pixels.
    pub point_limit: f32,
}

impl Scene {
    /// The scene.
    pub fn new(info: SceneInfo) -> Self {
        let SceneInfo { seed, frames, size, particles, point_limit, .. } = info;
        match info.picture {
            None => Self::Encounter(Encounter::new(seed, frames), particles),
            Some(picture) => Self::Mosaic(Mosaic::new(picture, seed, frames, size, particles, point_limit)),
        }
    }

    /// How many particles it has.
    pub fn particles(&self) -> u32 {
        match self {
            Self::Encounter(_, particles) => *particles,
            Self::Mosaic(mosaic) => mosaic.grid().particles(),
        }
    }

    /// The state of all particles before the first frame.
    pub fn bodies(&self) -> Vec<Body> {
        match self {
            Self::Encounter(encounter, particles) => encounter.bodies(*particles),
            Self::Mosaic(mosaic) => mosaic.bodies(),
        }
    }

    /// What leads to frame `frame`; frame 0 shows the beginning, and every step builds on the one
    /// before.
    pub fn step(&self, frame: u64) -> Step {
        match self {
            Self::Encounter(encounter, _) => Step::Encounter(encounter.step(frame)),
            Self::Mosaic(mosaic) => Step::Mosaic(mosaic.step(frame)),
        }
    }

    /// How frame `frame` is looked at, in a target of `size` pixels.
    pub fn view(&self, frame: u64, size: [u32; 2], point_limit: f32) -> View {
        match self {
            Self::Encounter(encounter, particles) => {
                camera::view(encounter.progress(frame), *particles, size, point_limit)
            }
            Self::Mosaic(mosaic) => mosaic.view(point_limit),
        }
    }

    /// How its particles are drawn.
    pub fn look(&self) -> Look {
        match self {
            Self::Encounter(..) => Look { style: Style::Sparks, background: NIGHT },
            Self::Mosaic(_) => Look { style: Style::Tiles, background: mosaic::BACKGROUND },
        }
    }

    /// What the first and the last frame must show, where that is known without computing it.
    pub fn reference(&self) -> Option<Vec<u8>> {
        match self {
            Self::Encounter(..) => None,
            Self::Mosaic(mosaic) => Some(mosaic.reference()),
        }
    }
}

/// One frame's work: the parameters of a kernel, or of its twin in Rust.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "one exists per frame, on the stack")]
pub enum Step {
    /// For the kernel `encounter`.
    Encounter(EncounterStep),
    /// For the kernel `mosaic`.
    Mosaic(MosaicStep),
}

impl Step {
    /// The names of all kernels, as `shaders/particles.cu` has them.
    pub const KERNELS: [&'static str; 2] = ["encounter", "mosaic"];

    /// Which of [`KERNELS`](Self::KERNELS) does it.
    pub fn kernel(&self) -> usize {
        match self {
            Self::Encounter(_) => 0,
            Self::Mosaic(_) => 1,
        }
    }

    /// The same for a kernel whose first particle is the one with this number.
    #[must_use]
    pub fn from(self, first: u32) -> Self {
        match self {
            Self::Mosaic(step) => Self::Mosaic(MosaicStep { from: first, ..step }),
            // Its particles need no number.
            encounter @ Self::Encounter(_) => encounter,
        }
    }

    /// Moves the particle `id` and shows it.
    #[inline]
    pub fn advance(&self, id: u32, body: &mut Body) -> Particle {
        match self {
            Self::Encounter(step) => step.advance(body),
            Self::Mosaic(step) => step.advance(id, body),
        }
    }

    /// Moves all particles and shows them in `particles`, on all threads of the machine. Both
    /// slices have one element per particle.
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
