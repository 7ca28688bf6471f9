//! A typed array in imported memory.
//!
//! Unsafe because freeing a mapping needs proof that its use has ended.

#![allow(unsafe_code)]
pub(crate) mod borrowed;
pub(crate) mod part;
pub(crate) mod stand_in;
pub(crate) mod view;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::CudaStream;
use cudarc::driver::sys::CUdeviceptr;

use crate::buffer::borrowed::BorrowedSlice;
use crate::buffer::view::{DeviceView, DeviceViewMut};
use crate::error::{Error, Object};
use crate::memory::ImportedMemory;
use crate::stream::order::StreamOrder;
use crate::sys::CallError;

/// Which part of the memory to map.
#[derive(Clone, Copy, Debug, Default)]
pub struct BufferMappingInfo {
    /// In bytes from the start of the allocation; a multiple of the element's alignment. Default: 0.
    pub offset: u64,
    /// In elements. Default: 0, which is refused.
    pub len: usize,
}

/// `len` elements of `T` in imported memory, on a home stream. Reached through [`view`](Self::view) and
/// [`view_mut`](Self::view_mut), which are kernel arguments and cudarc slices. Any thread may use it.
///
/// Dropping it waits, two seconds at most, until the work on the home stream and on guest streams has ended; it costs one
/// query when it has. Then it frees the mapping. Past the limit the mapping and its memory are leaked on purpose and the
/// log says so: memory in use is never freed. [`close`](Self::close) does the same and returns the error. Work that was
/// launched with a view on a stream other than the home stream is unknown here (see [`DeviceView`]) and must have ended.
///
/// The free itself waits for all work of the whole context, on any stream (measured with a driver for CUDA 13.0): a stream that waits for
/// a signal which nobody gives holds it up for ever.
#[derive(Debug)]
pub struct MappedBuffer<T> {
    pointer: CUdeviceptr,
    len: usize,
    range: Range<u64>,
    /// False once the pointer has been freed or given up.
    live: bool,
    /// Its events and streams go after the pointer, which `drop` frees.
    order: StreamOrder,
    /// Last: destroying the memory frees no mapping, so the mapping must be gone by then.
    memory: Arc<ImportedMemory>,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> MappedBuffer<T> {
    /// Maps a part of `memory`. Parts mapped at the same time must not overlap: map once and take slices.
    ///
    /// `home` is the stream that most of the work runs on; use of the buffer there costs nothing extra.
    ///
    /// # Errors
    /// Bad arguments each have their own [`Error`]; [`Error::Driver`] when the driver refuses.
    #[doc(alias = "cuExternalMemoryGetMappedBuffer")]
    pub fn map(memory: &Arc<ImportedMemory>, info: &BufferMappingInfo, home: &Arc<CudaStream>) -> Result<Self, Error> {
        let object = Object("buffer", memory.name());
        let size = size_in_bytes::<T>(&object, info.len)?;
        check_alignment::<T>(memory, info.offset)?;
        let order = StreamOrder::new(home, memory.device(), &object)?;
        let (pointer, range) = memory.map(info.offset, size, |driver, handle| {
            // SAFETY: "the offset and size must be within the imported object" was checked by `map`; the result holds an Arc of
            // the memory and frees the pointer first.
            unsafe { driver.map_buffer(handle, info.offset, size) }
        })?;
        Ok(Self { pointer, len: info.len, range, live: true, order, memory: Arc::clone(memory), element: PhantomData })
    }

    /// Lends the buffer for reading.
    pub fn view(&self) -> DeviceView<'_, T> {
        DeviceView::new(self.pointer, self.len, &self.order)
    }

    /// Lends the buffer for writing.
    pub fn view_mut(&mut self) -> DeviceViewMut<'_, T> {
        DeviceViewMut::new(self.pointer, self.len, &self.order)
    }

    /// [`view_mut`](Self::view_mut) for owners that keep views apart by other means than a `&mut`.
    ///
    /// # Safety
    /// As long as the view lives, no other view of the same elements does.
    pub unsafe fn view_mut_unchecked(&self) -> DeviceViewMut<'_, T> {
        DeviceViewMut::new(self.pointer, self.len, &self.order)
    }

    /// Lends the buffer to code that insists on a [`CudaSlice`](cudarc::driver::CudaSlice).
    ///
    /// # Errors
    /// [`Error::Driver`] when the slice's events cannot be made.
    ///
    /// # Safety
    /// As long as it lives, no view of the buffer is used, and nothing takes the slice out of it (`mem::swap`,
    /// `mem::take`): a slice that drops by itself frees a pointer which is not its own.
    pub unsafe fn as_cuda_slice(&self) -> Result<BorrowedSlice<'_, T>, Error> {
        let device = self.memory.device();
        device.check_recorded()?;
        self.join_foreign_work()?;
        // SAFETY: the pointer is a live mapping of `len` elements, and the result borrows its owner.
        let slice = unsafe { BorrowedSlice::new(self.pointer, self.len, self.order.home()) };
        slice.map_err(|error| CallError::from_cudarc("cuEventCreate", error).at(self.object(), device.name()))
    }
}

