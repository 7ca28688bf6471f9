//! Data that compute and rendering share, and data that only compute uses.

use bytemuck::{Pod, Zeroable};

/// A point as the vertex stage reads it: 16 bytes per particle, in the shared buffer.
///
/// Aligned to its size, as in `particles.cu`, so that a kernel moves a point with a single access
/// of 16 bytes.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Particle {
    /// Position in the world of its scene.
    pub position: [f32; 3],
    /// RGBA8, red in the lowest byte; in memory the order of the bytes is R, G, B, A.
    pub color: u32,
}

/// The state of a particle that compute keeps between frames: 32 bytes, not visible to rendering.
/// Aligned as a [`Particle`].
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Body {
    /// Position, in the units of its scene.
    pub position: [f32; 3],
    /// The color, as in [`Particle::color`].
    pub color: u32,
    /// Velocity, in the units of its scene.
    pub velocity: [f32; 3],
    /// A second color or a delay, depending on the scene.
    pub extra: u32,
}

/// Packs red, green, blue and alpha in 0..=1 as RGBA8, rounded to nearest.
pub fn pack(rgba: [f32; 4]) -> u32 {
    u32::from_le_bytes(rgba.map(|channel| (channel.clamp(0.0, 1.0) * 255.0 + 0.5) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!((size_of::<Particle>(), align_of::<Particle>()), (16, 16));
        assert_eq!((size_of::<Body>(), align_of::<Body>()), (32, 16));
    }

    #[test]
    fn red_is_the_lowest_byte() {
        assert_eq!(pack([1.0, 0.0, 0.0, 0.0]), 0x0000_00ff);
        assert_eq!(pack([0.0, 0.5, 2.0, 1.0]), 0xffff_8000);
    }
}
