//! Slots of many resources of one type.

use std::sync::Arc;

#[cfg(all(target_os = "linux", feature = "remote"))]
use bridge_ipc::ResourceKind;
use cuda_import::cudarc::driver::CudaStream;
use vk_export::ash::vk;

use crate::barriers::Barriers;
use crate::compute::inline::copy::BufferCopy;
use crate::error::{Result, first_error};
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::exported::Exported;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::runs::Run;
use crate::resources::{NewSlot, Resources, Share, SlotInfo, SlotTypes};

/// Iterator over the resources of a `Vec` that a turn lends. Not `Clone`: each is lent once.
pub struct PerElement<'t, R: Resources, L>(Elements<'t, R, L>);

/// The slots that are left, by the side that they are lent to.
enum Elements<'t, R: Resources, L> {
    Cuda(Lend<'t, R::CudaSlot, L>),
    Host(Lend<'t, R::HostSlot, L>),
    Render(Lend<'t, R::Slot, L>),
}

/// Lends each slot once.
type Lend<'t, S, L> = std::iter::Map<std::slice::Iter<'t, S>, fn(&'t S) -> L>;

impl<R: Resources, L> std::fmt::Debug for PerElement<'_, R, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PerElement({} left)", self.len())
    }
}

impl<R: Resources, L> Iterator for PerElement<'_, R, L> {
    type Item = L;

    fn next(&mut self) -> Option<L> {
        match &mut self.0 {
            Elements::Cuda(slots) => slots.next(),
            Elements::Host(slots) => slots.next(),
            Elements::Render(slots) => slots.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Elements::Cuda(slots) => slots.size_hint(),
            Elements::Host(slots) => slots.size_hint(),
            Elements::Render(slots) => slots.size_hint(),
        }
    }
}

impl<R: Resources, L> ExactSizeIterator for PerElement<'_, R, L> {}

impl<R: Resources> SlotTypes for Vec<R> {
    type Slot = Vec<R::Slot>;
    type CudaSlot = Vec<R::CudaSlot>;
    type HostSlot = Vec<R::HostSlot>;
    type InlineSlot = Vec<R::InlineSlot>;
}

impl<R: Resources> Resources for Vec<R> {
    type Cuda<'t> = PerElement<'t, R, R::Cuda<'t>>;
    type Host<'t> = PerElement<'t, R, R::Host<'t>>;
    type Kernel<'t> = Vec<R::Kernel<'t>>;
    type Render<'t> = PerElement<'t, R, R::Render<'t>>;
}

impl<R: Resources> Share<Self> for Vec<R> {
    fn create(&self, slot: &SlotInfo<'_>) -> Result<NewSlot<Self>> {
        let made = self.iter().map(|spec| spec.create(slot)).collect::<Result<Vec<_>>>()?;
        let (slots, mapped): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        Ok((slots, slot.compute.side().gather(mapped)?))
    }

    unsafe fn cuda(slot: &Vec<R::CudaSlot>) -> PerElement<'_, R, R::Cuda<'_>> {
        // SAFETY: the same contract; `PerElement` lends each slot once.
        PerElement(Elements::Cuda(slot.iter().map(|slot| unsafe { R::cuda(slot) })))
    }

    unsafe fn host(slot: &Vec<R::HostSlot>) -> PerElement<'_, R, R::Host<'_>> {
        // SAFETY: the same contract; `PerElement` lends each slot once.
        PerElement(Elements::Host(slot.iter().map(|slot| unsafe { R::host(slot) })))
    }

    unsafe fn inline(slot: &Vec<R::InlineSlot>) -> Vec<R::Kernel<'_>> {
        // SAFETY: the same contract; the elements are different slots.
        slot.iter().map(|slot| unsafe { R::inline(slot) }).collect()
    }

    unsafe fn twin(slot: &Vec<R::HostSlot>) -> Vec<R::Kernel<'_>> {
        // SAFETY: the same contract; the elements are different slots.
        slot.iter().map(|slot| unsafe { R::twin(slot) }).collect()
    }

    fn kernel<'t>(
        lent: <Self as Resources>::Cuda<'t>,
        home: &Arc<CudaStream>,
    ) -> Result<<Self as Resources>::Kernel<'t>> {
        lent.map(|lent| R::kernel(lent, home)).collect()
    }

    fn render(slot: &Vec<R::Slot>) -> PerElement<'_, R, R::Render<'_>> {
        PerElement(Elements::Render(slot.iter().map(R::render)))
    }

    fn add_barriers(slot: &Vec<R::Slot>, barriers: &mut Barriers) {
        slot.iter().for_each(|slot| R::add_barriers(slot, barriers));
    }

    fn has_foreign_work(slot: &Vec<R::CudaSlot>) -> bool {
        slot.iter().any(R::has_foreign_work)
    }

    fn join(slot: &Vec<R::CudaSlot>) -> Result<()> {
        slot.iter().map(R::join).fold(Ok(()), first_error)
    }

    unsafe fn assume_idle(slot: &Vec<R::CudaSlot>) {
        for one in slot {
            // SAFETY: the same contract.
            unsafe { R::assume_idle(one) }
        }
    }

    unsafe fn copy_contents_on_cuda(old: &Vec<R::CudaSlot>, new: &Vec<R::CudaSlot>) -> Result<()> {
        // SAFETY: the same contract.
        old.iter().zip(new).try_for_each(|(old, new)| unsafe { R::copy_contents_on_cuda(old, new) })
    }

    fn copy_contents_on_queue(old: &Vec<R::InlineSlot>, new: &Vec<R::InlineSlot>, copies: &mut Vec<BufferCopy>) {
        old.iter().zip(new).for_each(|(old, new)| R::copy_contents_on_queue(old, new, copies));
    }

    unsafe fn copy_contents_on_host(old: &Vec<R::HostSlot>, new: &Vec<R::HostSlot>) {
        // SAFETY: the same contract.
        old.iter().zip(new).for_each(|(old, new)| unsafe { R::copy_contents_on_host(old, new) });
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    unsafe fn bytes(slot: &Vec<R::HostSlot>, each: &mut dyn FnMut(Run, &mut [u8])) {
        // SAFETY: the same contract; the elements are different slots.
        slot.iter().for_each(|slot| unsafe { R::bytes(slot, each) });
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn kinds(&self, into: &mut Vec<ResourceKind>) {
        self.iter().for_each(|spec| spec.kinds(into));
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn export(slot: &Vec<R::Slot>, into: &mut Vec<Exported>) -> Result<()> {
        slot.iter().try_for_each(|slot| R::export(slot, into))
    }

    fn has_contents_to_copy(&self) -> bool {
        self.iter().any(R::has_contents_to_copy)
    }

    fn stages(&self) -> vk::PipelineStageFlags2 {
        self.iter().map(R::stages).fold(vk::PipelineStageFlags2::NONE, |all, stages| all | stages)
    }

    fn validate(&self) -> Result<()> {
        self.iter().try_for_each(R::validate)
    }
}
