//! A buffer that both sides see, and what of it is lent to Vulkan.
#![allow(unsafe_code)] // Views of shared memory.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use bytemuck::Pod;
use cuda_import::{BufferMappingInfo, DeviceViewMut, MappedBuffer};
use vk_export::ash::vk;
use vk_export::{Buffer, BufferInfo, Consumer, Handover, Partner, Placement};

use crate::buffer::pool::{PoolRange, SharedPool};
use crate::compute::{Compute, SideRef};
use crate::error::{Error, Result};
use crate::handoff;
use crate::observe::live;
use crate::observe::live::{Alive, Kind};
use crate::observe::trace;
use crate::observe::trace::Event;

/// A buffer of `len` elements that Vulkan and the compute side both see, without any order between them.
///
/// An [`Exchange`](crate::Exchange) makes these and orders them; on its own, reaching the contents is `unsafe`. What the
/// contents are before the first write is undefined.
#[derive(Debug)]
pub struct SharedBuffer<T> {
    /// Gone once the buffer is dropped: before the Vulkan buffer that owns the memory (CUDA programming guide 6.2.16: "Freeing
    /// a memory object does not free any mappings to that object").
    mapping: Option<Mapping<T>>,
    /// Kept for good where the mapping could not be freed: what CUDA may still use must not become somebody else's memory.
    vulkan: ManuallyDrop<Buffer>,
    /// In a pool: the buffer's bytes, free for others once the buffer is gone.
    range: Option<PoolRange>,
    handover: Handover,
    len: usize,
    alive: ManuallyDrop<Alive>,
}

#[derive(Debug)]
enum Mapping<T> {
    Cuda(MappedBuffer<T>),
    Host(HostMapping<T>),
}

/// How a shared buffer is to be.
pub(crate) struct SharedBufferInfo<'a> {
    pub(crate) name: &'a str,
    /// Elements.
    pub(crate) len: usize,
    pub(crate) consumer: Consumer,
    /// The family of the queue that Vulkan uses it on.
    pub(crate) family: u32,
}

/// The host's view of a host-visible buffer.
#[derive(Debug)]
struct HostMapping<T>(NonNull<T>);

// SAFETY: the pointer is into a mapping that lives as long as the buffer beside it, and `T` is plain data; those who read
// and write through it are ordered by `SharedBuffer`'s unsafe methods.
unsafe impl<T: Send> Send for HostMapping<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HostMapping<T> {}

impl<T: Pod> SharedBuffer<T> {
    /// Makes a buffer on the Vulkan side, for the device's main queue, and maps it on the compute side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no elements, elements of no size, or more bytes than can be counted, else what the
    /// two sides say.
    pub fn new(compute: &Compute, name: &str, len: usize, consumer: Consumer) -> Result<Self> {
        let family = compute.device().queue().family();
        Self::create(compute, None, &SharedBufferInfo { name, len, consumer, family })
    }

    /// [`new`](Self::new) in memory of a pool.
    ///
    /// The bytes are another buffer's soon after this one is dropped: with CUDA the drop waits for the work on the stream,
    /// and Vulkan must be done with the buffer before.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::InvalidArgument`] for a consumer that the pool was not made for.
    pub fn new_in(pool: &SharedPool, name: &str, len: usize, consumer: Consumer) -> Result<Self> {
        let family = pool.compute().device().queue().family();
        Self::create(pool.compute(), Some(pool), &SharedBufferInfo { name, len, consumer, family })
    }

