//! Problems with an image, a texture or a copy, each with what to change.

use crate::image::kind::ImageKind;
use crate::image::texel::TexelFormat;

/// Reasons why an image was refused before the driver was asked. Part of
/// [`Error::Image`](crate::Error::Image).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageProblem {
    /// An array in memory that was imported for GPUs which need not be the exporter's.
    #[error(
        "no array can be mapped for another GPU; map rows (`MappedImage::map_rows`), which are copied into an image on the drawing GPU"
    )]
    SeveralGpus,

    /// A texture or a surface of an image whose texels lie in rows.
    #[error(
        "its texels lie in rows of linear memory, as for a GPU other than the one that draws, and rows have no texture and no surface; \
         take their address (`ImageViewMut::rows`)"
    )]
    InRows,

    /// The address of an image that is an array.
    #[error("it is a CUDA array, whose texels have no address; take a texture or a surface (`texture`, `surface`)")]
    NoRows,

    /// Mip levels that do not lie in memory as rows can.
    #[error(
        "{levels} mip levels are given {offsets} offsets; each level has one, a multiple of the texel's {texel} bytes, behind the last \
         texel of the level before, and the image's own offset is such a multiple, too"
    )]
    #[non_exhaustive]
    RowOffsets {
        /// Number of mip levels.
        levels: u32,
        /// Number of offsets that were given.
        offsets: usize,
        /// Size of a texel in bytes.
        texel: usize,
    },

    /// A side of no texels.
    #[error("its {side} is zero; the extent is in texels, unused dimensions are 1")]
    #[non_exhaustive]
    ZeroExtent {
        /// `width`, `height` or `depth`.
        side: &'static str,
    },

    /// A dimension that this kind of image has not.
    #[error("an image of kind {kind:?} has no {side}, but {size} is given; unused dimensions are 1")]
    #[non_exhaustive]
    UnusedExtent {
        /// As given.
        kind: ImageKind,
        /// `height` or `depth`.
        side: &'static str,
        /// As given.
        size: u32,
    },

    /// A cube whose faces are no squares.
    #[error("the faces of a cube are squares, not {width} x {height}")]
    #[non_exhaustive]
    NotSquare {
        /// In texels.
        width: u32,
        /// In texels.
        height: u32,
    },

    /// No layers.
    #[error("it has zero layers; an image without layers has 1")]
    NoLayers,

    /// A cube with a face too many or too few.
    #[error("{layers} layers make no cubes; a cube has 6, an array of cubes 6 each")]
    #[non_exhaustive]
    CubeLayers {
        /// As given.
        layers: u32,
    },

    /// A three-dimensional image cannot have layers.
    #[error("a three-dimensional image has no layers, but {layers} are given; set layers to 1 and layered to false")]
    #[non_exhaustive]
    LayersOf3D {
        /// As given.
        layers: u32,
    },

    /// More mip levels than there can be, or none.
    #[error("{levels} mip levels; an image of {extent:?} texels has at least 1 and at most {most}")]
    #[non_exhaustive]
    Levels {
        /// As given.
        levels: u32,
        /// Extent of the first level.
        extent: [u32; 3],
        /// Until one texel is left.
        most: u32,
    },

    /// A channel count that CUDA has no images of.
    #[error("CUDA has no images of {format}; take 1, 2 or 4 channels, with the fourth unused if need be")]
    #[non_exhaustive]
    Channels {
        /// Format of the texel type.
        format: TexelFormat,
    },

    /// A texel type that does not have the size of its format.
    #[error("{texel} has {size} bytes, its format {format} has {}: its Texel implementation is wrong", format.size())]
    #[non_exhaustive]
    TexelSize {
        /// The type.
        texel: &'static str,
        /// In bytes.
        size: usize,
        /// Properties that it reports.
        format: TexelFormat,
    },

    /// Larger than the device can do.
    #[error("its {side} is {size}, and this device takes {limit} at most ({attribute})")]
    #[non_exhaustive]
    TooLarge {
        /// `width`, `height`, `depth` or `layers`.
        side: &'static str,
        /// As given.
        size: u32,
        /// Limit of the device.
        limit: u32,
        /// The driver's name of the limit.
        attribute: String,
    },

    /// No such mip level.
    #[error("there is no mip level {level}; it has {levels}, counted from 0")]
    #[non_exhaustive]
    NoSuchLevel {
        /// The requested level.
        level: u32,
        /// Number of levels of the image.
        levels: u32,
    },

    /// No such layers.
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

    /// A slice or a buffer that does not hold exactly what is copied.
    #[error("{len} texels were given for a copy of {expected}")]
    #[non_exhaustive]
    Length {
        /// In texels.
        len: usize,
        /// In texels.
        expected: usize,
    },

    /// A surface of an image that was mapped without any.
    #[error("it was mapped without surfaces; set `surface` in its ImageMappingInfo")]
    NoSurfaces,

    /// Addresses wrap by the image's size, which such coordinates do not know.
    #[error("wrap and mirror take normalized coordinates; set `normalized_coordinates`, or clamp")]
    AddressMode,

    /// A mip chain is addressed by fractions only.
    #[error(
        "a texture of {levels} mip levels takes normalized coordinates; set `normalized_coordinates`, or choose a `level`"
    )]
    #[non_exhaustive]
    UnnormalizedLevels {
        /// Number of levels of the image.
        levels: u32,
    },

    /// Integers are not interpolated.
    #[error(
        "linear filters need floating-point reads, and texels of {format} are read as integers; set `read` to NormalizedFloat, or filter Nearest"
    )]
    #[non_exhaustive]
    LinearInteger {
        /// Format of the image.
        format: TexelFormat,
    },

    /// Only narrow integers are read as fractions.
    #[error(
        "texels of {format} cannot be read as normalized floats, only integers of 8 and 16 bits can; set `read` to Element"
    )]
    #[non_exhaustive]
    NormalizedWide {
        /// Format of the image.
        format: TexelFormat,
    },

    /// sRGB is decoded from unsigned bytes that are read as fractions.
    #[error("sRGB is decoded from U8 channels that are read as NormalizedFloat, not from {format}")]
    #[non_exhaustive]
    Srgb {
        /// Format of the image.
        format: TexelFormat,
    },

    /// Only cubes have seams between faces.
    #[error("`seamless_cube` is for cubes, this image is of kind {kind:?}")]
    #[non_exhaustive]
    SeamlessCube {
        /// Kind of the image.
        kind: ImageKind,
    },

    /// A number of a texture description that means nothing.
    #[error("{field} must be {range}")]
    #[non_exhaustive]
    Number {
        /// Field of [`TextureInfo`](crate::TextureInfo).
        field: &'static str,
        /// Allowed values.
        range: &'static str,
    },

    /// Each description has an object of its own, which stays as long as the image.
    #[error("it has {most} texture or surface objects already; use few descriptions, not one a frame")]
    #[non_exhaustive]
    TooManyObjects {
        /// As many as there may be of a kind.
        most: usize,
    },
}
