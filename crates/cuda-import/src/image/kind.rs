//! The kinds of images.

/// Number of dimensions of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageKind {
    /// A row, or an array of rows.
    D1,
    /// A rectangle, or an array of them.
    #[default]
    D2,
    /// A block.
    D3,
    /// The six faces of a cube, or an array of such. In order: +x, -x, +y, -y, +z, -z.
    Cube,
}
