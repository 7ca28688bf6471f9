//! Mipmapped arrays in imported memory.

use crate::abi::{
    ARRAY_COLOR, ARRAY_CUBEMAP, ARRAY_LAYERED, ARRAY_SURFACE, ArrayDesc, Code, FORMAT_FLOAT, FORMAT_HALF, FORMATS,
    INVALID_VALUE, UNKNOWN,
};
use crate::descriptor::{self, Raw};
use crate::finding::Refusal;
use crate::layout::{Rows, Size};
use crate::ledger::Ledger;

/// A mipmapped array.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) context: u64,
    pub(crate) memory: u64,
    /// Offset in the memory, in bytes.
    pub(crate) offset: u64,
    pub(crate) desc: ArrayDesc,
    pub(crate) levels: u32,
    /// The rows of each level.
    pub(crate) rows: Vec<Rows>,
}

/// One level of an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) array: u64,
    pub(crate) level: u32,
}

/// A texture or surface object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) context: u64,
    pub(crate) array: u64,
    /// The handle of the level that the object uses, or `None` if it uses all levels.
    pub(crate) level: Option<u64>,
}

impl Array {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.desc.flags & flag != 0
    }

    pub(crate) fn is_integer(&self) -> bool {
        ![FORMAT_HALF, FORMAT_FLOAT].contains(&self.desc.format)
    }

    pub(crate) fn size(&self, level: u32) -> Size {
        let halve = |size: usize| (size as u64 >> level).max(1);
        let channel = FORMATS.iter().find(|(format, _)| *format == self.desc.format).map_or(0, |(_, size)| *size);
        let is_block = !self.has(ARRAY_LAYERED | ARRAY_CUBEMAP);
        Size {
            row: halve(self.desc.width) * channel * u64::from(self.desc.channels),
            rows: halve(self.desc.height),
            slices: if is_block { halve(self.desc.depth) } else { self.desc.depth as u64 },
        }
    }

    /// Returns the offset of a level in the memory in bytes, if levels follow one another.
    pub(crate) fn start(&self, level: u32) -> u64 {
        self.offset + (0..level).map(|level| self.size(level).bytes()).sum::<u64>()
    }

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

/// Checks a description against the requirements of `cuMipmappedArrayCreate` in cuda.h.
pub(crate) fn validate(desc: &ArrayDesc, levels: u32) -> Result<(), Code> {
    let has = |flag| desc.flags & flag != 0;
    let known = ARRAY_LAYERED | ARRAY_SURFACE | ARRAY_CUBEMAP | ARRAY_COLOR;
    let longest = if has(ARRAY_LAYERED | ARRAY_CUBEMAP) { 0 } else { desc.depth };
    let longest = longest.max(desc.width).max(desc.height);
    let cube = desc.width == desc.height
        && if has(ARRAY_LAYERED) { desc.depth > 0 && desc.depth.is_multiple_of(6) } else { desc.depth == 6 };
    let valid = desc.flags & !known == 0
        && desc.width > 0
        && FORMATS.iter().any(|(format, _)| *format == desc.format)
        && [1, 2, 4].contains(&desc.channels)
        && (!has(ARRAY_CUBEMAP) || cube)
        && (!has(ARRAY_LAYERED) || desc.depth > 0)
        && (desc.height > 0 || desc.depth == 0 || has(ARRAY_LAYERED))
        && (1..=longest.max(1).ilog2() + 1).contains(&levels);
    if valid { Ok(()) } else { Err(INVALID_VALUE) }
}

impl Ledger {
    /// Returns the array and the level of a level handle, if the array belongs to the context.
    pub(crate) fn level(&self, context: u64, handle: u64) -> Result<(&Array, Level), Refusal> {
        let level = *self.levels.get(handle)?;
        let array = self.arrays.get(level.array)?;
        self.check_context(context, "array", array.context)?;
        Ok((array, level))
    }

    /// Returns the descriptor that contains the level, and the placement of the level's rows in it.
    fn level_place(&self, handle: u64) -> Result<(Raw, Rows), Refusal> {
        let level = *self.levels.get(handle)?;
        let array = self.arrays.get(level.array)?;
        let memory = self.memories.get(array.memory)?;
        let rows = array.rows.get(level.level as usize).ok_or(INVALID_VALUE)?;
        Ok((memory.descriptor.raw, *rows))
    }

    /// Reads `len` bytes of one row of a level, starting at a position.
    pub(crate) fn load_row(&self, handle: u64, [x, row, slice]: [u64; 3], len: u64) -> Result<Vec<u8>, Refusal> {
        let (raw, rows) = self.level_place(handle)?;
        descriptor::read(raw, rows.at(x, row, slice), len as usize).map_err(|_| UNKNOWN.into())
    }

    /// Writes bytes to one row of a level, starting at a position.
    pub(crate) fn store_row(&self, handle: u64, [x, row, slice]: [u64; 3], bytes: &[u8]) -> Result<(), Refusal> {
        let (raw, rows) = self.level_place(handle)?;
        descriptor::write(raw, rows.at(x, row, slice), bytes).map_err(|_| UNKNOWN.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESC: ArrayDesc = ArrayDesc { width: 8, height: 4, depth: 0, format: 0x01, channels: 4, flags: 0 };

    #[test]
    fn levels_are_contiguous() {
        let desc = ArrayDesc { depth: 3, flags: ARRAY_LAYERED, ..DESC };
        let array = Array { context: 0, memory: 0, offset: 100, desc, levels: 3, rows: Vec::new() };
        assert_eq!(array.size(1), Size { row: 16, rows: 2, slices: 3 });
        assert_eq!((array.start(0), array.start(2)), (100, 100 + 384 + 96));
        let block = Array { desc: ArrayDesc { depth: 4, ..DESC }, ..array };
        assert_eq!(block.size(1), Size { row: 16, rows: 2, slices: 2 });
    }

    #[test]
    fn descriptions_are_those_of_the_header() {
        let cube = ArrayDesc { height: 8, depth: 6, flags: ARRAY_CUBEMAP, ..DESC };
        let row = ArrayDesc { height: 0, ..DESC };
        for (desc, levels) in [
            (DESC, 4),
            (row, 4),
            (ArrayDesc { depth: 5, flags: ARRAY_LAYERED, ..row }, 1),
            (ArrayDesc { depth: 16, ..DESC }, 5),
            (cube, 4),
            (ArrayDesc { depth: 12, flags: ARRAY_CUBEMAP | ARRAY_LAYERED, ..cube }, 1),
        ] {
            assert_eq!(validate(&desc, levels), Ok(()), "{desc:?}");
        }
        for (desc, levels) in [
            (ArrayDesc { width: 0, ..DESC }, 1),
            (ArrayDesc { channels: 3, ..DESC }, 1),
            (ArrayDesc { format: 4, ..DESC }, 1),
            (ArrayDesc { flags: 0x40, ..DESC }, 1),
            (ArrayDesc { flags: ARRAY_LAYERED, ..DESC }, 1),
            (ArrayDesc { depth: 5, ..row }, 1),
            (ArrayDesc { depth: 7, ..cube }, 1),
            (ArrayDesc { width: 4, ..cube }, 1),
            (DESC, 5),
            (DESC, 0),
        ] {
            assert_eq!(validate(&desc, levels), Err(INVALID_VALUE), "{desc:?}, {levels} levels");
        }
    }

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
