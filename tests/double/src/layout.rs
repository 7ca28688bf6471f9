//! The placement of an array's texels in its memory. The layout of real GPUs is not public. In
//! memory exported as plain bytes, levels follow one another, and within each level slices and rows
//! do. An image of the Vulkan driver has the layout that the driver chose.

use crate::array::Array;

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

impl Array {
    /// Returns a layout in which levels follow one another.
    pub(crate) fn by_level(&self) -> Vec<Rows> {
        let rows = |level| {
            let size = self.size(level);
            Rows { start: self.start(level), row_pitch: size.row, slice_pitch: size.row * size.rows }
        };
        (0..self.levels).map(rows).collect()
    }

    /// Returns a layout in which layers follow one another, each with all its levels.
    pub(crate) fn by_layer(&self) -> Vec<Rows> {
        let layer = |level| self.size(level).row * self.size(level).rows;
        let slice_pitch = (0..self.levels).map(layer).sum();
        let start = |level| self.offset + (0..level).map(layer).sum::<u64>();
        let rows = |level| Rows { start: start(level), row_pitch: self.size(level).row, slice_pitch };
        (0..self.levels).map(rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{ARRAY_LAYERED, ArrayDesc};

    #[test]
    fn every_byte_has_a_distinct_place() {
        let desc = ArrayDesc { width: 8, height: 4, depth: 3, format: 0x01, channels: 4, flags: ARRAY_LAYERED };
        let array = Array { context: 0, memory: 0, offset: 100, desc, levels: 4, rows: Vec::new() };
        for layout in [array.by_level(), array.by_layer()] {
            let mut places = Vec::new();
            for (level, rows) in (0..).zip(layout) {
                let size = array.size(level);
                for (slice, row) in (0..size.slices).flat_map(|slice| (0..size.rows).map(move |row| (slice, row))) {
                    places.extend((0..size.row).map(|x| rows.at(x, row, slice)));
                }
            }
            places.sort_unstable();
            assert_eq!(places, (array.start(0)..array.start(4)).collect::<Vec<_>>());
        }
        assert_ne!(array.by_level(), array.by_layer());
    }
}
