//! Conversion from light to a picture on the CPU: the twin of `gather.frag`, `blur.frag` and
//! `finish.frag`.
//!
//! Light is averaged over cells of 4 x 4 pixels, and the result again over 4 x 4 cells; both levels
//! are blurred, and the sum of all three is converted with a filmic curve and to sRGB.

use rayon::prelude::*;

use crate::color::{dither, rgba8, srgb};
use crate::particles::view::Style;

/// The side of a cell, in texels of the previous level.
pub const CELL: usize = 4;
/// Weights of the blur from the center outwards; it covers `2 * BLUR.len() - 1` texels of a row or
/// column.
pub const BLUR: [f32; 6] = [0.200_57, 0.177, 0.121_65, 0.065_11, 0.027_14, 0.008_81];
/// The weights of the first and the second level in the sum.
pub const GLOW: [f32; 2] = [0.16, 0.20];
/// The maximum light of a texel in the glow, so that a single very bright core does not turn the
/// picture white.
pub const GLOW_LIMIT: f32 = 24.0;

/// How strongly faint light is amplified.
pub const STRETCH: f32 = 7.0;
/// The amount of light that becomes white.
pub const WHITE: f32 = 3.5;

/// RGB values, row by row.
struct Level {
    width: usize,
    height: usize,
    texels: Vec<[f32; 3]>,
}

impl Level {
    fn clamped(&self, x: isize, y: isize) -> [f32; 3] {
        let x = x.clamp(0, self.width as isize - 1) as usize;
        let y = y.clamp(0, self.height as isize - 1) as usize;
        self.texels[y * self.width + x]
    }

    /// Returns the level at a position in units of its texels, interpolated between the four
    /// nearest.
    fn bilinear(&self, x: f32, y: f32) -> [f32; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (u, v) = (x - left, y - top);
        let (left, top) = (left as isize, top as isize);
        let mix = |a: [f32; 3], b: [f32; 3], t: f32| [0, 1, 2].map(|i| a[i] * (1.0 - t) + b[i] * t);
        let above = mix(self.clamped(left, top), self.clamped(left + 1, top), u);
        let below = mix(self.clamped(left, top + 1), self.clamped(left + 1, top + 1), u);
        mix(above, below, v)
    }

    fn each(width: usize, height: usize, texel: impl Fn(isize, isize) -> [f32; 3] + Sync) -> Self {
        let texels =
            (0..width * height).into_par_iter().map(|i| texel((i % width) as isize, (i / width) as isize)).collect();
        Self { width, height, texels }
    }

    fn gathered(&self) -> Self {
        let cell = CELL as isize;
        Self::each(self.width.div_ceil(CELL), self.height.div_ceil(CELL), |x, y| {
            let mut sum = [0.0; 3];
            for i in 0..cell * cell {
                let texel = self.clamped(x * cell + i % cell, y * cell + i / cell);
                for (sum, light) in sum.iter_mut().zip(texel) {
                    *sum += light.min(GLOW_LIMIT);
                }
            }
            sum.map(|sum| sum / (CELL * CELL) as f32)
        })
    }

    fn blurred(&self, step: [isize; 2]) -> Self {
        Self::each(self.width, self.height, |x, y| {
            let mut sum = self.clamped(x, y).map(|light| light * BLUR[0]);
            for (i, weight) in BLUR.iter().enumerate().skip(1) {
                let (dx, dy) = (step[0] * i as isize, step[1] * i as isize);
                let (a, b) = (self.clamped(x - dx, y - dy), self.clamped(x + dx, y + dy));
                for c in 0..3 {
                    sum[c] += (a[c] + b[c]) * weight;
                }
            }
            sum
        })
    }
}

/// Converts the result of [`draw`](crate::particles::raster::draw) to RGBA8, row by row.
pub fn finish(pixels: &[[f32; 4]], size: [u32; 2], style: Style) -> Vec<u8> {
    let [width, height] = size.map(|n| n as usize);
    match style {
        Style::Tiles => pixels.par_iter().flat_map_iter(|&[r, g, b, _]| rgba8([r, g, b])).collect(),
        Style::Sparks => {
            let light = Level { width, height, texels: pixels.iter().map(|&[r, g, b, _]| [r, g, b]).collect() };
            let near = light.gathered().blurred([1, 0]).blurred([0, 1]);
            let far = near.gathered().blurred([1, 0]).blurred([0, 1]);
            let place = |x: usize, level: usize| {
                let cell = CELL.pow(level as u32 + 1) as f32;
                (x as f32 + 0.5) / cell - 0.5
            };
            (0..width * height)
                .into_par_iter()
                .flat_map_iter(|i| {
                    let (x, y) = (i % width, i / width);
                    let near = near.bilinear(place(x, 0), place(y, 0));
                    let far = far.bilinear(place(x, 1), place(y, 1));
                    let sum = [0, 1, 2].map(|c| light.texels[i][c] + GLOW[0] * near[c] + GLOW[1] * far[c]);
                    let dither = dither(x as u32, y as u32);
                    rgba8(stretched(sum).map(|channel| srgb(channel) + dither))
                })
                .collect()
        }
    }
}

/// Applies a logarithmic curve to the brightest channel, as astronomers do for exposures: faint
/// tails stay visible next to a core that is a thousand times brighter. Hues are preserved, and
/// fade to white only near the top.
fn stretched(light: [f32; 3]) -> [f32; 3] {
    let brightest = light[0].max(light[1]).max(light[2]).max(1e-6);
    let value = (1.0 + STRETCH * brightest).log2() / (1.0 + STRETCH * WHITE).log2();
    let bleach = (value * value * value).min(1.0) * 0.8;
    light.map(|channel| value * (channel / brightest * (1.0 - bleach) + bleach))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_keep_their_colors() {
        let bytes = finish(&[[0.0, 128.0 / 255.0, 1.0, 1.0]], [1, 1], Style::Tiles);
        assert_eq!(bytes, [0, 128, 255, 255]);
    }

    #[test]
    fn the_blur_neither_adds_nor_takes_light() {
        let sum = BLUR[0] + 2.0 * BLUR[1..].iter().sum::<f32>();
        assert!((sum - 1.0).abs() < 1e-3, "{sum}");
    }

    #[test]
    fn light_glows_beyond_its_pixel_and_fades() {
        let mut pixels = vec![[0.0; 4]; 64 * 64];
        pixels[32 * 64 + 32] = [400.0; 4];
        let picture = finish(&pixels, [64, 64], Style::Sparks);
        let value = |x: usize| picture[(32 * 64 + x) * 4];
        assert!(value(32) > value(38) && value(38) > value(50) && value(50) >= value(63));
    }
}
