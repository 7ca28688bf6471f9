//! A typed array in a block of imported memory.
//!
//! Unsafe because it lends views of device memory.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::CudaStream;
use cudarc::driver::sys::CUdeviceptr;

use crate::buffer::view::{DeviceView, DeviceViewMut};
use crate::buffer::{BufferMappingInfo, check_alignment, size_in_bytes};
use crate::error::Error;
use crate::memory::block::MappedBlock;
use crate::memory::range_within;
use crate::stream::order::StreamOrder;

/// `len` elements of `T` in a [`MappedBlock`], on a home stream: a [`MappedBuffer`](crate::MappedBuffer) without a mapping
/// of its own, so that making one is no call of the driver, and dropping it one query. Any thread may use it.
///
/// Dropping it waits as a `MappedBuffer` does, two seconds at most, until the work on the home stream and on guest streams
/// has ended; only then may its bytes become another part's. Past the limit they are kept from use for good, with the
/// block, and the log says so. [`close`](Self::close) does the same and returns the error.
#[derive(Debug)]
pub struct MappedPart<T> {
    pointer: CUdeviceptr,
    len: usize,
    range: Range<u64>,
    /// False once its bytes have been given back or given up.
    live: bool,
    order: StreamOrder,
    block: Arc<MappedBlock>,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> MappedPart<T> {
    /// Takes a part of `block`, of bytes that no other part has.
    ///
    /// `home` is the stream that most of the work runs on; use of the part there costs nothing extra.
    ///
    /// # Errors
    /// Bad arguments each have their own [`Error`]; no driver call is made.
    pub fn new(block: &Arc<MappedBlock>, info: &BufferMappingInfo, home: &Arc<CudaStream>) -> Result<Self, Error> {
        let (object, memory) = (block.object(), block.memory());
        let size = size_in_bytes::<T>(&object, info.len)?;
        let range = range_within(info.offset, size, block.size()).ok_or_else(|| Error::OutOfRange {
            object: memory.object().to_string(),
            offset: info.offset,
            size,
            allocation_size: block.size(),
        })?;
        check_alignment::<T>(memory, info.offset)?;
        // A type may want more alignment than the driver gives the whole mapping: then the address is told as the offset.
        let pointer = block.as_raw() + info.offset;
        check_alignment::<T>(memory, pointer)?;
        let order = StreamOrder::new(home, memory.device(), &object)?;
        block.take(&range)?;
        Ok(Self { pointer, len: info.len, range, live: true, order, block: Arc::clone(block), element: PhantomData })
    }

    /// Lends the part for reading.
    pub fn view(&self) -> DeviceView<'_, T> {
        DeviceView::new(self.pointer, self.len, &self.order)
    }

    /// Lends the part for writing.
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
}

impl<T> MappedPart<T> {
    /// In elements; never 0.
    #[allow(clippy::len_without_is_empty, reason = "an empty part cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// In bytes from the start of the block.
    pub fn offset(&self) -> u64 {
        self.range.start
    }

    /// The home stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.order.home()
    }

    /// What it is a part of.
    pub fn block(&self) -> &Arc<MappedBlock> {
        &self.block
    }

    /// The device address, lent: it is dead once the part is.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.pointer
    }

    /// As [`MappedBuffer::join_foreign_work`](crate::MappedBuffer::join_foreign_work).
    ///
    /// # Errors
    /// As there.
    pub fn join_foreign_work(&self) -> Result<(), Error> {
        self.order.join(self.block.memory().device(), &self.block.object())
    }

    /// What dropping does, with the error.
    ///
    /// # Errors
    /// [`Error::StillInUse`] past the limit, [`Error::Driver`] when the driver fails; its bytes are then kept from use for
    /// good.
    pub fn close(mut self) -> Result<(), Error> {
        self.release()
    }

    fn release(&mut self) -> Result<(), Error> {
        self.live = false;
        match self.order.wait_for_end(self.block.memory().device(), &self.block.object()) {
            Ok(()) => {
                self.block.give_back(&self.range);
                Ok(())
            }
            Err(error) => {
                // The block stays mapped, and these bytes stay claimed in it.
                std::mem::forget(Arc::clone(&self.block));
                Err(error)
            }
        }
    }
}

impl<T> Drop for MappedPart<T> {
    fn drop(&mut self) {
        if self.live
            && let Err(error) = self.release()
        {
            log::error!("{error}");
        }
    }
}
