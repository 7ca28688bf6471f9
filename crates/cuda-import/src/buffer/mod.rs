//! Typed arrays in imported memory.
//!
//! Contains unsafe code because freeing a mapping requires that its use has ended.

#![allow(unsafe_code)]
pub(crate) mod backing;
pub(crate) mod linear;
pub(crate) mod view;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::CudaStream;
use cudarc::driver::sys::CUdeviceptr;

use crate::buffer::backing::BufferBacking;
use crate::buffer::view::{DeviceView, DeviceViewMut, address};
use crate::error::{Error, Object, Result};
use crate::memory::block::MappedBlock;
use crate::memory::device_orders::DeviceOrders;
use crate::memory::linear::LinearMapping;
use crate::memory::mapping::{Backing, Mapping};
use crate::memory::{ImportedMemory, range_within};
use crate::stream::order::StreamOrder;

/// The part of the memory to map.
#[derive(Clone, Copy, Debug, Default)]
pub struct BufferMappingInfo {
    /// Offset in bytes from the start of the allocation; a multiple of the element's alignment.
    /// Default: 0.
    pub offset: u64,
    /// Length in elements. Default: 0, which is rejected.
    pub len: usize,
}

/// `len` elements of `T` in imported memory, with a home stream on which most of the work runs.
/// Access it through [`view`](Self::view) and [`view_mut`](Self::view_mut), which are kernel
/// arguments and cudarc slices. It can be used from any thread.
///
/// A buffer has its own mapping or is part of a [`MappedBlock`]. Creating or dropping a part of a
/// block makes no driver call; dropping it makes its bytes available to other parts.
///
/// Dropping a buffer waits for at most two seconds until the work on the home stream and on other
/// streams that used it has ended, and then frees the mapping. If the work has ended already, this
/// costs one query. After the timeout the mapping and its memory are leaked deliberately, with a
/// log message; memory in use is never freed. [`close`](Self::close) does the same and returns the
/// error. Kernels that were launched with a view on another stream are not tracked (see
/// [`DeviceView`]) and must have ended.
///
/// The driver frees a mapping only while no stream of the context waits (measured with a driver for
/// CUDA 13.0). If that takes longer than 10 seconds, the mapping counts as leaked, and the driver
/// frees it later.
///
/// See "Mapping Buffers onto Imported Memory Objects" in the [CUDA programming guide][guide].
///
/// [guide]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#external-resource-interoperability
#[derive(Debug)]
pub struct MappedBuffer<T> {
    pointer: CUdeviceptr,
    len: usize,
    mapping: Mapping<BufferBacking>,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> MappedBuffer<T> {
    /// Maps a part of `memory`. Parts that are mapped at the same time must not overlap: map once
    /// and take slices.
    ///
    /// `home` is the stream on which most of the work runs; using the buffer there has no extra
    /// cost. Driver API: [`cuExternalMemoryGetMappedBuffer`][driver].
    ///
    /// # Errors
    /// Each invalid argument has its own [`Error`]; [`Error::Driver`] if the driver call fails.
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
    #[doc(alias = "cuExternalMemoryGetMappedBuffer")]
    pub fn map(memory: &Arc<ImportedMemory>, info: &BufferMappingInfo, home: &Arc<CudaStream>) -> Result<Self> {
        Self::map_on(memory, info, std::slice::from_ref(home))
    }

    /// Like [`map`](Self::map), with a home stream on each of the memory's
    /// [`devices`](ImportedMemory::devices), in their order:
    /// [`part_mut_unchecked`](Self::part_mut_unchecked) lends parts to each. The first is
    /// [`stream`](Self::stream).
    ///
    /// Work on other streams of a device is ordered with that device's home stream. The caller must
    /// order the home streams with each other
    /// ([`StreamEvent::make_wait`](crate::StreamEvent::make_wait)).
    ///
    /// # Errors
    /// Those of [`map`](Self::map); [`Error::ContextMismatch`] for a stream of another device than
    /// the one at its index, for no streams, and for more streams than devices.
    pub fn map_on(memory: &Arc<ImportedMemory>, info: &BufferMappingInfo, homes: &[Arc<CudaStream>]) -> Result<Self> {
        let object = Object("buffer", memory.name());
        let size = size_in_bytes::<T>(&object, info.len)?;
        check_alignment::<T>(memory, info.offset)?;
        let orders = DeviceOrders::new(homes, memory, &object)?;
        let own = LinearMapping::map(memory, info.offset, size)?;
        let (pointer, backing) = (own.pointer(), BufferBacking::Own(own));
        let mapped = Self { pointer, len: info.len, mapping: Mapping::new(backing, orders), element: PhantomData };
        memory.log_mapped(mapped.mapping.backing().range());
        Ok(mapped)
    }

    /// Creates a buffer in a part of `block` that no other buffer occupies. `home` is as for
    /// [`map`](Self::map).
    ///
    /// # Errors
    /// Each invalid argument has its own [`Error`]; no driver call is made.
    pub fn new_in(block: &Arc<MappedBlock>, info: &BufferMappingInfo, home: &Arc<CudaStream>) -> Result<Self> {
        Self::new_in_on(block, info, std::slice::from_ref(home))
    }

    /// Like [`new_in`](Self::new_in), with a home stream on each device, see
    /// [`map_on`](Self::map_on).
    ///
    /// # Errors
    /// Those of [`new_in`](Self::new_in) and [`map_on`](Self::map_on).
    pub fn new_in_on(block: &Arc<MappedBlock>, info: &BufferMappingInfo, homes: &[Arc<CudaStream>]) -> Result<Self> {
        let (object, memory) = (block.object(), block.memory());
        let size = size_in_bytes::<T>(&object, info.len)?;
        let range = range_within(memory, info.offset, size)?;
        check_alignment::<T>(memory, info.offset)?;
        // A type may need more alignment than the driver gives the whole mapping. The error then
        // contains the address as the offset.
        let pointer = block.as_raw() + info.offset;
        check_alignment::<T>(memory, pointer)?;
        let orders = DeviceOrders::new(homes, memory, &object)?;
        block.reserve_part(&range)?;
        let backing = BufferBacking::Part { range, block: Arc::clone(block) };
        Ok(Self { pointer, len: info.len, mapping: Mapping::new(backing, orders), element: PhantomData })
    }

    /// Lends the buffer for reading.
    pub fn view(&self) -> DeviceView<'_, T> {
        DeviceView::new(self.pointer, self.len, self.mapping.order().lend())
    }

