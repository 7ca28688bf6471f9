//! Problems with an image, a texture or a copy, each with advice.

use crate::format::kind::ImageKind;
use crate::format::texel::TexelFormat;

/// Reasons why an image was rejected before a driver call. Part of
/// [`Error::Image`](crate::Error::Image).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageProblem {
    /// An array in memory that was imported for GPUs that may differ from the exporter's.
    #[error(
        "arrays cannot be mapped for another GPU; map rows (`MappedImage::map_rows`), which are copied into an image \
         on the drawing GPU"
    )]
    SeveralGpus,

    /// A texture or a surface of an image in rows.
    #[error(
        "its texels lie in rows of linear memory, as for a GPU other than the one that draws, and rows have no texture and no surface; \
         take their address (`ImageViewMut::rows`)"
    )]
    InRows,

    /// The address of an image that is a CUDA array.
    #[error("it is a CUDA array, whose texels have no address; take a texture or a surface (`texture`, `surface`)")]
    NoRows,

    /// Offsets of mip levels that are invalid for rows.
    #[error(
        "{offsets} offsets were given for {levels} mip levels; each level needs one, a multiple of the texel's \
         {texel} bytes, after the last texel of the previous level; the image's own offset must be such a multiple, \
         too"
    )]
    #[non_exhaustive]
    RowOffsets {
        /// Number of mip levels.
        levels: u32,
        /// Number of given offsets.
        offsets: usize,
        /// Size of a texel in bytes.
        texel: usize,
    },

    /// A copy from or to a slice of cudarc that belongs to the per-thread default stream.
    #[error(
        "the slice to copy belongs to the per-thread default stream, another stream on each thread, so neither \
         earlier work there nor the end of the slice can be ordered with the copy; allocate the slice on another \
         stream"
    )]
    UnorderedSlice,

    /// An extent of zero.
    #[error("its {side} is zero; the extent is in texels, unused dimensions are 1")]
    #[non_exhaustive]
    ZeroExtent {
        /// `width`, `height` or `depth`.
        side: &'static str,
    },

    /// A dimension that this kind of image does not have.
    #[error("an image of kind {kind:?} has no {side}, but {size} is given; unused dimensions are 1")]
    #[non_exhaustive]
    UnusedExtent {
        /// The given kind.
        kind: ImageKind,
        /// `height` or `depth`.
        side: &'static str,
        /// The given size.
        size: u32,
    },

    /// A cube whose faces are not square.
    #[error("the faces of a cube must be square, not {width} x {height}")]
    #[non_exhaustive]
    NotSquare {
        /// The width in texels.
        width: u32,
        /// The height in texels.
        height: u32,
    },

    /// Zero layers.
    #[error("it has zero layers; an image without layers has 1")]
    NoLayers,

    /// A number of cube layers that is not a multiple of 6.
    #[error("{layers} layers do not form cubes; a cube has 6, an array of cubes 6 each")]
    #[non_exhaustive]
    CubeLayers {
        /// The given number of layers.
        layers: u32,
    },

    /// A three-dimensional image with layers.
    #[error("a three-dimensional image has no layers, but {layers} are given; set layers to 1 and layered to false")]
    #[non_exhaustive]
    LayersOf3D {
        /// The given number of layers.
        layers: u32,
    },

    /// More mip levels than possible, or none.
    #[error("{levels} mip levels; an image of {extent:?} texels has at least 1 and at most {max}")]
    #[non_exhaustive]
    Levels {
        /// The given number of levels.
        levels: u32,
        /// Extent of the first level.
        extent: [u32; 3],
        /// The maximum number of levels, down to one texel.
        max: u32,
    },

    /// A channel count that CUDA does not support for images.
    #[error("CUDA does not support images of {format}; use 1, 2 or 4 channels, with the fourth unused if necessary")]
    #[non_exhaustive]
    Channels {
        /// The format of the texel type.
        format: TexelFormat,
    },

    /// A texel type whose size differs from that of its format.
    #[error("{texel} has {size} bytes, but its format {format} has {}: its Texel implementation is wrong", format.size())]
    #[non_exhaustive]
    TexelSize {
        /// The type.
        texel: &'static str,
        /// The size of the type in bytes.
        size: usize,
        /// The format of its [`Texel`](crate::Texel) implementation.
        format: TexelFormat,
    },

    /// An image that exceeds a limit of the device.
    #[error("its {side} is {size}, but this device allows at most {limit} ({attribute})")]
    #[non_exhaustive]
    TooLarge {
        /// `width`, `height`, `depth` or `layers`.
        side: &'static str,
        /// The given size.
        size: u32,
        /// The limit of the device.
        limit: u32,
        /// The driver's name of the limit.
        attribute: String,
    },

    /// A mip level that does not exist.
    #[error("there is no mip level {level}; it has {levels}, counted from 0")]
    #[non_exhaustive]
    NoSuchLevel {
        /// The requested level.
        level: u32,
        /// Number of levels of the image.
        levels: u32,
    },

    /// Layers that do not exist.
    #[error("there are no layers {start}..{end}; it has {layers}, and at least one must be named")]
    #[non_exhaustive]
    NoSuchLayers {
        /// The first requested layer.
        start: u32,
        /// One past the last requested layer.
        end: u32,
        /// Number of layers of the image.
        layers: u32,
    },

    /// A slice or a buffer whose length differs from that of the copied region.
    #[error("{len} texels were given for a copy of {expected}")]
    #[non_exhaustive]
    Length {
        /// The given length in texels.
        len: usize,
        /// The required length in texels.
        expected: usize,
    },

    /// A surface of an image that was mapped without surfaces.
    #[error("it was mapped without surfaces; set `surface` in its ImageMappingInfo")]
    NoSurfaces,

    /// Address modes that need normalized coordinates.
    #[error("wrap and mirror require normalized coordinates; set `normalized_coordinates`, or clamp")]
    AddressMode,

    /// A mip chain, which needs normalized coordinates.
    #[error(
        "a texture of {levels} mip levels requires normalized coordinates; set `normalized_coordinates`, or choose a \
         `level`"
    )]
    #[non_exhaustive]
    UnnormalizedLevels {
        /// Number of levels of the image.
        levels: u32,
    },

    /// Linear filters for integer reads, which are not interpolated.
    #[error(
        "linear filters need floating-point reads, but texels of {format} are read as integers; set `read_mode` \
         to NormalizedFloat, or filter Nearest"
    )]
    #[non_exhaustive]
    LinearInteger {
        /// The format of the image.
        format: TexelFormat,
    },

    /// Normalized reads of a format other than 8-bit and 16-bit integers.
    #[error(
        "texels of {format} cannot be read as normalized floats, only integers of 8 and 16 bits can; set `read_mode` to Element"
    )]
    #[non_exhaustive]
    NormalizedWide {
        /// The format of the image.
        format: TexelFormat,
    },

    /// sRGB decoding of anything other than unsigned bytes that are read as normalized floats.
    #[error("sRGB is decoded from U8 channels that are read as NormalizedFloat, not from {format}")]
    #[non_exhaustive]
    Srgb {
        /// The format of the image.
        format: TexelFormat,
    },

    /// Seamless filtering for an image that is not a cube.
    #[error("`seamless_cube` is for cubes, but this image is of kind {kind:?}")]
    #[non_exhaustive]
    SeamlessCube {
        /// The kind of the image.
        kind: ImageKind,
    },

    /// A value of a texture description that is out of range.
    #[error("{field} must be {range}")]
    #[non_exhaustive]
    Number {
        /// The field of [`TextureInfo`](crate::TextureInfo).
        field: &'static str,
        /// The allowed values.
        range: &'static str,
    },

    /// Too many descriptions: each has its own object, which is kept as long as the image.
    #[error("it already has {max} texture or surface objects; reuse descriptions instead of one per frame")]
    #[non_exhaustive]
    TooManyObjects {
        /// The maximum number of objects of a kind.
        max: usize,
    },
}
