//! Reaction and diffusion by Gray and Scott: a feed and a catalyst that consumes it, on a torus of
//! cells.
//!
//! `u + 2v -> 3v` turns feed into catalyst, both diffuse, feed flows in and catalyst dies. The
//! pattern is dividing spots where the catalyst dies quickly, and labyrinths where there is more
//! feed; along the torus the conditions change from one to the other and back, and drift.
//!
//! `shaders/texture.cu` is the twin, operation for operation: both give the same bits.

use bytemuck::{Pod, Zeroable};
use half::f16;
use rayon::prelude::*;

use crate::maths::{Random, cos_turns};

/// The diffusion rate of the feed and of the catalyst.
const SPREAD: [f32; 2] = [1.0, 0.5];
/// The rate at which feed flows in, for spots and for labyrinths.
const FEED: [f32; 2] = [0.030, 0.050];
/// The rate at which catalyst dies in addition, for spots and for labyrinths.
const KILL: [f32; 2] = [0.062, 0.0625];
/// The drift of the conditions around the ring per frame, in turns.
const DRIFT: f32 = 1.0 / 720.0;
/// The number of cells per seed of the growth.
const CELLS_PER_SEED: usize = 4000;
/// The width and height of a seed, in cells.
const SEED_SIDE: usize = 9;
/// Rows that one task on the CPU computes.
const BAND: usize = 8;

/// A texel of the shared image: the catalyst, its slopes along a row and along a column (each a
/// difference over two cells), and the feed.
pub type Texel = [f16; 4];

/// The parameters of the kernels: 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Step {
    /// [`FEED`].
    feed: [f32; 2],
    /// [`KILL`].
    kill: [f32; 2],
    /// The drift of the conditions, in turns.
    phase: f32,
    /// Cells in a row.
    width: u32,
    /// Rows.
    height: u32,
    reserved: u32,
}

impl Step {
    /// The kernel that advances all cells by one step, and the kernel that writes the image.
    pub const KERNELS: [&'static str; 2] = ["grow", "relief"];

    /// Creates the parameters for the steps of frame `frame`.
    pub fn new([width, height]: [u32; 2], frame: u64) -> Self {
        // A drift of a whole turn is no drift.
        let phase = (frame % 720) as f32 * DRIFT;
        Self { feed: FEED, kill: KILL, phase, width, height, reserved: 0 }
    }

    /// Returns the number of cells in a row, and the number of rows.
    pub fn grid(&self) -> [u32; 2] {
        [self.width, self.height]
    }

    /// Returns the feed and kill rates of every column.
    fn conditions(&self) -> [Vec<f32>; 2] {
        let part = |x: u32| 0.5 - 0.5 * cos_turns(x as f32 / self.width as f32 + self.phase);
        [self.feed, self.kill].map(|[a, b]| (0..self.width).map(|x| a + (b - a) * part(x)).collect())
    }

    /// Advances all cells by one step, from the planes `from` to the planes `to`. Twin of the
    /// kernel `grow`.
    pub fn grow(&self, to: &mut [f32], from: &[f32]) {
        let (size, conditions) = (self.size(), self.conditions());
        let (feed, catalyst) = planes(size, from);
        let (next_feed, next_catalyst) = to.split_at_mut(feed.len());
        let band = size[0] * BAND;
        let bands = next_feed.par_chunks_mut(band).zip(next_catalyst.par_chunks_mut(band));
        bands.enumerate().for_each(|(band, (next_feed, next_catalyst))| {
            let rows = next_feed.chunks_exact_mut(size[0]).zip(next_catalyst.chunks_exact_mut(size[0]));
            for (row, (next_feed, next_catalyst)) in rows.enumerate() {
                let row = band * BAND + row;
                let (u, v) = (Rows::new(feed, size, row), Rows::new(catalyst, size, row));
                react(&u, &v, &conditions, next_feed, next_catalyst);
            }
        });
    }

    /// Writes row `row` of the image of the planes `from`. Twin of the kernel `relief`.
    pub fn relief(&self, from: &[f32], row: usize, texels: &mut [Texel]) {
        let size = self.size();
        let (feed, catalyst) = planes(size, from);
        let (rows, width) = (Rows::new(catalyst, size, row), size[0]);
        let feed = &feed[row * width..][..width];
        for (x, texel) in texels.iter_mut().enumerate().take(width) {
            let (left, right) = ((x + width - 1) % width, (x + 1) % width);
            let slopes = [rows.here[right] - rows.here[left], rows.below[x] - rows.above[x]];
            *texel = [rows.here[x], slopes[0], slopes[1], feed[x]].map(f16::from_f32);
        }
    }

    fn size(&self) -> [usize; 2] {
        self.grid().map(|side| side as usize)
    }
}

/// Splits the planes into feed and catalyst.
fn planes([width, height]: [usize; 2], planes: &[f32]) -> (&[f32], &[f32]) {
    let (feed, catalyst) = planes.split_at(width * height);
    (feed, &catalyst[..width * height])
}

/// The state of all cells.
#[derive(Clone, Debug)]
pub struct Growth {
    size: [usize; 2],
    planes: Vec<f32>,
    /// The target of the next step.
    next: Vec<f32>,
}

impl Growth {
    /// Creates cells with feed everywhere and a little catalyst in a few places, which depend on
    /// `seed`.
    pub fn new(size: [u32; 2], seed: u64) -> Self {
        let size = size.map(|n| n as usize);
        let [width, height] = size;
        let cells = width * height;
        let (mut feed, mut catalyst) = (vec![1.0; cells], vec![0.0; cells]);
        let mut random = Random::new(seed, 0);
        for _ in 0..(cells / CELLS_PER_SEED).max(1) {
            let [left, top] = size.map(|side| (random.unit() * side as f32) as usize);
            for cell in 0..SEED_SIDE * SEED_SIDE {
                let at = (top + cell / SEED_SIDE) % height * width + (left + cell % SEED_SIDE) % width;
                feed[at] = 0.5;
                catalyst[at] = 0.25 + 0.2 * random.unit();
            }
        }
        Self { size, next: vec![0.0; 2 * cells], planes: [feed, catalyst].concat() }
    }

