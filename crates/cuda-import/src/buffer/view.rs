//! Views of a mapped buffer: `&[T]` and `&mut [T]` on the device.
//!
//! Contains unsafe code because cudarc's trait for kernel arguments is unsafe.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::{Range, RangeBounds};
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, DeviceSlice, LaunchArgs, PushKernelArg, SyncOnDrop};

use crate::error::Result;
use crate::range::resolve;
use crate::stream::order::StreamOrder;

/// Elements on the device, lent for reading.
///
/// A view is a cudarc slice ([`DevicePtr`]), which copies and libraries accept on any stream; on a
/// stream other than the buffer's home stream, the work is ordered automatically. It is also a
/// kernel argument. Launches are unsafe, and on a stream other than the home stream the caller must
/// order them, because cudarc does not tell an argument which stream it is used on.
///
/// While a stream is being captured, a view returns no address for it. This is checked when cudarc
/// requests the address, shortly before it enqueues the work. Do not begin a capture of the stream
/// in between, from another thread or in an implementation of [`DevicePtr`]: a copy in a graph is
/// not ordered, and uses the buffer whenever the graph is launched.
///
/// # Uses on other streams
/// Each use on a stream other than the home stream needs an event of its own, because safe code can
/// keep the guard ([`SyncOnDrop`]) of an earlier use. The events are reused, for any stream, after
/// the buffer has been borrowed exclusively, as by
/// [`MappedBuffer::view_mut`](crate::MappedBuffer::view_mut) or by the next turn of an exchange.
/// Without such a borrow, every use and every hand-over waits on the GPU for all events so far.
/// After 256 uses the host waits for the end of each further one, with a warning in the log, and
/// after 1024 uses they get a null address, see [`Error::TooManyUses`](crate::Error::TooManyUses).
/// Uses on the home stream have no limit.
///
/// # Copies to another device
/// cudarc's `memcpy_dtod` and `clone_dtod` on a stream of another context (0.19.10) wait for the
/// home stream, but do not report their stream to the view, so nothing afterwards waits for the
/// copy. After such a copy, and before the buffer is used again, handed over or closed, make the
/// home stream wait for it:
///
/// ```no_run
/// # use std::sync::Arc;
/// # use cuda_import::cudarc::driver::{CudaSlice, CudaStream};
/// # use cuda_import::{MappedBuffer, record_event};
/// # fn copy(
/// #     buffer: &MappedBuffer<u32>,
/// #     elsewhere: &Arc<CudaStream>,
/// #     copy: &mut CudaSlice<u32>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// elsewhere.memcpy_dtod(&buffer.view(), copy)?;
/// record_event(elsewhere)?.make_wait(buffer.stream())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeviceView<'a, T> {
    pointer: CUdeviceptr,
    len: usize,
    order: &'a StreamOrder,
    elements: PhantomData<fn() -> &'a [T]>,
}

/// Elements on the device, lent for writing. Otherwise like [`DeviceView`].
#[derive(Debug)]
pub struct DeviceViewMut<'a, T> {
    pointer: CUdeviceptr,
    len: usize,
    order: &'a StreamOrder,
    elements: PhantomData<fn() -> &'a mut [T]>,
}

impl<'a, T> DeviceView<'a, T> {
    pub(crate) fn new(pointer: CUdeviceptr, len: usize, order: &'a StreamOrder) -> Self {
        Self { pointer, len, order, elements: PhantomData }
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if the view has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the device address of the first element.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.pointer
    }

    /// Returns a part of the view, or `None` if the range is out of bounds.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<DeviceView<'a, T>> {
        let range = checked(range, self.len)?;
        Some(DeviceView::new(address::<T>(self.pointer, range.start), range.len(), self.order))
    }
}

impl<'a, T: Pod> DeviceView<'a, T> {
    /// Lends the same memory as bytes: cudarc's host copies require its own `DeviceRepr` for an
    /// element, which `u8` implements.
    pub fn bytes(&self) -> DeviceView<'a, u8> {
        DeviceView::new(self.pointer, self.len * size_of::<T>(), self.order)
    }
}

impl<'a, T> DeviceViewMut<'a, T> {
    pub(crate) fn new(pointer: CUdeviceptr, len: usize, order: &'a StreamOrder) -> Self {
        Self { pointer, len, order, elements: PhantomData }
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if the view has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the device address of the first element.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.pointer
    }

    /// Makes the home stream wait for what other streams of its device did with the buffer, as
    /// [`MappedBuffer::join_foreign_work`](crate::MappedBuffer::join_foreign_work): launches there
    /// with the view's address then come after that. Calls no driver if there is nothing to join.
    ///
    /// # Errors
    /// As [`MappedBuffer::join_foreign_work`](crate::MappedBuffer::join_foreign_work).
    pub fn join_foreign_work(&self) -> Result<()> {
        if self.order.has_foreign_work() { self.order.join() } else { Ok(()) }
    }

