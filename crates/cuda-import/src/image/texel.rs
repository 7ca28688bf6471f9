//! Description of one element of an image: how many channels, of which type.
//!
//! Unsafe because the driver is told the format, and Rust the type.
#![allow(unsafe_code)]

use std::fmt;

use bytemuck::Pod;
use half::f16;

/// The type of one channel. What it means is the exporting API's business: normalized formats are
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

    /// Returns `true` if it is no floating-point type.
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::F32)
    }
}

/// The format of one element of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TexelFormat {
    /// Type of every channel.
    pub channel: ChannelType,
    /// 1, 2 or 4: there are no images of three.
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

/// An element of an image: a channel, or two or four of them, in memory order. An image whose blue
/// comes first has it first here too.
///
/// # Safety
/// The type has `FORMAT.size()` bytes, and in them the channels that `FORMAT` names.
pub unsafe trait Texel: Pod + Send + Sync {
    /// Returns the texel format.
    const FORMAT: TexelFormat;
}

macro_rules! texels {
    ($($channel:ty => $variant:ident),* $(,)?) => {$(
        // SAFETY: the variant is named after the type, and stands for one channel of it.
        unsafe impl Texel for $channel {
            const FORMAT: TexelFormat = TexelFormat { channel: ChannelType::$variant, channels: 1 };
        }
        // SAFETY: as above; an array of two holds two.
        unsafe impl Texel for [$channel; 2] {
            const FORMAT: TexelFormat = TexelFormat { channel: ChannelType::$variant, channels: 2 };
        }
        // SAFETY: as above; an array of four holds four.
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
    fn formats_read_well() {
        assert_eq!(<[f16; 4]>::FORMAT.to_string(), "4 x F16");
        assert!(u32::FORMAT.channel.is_integer() && !f16::FORMAT.channel.is_integer());
    }
}
