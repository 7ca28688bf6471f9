//! Checks of the scene, of the filter and of the picture.
//!
//! *Scene*: the CPU draws the knot, and the result is compared with the shared image, as Vulkan
//! read it. *Picture*: the CPU filters that same image, and the result is compared with the
//! picture.

use anyhow::Result;
use half::f16;
use rayon::prelude::*;

use crate::color::{dither, filmic, rgba8, srgb};
use crate::postprocess::bloom::{Bloom, Texel, filter};
use crate::postprocess::knot::{View, draw};
use crate::psnr::{compare, compare_small};

/// The minimum similarity of the GPU's scene and the CPU's, in decibels. It is above 45, limited by
/// edges that GPUs round to another texel; a scene that is one frame old is below 26.
pub const LEAST_DRAWN: f64 = 38.0;
/// The minimum similarity of the picture and the one that the CPU filters, in decibels. It is above
/// 55, limited by the rounding of texture units.
pub const LEAST_FILTERED: f64 = 48.0;

/// Converts linear light of 0..=1 to RGBA8. Twin of `show.frag`.
pub fn shown(picture: &[Texel], width: u32) -> Vec<u8> {
    let pixel = |(i, texel): (usize, &Texel)| {
        let dither = dither(i as u32 % width, i as u32 / width);
        rgba8([texel[0], texel[1], texel[2]].map(|channel| srgb(f32::from(channel)) + dither))
    };
    picture.par_iter().enumerate().flat_map_iter(pixel).collect()
}

/// Converts light of any intensity to a picture that can be compared.
fn seen(light: impl Fn(usize) -> [f32; 4] + Sync, count: usize) -> Vec<u8> {
    let pixel = |i| {
        let [r, g, b, _] = light(i);
        rgba8([r, g, b].map(|channel| srgb(filmic(channel))))
    };
    (0..count).into_par_iter().flat_map_iter(pixel).collect()
}

/// Compares the scene of frame `frame`, as Vulkan read it, with the scene that the CPU draws.
/// Returns the similarity in decibels, and an error if it is too low.
pub fn compare_scene(frame: u64, seed: u64, bloom: &Bloom, scene: &[Texel]) -> (f64, Result<()>) {
    let expected = draw(&View::new(frame, bloom.size, seed), bloom.scene());
    let expected = seen(|i| expected[i], expected.len());
    let found = seen(|i| scene[i].map(f16::to_f32), scene.len());
    const WHAT: &str = "the scene that the CPU draws";
    compare_small(frame, WHAT, &found, &expected, LEAST_DRAWN)
}

/// Compares the picture `found` of frame `frame` with the picture that the CPU computes from the
/// scene that Vulkan read. Returns the similarity in decibels, and an error if it is too low.
pub fn compare_picture(frame: u64, bloom: &Bloom, scene: &[Texel], found: &[u8]) -> (f64, Result<()>) {
    let expected = shown(&filter(bloom, scene), bloom.size[0]);
    compare(frame, "what the CPU makes of the same scene", found, &expected, LEAST_FILTERED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [u32; 2] = [160, 90];

    fn scene(frame: u64, samples: u32) -> Vec<Texel> {
        let light = draw(&View::new(frame, SIZE, 1), SIZE.map(|side| side * samples));
        light.iter().map(|light| light.map(f16::from_f32)).collect()
    }

    #[test]
    fn a_wrong_scene_is_found() {
        let bloom = Bloom::new(7, SIZE, 1);
        assert!(compare_scene(7, 1, &bloom, &scene(7, 1)).1.is_ok());
        assert!(compare_scene(7, 2, &bloom, &scene(7, 1)).1.is_err());
        let black = vec![[f16::ZERO; 4]; 160 * 90];
        for wrong in [black, scene(27, 1)] {
            let error = compare_scene(7, 1, &bloom, &wrong).1.unwrap_err().to_string();
            assert!(error.contains("frame 7"), "{error}");
        }
    }

    #[test]
    fn one_wrong_texel_at_an_edge_is_tolerated_at_any_size() {
        let size = [7, 5];
        let light = |frame| draw(&View::new(frame, size, 1), size).into_iter().map(|light| light.map(f16::from_f32));
        let (bloom, mut scene) = (Bloom::new(10, size, 1), light(10).collect::<Vec<_>>());
        scene[17] = scene[17].map(|channel| f16::from_f32(1.0 - f32::from(channel).min(1.0)));
        assert!(compare_scene(10, 1, &bloom, &scene).1.is_ok());
        for wrong in [light(30).collect(), vec![[f16::ZERO; 4]; 35]] {
            assert!(compare_scene(10, 1, &bloom, &wrong).1.is_err());
        }
    }

    #[test]
    fn a_picture_that_was_not_filtered_or_late_is_found() {
        for samples in [1, 2] {
            let (bloom, scene) = (Bloom::new(7, SIZE, samples), scene(7, samples));
            let right = shown(&filter(&bloom, &scene), SIZE[0]);
            assert!(compare_picture(7, &bloom, &scene, &right).1.is_ok());
            let plain = seen(|i| scene[i].map(f16::to_f32), 160 * 90);
            let late = shown(&filter(&Bloom::new(6, SIZE, samples), &scene), SIZE[0]);
            for wrong in [plain, late, vec![0; right.len()]] {
                assert!(compare_picture(7, &bloom, &scene, &wrong).1.is_err());
            }
        }
    }
}
