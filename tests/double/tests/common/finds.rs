//! Helpers that call the driver functions incorrectly.
#![allow(clippy::unwrap_used)]

use driver_double::{Double, ImageShape};

use super::{kinds, raw};

/// Size of an export in bytes.
pub(crate) const SIZE: u64 = 4096;

/// The image that `raw::map_array` maps by default.
pub(crate) const IMAGE: ImageShape = ImageShape {
    offset: 0,
    dimensions: 2,
    extent: [8, 4, 1],
    layers: 1,
    cube: false,
    layered: false,
    levels: 1,
    format: 0x01,
    channels: 1,
    color_attachment: false,
};

/// Exports memory with an image and imports it.
pub(crate) fn image(double: &Double, shape: &ImageShape) -> u64 {
    raw::import_memory(double.exporter(0).export_image(SIZE, true, shape), SIZE, true).unwrap()
}

/// Runs `wrong` with a current context, and checks that it causes exactly the `expected` findings.
/// Leaks are not counted.
pub(crate) fn expect_findings(test: &str, expected: &[&str], wrong: impl FnOnce(&Double)) {
    let Some(double) = Double::in_child(test) else { return };
    raw::init();
    raw::retain(0);
    wrong(&double);
    let findings = double.findings();
    assert_eq!(kinds(&findings), expected, "{findings:#?}");
}

/// Exports memory without an image and imports it.
pub(crate) fn memory(double: &Double) -> u64 {
    raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap()
}
