//! Conversion from linear light to bytes, shared by the pictures of all examples.

/// Maps a channel of light of any intensity to 0..=1 with a film-like curve: Narkowicz' fit of the
/// ACES curve.
///
/// Uses only exactly rounded operations, so that a kernel gives the same bits.
pub fn filmic(light: f32) -> f32 {
    let x = light * 0.8;
    (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0.0, 1.0)
}

/// Converts a channel of linear light, 0..=1, to sRGB.
pub fn srgb(channel: f32) -> f32 {
    if channel <= 0.003_130_8 { channel * 12.92 } else { 1.055 * channel.powf(1.0 / 2.4) - 0.055 }
}

/// Returns the ordered dither of a pixel (Bayer pattern): less than half an 8-bit step up or down,
/// which prevents banding in dark glows.
pub fn dither(x: u32, y: u32) -> f32 {
    let (x, q) = (x & 7, (x ^ y) & 7);
    let bit = |value: u32, place: u32| (value >> place) & 1;
    let rank = bit(q, 0) << 5 | bit(x, 0) << 4 | bit(q, 1) << 3 | bit(x, 1) << 2 | bit(q, 2) << 1 | bit(x, 2);
    ((rank as f32 + 0.5) / 64.0 - 0.5) / 255.0
}

/// Converts sRGB values to opaque RGBA8, rounded as a GPU does.
pub fn rgba8([r, g, b]: [f32; 3]) -> [u8; 4] {
    let byte = |channel: f32| (channel.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    [byte(r), byte(g), byte(b), 255]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dither_is_balanced() {
        let sum: f32 = (0..64).map(|i| dither(i % 8, i / 8)).sum();
        assert!(sum.abs() < 1e-6);
    }

    #[test]
    fn srgb_keeps_black_white_and_the_order() {
        assert_eq!((srgb(0.0), rgba8([0.0, srgb(1.0), 7.0])), (0.0, [0, 255, 255, 255]));
        assert!((0..100).all(|i| srgb(i as f32 / 100.0) < srgb((i + 1) as f32 / 100.0)));
    }
}