    /// Returns the feed and then the catalyst of all cells, row by row, as the kernels use them.
    pub fn planes(&self) -> &[f32] {
        &self.planes
    }

    /// Advances the pattern by `steps` steps.
    pub fn advance(&mut self, step: &Step, steps: u32) {
        for _ in 0..steps {
            step.grow(&mut self.next, &self.planes);
            std::mem::swap(&mut self.planes, &mut self.next);
        }
    }

    /// Returns the whole image, row by row.
    pub fn image(&self) -> Vec<Texel> {
        let [width, height] = self.size;
        let step = Step::new(self.size.map(|side| side as u32), 0);
        let mut texels = vec![Texel::default(); width * height];
        let rows = texels.par_chunks_mut(width).enumerate();
        rows.for_each(|(row, texels)| step.relief(&self.planes, row, texels));
        texels
    }
}

/// A row and its two neighbors.
struct Rows<'a> {
    above: &'a [f32],
    here: &'a [f32],
    below: &'a [f32],
}

impl<'a> Rows<'a> {
    fn new(plane: &'a [f32], [width, height]: [usize; 2], row: usize) -> Self {
        let get = |row: usize| &plane[row % height * width..][..width];
        Self { above: get(row + height - 1), here: get(row), below: get(row + 1) }
    }

    /// Returns the difference between the surroundings of a cell and the cell.
    #[inline(always)]
    fn around(&self, left: usize, x: usize, right: usize) -> f32 {
        let Self { above, here, below } = self;
        let edges = (above[x] + below[x]) + (here[left] + here[right]);
        let corners = (above[left] + above[right]) + (below[left] + below[right]);
        (edges * 0.2 + corners * 0.05) - here[x]
    }
}

