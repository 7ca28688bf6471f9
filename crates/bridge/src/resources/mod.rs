//! Resources that an exchange shares: one resource, several of different types, or many of one
//! type. Workers receive them as exported memory (`exported`) or as their bytes in order (`runs`).
#![allow(unsafe_code)] // Lends the resources that the turns own.

#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) mod exported;
pub(crate) mod many;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) mod runs;

use std::sync::Arc;

#[cfg(all(target_os = "linux", feature = "remote"))]
use bridge_ipc::ResourceKind;
use cuda_import::cudarc::driver::CudaStream;
use vk_export::ash::vk;

use crate::barriers::Barriers;
use crate::compute::Compute;
use crate::compute::inline::copy::BufferCopy;
use crate::compute::per_backend::{PerBackend, gather_tuple};
use crate::error::{Error, Result, first_error};
use crate::pool::SharedPool;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::exported::Exported;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::runs::Run;
use crate::tuples::up_to_6;

/// Description of the resources in each slot of an exchange.
///
/// [`BufferSpec`](crate::BufferSpec) is one buffer, [`ImageSpec`](crate::ImageSpec) one image. A
/// tuple of descriptions shares resources of different types, a `Vec` many of one type; both can be
/// nested. All resources of a slot are handed over together, with one wait and one signal per side.
///
/// This trait is sealed, because its soundness depends on the synchronization in an exchange.
#[allow(private_bounds)] // Closed on purpose.
pub trait Resources: SlotTypes + Share<Self> + Send + Sync + Sized + 'static {
    /// Objects that a compute turn lends to CUDA.
    type Cuda<'t>;
    /// Objects that a compute turn lends to the CPU.
    type Host<'t>;
    /// Objects that a compute turn lends to kernels, and to their twins on the CPU, see
    /// [`KernelWork`](crate::KernelWork).
    type Kernel<'t>;
    /// Objects that a render turn lends to Vulkan.
    type Render<'t>;
}

/// Types of a slot: Vulkan's objects, and the mapping of each compute side that has one.
pub(crate) trait SlotTypes {
    /// Objects that one slot owns.
    type Slot: Send + Sync + 'static;
    /// CUDA's mapping of a slot.
    type CudaSlot: Send + Sync + 'static;
    /// The CPU's mapping of a slot.
    type HostSlot: Send + Sync + 'static;
    /// A slot as kernels in command buffers access it.
    type InlineSlot: Send + Sync + 'static;
}

/// A slot, and its mapping on the exchange's compute side.
pub(crate) type NewSlot<R> = (<R as SlotTypes>::Slot, Mappings<R>);

/// The mapping of a slot on a compute side.
pub(crate) type Mappings<R> =
    PerBackend<<R as SlotTypes>::CudaSlot, <R as SlotTypes>::HostSlot, <R as SlotTypes>::InlineSlot>;

/// Checks that a lent object belongs to the stream on which kernels are launched. No other stream
/// is ordered with the object's slot.
pub(crate) fn check_home(stream: &Arc<CudaStream>, home: &Arc<CudaStream>, object: &str) -> Result<()> {
    if stream == home {
        return Ok(());
    }
    let reason = "it was lent for another compute stream, with which launches on this one are not ordered".to_owned();
    Err(Error::invalid(format!("a lent {object}"), reason))
}

/// Creation, lending and hand-over of the slots of `R`, which is the implementor.
pub(crate) trait Share<R: Resources> {
    /// Makes one slot.
    fn create(&self, slot: &SlotInfo<'_>) -> Result<NewSlot<R>>;

    /// # Safety
    /// Until the result is gone and the work enqueued with it has completed, nothing else uses the
    /// slot.
    unsafe fn cuda(slot: &R::CudaSlot) -> R::Cuda<'_>;

    /// # Safety
    /// Until the result is gone, nothing else uses the slot.
    unsafe fn host(slot: &R::HostSlot) -> R::Host<'_>;

    /// # Safety
    /// Until the result is gone and the work recorded with it has run, nothing else uses the slot.
    unsafe fn inline(slot: &R::InlineSlot) -> R::Kernel<'_>;

    /// Lends the resources to twins, the versions of kernels in Rust.
    ///
    /// # Safety
    /// Until the result is gone and the twins that received it have run, nothing else uses the
    /// slot.
    unsafe fn twin(slot: &R::HostSlot) -> R::Kernel<'_>;

    /// Converts the objects lent to CUDA for kernels on `home`. Later launches there are ordered
    /// after the work of other streams with these objects.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if an object was lent for another compute stream.
    fn kernel<'t>(lent: R::Cuda<'t>, home: &Arc<CudaStream>) -> Result<R::Kernel<'t>>;

