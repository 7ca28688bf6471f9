//! The placement of an array's texels in its memory. The layout of real GPUs is not public. In
//! memory exported as plain bytes, levels follow one another, and within each level slices and rows
//! do. An image of the Vulkan driver has the layout that the driver chose.

/// Placement of the texels of one level, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Offset of the first row in the memory.
    pub(crate) start: u64,
    pub(crate) row_pitch: u64,
    pub(crate) slice_pitch: u64,
}

impl Rows {
    /// Returns the offset of a byte in the memory.
    pub(crate) fn at(self, x: u64, row: u64, slice: u64) -> u64 {
        self.start + slice * self.slice_pitch + row * self.row_pitch + x
    }
}

/// Size of a level: bytes per row, rows per slice, and slices (layers, or the depth of a 3D array).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) row: u64,
    pub(crate) rows: u64,
    pub(crate) slices: u64,
}

impl Size {
    pub(crate) fn bytes(self) -> u64 {
        self.row * self.rows * self.slices
    }
}
