//! Arithmetic that gives the same bits on a GPU and on a CPU.
//!
//! The kernels in `shaders/` repeat these functions operation for operation. Only `+ - * /`, `sqrt`
//! and integers are used, which IEEE 754 and PTX round exactly (`.rn`, no `.ftz`, compiled with
//! `--fmad=false`), so the two backends can be compared with `==`. A call into a maths library
//! would break this.

/// Returns the largest integer that is not above `x`. `|x|` must be below 2^31.
#[inline]
pub fn floor(x: f32) -> f32 {
    let whole = x as i32 as f32;
    if whole > x { whole - 1.0 } else { whole }
}

/// Returns the sine of `x` turns (`x = 1` is a full circle). `|x|` must be below 2^31; the absolute
/// error is below 4e-6.
#[inline]
pub fn sin_turns(x: f32) -> f32 {
    let mut r = x - floor(x + 0.5);
    if r > 0.25 {
        r = 0.5 - r;
    }
    if r < -0.25 {
        r = -0.5 - r;
    }
    let q = r * r;
    r * (6.283_185_5 + q * (-41.341_7 + q * (81.605_25 + q * (-76.705_86 + q * 42.058_7))))
}

/// Returns the cosine of `x` turns, see [`sin_turns`].
#[inline]
pub fn cos_turns(x: f32) -> f32 {
    sin_turns(x + 0.25)
}

/// Returns `x` clamped to 0..=1.
#[inline]
pub fn saturate(x: f32) -> f32 {
    x.clamp(0.0, 1.0)
}

/// Returns a step from 0 to 1 over `0..=1` whose first and second derivatives are 0 at both ends.
#[inline]
pub fn smootherstep(x: f32) -> f32 {
    let t = saturate(x);
    t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
}

/// Interpolates packed RGBA8 colors, channel by channel: `a` at weight 0, `b` at weight 256.
#[inline]
pub fn mix_rgba8(a: u32, b: u32, weight: u32) -> u32 {
    let mut mixed = 0;
    let mut shift = 0;
    while shift < 32 {
        let low = (a >> shift) & 255;
        let high = (b >> shift) & 255;
        mixed |= ((low * (256 - weight) + high * weight) >> 8) << shift;
        shift += 8;
    }
    mixed
}

/// Hashes `x`: a permutation of the 32-bit integers with no visible pattern (Jenkins and Wang style
/// finalizer with the constants that <https://github.com/skeeto/hash-prospector> found).
#[inline]
pub fn hash(x: u32) -> u32 {
    let mut h = x;
    h ^= h >> 16;
    h = h.wrapping_mul(0x21f0_aaad);
    h ^= h >> 15;
    h = h.wrapping_mul(0xd35a_2d97);
    h ^ (h >> 15)
}

/// A stream of uniform random numbers that depends only on its seed.
#[derive(Clone, Debug)]
pub struct Random {
    state: u32,
    increment: u32,
}

impl Random {
    /// Creates stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u32) -> Self {
        let low = hash(seed as u32 ^ hash((seed >> 32) as u32).wrapping_add(0x9e37_79b9));
        Self { state: hash(low ^ hash(stream)), increment: hash(stream.wrapping_add(low)) | 1 }
    }

    /// Returns the next 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.state = self.state.wrapping_add(self.increment);
        hash(self.state)
    }

    /// Returns the next number in `0..1`, a multiple of 2^-24.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Returns the next number in `-1..1`.
    pub fn signed(&mut self) -> f32 {
        self.unit() * 2.0 - 1.0
    }

    /// Returns the next number of an approximately normal distribution of mean 0 and variance 1:
    /// the sum of twelve uniform numbers, which needs no logarithm.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// Returns a uniformly distributed point on the unit sphere.
    pub fn direction(&mut self) -> [f32; 3] {
        let z = self.signed();
        let turn = self.unit();
        let ring = (1.0 - z * z).sqrt();
        [ring * cos_turns(turn), ring * sin_turns(turn), z]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_is_close_to_the_library_one() {
        for i in -4000..4000 {
            let x = i as f32 / 997.0;
            let exact = (f64::from(x) * std::f64::consts::TAU).sin();
            assert!((f64::from(sin_turns(x)) - exact).abs() < 4e-6, "sin_turns({x})");
        }
    }

    #[test]
    fn floor_agrees_with_the_library_one() {
        for x in [0.0_f32, -0.0, 0.5, -0.5, 1.0, -1.0, 2.75, -2.75, 1e6, -1e6] {
            assert_eq!(floor(x), x.floor());
        }
    }

    #[test]
    fn mixing_keeps_both_ends() {
        let (a, b) = (0x0102_03ff, 0xfffe_8000);
        assert_eq!(mix_rgba8(a, b, 0), a);
        assert_eq!(mix_rgba8(a, b, 256), b);
    }

    #[test]
    fn random_numbers_are_uniform_and_streams_differ() {
        let mut random = Random::new(1, 2);
        let mean = (0..100_000).map(|_| random.unit()).sum::<f32>() / 100_000.0;
        assert!((mean - 0.5).abs() < 5e-3, "mean {mean}");
        let first = |stream| Random::new(7, stream).bits();
        assert_ne!(first(0), first(1));
        assert_ne!(Random::new(1, 0).bits(), Random::new(1 << 40, 0).bits());
    }
}
