//! The driver's own functions, called in wrong ways.
#![allow(clippy::unwrap_used)]

use driver_double::{Double, ImageShape};

use super::{kinds, raw};

/// Of an export, in bytes.
pub(crate) const SIZE: u64 = 4096;

/// What `raw::map_array` maps unless it is told otherwise.
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

/// Imported.
pub(crate) fn image(double: &Double, shape: &ImageShape) -> u64 {
    raw::import_memory(double.exporter(0).export_image(SIZE, true, shape), SIZE, true).unwrap()
}

/// Runs `wrong` with a context current, and expects `expected` to be found and nothing else, before
/// what is left is counted as leaked.
pub(crate) fn finds(test: &str, expected: &[&str], wrong: impl FnOnce(&Double)) {
    let Some(double) = Double::in_child(test) else { return };
    raw::init();
    raw::retain(0);
    wrong(&double);
    let findings = double.findings();
    assert_eq!(kinds(&findings), expected, "{findings:#?}");
}

/// Imported, with no image in it.
pub(crate) fn memory(double: &Double) -> u64 {
    raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap()
}