    /// Lends the buffer for writing.
    pub fn view_mut(&mut self) -> DeviceViewMut<'_, T> {
        self.mapping.order().settle();
        DeviceViewMut::new(self.pointer, self.len, self.mapping.order())
    }

    /// Returns [`view_mut`](Self::view_mut) for owners that ensure exclusive access without a
    /// `&mut`.
    ///
    /// # Safety
    /// As long as the view lives, there is no other view of the same elements, and no borrow from
    /// one.
    pub unsafe fn view_mut_unchecked(&self) -> DeviceViewMut<'_, T> {
        // The view covers all elements, so no other view of the buffer is alive.
        self.mapping.order().settle();
        DeviceViewMut::new(self.pointer, self.len, self.mapping.order())
    }

    /// Lends a range of elements to the device at index `place` of the memory's
    /// [`devices`](ImportedMemory::devices), for any stream of that device. Returns `None` if
    /// [`map_on`](Self::map_on) was given no home stream for the device, or if the range is out of
    /// bounds.
    ///
    /// # Safety
    /// Until the view is dropped and the work enqueued with it has ended, these elements are not
    /// used in any other way, on any device.
    ///
    /// Unlike [`view_mut_unchecked`](Self::view_mut_unchecked), this does not assume that no other
    /// view is alive; see [`assume_no_views`](Self::assume_no_views).
    pub unsafe fn part_mut_unchecked(&self, place: usize, range: Range<usize>) -> Option<DeviceViewMut<'_, T>> {
        let order = self.mapping.orders().get(place)?;
        if range.start > range.end || range.end > self.len {
            return None;
        }
        Some(DeviceViewMut::new(address::<T>(self.pointer, range.start), range.len(), order.lend()))
    }

    /// Assumes that no view of the buffer is alive, so that the events which track other streams
    /// can be reused. For owners that lend parts: call it before each round of lending. Without it,
    /// every use by a stream other than a home stream creates another event, up to
    /// [a limit](DeviceView#uses-on-other-streams), and each join waits for all of them.
    ///
    /// # Safety
    /// No view of the buffer is alive, on any device, and nothing borrowed from one is held.
    pub unsafe fn assume_no_views(&self) {
        self.mapping.orders().iter().for_each(StreamOrder::settle);
    }
}

impl<T: Pod> MappedBuffer<T> {
    /// Enqueues a copy of the first elements of `source` on the home stream. The shorter buffer
    /// determines the number of elements.
    ///
    /// # Errors
    /// [`Error::Driver`] if the driver call fails; nothing is copied then.
    ///
    /// # Safety
    /// Until the copy has ended, both buffers live and are not used in any other way.
    #[doc(alias = "cuMemcpyDtoDAsync")]
    pub unsafe fn copy_from(&self, source: &Self) -> Result<()> {
        let (device, home) = (self.memory().device(), self.stream());
        let object = self.mapping.backing().object();
        device.check_recorded()?;
        // Does not overflow, because the sizes of the whole buffers were checked.
        let size = self.len.min(source.len) * size_of::<T>();
        let _current = device.bind().map_err(|error| error.at(&object, device.name()))?;
        let _read_in_order = source.mapping.order().begin_use_for(home, &object)?;
        let _written_in_order = self.mapping.order().begin_use_for(home, &object)?;
        // SAFETY: both have at least `size` bytes and are different mappings; the caller keeps them
        // alive. The home stream's context is current.
        let copied = unsafe { device.driver().copy_linear(self.pointer, source.pointer, size, home) };
        copied.map_err(|error| error.at(&object, device.name()))
    }
}

