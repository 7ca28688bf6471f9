//! Driver versions.

use std::fmt;

/// The newest CUDA version that an installed driver supports. Older versions compare as less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverVersion {
    /// The major version: 12 in CUDA 12.4.
    pub major: u32,
    /// The minor version: 4 in CUDA 12.4.
    pub minor: u32,
}

impl DriverVersion {
    /// Converts the result of `cuDriverGetVersion`: 1000 x major + 10 x minor.
    pub(crate) fn from_raw(raw: i32) -> Self {
        let raw = raw.max(0).unsigned_abs();
        Self { major: raw / 1000, minor: raw % 1000 / 10 }
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CUDA {}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_format_and_compare() {
        assert_eq!(DriverVersion::from_raw(12040).to_string(), "CUDA 12.4");
        assert!(DriverVersion::from_raw(11080) < DriverVersion::from_raw(12000));
        assert_eq!(DriverVersion::from_raw(-1), DriverVersion { major: 0, minor: 0 });
    }
}
