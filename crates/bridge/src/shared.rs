//! A buffer that both sides see, and what of it is lent to Vulkan.
#![allow(unsafe_code)] // Views of shared memory.

use std::marker::PhantomData;
use std::ptr::NonNull;

use bytemuck::Pod;
use cuda_import::{BufferMappingInfo, DeviceViewMut, MappedBuffer};
use vk_export::ash::vk;
use vk_export::{Buffer, BufferInfo, Consumer, Handover, Partner, Placement};

use crate::compute::{Compute, SideRef};
use crate::live::{Alive, Kind};
use crate::trace::{self, Event};
use crate::{Error, Result, handoff};

/// A buffer of `len` elements that Vulkan and the compute side both see, without any order between them.
///
/// An [`Exchange`](crate::Exchange) makes these and orders them; on its own, reaching the contents is `unsafe`. What the
/// contents are before the first write is undefined.
#[derive(Debug)]
pub struct SharedBuffer<T> {
    // Field order is drop order: the mapping goes before the Vulkan buffer that owns the memory (CUDA programming guide
    // 6.2.16: "Freeing a memory object does not free any mappings to that object").
    mapping: Mapping<T>,
    vulkan: Buffer,
    handover: Handover,
    len: usize,
    _alive: Alive,
}

#[derive(Debug)]
enum Mapping<T> {
    Cuda(MappedBuffer<T>),
    Host(HostMapping<T>),
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
        Self::for_family(compute, name, len, consumer, compute.device().queue().family())
    }

    /// [`new`](Self::new) for a queue of another family than the main queue's.
    pub(crate) fn for_family(
        compute: &Compute,
        name: &str,
        len: usize,
        consumer: Consumer,
        family: u32,
    ) -> Result<Self> {
        let invalid = |reason: &str| Error::InvalidArgument {
            object: format!("shared buffer \"{name}\""),
            reason: reason.to_owned(),
        };
        if len == 0 || size_of::<T>() == 0 {
            return Err(invalid("it has no bytes; share at least one element that has a size"));
        }
        let size = len
            .checked_mul(size_of::<T>())
            .filter(|size| isize::try_from(*size).is_ok())
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| invalid("more bytes than this machine can address"))?;
        let (placement, partner) = match compute.side() {
            SideRef::Cuda(_) => (Placement::Exportable, Partner::External),
            SideRef::Host(_) => (Placement::HostVisible, Partner::Host),
        };
        let device = compute.device();
        let vulkan = Buffer::new(device, &BufferInfo { name, size, usage: consumer.usage, placement })?;
        let mapping = match compute.side() {
            SideRef::Cuda(cuda) => {
                let memory = handoff::memory(&vulkan, cuda.device())?;
                let place = BufferMappingInfo { offset: 0, len };
                Mapping::Cuda(MappedBuffer::map(&memory, &place, cuda.stream())?)
            }
            SideRef::Host(_) => {
                let pointer = vulkan.host_ptr().ok_or_else(|| invalid("its memory could not be mapped"))?.cast::<T>();
                if !pointer.is_aligned() {
                    return Err(invalid("its elements want more alignment than the driver's mappings have"));
                }
                Mapping::Host(HostMapping(pointer))
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
        Ok(Self { mapping, vulkan, handover, len, _alive: Alive::new(Kind::Buffer) })
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
            Mapping::Cuda(mapped) => Some(unsafe { mapped.view_mut_unchecked() }),
            Mapping::Host(_) => None,
        }
    }

    /// The contents for the CPU, with the CPU backend.
    ///
    /// # Safety
    /// Until the slice is gone, Vulkan does not use the buffer and no other view or slice of it exists.
    #[allow(clippy::mut_from_ref)] // Exclusive by contract.
    pub unsafe fn host_mut(&self) -> Option<&mut [T]> {
        match &self.mapping {
            Mapping::Cuda(_) => None,
            Mapping::Host(HostMapping(start)) => {
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
            Mapping::Cuda(mapped) => Ok(mapped.join_foreign_work()?),
            Mapping::Host(_) => Ok(()),
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
    }
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
