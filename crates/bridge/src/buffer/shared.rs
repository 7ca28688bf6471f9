//! [`SharedBuffer`]: a buffer shared by Vulkan and the compute side.
#![allow(unsafe_code)] // Views of shared memory.

use std::marker::PhantomData;
use std::sync::{Arc, Weak};

#[cfg(all(target_os = "linux", feature = "remote"))]
use bridge_ipc::ResourceKind;
use bytemuck::Pod;
use cuda_import::cudarc::driver::{CudaStream, DeviceSlice};
use cuda_import::{DeviceViewMut, MappedBuffer};
use vk_export::ash::vk;
use vk_export::{Buffer, BufferAccess, BufferInfo, Handover};

use crate::barriers::Barriers;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::buffer::descriptor::resource_kind;
use crate::buffer::render::RenderBuffer;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::host::memory::HostBuffer;
use crate::compute::inline::copy::BufferCopy;
use crate::compute::inline::memory::InlineBuffer;
use crate::compute::mapped::{Container, Mapped};
use crate::compute::mappings::Tied;
use crate::error::{Error, Result};
use crate::kernel::buffer::KernelBuffer;
use crate::observe::live::Kind;
use crate::observe::object::Object;
use crate::pool::{Place, SharedPool};
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::exported::Exported;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::runs::Run;
use crate::resources::{NewSlot, Resources, Share, SlotInfo, SlotTypes, check_home};

/// A buffer of `len` elements shared by Vulkan and the compute side, without synchronization
/// between the two.
///
/// An [`Exchange`](crate::Exchange) creates and synchronizes such buffers; outside of one, access
/// to the contents is `unsafe`. The contents are undefined before the first write.
///
/// Each use by Vulkan is recorded between [`record_acquire`](Self::record_acquire) and
/// [`record_release`](Self::record_release).
#[derive(Debug)]
pub struct SharedBuffer<T> {
    mapping: Tied<MappedBuffer<T>, HostBuffer<T>, InlineBuffer<T>, VulkanBuffer>,
    barriers: Barriers,
    vulkan: Arc<VulkanBuffer>,
}

/// Vulkan's half of a shared buffer.
#[derive(Debug)]
pub(crate) struct VulkanBuffer {
    // Field order is drop order: a pool may reuse the bytes only after the buffer is destroyed.
    vulkan: Buffer,
    object: Object,
    place: Option<Place>,
    handover: Handover,
    len: usize,
}

impl AsRef<Object> for VulkanBuffer {
    fn as_ref(&self) -> &Object {
        &self.object
    }
}

impl Container for VulkanBuffer {
    fn note_leaked(&self) {
        self.object.note_leaked();
    }
}

/// Configuration of a [`SharedBuffer`].
pub(crate) struct SharedBufferInfo<'a> {
    pub(crate) name: &'a str,
    /// Number of elements.
    pub(crate) len: usize,
    pub(crate) accesses: BufferAccess,
    /// The family of the queue that Vulkan uses the buffer on.
    pub(crate) family: u32,
}

impl<T: Pod> SharedBuffer<T> {
    /// Creates a buffer on the Vulkan side, for the device's main queue, and maps it on the compute
    /// side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `len` is 0, `T` is zero-sized, or the size in bytes overflows;
    /// otherwise the error of the failed Vulkan or CUDA call.
    pub fn new(compute: &Compute, name: &str, len: usize, accesses: BufferAccess) -> Result<Self> {
        let family = compute.device().queue().family();
        Self::create(compute, None, &SharedBufferInfo { name, len, accesses, family })
    }

    /// Like [`new`](Self::new), in memory of a pool.
    ///
    /// The memory is reused after this buffer is dropped: with CUDA the drop waits for the work on
    /// the stream; Vulkan must have finished with the buffer before the drop.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new), and [`Error::InvalidArgument`] for accesses that the
    /// pool's usage flags do not include.
    pub fn new_in(pool: &SharedPool, name: &str, len: usize, accesses: BufferAccess) -> Result<Self> {
        let family = pool.compute().device().queue().family();
        Self::create(pool.compute(), Some(pool), &SharedBufferInfo { name, len, accesses, family })
    }

