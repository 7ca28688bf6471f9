//! The scene without a picture: two galaxies pass each other and form a bridge of stars.
//!
//! Every star is a test particle in the field of two moving cores (the restricted problem of Toomre
//! and Toomre, 1972), so the cost is linear and each star has its own position and velocity. The
//! cores attract each other and are integrated here, on the host; a step contains their positions.
//!
//! Units: the disc of the larger galaxy has radius 1, its mass is 1, the gravitational constant is
//! 1.

use bytemuck::{Pod, Zeroable};
use glam::{Mat3, Vec3};
use rayon::prelude::*;

use crate::maths::{Random, cos_turns, mix_rgba8, saturate, sin_turns, smootherstep};
use crate::particles::particle::{Body, Particle, pack};

/// The maximum number of sub-steps of one frame: the capacity of [`EncounterStep`].
pub const MAX_SUBSTEPS: usize = 16;

/// The duration of the story, in the units of the scene.
const STORY: f32 = 5.0;
/// The longest sub-step that is still accurate for stars close to a core.
const LONGEST_SUBSTEP: f32 = 0.022;

/// The parameters of the kernel for one frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct EncounterStep {
    /// The two cores in the middle of each sub-step: x, y, z and mass.
    pub cores: [[[f32; 4]; 2]; MAX_SUBSTEPS],
    /// Squared softening lengths of the two cores.
    pub softening: [f32; 2],
    /// Duration of a sub-step; negative if time runs backwards.
    pub duration: f32,
    /// The number of sub-steps, at most [`MAX_SUBSTEPS`].
    pub substeps: u32,
}

impl EncounterStep {
    /// Moves one star by a frame and returns its particle. The twin of `encounter` in
    /// `shaders/particles.cu`.
    #[inline]
    pub fn advance(&self, star: &mut Body) -> Particle {
        let [mut x, mut y, mut z] = star.position;
        let [mut u, mut v, mut w] = star.velocity;
        let half = self.duration * 0.5;
        let mut pull = 0.0;
        for cores in self.cores.iter().take(self.substeps as usize) {
            x += u * half;
            y += v * half;
            z += w * half;
            pull = 0.0;
            for (core, softening) in cores.iter().zip(&self.softening) {
                let dx = core[0] - x;
                let dy = core[1] - y;
                let dz = core[2] - z;
                let q = dx * dx + dy * dy + dz * dz + softening;
                let strength = core[3] / (q * q.sqrt());
                pull += strength;
                let kick = strength * self.duration;
                u += dx * kick;
                v += dy * kick;
                w += dz * kick;
            }
            x += u * half;
            y += v * half;
            z += w * half;
        }
        star.position = [x, y, z];
        star.velocity = [u, v, w];
        // Close to a core the tide is strong, which gives the stars a hot color; in the tails they
        // cool down.
        let heat = saturate(pull * 0.02);
        Particle { position: star.position, color: mix_rgba8(star.color, star.extra, (heat * 256.0) as u32) }
    }
}

/// The parameters of a galaxy.
struct Galaxy {
    mass: f32,
    radius: f32,
    softening: f32,
    /// Rotates its disc out of the plane of the encounter.
    tilt: Mat3,
    /// Colors from the core outwards, followed by the color of young clusters.
    inner: Vec3,
    middle: Vec3,
    outer: Vec3,
    young: Vec3,
    /// Offset of the arms' winding, in turns.
    phase: f32,
}

/// The two galaxies, their paths, and the division into frames.
pub struct Encounter {
    seed: u64,
    path: Vec<[[f32; 4]; 2]>,
    start: [[Vec3; 2]; 2],
    galaxies: [Galaxy; 2],
    substeps: usize,
    duration: f32,
}

impl Encounter {
    /// Creates an encounter of `frames` frames. With very few frames it shows only the beginning,
    /// because a sub-step has to stay short enough to be accurate.
    pub fn new(seed: u64, frames: u32) -> Self {
        let intervals = frames.max(2) - 1;
        let frame = (STORY / intervals as f32).min(LONGEST_SUBSTEP * MAX_SUBSTEPS as f32);
        let substeps = ((frame / LONGEST_SUBSTEP).ceil() as usize).clamp(1, MAX_SUBSTEPS);
        let duration = frame / substeps as f32;
        let galaxies = galaxies();
        let start = start(&galaxies);
        let path = path(&galaxies, start, substeps * intervals as usize, duration);
        Self { seed, path, start, galaxies, substeps, duration }
    }

    /// Returns the stars before the first frame.
    pub fn bodies(&self, count: u32) -> Vec<Body> {
        (0..count).into_par_iter().map(|id| self.star(id)).collect()
    }