impl<T> MappedBuffer<T> {
    /// Returns the length in elements, never 0.
    #[allow(clippy::len_without_is_empty, reason = "an empty buffer cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.mapping.backing().range().end - self.offset()
    }

    /// Returns the offset in bytes from the start of the memory.
    pub fn offset(&self) -> u64 {
        self.mapping.backing().range().start
    }

    /// Returns the home stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.mapping.order().home()
    }

    /// Returns the memory that the buffer is a part of. Only a reference, so it cannot be used to
    /// map another object, which needs the `Arc`.
    pub fn memory(&self) -> &ImportedMemory {
        self.mapping.backing().memory()
    }

    /// Returns the device address, which is valid as long as the buffer lives.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.pointer
    }

    /// Returns `true` if [`join_foreign_work`](Self::join_foreign_work) has anything to do: another
    /// stream used the buffer and the home stream does not wait for that yet, or a view that is
    /// still alive may be in use on such a stream. Makes no driver call, and costs one load if no
    /// other stream ever used the buffer.
    pub fn has_foreign_work(&self) -> bool {
        self.mapping.has_foreign_work()
    }

    /// Makes the home stream wait for work on other streams that used the buffer, so that a signal
    /// enqueued there afterwards covers that work. Call it before such a signal, after all views
    /// were dropped.
    ///
    /// # Errors
    /// [`Error::Driver`] if the wait cannot be enqueued, or if the end of such work could not be
    /// recorded earlier; then no signal may follow.
    pub fn join_foreign_work(&self) -> Result<()> {
        self.mapping.join()
    }

    /// Like [`join_foreign_work`](Self::join_foreign_work), for the device at index `place` only
    /// (see [`part_mut_unchecked`](Self::part_mut_unchecked)): later launches on its home stream
    /// run after the work of that device's other streams. Makes no driver call if there is nothing
    /// to join, or no home stream for the device.
    ///
    /// # Errors
    /// Those of [`join_foreign_work`](Self::join_foreign_work).
    pub fn join_foreign_work_at(&self, place: usize) -> Result<()> {
        self.mapping.join_at(place)
    }

    /// Unmaps the buffer like dropping it does, and returns the error.
    ///
    /// # Errors
    /// [`Error::StillInUse`] after the time limit, [`Error::Driver`] if the driver call fails; the
    /// mapping and its memory are then leaked, and the exporter must keep the memory too.
    pub fn close(self) -> Result<()> {
        self.mapping.close()
    }

    /// Declares that the next close or drop need not wait, until a view is lent again. For owners
    /// that know in another way that all work has ended.
    ///
    /// # Safety
    /// All work that uses the buffer has ended.
    pub unsafe fn assume_idle(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.mapping.assume_idle() }
    }
}

pub(crate) fn size_in_bytes<T>(object: &Object<'_>, len: usize) -> Result<u64> {
    let element_size = size_of::<T>();
    let zero = |what| Err(Error::Zero { object: object.to_string(), what });
    match (len, element_size) {
        (0, _) => zero("length"),
        (_, 0) => zero("element size"),
        _ => match len.checked_mul(element_size).map(u64::try_from) {
            Some(Ok(size)) => Ok(size),
            _ => Err(Error::SizeOverflow { object: object.to_string(), len, element_size }),
        },
    }
}

/// Checks that `offset`, a byte offset or an address, is aligned for a `T`.
pub(crate) fn check_alignment<T>(memory: &ImportedMemory, offset: u64) -> Result<()> {
    match misalignment::<T>(offset) {
        None => Ok(()),
        Some(align) => {
            let element = std::any::type_name::<T>();
            Err(Error::Misaligned { object: memory.object().to_string(), offset, align, element })
        }
    }
}

/// Returns the required alignment if `offset` does not have it.
fn misalignment<T>(offset: u64) -> Option<u64> {
    let align = align_of::<T>() as u64;
    (!offset.is_multiple_of(align)).then_some(align)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        let object = Object("buffer", "b");
        assert_eq!(size_in_bytes::<u32>(&object, 3).unwrap(), 12);
        assert!(matches!(size_in_bytes::<u32>(&object, 0), Err(Error::Zero { what: "length", .. })));
        assert!(matches!(size_in_bytes::<[u32; 0]>(&object, 3), Err(Error::Zero { what: "element size", .. })));
        let overflow = size_in_bytes::<u32>(&object, usize::MAX).unwrap_err();
        assert!(matches!(overflow, Error::SizeOverflow { element_size: 4, .. }));
        assert!(overflow.to_string().contains("buffer \"b\""), "{overflow}");
    }

    #[test]
    fn offsets_are_checked() {
        assert_eq!(misalignment::<u32>(8), None);
        assert_eq!(misalignment::<u32>(6), Some(4));
        assert_eq!(misalignment::<u8>(7), None);
    }
}
