//! The exporting side on one device, as tests use it.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use std::ffi::c_int;

use crate::client::Double;
use crate::descriptor::{Owned, Raw};
use crate::export::ImageShape;

/// An exported object: a descriptor, and the number by which the double identifies the object.
#[derive(Debug)]
pub struct Exported {
    /// The descriptor, which the test owns until it is imported.
    pub handle: Owned,
    /// The number for [`Double::signal`] and similar functions.
    pub number: u64,
}

/// Exports memory of one device.
#[derive(Clone, Copy, Debug)]
pub struct Exporter<'d> {
    double: &'d Double,
    device: c_int,
}

impl<'d> Exporter<'d> {
    pub(crate) fn new(double: &'d Double, device: c_int) -> Self {
        Self { double, device }
    }

    /// Allocates `size` bytes and exports them.
    ///
    /// # Panics
    ///
    /// If the process has no descriptor left.
    pub fn export_memory(&self, size: u64, dedicated: bool) -> Exported {
        type Export = extern "C" fn(c_int, u64, c_int) -> Raw;
        let export = self.double.control::<Export>("double_export_memory");
        self.double.exported(export(self.device, size, dedicated.into()))
    }

    /// Allocates `size` bytes, creates an image in them and exports them.
    ///
    /// # Panics
    ///
    /// If the process has no descriptor left.
    pub fn export_image(&self, size: u64, dedicated: bool, image: &ImageShape) -> Exported {
        type Export = unsafe extern "C" fn(c_int, u64, c_int, *const ImageShape) -> Raw;
        let export = self.double.control::<Export>("double_export_image");
        // SAFETY: `image` is a valid shape that lives until the call returns.
        self.double.exported(unsafe { export(self.device, size, dedicated.into(), image) })
    }
}
