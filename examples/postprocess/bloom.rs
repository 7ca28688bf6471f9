//! The twins of the kernels in `shaders/postprocess.cu`, on the CPU: bright light bleeds into its
//! surroundings, and all light is mapped to the range of a screen.
//!
//! The bright parts of the scene, which may have several texels per pixel, are averaged to half the
//! picture's size and then repeatedly halved. Each level is blurred along rows and columns; the
//! picture is the scene plus a part of every level, mapped with a filmic curve. Left of a curtain
//! the scene is unchanged.

use bytemuck::{Pod, Zeroable};
use half::f16;
use rayon::prelude::*;

use crate::color::filmic;
use crate::maths::sin_turns;

/// The number of levels of the pyramid, each half as large as the previous one; the first is half
/// as large as the picture.
pub const LEVELS: usize = 5;
/// Weights of the blur from the center outwards.
const BLUR: [f32; 6] = [0.200_57, 0.177, 0.121_65, 0.065_11, 0.027_14, 0.008_81];
/// The minimum light that bleeds.
const THRESHOLD: f32 = 0.9;
/// The weight of each level in the sum.
const GLOW: [f32; LEVELS] = [0.22, 0.20, 0.17, 0.14, 0.11];
/// The maximum light that bleeds; brighter light is limited to it.
const LIMIT: f32 = 24.0;
/// Half the width of the curtain's visible edge, in pixels.
const EDGE: f32 = 1.0;

/// One level of the pyramid within its buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Level {
    /// The index of its first texel.
    pub first: u32,
    /// Texels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// The parameters of the kernels: 128 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Bloom {
    /// The levels.
    pub levels: [Level; LEVELS],
    glow: [f32; LEVELS],
    blur: [f32; 6],
    threshold: f32,
    limit: f32,
    /// Pixels in a row, and rows.
    pub size: [u32; 2],
    /// Texels of the scene on each side of a pixel.
    pub samples: u32,
    /// The position of the curtain, in pixels from the left.
    curtain: f32,
}

/// The number of frames in which the curtain moves right, left and back.
const SWAY: u64 = 240;