/// Computes one step of one row.
fn react(u: &Rows<'_>, v: &Rows<'_>, [feed, kill]: &[Vec<f32>; 2], next_u: &mut [f32], next_v: &mut [f32]) {
    let width = next_u.len();
    // The slices have the same known length, so the loop below needs no bounds checks.
    let whole = |rows: &Rows<'_>| rows.above.len() == width && rows.here.len() == width && rows.below.len() == width;
    assert!(whole(u) && whole(v) && feed.len() == width && kill.len() == width && next_v.len() == width);
    let mut cell = |left: usize, x: usize, right: usize| {
        let (a, b) = (u.here[x], v.here[x]);
        let eaten = a * b * b;
        let (flow, death) = (feed[x] * (1.0 - a), (feed[x] + kill[x]) * b);
        next_u[x] = a + ((SPREAD[0] * u.around(left, x, right) - eaten) + flow);
        next_v[x] = b + ((SPREAD[1] * v.around(left, x, right) + eaten) - death);
    };
    cell(width - 1, 0, 1 % width);
    for x in 1..width - 1 {
        cell(x - 1, x, x + 1);
    }
    cell(width - 2, width - 1, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [u32; 2] = [96, 64];

    fn grown(seed: u64, steps: u32) -> Growth {
        let mut growth = Growth::new(SIZE, seed);
        growth.advance(&Step::new(SIZE, 0), steps);
        growth
    }

    fn catalyst(growth: &Growth) -> &[f32] {
        &growth.planes()[96 * 64..]
    }

    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!((size_of::<Step>(), size_of::<Texel>()), (32, 8));
    }

    #[test]
    fn a_pattern_grows_and_stays_within_bounds() {
        let growth = grown(1, 1500);
        let more = catalyst(&growth).iter().filter(|v| **v > 0.2).count();
        assert!((500..5000).contains(&more), "{more} of 6144 cells are high");
        assert!(growth.planes().iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn an_empty_grid_stays_empty() {
        let planes = [vec![1.0; 96 * 64], vec![0.0; 96 * 64]].concat();
        let mut growth = Growth { planes, ..Growth::new(SIZE, 1) };
        growth.advance(&Step::new(SIZE, 0), 10);
        let feed = &growth.planes()[..96 * 64];
        assert!(catalyst(&growth).iter().all(|v| *v == 0.0) && feed.iter().all(|u| (u - 1.0).abs() < 1e-5));
    }

    #[test]
    fn steps_add_up_and_seeds_differ() {
        let mut growth = grown(3, 7);
        growth.advance(&Step::new(SIZE, 0), 5);
        assert_eq!(growth.planes(), grown(3, 12).planes());
        assert_ne!(growth.planes(), grown(4, 12).planes());
    }

    #[test]
    fn the_torus_has_no_seam() {
        // A pattern that is shifted along columns and rows grows into the shifted result; the phase
        // shifts the conditions.
        let whole = [96_usize, 64];
        let mut growth = Growth::new(SIZE, 5);
        let moved = |plane: &[f32]| -> Vec<f32> {
            (0..96 * 64).map(|i| plane[(i / 96 + 64 - 9) % 64 * 96 + (i % 96 + 96 - 24) % 96]).collect()
        };
        let (feed, there) = growth.planes().split_at(96 * 64);
        let planes = [moved(feed), moved(there)].concat();
        let mut other = Growth { size: whole, planes, next: growth.next.clone() };
        let step = Step::new(SIZE, 0);
        growth.advance(&step, 20);
        other.advance(&Step { phase: -0.25, ..step }, 20);
        let differs = moved(catalyst(&growth)).iter().zip(catalyst(&other)).any(|(a, b)| (a - b).abs() > 1e-5);
        assert!(!differs);
    }

    #[test]
    fn slopes_are_differences_of_heights() {
        let growth = grown(2, 300);
        let image = growth.image();
        let height = |x: usize, y: usize| catalyst(&growth)[y % 64 * 96 + x % 96];
        for (x, y) in [(0, 0), (95, 63), (40, 20)] {
            let texel = image[y * 96 + x];
            assert_eq!(texel[0], f16::from_f32(height(x, y)));
            assert_eq!(texel[1], f16::from_f32(height(x + 1, y) - height(x + 95, y)));
            assert_eq!(texel[2], f16::from_f32(height(x, y + 1) - height(x, y + 63)));
        }
    }
}
