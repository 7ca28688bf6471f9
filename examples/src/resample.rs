//! Resampling of pictures.

/// The pixels of a row or column that contribute to one new pixel.
struct Taps {
    first: usize,
    /// Their sum is 1.
    weights: Vec<f32>,
}

/// Returns an RGBA8 picture with straight alpha at another size; no side may be zero. If it becomes
/// smaller, each pixel is the weighted mean of the area that it replaces; if it becomes larger, it
/// is interpolated. Transparent pixels contribute no color.
///
/// # Panics
/// Panics if `pixels` is not `4 * from[0] * from[1]` bytes long.
pub fn resample(pixels: &[u8], from: [u32; 2], to: [u32; 2]) -> Vec<u8> {
    let [width, height] = from.map(|side| side as usize);
    let [to_width, to_height] = to.map(|side| side as usize);
    assert_eq!(pixels.len(), 4 * width * height, "the pixels of {width} x {height}");
    let (rows, columns) = (taps(height, to_height), taps(width, to_width));
    let mut made = Vec::with_capacity(4 * to_width * to_height);
    // One row of the new height and the old width, with premultiplied alpha.
    let mut row = vec![[0.0; 4]; width];
    for taps in &rows {
        row.fill([0.0; 4]);
        let sources = pixels[4 * width * taps.first..].chunks_exact(4 * width);
        for (weight, source) in taps.weights.iter().zip(sources) {
            for (sum, rgba) in row.iter_mut().zip(source.as_chunks::<4>().0) {
                add(sum, *weight, premultiplied(*rgba));
            }
        }
        for taps in &columns {
            let mut sum = [0.0; 4];
            for (weight, pixel) in taps.weights.iter().zip(&row[taps.first..]) {
                add(&mut sum, *weight, *pixel);
            }
            made.extend(straight(sum));
        }
    }
    made
}

/// Returns a triangle filter around the middle of each new pixel, as wide as two new pixels or two
/// old ones, whichever is wider.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let of_pixel = |at: usize| {
        let middle = (at as f64 + 0.5) * scale;
        let first = (middle - reach).max(0.0) as usize;
        let end = ((middle + reach).ceil() as usize).min(from);
        let weight = |pixel: usize| (1.0 - ((pixel as f64 + 0.5 - middle) / reach).abs()).max(0.0);
        let sum: f64 = (first..end).map(weight).sum();
        Taps { first, weights: (first..end).map(|pixel| (weight(pixel) / sum) as f32).collect() }
    };
    (0..to).map(of_pixel).collect()
}

fn add(sum: &mut [f32; 4], weight: f32, pixel: [f32; 4]) {
    for (sum, channel) in sum.iter_mut().zip(pixel) {
        *sum += weight * channel;
    }
}

fn premultiplied([r, g, b, a]: [u8; 4]) -> [f32; 4] {
    let alpha = f32::from(a) / 255.0;
    [f32::from(r) * alpha, f32::from(g) * alpha, f32::from(b) * alpha, f32::from(a)]
}

/// Reverses [`premultiplied`]; without alpha the color is 0.
fn straight([r, g, b, a]: [f32; 4]) -> [u8; 4] {
    let scale = if a > 0.0 { 255.0 / a } else { 0.0 };
    // A cast saturates.
    [r * scale, g * scale, b * scale, a].map(|channel| (channel + 0.5) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_same_picture() {
        let pixels: Vec<u8> = (0..7 * 5 * 4).map(|i| if i % 4 == 3 { 255 } else { (i * 37) as u8 }).collect();
        assert_eq!(resample(&pixels, [7, 5], [7, 5]), pixels);
    }

    #[test]
    fn a_single_color_is_kept_at_every_size() {
        let color = [3, 200, 255, 255];
        for (from, to) in [([640, 3], [7, 50]), ([1, 1], [9, 4]), ([31, 17], [32, 16]), ([1000, 1], [1, 1])] {
            let pixels = color.repeat((from[0] * from[1]) as usize);
            let made = resample(&pixels, from, to);
            assert_eq!(made, color.repeat((to[0] * to[1]) as usize), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_pixel_is_the_weighted_mean_of_what_it_replaces() {
        let row = |grays: &[u8]| grays.iter().flat_map(|&gray| [gray, gray, gray, 255]).collect::<Vec<_>>();
        // The filter covers four pixels; at the edge the remaining weights are raised.
        assert_eq!(resample(&row(&[0, 0, 240, 240]), [4, 1], [2, 1]), row(&[34, 206]));
        // Halfway between two pixels it is their mean.
        assert_eq!(resample(&row(&[0, 200]), [2, 1], [4, 1]), row(&[0, 50, 150, 200]));
    }

    #[test]
    fn transparent_pixels_lend_no_color() {
        let made = resample(&[255, 0, 0, 255, 0, 255, 0, 0], [2, 1], [1, 1]);
        assert_eq!(made, [255, 0, 0, 128]);
        assert_eq!(resample(&[9, 9, 9, 0], [1, 1], [2, 2]), [0; 16]);
    }
}
