//! Device memory for copies: types that are known to report their address and length correctly.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DevicePtr, DevicePtrMut};

use crate::buffer::view::{DeviceView, DeviceViewMut};

mod sealed {
    pub trait Sealed {}
}

/// Device memory that can be copied from: views of mapped buffers, and cudarc's slices and views.
///
/// Sealed, because any safe code can implement cudarc's [`DevicePtr`] for any address.
pub trait DeviceSource<T>: DevicePtr<T> + sealed::Sealed {}

/// Device memory that can be copied to. Otherwise like [`DeviceSource`].
pub trait DeviceSink<T>: DevicePtrMut<T> + sealed::Sealed {}

impl<T> sealed::Sealed for DeviceView<'_, T> {}
impl<T> sealed::Sealed for DeviceViewMut<'_, T> {}
impl<T> sealed::Sealed for CudaSlice<T> {}
impl<T> sealed::Sealed for CudaView<'_, T> {}
impl<T> sealed::Sealed for CudaViewMut<'_, T> {}

impl<T> DeviceSource<T> for DeviceView<'_, T> {}
impl<T> DeviceSource<T> for DeviceViewMut<'_, T> {}
impl<T> DeviceSource<T> for CudaSlice<T> {}
impl<T> DeviceSource<T> for CudaView<'_, T> {}
impl<T> DeviceSource<T> for CudaViewMut<'_, T> {}

impl<T> DeviceSink<T> for DeviceViewMut<'_, T> {}
impl<T> DeviceSink<T> for CudaSlice<T> {}
impl<T> DeviceSink<T> for CudaViewMut<'_, T> {}
