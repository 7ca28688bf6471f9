//! Device memory for copies: types that are known to report their address and length correctly.

use cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceSlice};

use crate::buffer::view::{DeviceView, DeviceViewMut};
use crate::stream::identity::{is_created, is_same};

mod sealed {
    use cudarc::driver::CudaStream;

    pub trait Sealed {
        /// Returns `true` if uses on this stream, of the same context, are ordered after earlier
        /// ones and before the memory is freed.
        fn is_ordered_on(&self, stream: &CudaStream) -> bool;
    }
}

/// Device memory that can be copied from: views of mapped buffers, and cudarc's slices and views.
///
/// Sealed, because any safe code can implement cudarc's [`DevicePtr`] for any address.
pub trait DeviceSource<T>: DevicePtr<T> + sealed::Sealed {}

/// Device memory that can be copied to. Otherwise like [`DeviceSource`].
pub trait DeviceSink<T>: DevicePtrMut<T> + sealed::Sealed {}

/// Returns `true` if cudarc orders a use on `stream` of a slice that belongs to `own`, and the end
/// of the slice after that use. cudarc does so only while the streams' context objects, of which a
/// GPU's context may have several, have a stream that cudarc created. Another stream may be dropped
/// at any time, so only the two streams themselves count: the guard holds `stream`, and the slice
/// holds `own` to its end. With tracking disabled, the program has promised to order the uses.
fn cudarc_orders(own: &CudaStream, stream: &CudaStream) -> bool {
    let orders = |stream: &CudaStream| {
        let context = stream.context();
        !context.is_event_tracking() || (context.is_in_multi_stream_mode() && is_created(stream))
    };
    is_same(own, stream) || (orders(own) && orders(stream))
}

macro_rules! sealed {
    ($type:ty, $of:pat, $stream:pat => $is_ordered:expr) => {
        impl<T> sealed::Sealed for $type {
            fn is_ordered_on(&self, stream: &CudaStream) -> bool {
                let ($of, $stream) = (self, stream);
                $is_ordered
            }
        }
    };
}

sealed!(DeviceView<'_, T>, _, _ => true);
sealed!(DeviceViewMut<'_, T>, _, _ => true);
sealed!(CudaSlice<T>, slice, stream => cudarc_orders(DeviceSlice::stream(slice), stream));
sealed!(CudaView<'_, T>, slice, stream => cudarc_orders(DeviceSlice::stream(slice), stream));
sealed!(CudaViewMut<'_, T>, slice, stream => cudarc_orders(DeviceSlice::stream(slice), stream));

impl<T> DeviceSource<T> for DeviceView<'_, T> {}
impl<T> DeviceSource<T> for DeviceViewMut<'_, T> {}
impl<T> DeviceSource<T> for CudaSlice<T> {}
impl<T> DeviceSource<T> for CudaView<'_, T> {}
impl<T> DeviceSource<T> for CudaViewMut<'_, T> {}

impl<T> DeviceSink<T> for DeviceViewMut<'_, T> {}
impl<T> DeviceSink<T> for CudaSlice<T> {}
impl<T> DeviceSink<T> for CudaViewMut<'_, T> {}
