//! Checks of the pattern and of the picture.
//!
//! *Data*: the pattern is grown a second time in Rust and compared bit for bit with the image, as
//! Vulkan read it. *Picture*: the CPU draws the ring from the image that Vulkan read, and the
//! result is compared with the GPU's picture.

use anyhow::{Result, anyhow, bail};
use half::f16;

use crate::psnr::compare;
use crate::texture::growth::{Growth, Step, Texel};
use crate::texture::ring::{Develop, View, develop, draw};

/// The maximum number of cell steps that are replayed; of a longer run only the first frames are
/// replayed.
const REPLAYED: u64 = 20_000_000_000;

/// The minimum similarity of the GPU's picture and the CPU's, in decibels. It is above 45, limited
/// by half floats and filters; an image or a view that is one frame old is below 36.
pub const LEAST_DRAWN: f64 = 38.0;

/// The pattern, grown a second time frame by frame.
pub struct Replay {
    growth: Growth,
    grid: [u32; 2],
    steps: u32,
    next: u64,
}

impl Replay {
    /// Creates a replay that starts before frame 0.
    pub fn new(grid: [u32; 2], seed: u64, steps: u32) -> Self {
        Self { growth: Growth::new(grid, seed), grid, steps, next: 0 }
    }

    /// Grows the pattern up to frame `frame` and compares it with the image of that frame. Returns
    /// the number of texels that were compared, or `None` if the growth would take too long.
    ///
    /// # Errors
    /// The error names the first texel that differs, with both values.
    pub fn compare(&mut self, frame: u64, image: &[Texel]) -> Option<Result<usize>> {
        let cells = u64::from(self.grid[0]) * u64::from(self.grid[1]);
        if (frame + 1).saturating_mul(cells * u64::from(self.steps)) > REPLAYED {
            return None;
        }
        while self.next <= frame {
            self.growth.advance(&Step::new(self.grid, self.next), self.steps);
            self.next += 1;
        }
        Some(same(frame, self.grid, image, &self.growth.image()))
    }
}

fn same(frame: u64, [width, _]: [u32; 2], found: &[Texel], expected: &[Texel]) -> Result<usize> {
    if found.len() != expected.len() {
        bail!("frame {frame}: the shared image has {} texels, not {}", found.len(), expected.len());
    }
    let bits = |texel: &Texel| texel.map(f16::to_bits);
    match found.iter().zip(expected).position(|(found, expected)| bits(found) != bits(expected)) {
        None => Ok(found.len()),
        Some(at) => Err(anyhow!(
            "frame {frame}: the shared image is not what the same maths gives on the CPU, first at column {}, row {}\n  \
             expected {:?}\n  found    {:?}",
            at % width as usize,
            at / width as usize,
            expected[at],
            found[at]
        )),
    }
}

/// Returns the picture of frame `frame` that the CPU draws from the image that Vulkan read, as
/// RGBA8.
pub fn expected_picture(frame: u64, image: &[Texel], grid: [u32; 2], size: [u32; 2], samples: u32) -> Vec<u8> {
    let light = draw(&View::new(frame, size, grid), image, grid, size.map(|side| side * samples));
    develop(&light, size, &Develop::new(samples))
}

/// Compares the picture `found` of frame `frame` with the picture that the CPU draws from the image
/// that Vulkan read. Returns the similarity in decibels, and an error if it is too low.
pub fn compare_drawn(
    frame: u64,
    image: &[Texel],
    grid: [u32; 2],
    size: [u32; 2],
    samples: u32,
    found: &[u8],
) -> (f64, Result<()>) {
    let expected = expected_picture(frame, image, grid, size, samples);
    compare(frame, "what the CPU draws from the same image", found, &expected, LEAST_DRAWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: [u32; 2] = [128, 64];
    const SIZE: [u32; 2] = [160, 90];

    fn grown(frames: u64) -> Vec<Texel> {
        let mut growth = Growth::new(GRID, 1);
        (0..frames).for_each(|frame| growth.advance(&Step::new(GRID, frame), 30));
        growth.image()
    }

    #[test]
    fn a_replay_finds_one_wrong_bit_and_a_missed_frame() {
        let mut image = grown(5);
        let compare = |frame, image: &[Texel]| Replay::new(GRID, 1, 30).compare(frame, image).unwrap();
        assert_eq!(compare(4, &image).unwrap(), 128 * 64);
        assert!(compare(5, &image).is_err() && compare(4, &image[1..]).is_err());
        image[200][2] = f16::from_bits(image[200][2].to_bits() ^ 1);
        let error = compare(4, &image).unwrap_err().to_string();
        assert!(error.contains("column 72, row 1"), "{error}");
    }

    #[test]
    fn replays_that_would_take_too_long_are_skipped() {
        assert!(Replay::new([8192, 8192], 1, 100).compare(3, &[]).is_none());
    }

    #[test]
    fn a_wrong_picture_is_far_below_the_threshold() {
        let image = grown(20);
        let right = expected_picture(19, &image, GRID, SIZE, 1);
        assert!(right.chunks(4).any(|rgba| rgba[0] > 150), "the picture is dark");
        assert!(compare_drawn(19, &image, GRID, SIZE, 1, &right).1.is_ok());
        let flat = vec![Texel::default(); image.len()];
        let shifted: Vec<_> = image.iter().cycle().skip(32).take(image.len()).copied().collect();
        for wrong in [flat, shifted, grown(3)] {
            let wrong = expected_picture(19, &wrong, GRID, SIZE, 1);
            let (psnr, result) = compare_drawn(19, &image, GRID, SIZE, 1, &wrong);
            assert!(result.unwrap_err().to_string().contains("frame 19"), "{psnr}");
        }
        let black = vec![0; right.len()];
        assert!(compare_drawn(19, &image, GRID, SIZE, 1, &black).1.is_err());
    }
}
