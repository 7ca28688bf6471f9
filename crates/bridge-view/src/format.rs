//! Formats of images and points in shared memory.

use std::fmt;

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec};
use bytemuck::Pod;

use crate::error::{Error, Result};

/// Maximum width and height of an image or a view, in pixels.
pub const MAX_SIDE: u32 = 16384;
/// Maximum number of points in a frame.
pub const MAX_POINTS: u32 = 1 << 31;

/// The type of an image's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Element {
    /// Bytes, 0 to 255.
    U8,
    /// Half floats, 0 to 1.
    F16,
    /// Floats, 0 to 1.
    F32,
}

impl Element {
    /// Returns the size of a value in bytes.
    pub const fn size(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

/// Format of an image in a buffer: rows from top to bottom without padding, with interleaved
/// channels or [planes](Self::planar).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageFormat {
    width: u32,
    height: u32,
    channels: u32,
    element: Element,
    planar: bool,
}

impl ImageFormat {
    /// Creates the format of an image of `width` x `height` pixels with 1 to 4 channels: gray, red
    /// and green, RGB, RGBA.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a width or height that is 0 or above [`MAX_SIDE`], and for
    /// any other number of channels.
    pub fn new([width, height]: [u32; 2], channels: u32, element: Element) -> Result<Self> {
        let object = || format!("an image of {width}x{height} pixels");
        check_sides(object, [width, height])?;
        if !(1..=4).contains(&channels) {
            return Err(Error::invalid(object(), format!("it has {channels} channels; there can be 1 to 4")));
        }
        Ok(Self { width, height, channels, element, planar: false })
    }

    /// Returns the format with a separate plane for each channel, one after the other.
    #[must_use]
    pub fn planar(self) -> Self {
        // With one channel, both forms are the same.
        Self { planar: self.channels > 1, ..self }
    }

    /// Returns `true` if the image has several channels, each in its own plane.
    pub fn is_planar(self) -> bool {
        self.planar
    }

    /// Returns the width and height in pixels.
    pub fn extent(self) -> [u32; 2] {
        [self.width, self.height]
    }

    /// Returns the number of channels.
    pub fn channels(self) -> u32 {
        self.channels
    }

    /// Returns the type of the values.
    pub fn element(self) -> Element {
        self.element
    }

    /// Returns the size of the image in bytes.
    pub fn size(self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.channels) * self.element.size()
    }

    /// Returns the minimum size in bytes of a buffer with the image: the shader reads words of four
    /// bytes.
    pub fn buffer_size(self) -> u64 {
        self.size().next_multiple_of(4)
    }

    /// Returns the spec of a buffer of `T` that can hold the image, with the accesses that a view
    /// needs.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `T` is zero-sized.
    pub fn spec<T: Pod>(self) -> Result<BufferSpec<T>> {
        spec(&self, self.buffer_size(), BufferAccess::COMPUTE_READ)
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, channels, element, planar } = self;
        let planes = if *planar { ", in planes" } else { "" };
        write!(f, "an image of {width}x{height} pixels with {channels} channels of {element}{planes}")
    }
}

/// Attributes of points in a buffer. Each point consists of several floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PointKind {
    /// x, y and z.
    Position,
    /// Position, and a value from 0 to 1 that [`ColorMap::Viridis`](crate::ColorMap::Viridis)
    /// colors.
    Value,
    /// Position, and red, green and blue from 0 to 1.
    Color,
}

impl PointKind {
    /// Returns the number of floats per point.
    pub const fn floats(self) -> u32 {
        match self {
            Self::Position => 3,
            Self::Value => 4,
            Self::Color => 6,
        }
    }
}

/// Format of points in a buffer, one after the other without padding, or with [separate positions
/// and attributes](Self::separate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PointFormat {
    count: u32,
    kind: PointKind,
    separate: bool,
}

impl PointFormat {
    /// Creates the format of a frame of `count` points.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `count` is 0 or greater than [`MAX_POINTS`].
    pub fn new(count: u32, kind: PointKind) -> Result<Self> {
        if count == 0 || count > MAX_POINTS {
            return Err(Error::invalid(format!("{count} points"), format!("there can be 1 to {MAX_POINTS}")));
        }
        Ok(Self { count, kind, separate: false })
    }

    /// Returns the format with all positions before all values or colors.
    #[must_use]
    pub fn separate(self) -> Self {
        // With positions only, both forms are the same.
        Self { separate: self.kind != PointKind::Position, ..self }
    }

    /// Returns `true` if the positions of all points are before their values or colors.
    pub fn is_separate(self) -> bool {
        self.separate
    }

