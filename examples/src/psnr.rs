//! Similarity of two pictures.

use anyhow::{Result, anyhow};

/// The result of [`psnr`] for identical pictures, in decibels.
pub const IDENTICAL: f64 = 120.0;

/// Returns the peak signal-to-noise ratio of two RGBA8 pictures of the same size, in decibels, over
/// red, green and blue; at most [`IDENTICAL`]. Returns 0 if the sizes differ.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    if a.len() != b.len() || a.is_empty() {
        return 0.0;
    }
    let squares: u64 = a
        .chunks_exact(4)
        .zip(b.chunks_exact(4))
        .flat_map(|(a, b)| a.iter().zip(b).take(3))
        .map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2))
        .sum();
    let mean = squares as f64 / (a.len() / 4 * 3) as f64;
    if mean == 0.0 { IDENTICAL } else { (10.0 * (255.0 * 255.0 / mean).log10()).min(IDENTICAL) }
}

/// Returns the means of cells of 4 x 4 pixels as an RGBA8 picture; incomplete cells at the edges
/// are left out. Points whose edges a GPU rounds to another pixel hardly change the result, wrong
/// points do.
pub fn coarse(rgba: &[u8], width: usize) -> Vec<u8> {
    const CELL: usize = 4;
    let height = rgba.len() / 4 / width.max(1);
    let mean = |x: usize, y: usize, channel: usize| {
        let sum: u32 = (0..CELL * CELL)
            .map(|i| u32::from(rgba[((y * CELL + i / CELL) * width + x * CELL + i % CELL) * 4 + channel]))
            .sum();
        (sum / (CELL * CELL) as u32) as u8
    };
    let cells = (0..height / CELL).flat_map(|y| (0..width / CELL).map(move |x| (x, y)));
    cells.flat_map(|(x, y)| [0, 1, 2, 3].map(|channel| mean(x, y, channel))).collect()
}

/// Returns the picture `found` with its least similar pixels replaced by those of `expected`: one
/// in 50, and at least one. In a picture of few pixels, a single pixel whose edge a GPU rounds to
/// the other side would otherwise count as much as a wrong picture.
fn without_outliers(found: &[u8], expected: &[u8]) -> Vec<u8> {
    const ONE_IN: usize = 50;
    let (found, expected) = (found.as_chunks::<4>().0, expected.as_chunks::<4>().0);
    let far =
        |(a, b): (&[u8; 4], &[u8; 4])| a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum::<u32>();
    let mut order: Vec<usize> = (0..found.len().min(expected.len())).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(far((&found[at], &expected[at]))));
    order.truncate(found.len().div_ceil(ONE_IN));
    let mut close = found.to_vec();
    order.into_iter().for_each(|at| close[at] = expected[at]);
    close.into_flattened()
}

/// Compares as [`compare`] does, but allows outliers in a picture of few pixels.
pub fn compare_small(frame: u64, what: &str, found: &[u8], expected: &[u8], least: f64) -> (f64, Result<()>) {
    const FEW_PIXELS: usize = 4096;
    let (likeness, result) = compare(frame, what, found, expected, least);
    if result.is_ok() || found.len() / 4 >= FEW_PIXELS || found.len() != expected.len() {
        return (likeness, result);
    }
    compare(frame, what, &without_outliers(found, expected), expected, least)
}

/// Compares the picture `found` of frame `frame` with the picture `expected`. Returns the
/// similarity in decibels, and an error if it is below `least`.
pub fn compare(frame: u64, what: &str, found: &[u8], expected: &[u8], least: f64) -> (f64, Result<()>) {
    let likeness = psnr(found, expected);
    if likeness >= least {
        return (likeness, Ok(()));
    }
    let error = anyhow!("frame {frame} is not {what}: PSNR {likeness:.1} dB, at least {least:.0} dB is right");
    (likeness, Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_everywhere_is_48_decibels() {
        let (a, b) = ([100_u8; 64], [101_u8; 64]);
        assert!((psnr(&a, &b) - 48.13).abs() < 0.01);
        assert_eq!(psnr(&a, &a), IDENTICAL);
        assert_eq!(psnr(&a, &b[..32]), 0.0);
    }

    #[test]
    fn coarse_pictures_are_means() {
        let picture: Vec<u8> = (0..9 * 5).flat_map(|i| [if i % 9 < 4 { 100 } else { 200 }, 1, 2, 255]).collect();
        assert_eq!(coarse(&picture, 9), [100, 1, 2, 255, 200, 1, 2, 255]);
        assert!(coarse(&picture[..12], 3).is_empty());
    }

    #[test]
    fn outliers_are_few() {
        let expected = [10_u8; 35 * 4];
        let mut found = expected;
        found[40..44].fill(200);
        assert_eq!(psnr(&without_outliers(&found, &expected), &expected), IDENTICAL);
        found[80..84].fill(90);
        let left = without_outliers(&found, &expected);
        assert_eq!((left[40], left[80]), (10, 90));
    }

    #[test]
    fn alpha_does_not_count() {
        assert_eq!(psnr(&[1, 2, 3, 0], &[1, 2, 3, 255]), IDENTICAL);
    }
}
