//! Device memory for copies: types that are known to report their address and length correctly.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceSlice};

use crate::buffer::view::{DeviceView, DeviceViewMut};

mod sealed {
    use std::sync::Arc;

    use cudarc::driver::CudaStream;

    pub trait Sealed {
        /// Returns the stream on which cudarc frees the memory, or `None` for a view of a mapped
        /// buffer, which orders its uses and its end itself.
        fn own_stream(&self) -> Option<&Arc<CudaStream>>;
    }
}

/// Device memory that can be copied from: views of mapped buffers, and cudarc's slices and views.
///
/// Sealed, because any safe code can implement cudarc's [`DevicePtr`] for any address.
pub trait DeviceSource<T>: DevicePtr<T> + sealed::Sealed {}

/// Device memory that can be copied to. Otherwise like [`DeviceSource`].
pub trait DeviceSink<T>: DevicePtrMut<T> + sealed::Sealed {}

macro_rules! sealed {
    ($type:ty, $of:pat => $own:expr) => {
        impl<T> sealed::Sealed for $type {
            fn own_stream(&self) -> Option<&Arc<CudaStream>> {
                let $of = self;
                $own
            }
        }
    };
}

sealed!(DeviceView<'_, T>, _ => None);
sealed!(DeviceViewMut<'_, T>, _ => None);
sealed!(CudaSlice<T>, slice => Some(DeviceSlice::stream(slice)));
sealed!(CudaView<'_, T>, slice => Some(DeviceSlice::stream(slice)));
sealed!(CudaViewMut<'_, T>, slice => Some(DeviceSlice::stream(slice)));

impl<T> DeviceSource<T> for DeviceView<'_, T> {}
impl<T> DeviceSource<T> for DeviceViewMut<'_, T> {}
impl<T> DeviceSource<T> for CudaSlice<T> {}
impl<T> DeviceSource<T> for CudaView<'_, T> {}
impl<T> DeviceSource<T> for CudaViewMut<'_, T> {}

impl<T> DeviceSink<T> for DeviceViewMut<'_, T> {}
impl<T> DeviceSink<T> for CudaSlice<T> {}
impl<T> DeviceSink<T> for CudaViewMut<'_, T> {}
