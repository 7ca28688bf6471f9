//! The scene of a picture: every pixel is a particle that drifts off in a swirling flow and
//! returns.
//!
//! The flow has no divergence (a vortex and plane waves, each of which moves along its own crests),
//! so the picture is stirred like marbled paper but not compressed. Units: pixels of the frame, and
//! the whole story as the unit of time.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use crate::maths::{Random, cos_turns, hash, sin_turns, smootherstep};
use crate::particles::particle::{Body, Particle};
use crate::particles::scene::grid::Grid;
use crate::particles::view::View;
use crate::picture::Picture;

/// Plane waves of the flow in the plane of the picture.
pub const WAVES: usize = 6;
/// Plane waves that move particles towards the viewer and back.
pub const LIFTS: usize = 2;

/// The color that the frame is cleared to, as sRGB values.
pub const BACKGROUND: [f32; 3] = [14.0 / 255.0, 16.0 / 255.0, 21.0 / 255.0];

/// The unit of a particle's delay in [`Body::extra`]: 65536 is a delay of 1.
const DELAY_UNIT: f32 = 1.0 / 65536.0;
/// The time at which the last particle leaves; it is home by 0.52 + 0.22 + 0.24 = 0.98.
const LAST_START: f32 = 0.26;
const RAMP: f32 = 0.16;
const FIRST_RETURN: f32 = 0.52;
const RETURN_SPREAD: f32 = 0.22;
const RETURN: f32 = 0.24;
/// The rate at which a particle adopts the speed of the flow.
const DRAG: f32 = 12.0;
/// The longest sub-step, unless one frame needs more sub-steps than the limit below.
const LONGEST_SUBSTEP: f32 = 1.0 / 200.0;
const MAX_SUBSTEPS: u32 = 16;

/// The parameters of the kernel for one frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct MosaicStep {
    /// Waves of the flow: wave vector (turns per pixel), phase (turns), speed along the crest
    /// (pixels).
    pub waves: [[f32; 4]; WAVES],
    /// Waves of the speed towards the viewer: wave vector, phase, speed.
    pub lifts: [[f32; 4]; LIFTS],
    /// The vortex: center, angular speed in its middle, and 1 over its squared radius.
    pub vortex: [f32; 4],
    /// The home position of the middle of the first particle.
    pub first: [f32; 2],
    /// The distance of two particles at home.
    pub cell: f32,
    /// The start time of the first sub-step.
    pub start: f32,
    /// Duration of a sub-step.
    pub duration: f32,
    /// The time that the frame shows; 1 is the end, when every particle is home.
    pub shown: f32,
    /// Particles in a row.
    pub columns: u32,
    /// The number of sub-steps; 0 puts every particle home and at rest.
    pub substeps: u32,
    /// The first particle that the kernel moves, if each of several GPUs moves a part; otherwise 0.
    pub from: u32,
}

impl MosaicStep {
    /// Moves particle `id` by a frame and returns its output. The twin of `mosaic` in
    /// `shaders/particles.cu`.
    #[inline]
    pub fn advance(&self, id: u32, grain: &mut Body) -> Particle {
        let home_x = self.first[0] + self.cell * (id % self.columns) as f32;
        let home_y = self.first[1] + self.cell * (id / self.columns) as f32;
        let delay = grain.extra as f32 * DELAY_UNIT;
        let [mut x, mut y, mut z] = grain.position;
        let [mut u, mut v, mut w] = grain.velocity;
        if self.substeps == 0 {
            (x, y, z) = (home_x, home_y, 0.0);
            (u, v, w) = (0.0, 0.0, 0.0);
        }
        for substep in 0..self.substeps {
            let time = self.start + self.duration * substep as f32;
            let awake = smootherstep((time - LAST_START * delay) / RAMP);
            let from_x = x - self.vortex[0];
            let from_y = y - self.vortex[1];
            let turn = self.vortex[2] / (1.0 + (from_x * from_x + from_y * from_y) * self.vortex[3]);
            let mut flow_x = from_y * turn;
            let mut flow_y = 0.0 - from_x * turn;
            let mut flow_z = 0.0;
            for wave in &self.waves {
                let along = wave[3] * cos_turns(wave[0] * x + wave[1] * y + wave[2]);
                flow_x += wave[1] * along;
                flow_y -= wave[0] * along;
            }
            for lift in &self.lifts {
                flow_z += lift[3] * sin_turns(lift[0] * x + lift[1] * y + lift[2]);
            }
            let grip = DRAG * self.duration;
            u += (flow_x * awake - u) * grip;
            v += (flow_y * awake - v) * grip;
            w += (flow_z * awake - w) * grip;
            x += u * self.duration;
            y += v * self.duration;
            z += w * self.duration;
        }
        grain.position = [x, y, z];
        grain.velocity = [u, v, w];
        // Adding 0 turns a negative zero into a positive one, as in the home position.
        let away = 1.0 - smootherstep((self.shown - FIRST_RETURN - RETURN_SPREAD * delay) / RETURN);
        let position = [home_x + (x - home_x) * away, home_y + (y - home_y) * away, 0.0 + z * away];
        Particle { position, color: grain.color }
    }
}

