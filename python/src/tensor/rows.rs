//! Bytes of a tensor, as rows that are equally far apart: what one copy with a pitch takes.

use crate::error::{Fault, Kind};
use crate::tensor::dtype::DType;
use crate::tensor::tuple;

/// Rows in memory. Without the gaps between them, they are the elements in C order.
///
/// There is at least one byte, and the number of all, gaps included, fits in `isize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Bytes of a row.
    pub(crate) len: usize,
    pub(crate) count: usize,
    /// Bytes from the start of a row to that of the next, not less than `len`.
    pub(crate) pitch: usize,
}

impl Rows {
    /// A tensor in C order, of `size` bytes.
    pub(crate) fn packed(size: usize) -> Self {
        Self { len: size, count: 1, pitch: size }
    }

    /// Of a shape that was checked, and strides in bytes. `advice` says how a tensor is made that
    /// has rows.
    pub(crate) fn of(shape: &[usize], strides: &[i64], dtype: DType, advice: &str) -> Result<Self, Fault> {
        let wrong = |reason: &str| {
            let (name, shape, strides) = (dtype.name(), tuple(shape), tuple(strides));
            let reason = format!("the tensor {reason}: {name}, shape {shape}, strides {strides} bytes; {advice}");
            Fault::new(Kind::Layout, reason)
        };
        if strides.len() != shape.len() {
            return Err(wrong("has another number of strides than of dimensions"));
        }
        let mut rows = Self::packed(dtype.bytes());
        // From the last dimension to the first; strides of sides of 1 may be anything.
        for (&side, &stride) in shape.iter().zip(strides).rev().filter(|(side, _)| **side != 1) {
            let stride = usize::try_from(stride).map_err(|_| wrong("has a negative stride"))?;
            if rows.count == 1 && stride == rows.len {
                // The shape was checked not to overflow.
                rows = Self::packed(rows.len * side);
            } else if rows.count == 1 && stride > rows.len {
                rows = Self { count: side, pitch: stride, ..rows };
            } else if rows.count > 1 && rows.pitch.checked_mul(rows.count) == Some(stride) {
                rows.count *= side;
            } else {
                return Err(wrong("is not in C order, with gaps between equal rows at most"));
            }
        }
        rows.span().map(|_| rows).ok_or_else(|| wrong("needs more bytes than there are addresses"))
    }

    /// Whether there are no gaps.
    pub(crate) fn are_packed(self) -> bool {
        self.count == 1
    }

    /// Bytes without the gaps.
    pub(crate) fn size(self) -> usize {
        self.len * self.count
    }

    /// Bytes from the first to the last; `None` if that is more than `isize` holds.
    fn span(self) -> Option<usize> {
        let before = self.pitch.checked_mul(self.count - 1)?;
        before.checked_add(self.len).filter(|&span| isize::try_from(span).is_ok())
    }

    /// The distance of the last byte from the first.
    pub(crate) fn last(self) -> usize {
        self.pitch * (self.count - 1) + self.len - 1
    }
}