    /// Returns the objects lent to Vulkan.
    fn render(slot: &R::Slot) -> R::Render<'_>;

    /// Adds the barriers of every resource.
    fn add_barriers(slot: &R::Slot, barriers: &mut Barriers);

    /// Returns `true` if [`join`](Self::join) has anything to do. Every frame calls it for every
    /// resource, so it makes no driver call and costs one load for each.
    fn has_foreign_work(slot: &R::CudaSlot) -> bool;

    /// Makes the compute stream wait for the work of other CUDA streams, so that the signal
    /// enqueued next covers it too. That signal checks, for all resources, whether the stream is
    /// being captured. If one resource fails, the others are still tried, and [`first_error`]
    /// combines the errors.
    fn join(slot: &R::CudaSlot) -> Result<()>;

    /// Lets the mapping be freed without waiting for the compute stream, until it is lent again.
    ///
    /// # Safety
    /// All work that uses it has ended, on both sides.
    unsafe fn assume_idle(slot: &R::CudaSlot);

    /// Enqueues a copy of the contents of `old` to `new`, up to the smaller of both sizes, after
    /// the compute stream's work. Images are not copied.
    ///
    /// # Safety
    /// Nothing else uses either slot until the copy has ended.
    unsafe fn copy_contents_on_cuda(old: &R::CudaSlot, new: &R::CudaSlot) -> Result<()>;

    /// Copies the contents of `old` to `new`, as
    /// [`copy_contents_on_cuda`](Self::copy_contents_on_cuda) does.
    ///
    /// # Safety
    /// Nothing else uses either slot.
    unsafe fn copy_contents_on_host(old: &R::HostSlot, new: &R::HostSlot);

    /// Adds the copies that [`copy_contents_on_cuda`](Self::copy_contents_on_cuda) makes, for a
    /// command buffer.
    fn copy_contents_on_queue(old: &R::InlineSlot, new: &R::InlineSlot, copies: &mut Vec<BufferCopy>);

    /// Calls `each` with the bytes of every resource in runs, and with the place of each run in
    /// memory that another process has filled.
    ///
    /// # Safety
    /// Nothing else uses the slot.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    unsafe fn bytes(slot: &R::HostSlot, each: &mut dyn FnMut(Run, &mut [u8]));

    /// Adds the description of each resource for another process, in the order of
    /// [`bytes`](Self::bytes).
    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn kinds(&self, into: &mut Vec<ResourceKind>);

    /// Adds a handle to the memory of each resource, in the order of [`kinds`](Self::kinds).
    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn export(slot: &R::Slot, into: &mut Vec<Exported>) -> Result<()>;

    /// Returns `true` if there are contents that a replacement copies.
    fn has_contents_to_copy(&self) -> bool;

    /// Returns the stages at which Vulkan uses the resources; none if there are no resources.
    fn stages(&self) -> vk::PipelineStageFlags2;

    /// Validates the description without calling a driver.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// Arguments of [`Share::create`].
#[derive(Debug)]
pub(crate) struct SlotInfo<'a> {
    pub(crate) compute: &'a Compute,
    pub(crate) exchange: &'a str,
    pub(crate) index: usize,
    /// The family of the queue on which Vulkan uses the slot.
    pub(crate) family: u32,
    /// Pool from which buffers are allocated; without one, each buffer has dedicated memory.
    pub(crate) pool: Option<&'a SharedPool>,
}

