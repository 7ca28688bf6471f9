//! [`Picture`], the array that a picture is copied into.

// Memory of numpy.
#![allow(unsafe_code)]

use std::ptr::with_exposed_provenance_mut;

use pyo3::prelude::*;

use crate::tensor::{Role, TensorView};

/// A new array of numpy, (height, width, 4) of `uint8`, that nothing else refers to.
pub(super) struct Picture<'py> {
    array: Bound<'py, PyAny>,
    address: usize,
    size: usize,
}

impl<'py> Picture<'py> {
    pub(super) fn new(py: Python<'py>, width: u32, height: u32) -> PyResult<Self> {
        let array = py.import("numpy")?.call_method1("zeros", ((height, width, 4), "uint8"))?;
        let tensor = TensorView::of(&array, None, None, Role::Target)?;
        let (address, size) = (tensor.address, tensor.size());
        Ok(Self { array, address, size })
    }

    /// Returns the memory of the array.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the contract of `from_raw_parts_mut`: numpy has allocated and zeroed this memory,
        // without gaps between its rows, and frees it with the array, which lives as long as the
        // slice. Nothing else refers to the array.
        unsafe { std::slice::from_raw_parts_mut(with_exposed_provenance_mut(self.address), self.size) }
    }

    pub(super) fn into_array(self) -> Bound<'py, PyAny> {
        self.array
    }
}