    /// Lends the same elements for reading.
    pub fn as_view(&self) -> DeviceView<'_, T> {
        DeviceView::new(self.pointer, self.len, self.order)
    }

    /// Returns a part for reading, or `None` if the range is out of bounds.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<DeviceView<'_, T>> {
        self.as_view().slice(range)
    }

    /// Returns a part of the view, or `None` if the range is out of bounds.
    pub fn slice_mut(&mut self, range: impl RangeBounds<usize>) -> Option<DeviceViewMut<'_, T>> {
        let range = checked(range, self.len)?;
        Some(DeviceViewMut::new(address::<T>(self.pointer, range.start), range.len(), self.order))
    }

    /// Returns the first `mid` elements and the rest, or `None` if there are fewer.
    pub fn split_at_mut(&mut self, mid: usize) -> Option<(DeviceViewMut<'_, T>, DeviceViewMut<'_, T>)> {
        let rest = self.len.checked_sub(mid)?;
        let first = DeviceViewMut::new(self.pointer, mid, self.order);
        Some((first, DeviceViewMut::new(address::<T>(self.pointer, mid), rest, self.order)))
    }
}

impl<T: Pod> DeviceViewMut<'_, T> {
    /// Lends the same memory as bytes, see [`DeviceView::bytes`].
    pub fn bytes_mut(&mut self) -> DeviceViewMut<'_, u8> {
        DeviceViewMut::new(self.pointer, self.len * size_of::<T>(), self.order)
    }
}

impl<T> DeviceSlice<T> for DeviceView<'_, T> {
    fn len(&self) -> usize {
        self.len
    }
    fn stream(&self) -> &Arc<CudaStream> {
        self.order.home()
    }
}

impl<T> DeviceSlice<T> for DeviceViewMut<'_, T> {
    fn len(&self) -> usize {
        self.len
    }
    fn stream(&self) -> &Arc<CudaStream> {
        self.order.home()
    }
}

impl<T> DevicePtr<T> for DeviceView<'_, T> {
    fn device_ptr<'a>(&'a self, stream: &'a CudaStream) -> (CUdeviceptr, SyncOnDrop<'a>) {
        lend(self.pointer, self.order, stream)
    }
}

impl<T> DevicePtr<T> for DeviceViewMut<'_, T> {
    fn device_ptr<'a>(&'a self, stream: &'a CudaStream) -> (CUdeviceptr, SyncOnDrop<'a>) {
        lend(self.pointer, self.order, stream)
    }
}

impl<T> DevicePtrMut<T> for DeviceViewMut<'_, T> {
    fn device_ptr_mut<'a>(&'a mut self, stream: &'a CudaStream) -> (CUdeviceptr, SyncOnDrop<'a>) {
        lend(self.pointer, self.order, stream)
    }
}

// SAFETY: the argument is the device address, a u64 like every device pointer, and the reference to
// it lives as long as the launch arguments.
unsafe impl<'a, 'b: 'a, 'c: 'b, T> PushKernelArg<&'b DeviceView<'c, T>> for LaunchArgs<'a> {
    #[inline(always)]
    fn arg(&mut self, view: &'b DeviceView<'c, T>) -> &mut Self {
        view.order.join_foreign();
        self.arg(&view.pointer)
    }
}

// SAFETY: as for DeviceView; the mutable borrow excludes other views of these elements until the
// launch.
unsafe impl<'a, 'b: 'a, 'c: 'b, T> PushKernelArg<&'b mut DeviceViewMut<'c, T>> for LaunchArgs<'a> {
    #[inline(always)]
    fn arg(&mut self, view: &'b mut DeviceViewMut<'c, T>) -> &mut Self {
        view.order.join_foreign();
        self.arg(&view.pointer)
    }
}

/// Returns the address for work on `stream`, or a null address if the work cannot be ordered: work
/// that is enqueued with a null address fails and accesses nothing. The reason is recorded in the
/// stream's context.
fn lend<'a>(pointer: CUdeviceptr, order: &'a StreamOrder, stream: &'a CudaStream) -> (CUdeviceptr, SyncOnDrop<'a>) {
    match order.begin_use(stream) {
        Some(guard) => (pointer, guard),
        None => (0, SyncOnDrop::Record(None)),
    }
}

/// Returns the address of the element `start`, which must lie inside a mapping, so that the size in
/// bytes does not overflow.
pub(crate) fn address<T>(pointer: CUdeviceptr, start: usize) -> CUdeviceptr {
    pointer + (start * size_of::<T>()) as CUdeviceptr
}

/// Returns the range, or `None` if it is reversed or not within `len` elements.
fn checked(range: impl RangeBounds<usize>, len: usize) -> Option<Range<usize>> {
    let range = resolve(&range, len, |n| n.saturating_add(1));
    (range.start <= range.end && range.end <= len).then_some(range)
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    #[test]
    fn ranges_resolve_or_are_refused() {
        assert_eq!(checked(.., 5), Some(0..5));
        assert_eq!(checked(2..4, 5), Some(2..4));
        assert_eq!(checked(2..=4, 5), Some(2..5));
        assert_eq!(checked(5.., 5), Some(5..5));
        assert_eq!(checked(6.., 5), None);
        assert_eq!(checked(..6, 5), None);
        assert_eq!(checked(..=usize::MAX, 5), None);
        assert_eq!(checked((Bound::Excluded(1), Bound::Unbounded), 5), Some(2..5));
        #[allow(clippy::reversed_empty_ranges, reason = "what is tested")]
        let reversed = checked(4..2, 5);
        assert_eq!(reversed, None);
    }

    #[test]
    fn addresses_count_in_elements() {
        assert_eq!(address::<u32>(0x1000, 3), 0x100c);
        assert_eq!(address::<[f32; 4]>(0x1000, 2), 0x1020);
    }
}
