//! Element types, with their names in DLPack and the array interfaces.

use std::fmt;

use dlpark::ffi::{DLDataType, DLDataTypeCode};

/// The element type of a tensor: little-endian, with one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
    BF16,
}

/// Type, name, DLPack code, letter in the array interfaces, bits.
const TABLE: &[(DType, &str, u8, char, u8)] = &[
    (DType::Bool, "bool", 6, 'b', 8),
    (DType::U8, "uint8", 1, 'u', 8),
    (DType::I8, "int8", 0, 'i', 8),
    (DType::U16, "uint16", 1, 'u', 16),
    (DType::I16, "int16", 0, 'i', 16),
    (DType::U32, "uint32", 1, 'u', 32),
    (DType::I32, "int32", 0, 'i', 32),
    (DType::U64, "uint64", 1, 'u', 64),
    (DType::I64, "int64", 0, 'i', 64),
    (DType::F16, "float16", 2, 'f', 16),
    (DType::F32, "float32", 2, 'f', 32),
    (DType::F64, "float64", 2, 'f', 64),
    // The array interfaces have no letter for this type.
    (DType::BF16, "bfloat16", 4, '\0', 16),
];

impl DType {
    fn row(self) -> &'static (DType, &'static str, u8, char, u8) {
        // The table has a row for each type, so the default is never used.
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }

    /// Returns the name in numpy.
    pub(crate) fn name(self) -> &'static str {
        self.row().1
    }

    pub(crate) fn bytes(self) -> usize {
        usize::from(self.row().4 / 8)
    }

    /// Returns `true` for integers, which excludes `bool`.
    pub(crate) fn is_integer(self) -> bool {
        matches!(self.row().3, 'i' | 'u')
    }

    /// Parses a name such as `"float32"`, or one that ends in it, such as `torch.float32`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let name = name.rsplit('.').next().unwrap_or(name);
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub(crate) fn from_dlpack(dtype: DLDataType) -> Option<Self> {
        let row = TABLE.iter().find(|row| row.2 == dtype.code.0 && row.4 == dtype.bits)?;
        (dtype.lanes == 1).then_some(row.0)
    }

    pub(crate) fn to_dlpack(self) -> DLDataType {
        let row = self.row();
        DLDataType { code: DLDataTypeCode(row.2), bits: row.4, lanes: 1 }
    }

    /// Parses a `typestr` such as `<f4`.
    pub(crate) fn from_typestr(typestr: &str) -> Option<Self> {
        let mut letters = typestr.chars();
        let (order, kind, bytes) = (letters.next()?, letters.next()?, letters.as_str().parse::<u8>().ok()?);
        let row = TABLE.iter().find(|row| row.3 == kind && Some(row.4) == bytes.checked_mul(8))?;
        (order == '<' || (order == '|' && bytes == 1)).then_some(row.0)
    }

    /// Returns the `typestr`, or `None` for a type that numpy lacks.
    pub(crate) fn to_typestr(self) -> Option<String> {
        let row = self.row();
        let order = if self.bytes() == 1 { '|' } else { '<' };
        (row.3 != '\0').then(|| format!("{order}{}{}", row.3, self.bytes()))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
