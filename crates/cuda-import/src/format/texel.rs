//! Formats of image texels: the type and number of channels.
//!
//! Contains unsafe code because a texel type must match the format that is passed to the driver.
#![allow(unsafe_code)]

use std::fmt;

use bytemuck::Pod;
use half::f16;

/// The type of one channel. Its interpretation is up to the exporting API: normalized formats are
/// integers here, read as fractions through
/// [`ReadMode::NormalizedFloat`](crate::ReadMode::NormalizedFloat).
#[doc(alias = "CUarray_format")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelType {
    /// 8 bits, unsigned.
    U8,
    /// 8 bits, signed.
    I8,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, signed.
    I16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, signed.
    I32,
    /// 16 bits, floating point.
    F16,
    /// 32 bits, floating point.
    F32,
}

impl ChannelType {
    /// Returns the size in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
        }
    }

    /// Returns `true` if it is not a floating-point type.
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::F32)
    }
}

/// The format of one element of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TexelFormat {
    /// The type of every channel.
    pub channel: ChannelType,
    /// The number of channels: 1, 2 or 4. CUDA has no images with three.
    pub channels: u32,
}

impl TexelFormat {
    /// Returns the size in bytes.
    pub const fn size(self) -> usize {
        self.channel.size() * self.channels as usize
    }
}

impl fmt::Display for TexelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {:?}", self.channels, self.channel)
    }
}

/// An element of an image: one, two or four channels, in memory order. In a BGRA image, the first
/// channel is blue.
///
/// # Safety
/// The type has `FORMAT.size()` bytes, which are the channels that `FORMAT` describes.
pub unsafe trait Texel: Pod + Send + Sync {
    /// The texel format.
    const FORMAT: TexelFormat;
}

macro_rules! texels {
    ($($channel:ty => $variant:ident),* $(,)?) => {$(
        // SAFETY: the variant is named after the type, and the value is one channel of it.
        unsafe impl Texel for $channel {
            const FORMAT: TexelFormat = TexelFormat { channel: ChannelType::$variant, channels: 1 };
        }
        // SAFETY: as above, with two channels.
        unsafe impl Texel for [$channel; 2] {
            const FORMAT: TexelFormat = TexelFormat { channel: ChannelType::$variant, channels: 2 };
        }
        // SAFETY: as above, with four channels.
        unsafe impl Texel for [$channel; 4] {
            const FORMAT: TexelFormat = TexelFormat { channel: ChannelType::$variant, channels: 4 };
        }
        const _: () = assert!(size_of::<$channel>() == ChannelType::$variant.size());
    )*};
}

texels! { u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f16 => F16, f32 => F32 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_the_size_of_their_type() {
        fn agrees<T: Texel>() {
            assert_eq!(T::FORMAT.size(), size_of::<T>(), "{}", std::any::type_name::<T>());
        }
        agrees::<u8>();
        agrees::<[i8; 2]>();
        agrees::<[u16; 4]>();
        agrees::<i16>();
        agrees::<[u32; 2]>();
        agrees::<[i32; 4]>();
        agrees::<[f16; 4]>();
        agrees::<[f32; 4]>();
    }

    #[test]
    fn formats_are_displayed_readably() {
        assert_eq!(<[f16; 4]>::FORMAT.to_string(), "4 x F16");
        assert!(u32::FORMAT.channel.is_integer() && !f16::FORMAT.channel.is_integer());
    }
}