impl<T> MappedBuffer<T> {
    /// In elements; never 0.
    #[allow(clippy::len_without_is_empty, reason = "an empty buffer cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// In bytes from the start of the memory.
    pub fn offset(&self) -> u64 {
        self.range.start
    }

    /// The home stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.order.home()
    }

    /// What it is a part of.
    pub fn memory(&self) -> &Arc<ImportedMemory> {
        &self.memory
    }

    /// The device address, lent: it is dead once the buffer is.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.pointer
    }

    /// Makes the home stream wait for what other streams did with the buffer, so that a signal enqueued there afterwards
    /// covers it. Call it before such a signal, once nobody holds a view. Costs one load if no other stream ever used it.
    ///
    /// # Errors
    /// [`Error::Driver`] when the wait cannot be enqueued, or when the end of such work could not be recorded earlier; then
    /// no signal may follow.
    pub fn join_foreign_work(&self) -> Result<(), Error> {
        self.order.join(self.memory.device(), &self.object())
    }

    /// What dropping does, with the error.
    ///
    /// # Errors
    /// [`Error::StillInUse`] past the limit, [`Error::Driver`] when the driver fails; the mapping is then leaked.
    pub fn close(mut self) -> Result<(), Error> {
        self.release()
    }

    /// Frees the mapping without asking whether its work has ended; the driver still waits for the context's work.
    ///
    /// # Errors
    /// [`Error::Driver`] when the driver fails; the mapping is then leaked.
    ///
    /// # Safety
    /// All work that uses the buffer has ended.
    #[doc(alias = "cuMemFree")]
    pub unsafe fn free(mut self) -> Result<(), Error> {
        // SAFETY: this function's caller says that all use has ended.
        unsafe { self.unmap() }
    }

    /// Gives the mapping and its memory up without freeing them, for owners that could not prove the work ended.
    pub fn leak(mut self) {
        log::warn!("{} on {} is leaked: its work could not be seen to end", self.object(), self.memory.device().name());
        self.give_up();
    }

    fn object(&self) -> Object<'_> {
        Object("buffer", self.memory.name())
    }

    fn release(&mut self) -> Result<(), Error> {
        match self.order.wait_for_end(self.memory.device(), &self.object()) {
            // SAFETY: the home stream and the guests have ended their work, no view lives any more since all borrow `self`.
            Ok(()) => unsafe { self.unmap() },
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// # Safety
    /// All work that uses the buffer has ended.
    unsafe fn unmap(&mut self) -> Result<(), Error> {
        self.live = false;
        let freed = self.memory.unmap(&self.range, |driver| {
            // SAFETY: `live` was true, so the pointer is a mapping that was not freed; the caller vouches for its use.
            unsafe { driver.free(self.pointer) }
        });
        freed.inspect_err(|_| self.give_up())
    }

    fn give_up(&mut self) {
        self.live = false;
        self.memory.keep();
    }
}

impl<T> Drop for MappedBuffer<T> {
    fn drop(&mut self) {
        if self.live
            && let Err(error) = self.release()
        {
            log::error!("{error}");
        }
    }
}

pub(crate) fn size_in_bytes<T>(object: &Object<'_>, len: usize) -> Result<u64, Error> {
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

/// That a `T` may lie at `offset` bytes, or at an address.
pub(crate) fn check_alignment<T>(memory: &ImportedMemory, offset: u64) -> Result<(), Error> {
    match misalignment::<T>(offset) {
        None => Ok(()),
        Some(align) => {
            let element = std::any::type_name::<T>();
            Err(Error::Misaligned { object: memory.object().to_string(), offset, align, element })
        }
    }
}

/// The alignment that `offset` should have had.
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