/// A picture taken apart into particles.
pub struct Mosaic {
    grid: Grid,
    cells: Picture,
    frame: [u32; 2],
    intervals: u64,
    substeps: u32,
    seed: u64,
    waves: [[f32; 4]; WAVES],
    lifts: [[f32; 4]; LIFTS],
}

impl Mosaic {
    /// Creates the mosaic of `picture` for `frames` frames of `frame` pixels with at most
    /// `particles` particles. `point_limit` is the largest point that the device draws, in pixels.
    pub fn new(picture: Picture, seed: u64, frames: u32, frame: [u32; 2], particles: u32, point_limit: f32) -> Self {
        let grid = Grid::fit([picture.width, picture.height], frame, particles, point_limit);
        let cells = picture.resampled(grid.columns, grid.rows);
        let intervals = frames.max(2) - 1;
        let substeps = (1.0 / (intervals as f32 * LONGEST_SUBSTEP)).ceil() as u32;
        let mut random = Random::new(seed, u32::MAX);
        let scale = frame[0].min(frame[1]) as f32;
        let waves = std::array::from_fn(|i| wave(&mut random, scale, 0.95 / (1.0 + 0.65 * i as f32), 0.62));
        let lifts = std::array::from_fn(|i| wave(&mut random, scale, 1.1 / (1.0 + i as f32), 1.3));
        let lifts = lifts.map(|[x, y, phase, speed]: [f32; 4]| [x, y, phase, speed * (x * x + y * y).sqrt()]);
        Self {
            grid,
            cells,
            frame,
            intervals: intervals.into(),
            substeps: substeps.clamp(1, MAX_SUBSTEPS),
            seed,
            waves,
            lifts,
        }
    }

    /// Returns the layout of the picture.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Returns the particles at home, row by row.
    pub fn bodies(&self) -> Vec<Body> {
        let [x, y] = self.first();
        let cell = self.grid.cell as f32;
        let pixels = self.cells.pixels.par_chunks_exact(4).enumerate();
        let bodies = pixels.map(|(id, rgba)| {
            let id = id as u32;
            let (column, row) = (id % self.grid.columns, id / self.grid.columns);
            let position = [x + cell * column as f32, y + cell * row as f32, 0.0];
            let color = u32::from_le_bytes([rgba[0], rgba[1], rgba[2], rgba[3]]);
            Body { position, color, velocity: [0.0; 3], extra: self.delay(id, position) }
        });
        bodies.collect()
    }

    /// Returns the step from frame `frame - 1` to frame `frame`. After the last frame the story
    /// starts again.
    pub fn step(&self, frame: u64) -> MosaicStep {
        let interval = frame % (self.intervals + 1);
        let length = 1.0 / self.intervals as f32;
        let start = interval.saturating_sub(1) as f32 * length;
        let [width, height] = self.frame.map(|n| n as f32);
        let reach = width.min(height);
        let mut waves = self.waves;
        for (i, wave) in waves.iter_mut().enumerate() {
            wave[2] += start * (0.25 + 0.1 * i as f32);
        }
        MosaicStep {
            waves,
            lifts: self.lifts,
            vortex: [width * 0.5, height * 0.5, 4.2, 1.0 / (0.30 * 0.30 * reach * reach)],
            first: self.first(),
            cell: self.grid.cell as f32,
            start,
            duration: length / self.substeps as f32,
            shown: if interval == self.intervals { 1.0 } else { interval as f32 * length },
            columns: self.grid.columns,
            substeps: if interval == 0 { 0 } else { self.substeps },
            from: 0,
        }
    }

    /// Returns the view, in which a particle at home covers exactly its cell.
    pub fn view(&self, point_limit: f32) -> View {
        let [width, height] = self.frame.map(|n| n as f32);
        let lens = 1.0 / (1.9 * width.max(height));
        View {
            transform: [
                2.0 / width,
                0.0,
                0.0,
                0.0, //
                0.0,
                2.0 / height,
                0.0,
                0.0, //
                0.0,
                0.0,
                -0.5 * lens,
                -lens, //
                -1.0,
                -1.0,
                0.5,
                1.0,
            ],
            point_scale: self.grid.cell as f32,
            point_min: 1.0,
            point_max: point_limit,
            gain: 1.0,
        }
    }