    /// Returns the step from frame `frame - 1` to frame `frame`. After the last frame the story
    /// runs backwards, and then forwards again: the integrator is reversible.
    pub fn step(&self, frame: u64) -> EncounterStep {
        let intervals = (self.path.len() / self.substeps) as u64;
        let mut step = EncounterStep {
            cores: Zeroable::zeroed(),
            softening: [0, 1].map(|i| self.galaxies[i].softening * self.galaxies[i].softening),
            duration: self.duration,
            substeps: self.substeps as u32,
        };
        if frame == 0 {
            // One sub-step of duration 0: nothing moves, but the colors follow the tide already.
            step.cores[0] = self.path[0];
            return EncounterStep { duration: 0.0, substeps: 1, ..step };
        }
        let (round, interval) = ((frame - 1) / intervals, ((frame - 1) % intervals) as usize);
        if round % 2 == 0 {
            let first = interval * self.substeps;
            step.cores[..self.substeps].copy_from_slice(&self.path[first..first + self.substeps]);
        } else {
            let end = self.path.len() - interval * self.substeps;
            step.cores[..self.substeps].copy_from_slice(&self.path[end - self.substeps..end]);
            step.cores[..self.substeps].reverse();
            step.duration = -self.duration;
        }
        step
    }

    /// Returns the progress of the story in frame `frame`, 0..=1.
    pub fn progress(&self, frame: u64) -> f32 {
        let intervals = (self.path.len() / self.substeps) as u64;
        let (round, rest) = (frame / intervals, frame % intervals);
        let forwards = if round % 2 == 0 { rest } else { intervals - rest };
        (forwards as usize * self.substeps) as f32 * self.duration / STORY
    }

    fn star(&self, id: u32) -> Body {
        let mut random = Random::new(self.seed, id);
        let class = random.unit();
        if class < 0.006 {
            return far_star(&mut random);
        }
        let which = usize::from(random.unit() > 0.58);
        let galaxy = &self.galaxies[which];
        let (place, speed, color, hot) =
            if class < 0.05 { bulge(galaxy, &mut random) } else { disc(galaxy, &mut random) };
        let [position, velocity] = self.start[which];
        Body {
            position: (position + galaxy.tilt * place).to_array(),
            color,
            velocity: (velocity + galaxy.tilt * speed).to_array(),
            extra: hot,
        }
    }
}

fn galaxies() -> [Galaxy; 2] {
    [
        Galaxy {
            mass: 1.0,
            radius: 1.15,
            softening: 0.34,
            tilt: tilt(0.03, 0.06),
            inner: Vec3::new(1.0, 0.58, 0.22),
            middle: Vec3::new(1.0, 0.21, 0.035),
            outer: Vec3::new(0.80, 0.035, 0.10),
            young: Vec3::new(1.0, 0.14, 0.36),
            phase: 0.1,
        },
        Galaxy {
            mass: 0.75,
            radius: 0.95,
            softening: 0.28,
            tilt: tilt(0.11, -0.09),
            inner: Vec3::new(0.45, 0.85, 1.0),
            middle: Vec3::new(0.02, 0.46, 0.85),
            outer: Vec3::new(0.03, 0.14, 0.95),
            young: Vec3::new(0.10, 1.0, 0.70),
            phase: 0.35,
        },
    ]
}

/// Returns a rotation about x and then about y, in turns.
fn tilt(about_x: f32, about_y: f32) -> Mat3 {
    let (s, c) = (sin_turns(about_x), cos_turns(about_x));
    let x = Mat3::from_cols(Vec3::X, Vec3::new(0.0, c, s), Vec3::new(0.0, -s, c));
    let (s, c) = (sin_turns(about_y), cos_turns(about_y));
    Mat3::from_cols(Vec3::new(c, 0.0, -s), Vec3::Y, Vec3::new(s, 0.0, c)) * x
}

/// Returns the position and velocity of both cores on a nearly parabolic path, in the frame of
/// their common center of mass.
fn start(galaxies: &[Galaxy; 2]) -> [[Vec3; 2]; 2] {
    const DISTANCE: f32 = 2.9;
    const PERICENTER: f32 = 0.95;
    let total = galaxies[0].mass + galaxies[1].mass;
    let across = (2.0 * total * PERICENTER).sqrt() / DISTANCE;
    let along = (2.0 * total / DISTANCE - across * across).sqrt() * 0.97;
    let apart = Vec3::new(DISTANCE, 0.0, 0.0);
    let speed = Vec3::new(-along, across, 0.0);
    [-galaxies[1].mass / total, galaxies[0].mass / total].map(|share| [apart * share, speed * share])
}