    /// Returns the number of points.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns the attributes of each point.
    pub fn kind(self) -> PointKind {
        self.kind
    }

    /// Returns the size of the points in bytes, which is the minimum size of a buffer with them.
    pub fn size(self) -> u64 {
        u64::from(self.count) * u64::from(self.kind.floats()) * Element::F32.size()
    }

    /// Returns the spec of a buffer of `T` that can hold the points, which a view reads and copies:
    /// a window draws the copy again when the user moves the camera.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `T` is zero-sized.
    pub fn spec<T: Pod>(self) -> Result<BufferSpec<T>> {
        spec(&self, self.size(), BufferAccess::COMPUTE_READ | BufferAccess::TRANSFER_READ)
    }
}

impl fmt::Display for PointFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apart = if self.separate { ", three of them apart" } else { "" };
        write!(f, "{} points of {} floats{apart}", self.count, self.kind.floats())
    }
}

/// The size and the number of channels of a shared image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texels {
    extent: [u32; 2],
    channels: u32,
}

impl Texels {
    pub(crate) fn new(extent: [u32; 2], format: vk::Format) -> Result<Self> {
        let object = || format!("a shared image of {format:?}");
        check_sides(object, extent)?;
        let channels = channels(format).ok_or_else(|| {
            let reason = "a view shows normalized and floating-point formats of 1, 2 or 4 channels";
            Error::invalid(object(), format!("{reason}, such as R8G8B8A8_UNORM and R32_SFLOAT"))
        })?;
        Ok(Self { extent, channels })
    }

    pub(crate) fn extent(self) -> [u32; 2] {
        self.extent
    }

    pub(crate) fn channels(self) -> u32 {
        self.channels
    }
}

/// Returns the number of channels of a format that is sampled as floats.
fn channels(format: vk::Format) -> Option<u32> {
    use vk::Format as F;
    match format {
        F::R8_UNORM | F::R8_SNORM | F::R16_UNORM | F::R16_SNORM | F::R16_SFLOAT | F::R32_SFLOAT => Some(1),
        F::R8G8_UNORM | F::R8G8_SNORM | F::R16G16_UNORM | F::R16G16_SNORM | F::R16G16_SFLOAT | F::R32G32_SFLOAT => {
            Some(2)
        }
        F::R8G8B8A8_UNORM | F::R8G8B8A8_SNORM | F::R8G8B8A8_SRGB | F::B8G8R8A8_UNORM | F::B8G8R8A8_SRGB => Some(4),
        F::R16G16B16A16_UNORM | F::R16G16B16A16_SNORM | F::R16G16B16A16_SFLOAT | F::R32G32B32A32_SFLOAT => Some(4),
        _ => None,
    }
}

pub(crate) fn check_sides(object: impl FnOnce() -> String, sides: [u32; 2]) -> Result<()> {
    if sides.iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        return Ok(());
    }
    Err(Error::invalid(object(), format!("a side has 1 to {MAX_SIDE}")))
}

/// Returns the spec of a buffer of `size` bytes, rounded up to whole elements.
fn spec<T: Pod>(what: &dyn fmt::Display, size: u64, access: BufferAccess) -> Result<BufferSpec<T>> {
    let wrong = |reason: &str| Error::invalid(what.to_string(), reason);
    let element = size_of::<T>() as u64;
    if element == 0 {
        return Err(wrong("its elements have no size"));
    }
    let len = usize::try_from(size.div_ceil(element)).map_err(|_| wrong("it is too large for this machine"))?;
    Ok(BufferSpec::new(len, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shareable_formats_but_integers_can_be_drawn() {
        for info in bridge::FORMATS {
            let integers = format!("{:?}", info.vulkan).ends_with("INT");
            let shown = (!integers).then_some(info.texel.channels);
            assert_eq!(channels(info.vulkan), shown, "{:?}", info.vulkan);
        }
    }

    #[test]
    fn sizes_match_the_values_and_buffers_are_whole_words() {
        let format = |channels, element| ImageFormat::new([5, 3], channels, element).unwrap();
        assert_eq!((format(3, Element::U8).size(), format(3, Element::U8).buffer_size()), (45, 48));
        assert_eq!((format(1, Element::F16).size(), format(1, Element::F16).buffer_size()), (30, 32));
        assert_eq!(format(4, Element::F32).size(), 240);
        assert_eq!(format(3, Element::U8).spec::<u8>().unwrap().len(), 48);
        assert_eq!(format(3, Element::U8).spec::<[f32; 4]>().unwrap().len(), 3);
        assert_eq!(PointFormat::new(5, PointKind::Color).unwrap().spec::<f32>().unwrap().len(), 30);
    }
}