    /// Returns the expected first and last frame, as RGBA8, made from the picture alone, pixel by
    /// pixel.
    pub fn reference(&self) -> Vec<u8> {
        let [width, height] = self.frame;
        let Grid { columns, rows, cell, origin } = self.grid;
        let inside =
            |at: u32, first: u32, count: u32| (at >= first && at < first + count * cell).then(|| (at - first) / cell);
        let pixels = (0..height).into_par_iter().flat_map_iter(|y| (0..width).map(move |x| (x, y)));
        let rgba = pixels.flat_map_iter(|(x, y)| {
            let [mut red, mut green, mut blue] = BACKGROUND;
            if let (Some(column), Some(row)) = (inside(x, origin[0], columns), inside(y, origin[1], rows)) {
                let at = (row * columns + column) as usize * 4;
                let over = &self.cells.pixels[at..at + 4];
                let alpha = f32::from(over[3]) / 255.0;
                let blend = |under: f32, over: u8| f32::from(over) / 255.0 * alpha + under * (1.0 - alpha);
                (red, green, blue) = (blend(red, over[0]), blend(green, over[1]), blend(blue, over[2]));
            }
            let byte = |value: f32| (value * 255.0 + 0.5) as u8;
            [byte(red), byte(green), byte(blue), 255]
        });
        rgba.collect()
    }

    fn first(&self) -> [f32; 2] {
        [0, 1].map(|i| self.grid.origin[i] as f32 + self.grid.cell as f32 * 0.5)
    }

    /// Returns when a particle leaves: the particles leave along a ragged front that crosses the
    /// picture.
    fn delay(&self, id: u32, home: [f32; 3]) -> u32 {
        let [width, height] = self.frame.map(|n| n as f32);
        let (across, down) = (home[0] / width, home[1] / height);
        let ragged = 0.5 + 0.5 * sin_turns(1.7 * down + 0.6 * cos_turns(2.3 * across + 0.9 * down));
        let loose = (hash(id ^ hash(self.seed as u32)) >> 8) as f32 / 16_777_216.0;
        ((0.62 * across + 0.2 * ragged + 0.18 * loose) * 65535.0) as u32
    }
}

/// Returns a plane wave of about `length` times the shortest side of the frame. Its speed is
/// divided by the length of its vector, because the kernel multiplies by that vector.
fn wave(random: &mut Random, scale: f32, length: f32, speed: f32) -> [f32; 4] {
    let turn = random.unit();
    let count = 1.0 / (length * (0.8 + 0.4 * random.unit()) * scale);
    [cos_turns(turn) * count, sin_turns(turn) * count, random.unit(), speed * length * scale / count]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mosaic(frames: u32) -> Mosaic {
        let pixels = (0..16 * 9 * 4).map(|i| (hash(i) >> 24) as u8).collect();
        Mosaic::new(Picture { width: 16, height: 9, pixels }, 5, frames, [320, 180], 1000, 64.0)
    }

    fn positions(mosaic: &Mosaic, frames: u32) -> Vec<Vec<Particle>> {
        let mut bodies = mosaic.bodies();
        let frame = |frame| {
            let step = mosaic.step(frame);
            (0..).zip(&mut bodies).map(|(id, body)| step.advance(id, body)).collect()
        };
        (0..u64::from(frames)).map(frame).collect()
    }

    #[test]
    fn first_and_last_frame_are_home_bit_for_bit() {
        for frames in [1, 2, 3, 7, 24, 120, 501] {
            let mosaic = mosaic(frames);
            let shown = positions(&mosaic, frames);
            let home: Vec<_> = mosaic.bodies().iter().map(|body| body.position.map(f32::to_bits)).collect();
            for frame in [0, frames as usize - 1] {
                let bits: Vec<_> = shown[frame].iter().map(|particle| particle.position.map(f32::to_bits)).collect();
                assert!(bits == home, "frame {frame} of {frames}");
            }
        }
    }

    #[test]
    fn in_between_the_picture_is_stirred() {
        let shown = positions(&mosaic(60), 60);
        let distance =
            |a: &Particle, b: &Particle| (a.position[0] - b.position[0]).hypot(a.position[1] - b.position[1]);
        let moved: f32 = shown[0].iter().zip(&shown[30]).map(|(a, b)| distance(a, b)).sum();
        let mean = moved / shown[0].len() as f32;
        assert!((20.0..200.0).contains(&mean), "moved {mean} pixels on average");
        assert!(shown.iter().flatten().all(|particle| particle.position.iter().all(|x| x.is_finite())));
    }

    #[test]
    fn an_endless_run_starts_again() {
        let mosaic = mosaic(20);
        let shown = positions(&mosaic, 60);
        assert_eq!(shown[0], shown[20]);
        assert_eq!(shown[7], shown[47]);
    }
}