    pub(crate) fn create(compute: &Compute, pool: Option<&SharedPool>, info: &SharedBufferInfo<'_>) -> Result<Self> {
        let SharedBufferInfo { name, len, accesses, family } = *info;
        let object = format!("shared buffer \"{name}\"");
        let size = size_in_bytes::<T>(len, &object)?;
        compute.device().check_stages(family, accesses.stages, accesses.access, &object)?;
        let (side, sharing) = (compute.side(), compute.side().sharing());
        let take = |pool: &SharedPool| {
            pool.check_use(compute, accesses, &object)?;
            pool.take(size, align_of::<T>() as u64)
        };
        let place = pool.map(take).transpose()?;
        let (vulkan, (mapping, whole)) = match &place {
            Some(Place::Block(range)) => {
                let vulkan = Buffer::new_in(range.block(), name, range.offset(), size)?;
                let mapping = range.map(&vulkan, len)?;
                (vulkan, mapping)
            }
            Some(Place::Dedicated { .. }) | None => {
                let usage = accesses.usage | sharing.buffer_usage;
                let info = BufferInfo { name, size, usage, placement: sharing.placement };
                let vulkan = Buffer::new(compute.device(), &info)?;
                let mapping = side.map_buffer(&vulkan, len)?;
                (vulkan, (mapping, None))
            }
        };
        let handover = Handover::new(&vulkan, sharing.counterpart, family, accesses);
        let object = Object::new(Kind::Buffer, name, side.trace_side(), Some(size));
        let vulkan = Arc::new(VulkanBuffer { vulkan, object, place, handover, len });
        let mut barriers = Barriers::default();
        barriers.add_buffer(&vulkan.handover);
        Ok(Self { mapping: mapping.tie(&vulkan, whole), barriers, vulkan })
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.vulkan.len
    }

    /// Returns `false`: a shared buffer has at least one element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the Vulkan side.
    pub fn vulkan(&self) -> &Buffer {
        &self.vulkan.vulkan
    }

    /// Returns the barriers between the two sides.
    pub fn handover(&self) -> &Handover {
        &self.vulkan.handover
    }

    /// Records the acquire of the buffer from the compute side.
    ///
    /// # Safety
    /// `commands` is recording on the buffer's device for the device's main queue, outside a render
    /// pass, and externally synchronized. The compute side owns the buffer, as it does when the
    /// buffer is new, and the buffer lives until the commands have run. The submission waits on a
    /// semaphore for the compute side's work, at `VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT`, or is made
    /// after the host has seen that this work has completed.
    pub unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.barriers.record_acquire(self.vulkan().device(), commands) };
    }

    /// Records the release of the buffer to the compute side, which may use it once the commands
    /// have run.
    ///
    /// # Safety
    /// As for [`record_acquire`](Self::record_acquire), except that the buffer was acquired with
    /// that function, on the same queue.
    pub unsafe fn record_release(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.barriers.record_release(self.vulkan().device(), commands) };
    }

    /// Returns the contents for CUDA, with the CUDA backend.
    ///
    /// # Safety
    /// Until the view is dropped and the work enqueued with it has completed, Vulkan does not use
    /// the buffer and no other view or slice of it is used.
    pub unsafe fn cuda_mut(&self) -> Option<DeviceViewMut<'_, T>> {
        // SAFETY: access is exclusive by this function's contract.
        self.mapping.cuda().map(|mapped| unsafe { mapped.view_mut_unchecked() })
    }

    /// Returns the contents for the CPU, with the CPU backend.
    ///
    /// # Safety
    /// While the slice exists, Vulkan does not use the buffer and no other view or slice of it
    /// exists.
    #[allow(clippy::mut_from_ref)] // Exclusive by contract.
    pub unsafe fn host_mut(&self) -> Option<&mut [T]> {
        // SAFETY: access is exclusive by this function's contract; the buffer lives as long as
        // `self`.
        self.mapping.host().map(|mapped| unsafe { mapped.slice_mut() })
    }
}

/// Returns the size in bytes, or an error if it is 0 or this machine cannot address that many
/// bytes.
fn size_in_bytes<T>(len: usize, object: &str) -> Result<u64> {
    let invalid = |reason: &str| Error::invalid(object, reason);
    if len == 0 || size_of::<T>() == 0 {
        return Err(invalid("its size is 0 bytes; share at least one element of nonzero size"));
    }
    len.checked_mul(size_of::<T>())
        .filter(|size| isize::try_from(*size).is_ok())
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| invalid("more bytes than this machine can address"))
}

type CudaSlot<T> = Mapped<MappedBuffer<T>, VulkanBuffer>;
type HostSlot<T> = Mapped<HostBuffer<T>, VulkanBuffer>;
type InlineSlot<T> = Mapped<InlineBuffer<T>, VulkanBuffer>;

impl<T: Pod + Send + Sync> SlotTypes for BufferSpec<T> {
    type Slot = Arc<VulkanBuffer>;
    type CudaSlot = CudaSlot<T>;
    type HostSlot = HostSlot<T>;
    type InlineSlot = InlineSlot<T>;
}

impl<T: Pod + Send + Sync> Resources for BufferSpec<T> {
    type Cuda<'t> = DeviceViewMut<'t, T>;
    type Host<'t> = &'t mut [T];
    type Kernel<'t> = KernelBuffer<'t, T>;
    type Render<'t> = RenderBuffer<'t, T>;
}

