//! A CPU implementation of point drawing by the rules of Vulkan, in `f32`.
//!
//! Follows `spark.vert`, `spark.frag`, `tile.vert` and `tile.frag`. The self-check compares its
//! picture with the GPU's.

use rayon::prelude::*;

use crate::particles::particle::Particle;
use crate::particles::view::{Look, Style, View};

/// A projected point.
struct Splat {
    x: f32,
    y: f32,
    half: f32,
    color: [f32; 4],
}

/// Draws `particles` in their order. Returns `size[0] * size[1]` RGBA values, row by row from the
/// top: light for sparks, colors for tiles.
pub fn draw(particles: &[Particle], view: &View, look: &Look, size: [u32; 2]) -> Vec<[f32; 4]> {
    let [width, height] = size.map(|n| n as usize);
    let splats: Vec<Splat> =
        particles.par_iter().filter_map(|particle| splat(particle, view, look.style, size)).collect();
    let [r, g, b] = look.background;
    let mut pixels = vec![[r, g, b, 1.0]; width * height];
    let rows = height.div_ceil(4 * rayon::current_num_threads()).max(1);
    pixels.par_chunks_mut(width * rows).enumerate().for_each(|(band, pixels)| {
        let top = band * rows;
        for splat in &splats {
            cover(splat, look.style, pixels, width, top);
        }
    });
    pixels
}

fn splat(particle: &Particle, view: &View, style: Style, size: [u32; 2]) -> Option<Splat> {
    let (x, y, w) = view.project(particle.position, size)?;
    let point = view.point_size(w);
    let [r, g, b, a] = particle.color.to_le_bytes().map(|byte| f32::from(byte) / 255.0);
    let color = match style {
        Style::Tiles => [r, g, b, a],
        Style::Sparks => {
            let light = spark_light(view, a, w, point);
            [r * light, g * light, b * light, 0.0]
        }
    };
    Some(Splat { x, y, half: point * 0.5, color })
}

/// Returns the peak of a spark whose light decreases with the square of the distance and is spread
/// over its disc.
fn spark_light(view: &View, alpha: f32, w: f32, point: f32) -> f32 {
    let brightness = alpha * alpha * alpha * alpha;
    view.gain * brightness / (w * w * point * point)
}

/// Blends `splat` into `pixels`, which are the rows from `top` on.
fn cover(splat: &Splat, style: Style, pixels: &mut [[f32; 4]], width: usize, top: usize) {
    let rows = pixels.len() / width;
    let (y0, y1) = covered(splat.y, splat.half, top, rows);
    let (x0, x1) = covered(splat.x, splat.half, 0, width);
    for y in y0..y1 {
        let v = (y as f32 + 0.5 - splat.y) / splat.half;
        let row = &mut pixels[(y - top) * width..][..width];
        for (x, pixel) in row.iter_mut().enumerate().take(x1).skip(x0) {
            match style {
                Style::Sparks => {
                    let u = (x as f32 + 0.5 - splat.x) / splat.half;
                    let fall = (1.0 - (u * u + v * v)).max(0.0);
                    for (light, color) in pixel.iter_mut().zip(splat.color) {
                        *light += color * fall * fall;
                    }
                }
                Style::Tiles => {
                    let alpha = splat.color[3];
                    for (under, over) in pixel.iter_mut().zip(splat.color).take(3) {
                        *under = over * alpha + *under * (1.0 - alpha);
                    }
                }
            }
        }
    }
}

/// Returns the pixels whose centers are within `half` of `center`, limited to `count` pixels from
/// `first` on.
fn covered(center: f32, half: f32, first: usize, count: usize) -> (usize, usize) {
    let low = (center - half - 0.5).ceil().max(first as f32) as usize;
    let high = (center + half - 0.5).ceil().clamp(0.0, (first + count) as f32) as usize;
    (low, high.max(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: View = View {
        transform: [0.25, 0., 0., 0., 0., 0.25, 0., 0., 0., 0., 1., 0., -1., -1., 0., 1.],
        point_scale: 2.0,
        point_min: 1.0,
        point_max: 64.0,
        gain: 1.0,
    };
    const TILES: Look = Look { style: Style::Tiles, background: [0.0; 3] };

    fn at(x: f32, y: f32, color: u32) -> Particle {
        Particle { position: [x, y, 0.0], color }
    }

    #[test]
    fn a_tile_covers_exactly_its_cell() {
        let pixels = draw(&[at(3.0, 5.0, 0xffff_ffff)], &FLAT, &TILES, [8, 8]);
        let lit: Vec<usize> = (0..64).filter(|&i| pixels[i][0] > 0.5).collect();
        assert_eq!(lit, [4 * 8 + 2, 4 * 8 + 3, 5 * 8 + 2, 5 * 8 + 3]);
    }

    #[test]
    fn later_tiles_cover_earlier_ones() {
        let pixels = draw(&[at(1.0, 1.0, 0xff00_00ff), at(1.0, 1.0, 0x8000_ff00)], &FLAT, &TILES, [8, 8]);
        let half = 128.0 / 255.0;
        assert!((pixels[0][0] - (1.0 - half)).abs() < 1e-6 && (pixels[0][1] - half).abs() < 1e-6);
    }

    #[test]
    fn sparks_add_up_in_any_order() {
        let look = Look { style: Style::Sparks, background: [0.0; 3] };
        let (a, b) = (at(4.0, 4.0, 0xff00_80ff), at(4.5, 4.5, 0xff80_ff00));
        let one = draw(&[a, b], &FLAT, &look, [8, 8]);
        let two = draw(&[b, a], &FLAT, &look, [8, 8]);
        assert!(one[4 * 8 + 4][0] > 0.0);
        for (p, q) in one.iter().zip(&two) {
            assert!(p.iter().zip(q).all(|(p, q)| (p - q).abs() < 1e-6));
        }
    }

    #[test]
    fn points_outside_the_picture_are_clipped() {
        let pixels = draw(&[at(-1.0, 4.0, !0), at(4.0, 9.0, !0)], &FLAT, &TILES, [8, 8]);
        assert!(pixels.iter().all(|pixel| pixel[0] == 0.0));
    }
}