/// Returns the cores in the middle of each sub-step.
fn path(galaxies: &[Galaxy; 2], start: [[Vec3; 2]; 2], count: usize, duration: f32) -> Vec<[[f32; 4]; 2]> {
    let mut place = start.map(|core| core[0]);
    let mut speed = start.map(|core| core[1]);
    let softening = galaxies[0].softening * galaxies[0].softening + galaxies[1].softening * galaxies[1].softening;
    (0..count)
        .map(|_| {
            for i in 0..2 {
                place[i] += speed[i] * (duration * 0.5);
            }
            let middle = [0, 1].map(|i| [place[i].x, place[i].y, place[i].z, galaxies[i].mass]);
            let apart = place[1] - place[0];
            let q = apart.dot(apart) + softening;
            let pull = apart * (duration / (q * q.sqrt()));
            speed[0] += pull * galaxies[1].mass;
            speed[1] -= pull * galaxies[0].mass;
            for i in 0..2 {
                place[i] += speed[i] * (duration * 0.5);
            }
            middle
        })
        .collect()
}

/// Returns the speed of a circular orbit of radius `r` around one core.
fn circular(galaxy: &Galaxy, r: f32) -> f32 {
    let q = r * r + galaxy.softening * galaxy.softening;
    (galaxy.mass * r * r / (q * q.sqrt())).sqrt()
}

fn disc(galaxy: &Galaxy, random: &mut Random) -> (Vec3, Vec3, u32, u32) {
    let (u, v) = (random.unit(), random.unit());
    let spread = u.sqrt() * (0.45 + 0.55 * v);
    let r = galaxy.radius * (0.05 + 0.95 * spread);
    // Arms close to the core would wind up into rings.
    let in_arm = random.unit() < 0.66 * smootherstep((spread - 0.08) / 0.34);
    let young = in_arm && random.unit() < 0.05;
    let turn = if in_arm {
        let width = if young { 0.018 } else { 0.05 };
        let arm = if random.bits() & 1 == 0 { 0.0 } else { 0.5 };
        galaxy.phase + arm - 0.7 * spread + width * random.normal()
    } else {
        random.unit()
    };
    let (s, c) = (sin_turns(turn), cos_turns(turn));
    let place = Vec3::new(r * c, r * s, galaxy.radius * 0.018 * random.normal());
    let jitter = Vec3::new(random.normal(), random.normal(), random.normal());
    let speed = Vec3::new(-s, c, 0.0) * circular(galaxy, r) + jitter * (0.035 * galaxy.mass);
    let base = if spread < 0.35 {
        galaxy.inner.lerp(galaxy.middle, spread / 0.35)
    } else {
        galaxy.middle.lerp(galaxy.outer, (spread - 0.35) / 0.65)
    };
    let (color, light) = if young { (galaxy.young, 0.85) } else { (base, 0.36 + 0.22 * random.unit() * random.unit()) };
    let hot = galaxy.inner.lerp(Vec3::ONE, 0.1);
    (place, speed, pack(color.extend(light).to_array()), pack(hot.extend(light).to_array()))
}

fn bulge(galaxy: &Galaxy, random: &mut Random) -> (Vec3, Vec3, u32, u32) {
    let spread = random.unit();
    let r = galaxy.radius * 0.5 * spread * spread * random.unit() + 0.005;
    let flat = Vec3::new(1.0, 1.0, 0.75);
    let place = Vec3::from_array(random.direction()) * flat * r;
    let speed = Vec3::from_array(random.direction()) * (circular(galaxy, r) * 0.9);
    let light = 0.50 + 0.14 * random.unit();
    let color = galaxy.inner.lerp(galaxy.middle, 0.3 * random.unit());
    (place, speed, pack(color.extend(light).to_array()), pack(galaxy.inner.extend(light).to_array()))
}

/// Returns a star that is too far away to be moved by a galaxy: it makes the rotation of the camera
/// visible.
fn far_star(random: &mut Random) -> Body {
    let place = Vec3::from_array(random.direction()) * (9.0 + 14.0 * random.unit());
    let warmth = random.unit();
    let color = Vec3::new(0.7, 0.8, 1.0).lerp(Vec3::new(1.0, 0.85, 0.65), warmth);
    let rare = random.unit();
    let light = 0.72 + 0.28 * rare * rare;
    let color = pack(color.extend(light).to_array());
    Body { position: place.to_array(), color, velocity: [0.0; 3], extra: color }
}