impl<T: Pod + Send + Sync> Share<Self> for BufferSpec<T> {
    fn create(&self, slot: &SlotInfo<'_>) -> Result<NewSlot<Self>> {
        let name = slot.name(self.name.as_deref());
        let info = SharedBufferInfo { name: &name, len: self.len, accesses: self.accesses, family: slot.family };
        let SharedBuffer { mapping, vulkan, .. } = SharedBuffer::create(slot.compute, slot.pool, &info)?;
        if let Some(mapping) = mapping.cuda() {
            // SAFETY: nothing has used the buffer. The exchange calls this again for all slots at
            // their end, after it has waited for their work.
            unsafe { mapping.assume_idle() };
        }
        Ok((vulkan, mapping))
    }

    unsafe fn cuda(slot: &CudaSlot<T>) -> DeviceViewMut<'_, T> {
        // SAFETY: the caller upholds the same contract.
        unsafe { slot.view_mut_unchecked() }
    }

    unsafe fn host(slot: &HostSlot<T>) -> &mut [T] {
        // SAFETY: the caller upholds the same contract; the slot keeps the buffer alive.
        unsafe { slot.slice_mut() }
    }

    unsafe fn inline(slot: &InlineSlot<T>) -> KernelBuffer<'_, T> {
        slot.view()
    }

    unsafe fn twin(slot: &HostSlot<T>) -> KernelBuffer<'_, T> {
        slot.view()
    }

    fn kernel<'t>(
        lent: <Self as Resources>::Cuda<'t>,
        home: &Arc<CudaStream>,
    ) -> Result<<Self as Resources>::Kernel<'t>> {
        check_home(lent.stream(), home, "buffer")?;
        lent.join_foreign_work()?;
        Ok(KernelBuffer::on_stream(lent.as_raw(), lent.len()))
    }

    fn render(slot: &Arc<VulkanBuffer>) -> RenderBuffer<'_, T> {
        RenderBuffer { buffer: &slot.vulkan, handover: &slot.handover, len: slot.len, element: PhantomData }
    }

    fn add_barriers(slot: &Arc<VulkanBuffer>, barriers: &mut Barriers) {
        barriers.add_buffer(&slot.handover);
        let own: Weak<VulkanBuffer> = Arc::downgrade(slot);
        barriers.add_object(own);
        slot.place.as_ref().and_then(Place::container).into_iter().for_each(|block| barriers.add_object(block));
    }

    fn has_foreign_work(slot: &CudaSlot<T>) -> bool {
        MappedBuffer::has_foreign_work(slot)
    }

    fn join(slot: &CudaSlot<T>) -> Result<()> {
        // Calls the driver only for resources that have work to join.
        if slot.has_foreign_work() { Ok(slot.join_foreign_work()?) } else { Ok(()) }
    }

    unsafe fn assume_idle(slot: &CudaSlot<T>) {
        // SAFETY: the caller upholds the same contract.
        unsafe { MappedBuffer::assume_idle(slot) }
    }

    unsafe fn copy_contents_on_cuda(old: &CudaSlot<T>, new: &CudaSlot<T>) -> Result<()> {
        // SAFETY: the caller upholds the same contract.
        Ok(unsafe { new.copy_from(old) }?)
    }

    fn copy_contents_on_queue(old: &InlineSlot<T>, new: &InlineSlot<T>, copies: &mut Vec<BufferCopy>) {
        let (from, to) = (old.vulkan(), new.vulkan());
        let size = from.vulkan.size().min(to.vulkan.size());
        copies.push(BufferCopy { from: from.vulkan.as_raw(), to: to.vulkan.as_raw(), size });
    }

    unsafe fn copy_contents_on_host(old: &HostSlot<T>, new: &HostSlot<T>) {
        // SAFETY: the caller upholds the same contract.
        let old = unsafe { old.slice_mut() };
        // SAFETY: the caller upholds the same contract; `new` is a different buffer than `old`.
        let new = unsafe { new.slice_mut() };
        let kept = old.len().min(new.len());
        new[..kept].copy_from_slice(&old[..kept]);
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    unsafe fn bytes(slot: &HostSlot<T>, each: &mut dyn FnMut(Run, &mut [u8])) {
        // SAFETY: the caller upholds the same contract; the slot keeps the buffer alive.
        each(Run::Resource, bytemuck::cast_slice_mut(unsafe { slot.slice_mut() }));
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn kinds(&self, into: &mut Vec<ResourceKind>) {
        into.push(resource_kind::<T>(self.len));
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn export(slot: &Arc<VulkanBuffer>, into: &mut Vec<Exported>) -> Result<()> {
        into.push(Exported::buffer(&slot.vulkan)?);
        Ok(())
    }

    fn has_contents_to_copy(&self) -> bool {
        true
    }

    fn stages(&self) -> vk::PipelineStageFlags2 {
        self.accesses.stages
    }
}