impl SlotInfo<'_> {
    /// Returns the name of a resource. A resource without a name uses the exchange's.
    pub(crate) fn name(&self, own: Option<&str>) -> String {
        format!("{}[{}]", own.unwrap_or(self.exchange), self.index)
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Resources),+> Resources for ($($name,)+) {
            type Cuda<'t> = ($($name::Cuda<'t>,)+);
            type Host<'t> = ($($name::Host<'t>,)+);
            type Kernel<'t> = ($($name::Kernel<'t>,)+);
            type Render<'t> = ($($name::Render<'t>,)+);
        }

        impl<$($name: Resources),+> SlotTypes for ($($name,)+) {
            type Slot = ($($name::Slot,)+);
            type CudaSlot = ($($name::CudaSlot,)+);
            type HostSlot = ($($name::HostSlot,)+);
            type InlineSlot = ($($name::InlineSlot,)+);
        }

        impl<$($name: Resources),+> Share<Self> for ($($name,)+) {
            fn create(&self, slot: &SlotInfo<'_>) -> Result<NewSlot<Self>> {
                let made = ($(self.$index.create(slot)?,)+);
                let mapped = gather_tuple!(slot.compute.side(), $(made.$index.1),+);
                Ok((($(made.$index.0,)+), mapped))
            }

            unsafe fn cuda(slot: &($($name::CudaSlot,)+)) -> ($($name::Cuda<'_>,)+) {
                // SAFETY: the same contract; the members are different slots.
                ($(unsafe { $name::cuda(&slot.$index) },)+)
            }

            unsafe fn host(slot: &($($name::HostSlot,)+)) -> ($($name::Host<'_>,)+) {
                // SAFETY: the same contract; the members are different slots.
                ($(unsafe { $name::host(&slot.$index) },)+)
            }

            unsafe fn inline(slot: &($($name::InlineSlot,)+)) -> ($($name::Kernel<'_>,)+) {
                // SAFETY: the same contract; the members are different slots.
                ($(unsafe { $name::inline(&slot.$index) },)+)
            }

            unsafe fn twin(slot: &($($name::HostSlot,)+)) -> ($($name::Kernel<'_>,)+) {
                // SAFETY: the same contract; the members are different slots.
                ($(unsafe { $name::twin(&slot.$index) },)+)
            }

            fn kernel<'t>(
                lent: <Self as Resources>::Cuda<'t>,
                home: &Arc<CudaStream>,
            ) -> Result<<Self as Resources>::Kernel<'t>> {
                Ok(($($name::kernel(lent.$index, home)?,)+))
            }

            fn render(slot: &($($name::Slot,)+)) -> ($($name::Render<'_>,)+) {
                ($($name::render(&slot.$index),)+)
            }

            fn add_barriers(slot: &($($name::Slot,)+), barriers: &mut Barriers) {
                $($name::add_barriers(&slot.$index, barriers);)+
            }

            fn has_foreign_work(slot: &($($name::CudaSlot,)+)) -> bool {
                false $(|| $name::has_foreign_work(&slot.$index))+
            }

            fn join(slot: &($($name::CudaSlot,)+)) -> Result<()> {
                [$($name::join(&slot.$index)),+].into_iter().fold(Ok(()), first_error)
            }

            unsafe fn assume_idle(slot: &($($name::CudaSlot,)+)) {
                // SAFETY: the same contract.
                $(unsafe { $name::assume_idle(&slot.$index) };)+
            }

            unsafe fn copy_contents_on_cuda(old: &($($name::CudaSlot,)+), new: &($($name::CudaSlot,)+)) -> Result<()> {
                // SAFETY: the same contract.
                $(unsafe { $name::copy_contents_on_cuda(&old.$index, &new.$index) }?;)+
                Ok(())
            }

            fn copy_contents_on_queue(
                old: &($($name::InlineSlot,)+),
                new: &($($name::InlineSlot,)+),
                copies: &mut Vec<BufferCopy>,
            ) {
                $($name::copy_contents_on_queue(&old.$index, &new.$index, copies);)+
            }

            unsafe fn copy_contents_on_host(old: &($($name::HostSlot,)+), new: &($($name::HostSlot,)+)) {
                // SAFETY: the same contract.
                $(unsafe { $name::copy_contents_on_host(&old.$index, &new.$index) };)+
            }

            #[cfg(all(target_os = "linux", feature = "remote"))]
            unsafe fn bytes(slot: &($($name::HostSlot,)+), each: &mut dyn FnMut(Run, &mut [u8])) {
                // SAFETY: the same contract; the members are different slots.
                $(unsafe { $name::bytes(&slot.$index, each) };)+
            }

            #[cfg(all(target_os = "linux", feature = "remote"))]
            fn kinds(&self, into: &mut Vec<ResourceKind>) {
                $(self.$index.kinds(into);)+
            }

            #[cfg(all(target_os = "linux", feature = "remote"))]
            fn export(slot: &($($name::Slot,)+), into: &mut Vec<Exported>) -> Result<()> {
                $($name::export(&slot.$index, into)?;)+
                Ok(())
            }

            fn has_contents_to_copy(&self) -> bool {
                false $(|| self.$index.has_contents_to_copy())+
            }

            fn stages(&self) -> vk::PipelineStageFlags2 {
                vk::PipelineStageFlags2::NONE $(| self.$index.stages())+
            }

            fn validate(&self) -> Result<()> {
                $(self.$index.validate()?;)+
                Ok(())
            }
        }
    };
}

up_to_6!(tuple);