impl Bloom {
    /// The kernels: bright parts to the first level, a level to the next, a blur, and the picture.
    pub const KERNELS: [&'static str; 4] = ["bright", "shrink", "blur", "compose"];

    /// Creates the parameters of frame `frame` of `size` pixels, for a scene with `samples` texels
    /// on each side of a pixel.
    pub fn new(frame: u64, size: [u32; 2], samples: u32) -> Self {
        let mut levels = [Level::default(); LEVELS];
        let (mut first, [mut width, mut height]) = (0, size);
        for level in &mut levels {
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
            *level = Level { first, width, height };
            first += width * height;
        }
        let sway = sin_turns((frame % SWAY) as f32 / SWAY as f32);
        let curtain = size[0] as f32 * (0.38 + 0.20 * sway);
        Self { levels, glow: GLOW, blur: BLUR, threshold: THRESHOLD, limit: LIMIT, size, samples, curtain }
    }

    /// Returns the number of texels of all levels.
    pub fn texels(&self) -> usize {
        self.levels.iter().map(|level| (level.width * level.height) as usize).sum()
    }

    /// Returns the width and height of the scene, in texels.
    pub fn scene(&self) -> [u32; 2] {
        self.size.map(|side| side * self.samples)
    }
}

/// A texel of both shared images: red, green, blue, and 1.
pub type Texel = [f16; 4];

type Light = [f32; 3];

/// RGB values, row by row.
struct Texels {
    size: [usize; 2],
    texels: Vec<Light>,
}

impl Texels {
    fn each(size: [usize; 2], texel: impl Fn(isize, isize) -> Light + Sync) -> Self {
        let [width, height] = size;
        let mut texels = vec![Light::default(); width * height];
        texels.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            row.iter_mut().enumerate().for_each(|(x, light)| *light = texel(x as isize, y as isize));
        });
        Self { size, texels }
    }

    fn at(&self, x: isize, y: isize) -> Light {
        let [x, y] = [(x, self.size[0]), (y, self.size[1])].map(|(at, side)| at.clamp(0, side as isize - 1) as usize);
        self.texels[y * self.size[0] + x]
    }

    /// Returns the mean of the four texels around the corner between columns `x - 1` and `x`, rows
    /// `y - 1` and `y`, which is the result of a linear filter at that corner.
    fn corner(&self, x: isize, y: isize) -> Light {
        let [a, b, c, d] = [self.at(x - 1, y - 1), self.at(x, y - 1), self.at(x - 1, y), self.at(x, y)];
        [0, 1, 2].map(|i| ((a[i] + b[i]) + (c[i] + d[i])) * 0.25)
    }

    /// Twin of the kernel `bright`.
    fn bright(&self, bloom: &Bloom, level: &Level) -> Self {
        let samples = bloom.samples as isize;
        Self::each([level.width as usize, level.height as usize], |x, y| {
            let mut sum = Light::default();
            for tap in 0..samples * samples {
                let (across, down) = (tap % samples, tap / samples);
                let light = self.corner((x * samples + across) * 2 + 1, (y * samples + down) * 2 + 1);
                sum = [0, 1, 2].map(|i| sum[i] + light[i]);
            }
            let mean = sum.map(|channel| channel / (samples * samples) as f32);
            let brightest = mean[0].max(mean[1]).max(mean[2]).max(1e-4);
            let kept = (brightest.min(bloom.limit) - bloom.threshold).max(0.0) / brightest;
            mean.map(|channel| channel * kept)
        })
    }

    /// Twin of the kernel `shrink`.
    fn shrunk(&self, level: &Level) -> Self {
        Self::each([level.width as usize, level.height as usize], |x, y| self.corner(x * 2 + 1, y * 2 + 1))
    }

    /// Twin of the kernel `blur`.
    fn blurred(&self, bloom: &Bloom, [right, down]: [isize; 2]) -> Self {
        Self::each(self.size, |x, y| {
            let mut sum = self.at(x, y).map(|channel| channel * bloom.blur[0]);
            for (away, weight) in bloom.blur.iter().enumerate().skip(1) {
                let (dx, dy) = (right * away as isize, down * away as isize);
                let (a, b) = (self.at(x - dx, y - dy), self.at(x + dx, y + dy));
                sum = [0, 1, 2].map(|i| sum[i] + (a[i] + b[i]) * weight);
            }
            sum
        })
    }

    /// Interpolates between the four nearest texels; the center of the first texel is at 0, 0.
    fn between(&self, x: f32, y: f32) -> Light {
        let (left, top) = (x.floor(), y.floor());
        let (u, v) = (x - left, y - top);
        let (left, top) = (left as isize, top as isize);
        let mix = |a: Light, b: Light, part: f32| [0, 1, 2].map(|i| a[i] * (1.0 - part) + b[i] * part);
        let above = mix(self.at(left, top), self.at(left + 1, top), u);
        let below = mix(self.at(left, top + 1), self.at(left + 1, top + 1), u);
        mix(above, below, v)
    }
}

/// Returns the picture of a scene of [`Bloom::scene`] texels: linear light of 0..=1, row by row.
pub fn filter(bloom: &Bloom, scene: &[Texel]) -> Vec<Texel> {
    let [wide, high] = bloom.scene().map(|side| side as usize);
    let scene = Texels::each([wide, high], |x, y| {
        let [r, g, b, _] = scene[y as usize * wide + x as usize].map(f32::from);
        [r, g, b]
    });
    let mut levels: Vec<Texels> = Vec::with_capacity(LEVELS);
    for level in &bloom.levels {
        let light = levels.last().map_or_else(|| scene.bright(bloom, level), |above| above.shrunk(level));
        levels.push(light.blurred(bloom, [1, 0]).blurred(bloom, [0, 1]));
    }
    let [width, height] = bloom.size.map(|side| side as usize);
    let mut picture = vec![[f16::ONE; 4]; width * height];
    picture.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
        for (x, pixel) in row.iter_mut().enumerate() {
            let [r, g, b] = compose(bloom, &scene, &levels, x, y).map(f16::from_f32);
            *pixel = [r, g, b, f16::ONE];
        }
    });
    picture
}