    pub(crate) fn create(compute: &Compute, pool: Option<&SharedPool>, info: &SharedBufferInfo<'_>) -> Result<Self> {
        let SharedBufferInfo { name, len, consumer, family } = *info;
        let object = format!("shared buffer \"{name}\"");
        let size = size_in_bytes::<T>(len, &object)?;
        compute.device().check_stages(family, consumer.stages, consumer.access, &object)?;
        let partner = match compute.side() {
            SideRef::Cuda(_) => Partner::External,
            SideRef::Host(_) => Partner::Host,
        };
        let (mapping, vulkan, range) = match pool {
            Some(pool) => {
                pool.check(compute, consumer, &object)?;
                let (mapping, vulkan, range) = in_pool(compute, pool, name, len, size)?;
                (mapping, vulkan, Some(range))
            }
            None => {
                let (mapping, vulkan) = in_own_memory(compute, name, len, size, consumer)?;
                (mapping, vulkan, None)
            }
        };
        let handover = Handover::new(&vulkan, partner, family, consumer);
        trace::event(Event {
            event: "create",
            side: compute.side_name(),
            object: name,
            bytes: Some(size),
            ..Event::default()
        });
        let (mapping, vulkan) = (Some(mapping), ManuallyDrop::new(vulkan));
        Ok(Self { mapping, vulkan, range, handover, len, alive: ManuallyDrop::new(Alive::new(Kind::Buffer)) })
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements: never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The Vulkan side, lent.
    pub fn vulkan(&self) -> &Buffer {
        &self.vulkan
    }

    /// The barriers between the two sides.
    pub fn handover(&self) -> &Handover {
        &self.handover
    }

    /// The contents for CUDA, with the CUDA backend.
    ///
    /// # Safety
    /// Until the view is gone and the work enqueued with it has completed, Vulkan does not use the buffer and no other
    /// view or slice of it is used.
    pub unsafe fn cuda_mut(&self) -> Option<DeviceViewMut<'_, T>> {
        match &self.mapping {
            // SAFETY: exclusive by this function's contract.
            Some(Mapping::Cuda(mapped)) => Some(unsafe { mapped.view_mut_unchecked() }),
            Some(Mapping::Host(_)) | None => None,
        }
    }

    /// The contents for the CPU, with the CPU backend.
    ///
    /// # Safety
    /// Until the slice is gone, Vulkan does not use the buffer and no other view or slice of it exists.
    #[allow(clippy::mut_from_ref)] // Exclusive by contract.
    pub unsafe fn host_mut(&self) -> Option<&mut [T]> {
        match &self.mapping {
            Some(Mapping::Cuda(_)) | None => None,
            Some(Mapping::Host(HostMapping(start))) => {
                // SAFETY: `len` elements were checked to fit the mapped buffer, aligned; any bytes are a `Pod`; exclusive
                // by this function's contract; the mapping lives as long as `self`.
                Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.len) })
            }
        }
    }

    /// Makes the compute stream wait for what other CUDA streams did with the buffer, so that a signal enqueued next
    /// covers that too.
    pub(crate) fn join(&self) -> Result<()> {
        match &self.mapping {
            Some(Mapping::Cuda(mapped)) => Ok(mapped.join_foreign_work()?),
            Some(Mapping::Host(_)) | None => Ok(()),
        }
    }

    /// Dropping it need not wait for the compute stream, until it is lent again.
    ///
    /// # Safety
    /// All work that uses the buffer has ended, on both sides.
    pub(crate) unsafe fn assume_idle(&self) {
        if let Some(Mapping::Cuda(mapped)) = &self.mapping {
            // SAFETY: the caller says so.
            unsafe { mapped.assume_idle() };
        }
    }

    /// What a render turn lends.
    pub(crate) fn render(&self) -> RenderBuffer<'_, T> {
        RenderBuffer { buffer: &self.vulkan, handover: &self.handover, len: self.len, element: PhantomData }
    }
}

impl<T> Drop for SharedBuffer<T> {
    fn drop(&mut self) {
        trace::event(Event { event: "destroy", side: "vulkan", object: self.vulkan.name(), ..Event::default() });
        let closed = match self.mapping.take() {
            Some(Mapping::Cuda(mapped)) => mapped.close(),
            Some(Mapping::Host(_)) | None => Ok(()),
        };
        if let Err(error) = closed {
            log::error!("shared buffer \"{}\" is leaked on both sides: {error}", self.vulkan.name());
            live::leaked(Kind::Buffer, 1);
            if let Some(range) = self.range.take() {
                range.leak();
            }
            return;
        }
        // SAFETY: dropped here only, once; the mapping is gone.
        unsafe { ManuallyDrop::drop(&mut self.vulkan) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.alive) };
    }
}

