//! The bytes of a tensor as equally spaced rows, which a single pitched copy can transfer.

use crate::error::{Fault, Kind};
use crate::tensor::dtype::DType;
use crate::tensor::tuple;

/// Rows in memory. Without the gaps between them, they contain the elements in C order.
///
/// There is at least one byte, and the total number of bytes, including gaps, fits in `isize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Bytes per row.
    pub(crate) len: usize,
    pub(crate) count: usize,
    /// Bytes from the start of a row to the start of the next one, not less than `len`.
    pub(crate) pitch: usize,
}

impl Rows {
    /// Returns the rows of a tensor of `size` bytes in C order without gaps.
    pub(crate) fn packed(size: usize) -> Self {
        Self { len: size, count: 1, pitch: size }
    }

    /// Returns the rows for a checked shape and strides in bytes. `advice`, for the error, says how
    /// to create a suitable tensor.
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
        // From the last dimension to the first. Strides of dimensions of size 1 are ignored.
        for (&side, &stride) in shape.iter().zip(strides).rev().filter(|(side, _)| **side != 1) {
            let stride = usize::try_from(stride).map_err(|_| wrong("has a negative stride"))?;
            if rows.count == 1 && stride == rows.len {
                // Cannot overflow: the shape was checked.
                rows = Self::packed(rows.len * side);
            } else if rows.count == 1 && stride > rows.len {
                rows = Self { count: side, pitch: stride, ..rows };
            } else if rows.count > 1 && rows.pitch.checked_mul(rows.count) == Some(stride) {
                rows.count *= side;
            } else {
                return Err(wrong("is not in C order, with gaps between equal rows at most"));
            }
        }
        rows.span().map(|_| rows).ok_or_else(|| wrong("needs more bytes than the address space has"))
    }

    /// Returns `true` if there are no gaps.
    pub(crate) fn are_packed(self) -> bool {
        self.count == 1
    }

    /// Returns the number of bytes without the gaps.
    pub(crate) fn size(self) -> usize {
        self.len * self.count
    }

    /// Returns the number of bytes from the first to the last, or `None` if it does not fit in
    /// `isize`.
    fn span(self) -> Option<usize> {
        let before = self.pitch.checked_mul(self.count - 1)?;
        before.checked_add(self.len).filter(|&span| isize::try_from(span).is_ok())
    }

    /// Returns the distance from the first byte to the last.
    pub(crate) fn last(self) -> usize {
        self.pitch * (self.count - 1) + self.len - 1
    }
}