/// Twin of the kernel `compose`.
fn compose(bloom: &Bloom, scene: &Texels, levels: &[Texels], x: usize, y: usize) -> Light {
    let light = match bloom.samples {
        1 => scene.at(x as isize, y as isize),
        _ => scene.corner(2 * x as isize + 1, 2 * y as isize + 1),
    };
    let from_curtain = x as f32 + 0.5 - bloom.curtain;
    if from_curtain.abs() < EDGE {
        return [0.8; 3];
    }
    if from_curtain < 0.0 {
        return light.map(|channel| channel.clamp(0.0, 1.0));
    }
    let (mut sum, mut scale) = (light, 1.0);
    for (level, part) in levels.iter().zip(bloom.glow) {
        scale *= 0.5;
        let glow = level.between((x as f32 + 0.5) * scale - 0.5, (y as f32 + 0.5) * scale - 0.5);
        sum = [0, 1, 2].map(|i| sum[i] + glow[i] * part);
    }
    sum.map(filmic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!((size_of::<Bloom>(), size_of::<Texel>(), size_of::<Light>()), (128, 8, 12));
    }

    #[test]
    fn levels_halve_and_are_contiguous() {
        let bloom = Bloom::new(0, [101, 3], 2);
        let sizes = bloom.levels.map(|level| (level.width, level.height));
        assert_eq!(sizes, [(51, 2), (26, 1), (13, 1), (7, 1), (4, 1)]);
        assert_eq!((bloom.levels[1].first, bloom.texels(), bloom.scene()), (102, 152, [202, 6]));
    }

    #[test]
    fn the_blur_neither_adds_nor_takes_light() {
        let sum = BLUR[0] + 2.0 * BLUR[1..].iter().sum::<f32>();
        assert!((sum - 1.0).abs() < 1e-3, "{sum}");
    }

    fn lamp(size: [u32; 2], light: f32) -> Vec<Texel> {
        let mut scene = vec![[f16::ZERO; 4]; (size[0] * size[1]) as usize];
        let middle = (size[1] / 2 * size[0] + size[0] * 7 / 8) as usize;
        scene[middle..middle + 2].fill([f16::from_f32(light), f16::ZERO, f16::ZERO, f16::ONE]);
        scene
    }

    #[test]
    fn only_bright_texels_bleed_and_only_right_of_the_curtain() {
        let bloom = Bloom::new(0, [128, 64], 1);
        let lit = |light: f32| {
            let picture = filter(&bloom, &lamp([128, 64], light));
            (0..128).map(|x| picture[32 * 128 + x][0].to_f32()).collect::<Vec<_>>()
        };
        let bright = lit(40.0);
        assert!(bright[112] > bright[118] && bright[118] > bright[124] && bright[124] > 0.0, "{bright:?}");
        assert!(bright[..47].iter().all(|light| *light == 0.0));
        let dim = lit(0.8);
        assert!(dim[112] > 0.0 && dim[118] == 0.0);
    }

    #[test]
    fn uniform_scenes_do_not_depend_on_the_number_of_samples() {
        let even = |samples: u32| {
            let bloom = Bloom::new(30, [64, 32], samples);
            let scene = vec![[f16::from_f32(1.5); 4]; (64 * samples * 32 * samples) as usize];
            filter(&bloom, &scene)
        };
        assert_eq!(even(1), even(2));
    }
}