/// In bytes, if that is any number that this machine can address.
fn size_in_bytes<T>(len: usize, object: &str) -> Result<u64> {
    let invalid = |reason: &str| Error::InvalidArgument { object: object.to_owned(), reason: reason.to_owned() };
    if len == 0 || size_of::<T>() == 0 {
        return Err(invalid("it has no bytes; share at least one element that has a size"));
    }
    len.checked_mul(size_of::<T>())
        .filter(|size| isize::try_from(*size).is_ok())
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| invalid("more bytes than this machine can address"))
}

fn in_own_memory<T: Pod>(
    compute: &Compute,
    name: &str,
    len: usize,
    size: u64,
    consumer: Consumer,
) -> Result<(Mapping<T>, Buffer)> {
    let buffer =
        |placement| Buffer::new(compute.device(), &BufferInfo { name, size, usage: consumer.usage, placement });
    match compute.side() {
        SideRef::Cuda(cuda) => {
            let vulkan = buffer(Placement::Exportable)?;
            let memory = handoff::memory(&vulkan, cuda.device())?;
            let place = BufferMappingInfo { offset: 0, len };
            Ok((Mapping::Cuda(MappedBuffer::map(&memory, &place, cuda.stream())?), vulkan))
        }
        SideRef::Host(_) => {
            let vulkan = buffer(Placement::HostVisible)?;
            Ok((map_host(&vulkan)?, vulkan))
        }
    }
}

fn in_pool<T: Pod>(
    compute: &Compute,
    pool: &SharedPool,
    name: &str,
    len: usize,
    size: u64,
) -> Result<(Mapping<T>, Buffer, PoolRange)> {
    let range = pool.take(size, align_of::<T>() as u64)?;
    let vulkan = Buffer::new_in(range.block().vulkan(), name, range.offset(), size)?;
    let mapping = match (compute.side(), range.block().cuda()) {
        (SideRef::Cuda(cuda), Some(block)) => {
            // The mapping matches by offset: both sides have the whole block.
            let place = BufferMappingInfo { offset: range.offset(), len };
            Mapping::Cuda(MappedBuffer::new_in(block, &place, cuda.stream())?)
        }
        _ => map_host(&vulkan)?,
    };
    Ok((mapping, vulkan, range))
}

fn map_host<T>(vulkan: &Buffer) -> Result<Mapping<T>> {
    let invalid = |reason: &str| Error::InvalidArgument {
        object: format!("shared buffer \"{}\"", vulkan.name()),
        reason: reason.to_owned(),
    };
    let pointer = vulkan.host_ptr().ok_or_else(|| invalid("its memory could not be mapped"))?.cast::<T>();
    if !pointer.is_aligned() {
        return Err(invalid("its elements want more alignment than the driver's mappings have"));
    }
    Ok(Mapping::Host(HostMapping(pointer)))
}

/// A shared buffer while it is Vulkan's: lent by a [`RenderTurn`](crate::RenderTurn).
#[derive(Debug, Clone, Copy)]
pub struct RenderBuffer<'t, T> {
    buffer: &'t Buffer,
    handover: &'t Handover,
    len: usize,
    element: PhantomData<&'t T>,
}

impl<T> RenderBuffer<'_, T> {
    /// The Vulkan handle, for the commands of this frame.
    pub fn as_raw(&self) -> vk::Buffer {
        self.buffer.as_raw()
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements: never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.buffer.size()
    }

    /// Both barriers, in both forms. [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire) records them for
    /// all resources at once.
    pub fn handover(&self) -> &Handover {
        self.handover
    }
}
