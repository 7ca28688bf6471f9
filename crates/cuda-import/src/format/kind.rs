//! Kinds of images.

/// The kind of an image: its number of dimensions, or a cube.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageKind {
    /// A row of texels, or an array of rows.
    D1,
    /// A rectangle of texels, or an array of rectangles.
    #[default]
    D2,
    /// A box of texels.
    D3,
    /// The six faces of a cube, or an array of cubes. In order: +x, -x, +y, -y, +z, -z.
    Cube,
}
