//! Resources that an exchange shares, and their wgpu objects.
#![allow(unsafe_code)] // Hands on contracts.

pub(crate) mod buffer;
pub(crate) mod raw;
pub(crate) mod shape;
pub(crate) mod slot_buffer;
pub(crate) mod slot_texture;
pub(crate) mod texture;

use ash::vk;
use bridge::{Lease, Resources};

use crate::device::Bridge;
use crate::error::Result;

/// A description of the resources that an [`Exchange`](crate::Exchange) shares:
/// [`SharedBuffer`](crate::SharedBuffer), [`SharedTexture`](crate::SharedTexture),
/// [`SlotBuffer`](crate::SlotBuffer), [`SlotTexture`](crate::SlotTexture), or a tuple of these. The
/// parts of a tuple are handed over together, with one wait and one signal per side. This trait is
/// sealed.
#[allow(private_bounds)] // Closed on purpose.
pub trait Shared: Share<Self> + Send + Sync + Sized + 'static {
    /// The corresponding resources of the bridge, which a turn's work lends.
    type Specs: Resources;
    /// wgpu's objects, which are the same in every frame; `()` for resources that each frame lends.
    type Objects: Send + Sync;
    /// Objects that a frame lends: wgpu's objects of its slot, or those that are the same in every
    /// frame.
    type Lent<'f>;
    /// A slot as wgpu sees it.
    #[doc(hidden)]
    type Slot: Send + Sync;
}

/// Creation, lending and copies of the resources of `S`, which is the implementor.
pub(crate) trait Share<S: Shared> {
    /// `true` if the program's commands use any of the resources in the slots.
    const IN_PLACE: bool;

    /// `true` if [`copy`](Self::copy) records anything. An empty command buffer costs a submission
    /// as much as another one.
    const COPIES: bool;

    /// `true` if [`copy_raw`](Self::copy_raw) can record the same copy, which saves a command
    /// buffer. Not for textures: if a pass discards one, wgpu clears it unless wgpu tracks the
    /// copy.
    const COPIES_RAW: bool = false;

    /// `true` if [`settle`](Self::settle) records anything.
    const SETTLES: bool;

    /// Returns the description for the bridge; `name` is the exchange's.
    fn specs(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<S::Specs>;

    /// Creates the persistent objects.
    fn objects(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<S::Objects>;

    /// Wraps a slot for wgpu, which does not destroy the wrapped resources.
    fn wrap(&self, slot: &SlotInfo<'_>, render: <S::Specs as Resources>::Render<'_>) -> Result<S::Slot>;

    /// Returns the objects that a frame lends.
    fn lend<'f>(slot: &'f S::Slot, objects: &'f S::Objects) -> S::Lent<'f>;

    /// Records the copy between a slot and the persistent objects, in the direction of `flow`.
    fn copy(flow: Flow, slot: &S::Slot, objects: &S::Objects, commands: &mut wgpu::CommandEncoder);

    /// Records [`copy`](Self::copy) with Vulkan commands; `objects` are those of
    /// [`filled`](Self::filled) that no earlier part has taken. Skips destroyed objects, because
    /// wgpu then refuses the submission.
    ///
    /// # Safety
    /// The commands are recording outside of a pass, after barriers for copies of the slot and of
    /// the objects, and if they are submitted, both live until they have run.
    unsafe fn copy_raw(
        _: Flow,
        _: &ash::Device,
        _: vk::CommandBuffer,
        _: <S::Specs as Resources>::Render<'_>,
        _: &mut dyn Iterator<Item = &wgpu::Buffer>,
    ) {
    }

    /// Adds the objects that a copy reads or writes.
    fn filled<'o>(objects: &'o S::Objects, all: &mut Filled<'o>);

    /// Records transitions of resources that the program's commands used, back to the state for the
    /// hand-over.
    fn settle(slot: &S::Slot, commands: &mut wgpu::CommandEncoder);
}

/// The objects that a frame copies; a frame that the compute side begins fills them.
#[derive(Clone, Default)]
pub(crate) struct Filled<'o> {
    pub(crate) buffers: Vec<&'o wgpu::Buffer>,
    pub(crate) textures: Vec<&'o wgpu::Texture>,
}

/// Arguments of [`Share::wrap`].
pub(crate) struct SlotInfo<'a> {
    pub(crate) gpu: &'a Bridge,
    pub(crate) flow: Flow,
    pub(crate) name: &'a str,
    /// Keeps the slot's resources alive for users of the lent objects.
    pub(crate) lease: Lease,
}

/// The direction in which the contents are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// From the compute side to wgpu.
    In,
    /// From wgpu to the compute side.
    Out,
}

macro_rules! tuple {
    ($($part:ident $index:tt),*) => {
        impl<$($part: Shared),*> Shared for ($($part,)*) {
            type Specs = ($($part::Specs,)*);
            type Objects = ($($part::Objects,)*);
            type Lent<'f> = ($($part::Lent<'f>,)*);
            type Slot = ($($part::Slot,)*);
        }

        impl<$($part: Shared),*> Share<Self> for ($($part,)*) {
            const IN_PLACE: bool = $($part::IN_PLACE)||*;
            const COPIES: bool = $($part::COPIES)||*;
            const COPIES_RAW: bool = $($part::COPIES_RAW)&&*;
            const SETTLES: bool = $($part::SETTLES)||*;

            fn specs(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<<Self as Shared>::Specs> {
                Ok(($(self.$index.specs(gpu, flow, name)?,)*))
            }

            fn objects(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<<Self as Shared>::Objects> {
                Ok(($(self.$index.objects(gpu, flow, name)?,)*))
            }

            fn wrap(
                &self,
                slot: &SlotInfo<'_>,
                render: <<Self as Shared>::Specs as Resources>::Render<'_>,
            ) -> Result<<Self as Shared>::Slot> {
                Ok(($(self.$index.wrap(slot, render.$index)?,)*))
            }

            fn lend<'f>(
                slot: &'f <Self as Shared>::Slot,
                objects: &'f <Self as Shared>::Objects,
            ) -> <Self as Shared>::Lent<'f> {
                ($($part::lend(&slot.$index, &objects.$index),)*)
            }

            fn copy(
                flow: Flow,
                slot: &<Self as Shared>::Slot,
                objects: &<Self as Shared>::Objects,
                commands: &mut wgpu::CommandEncoder,
            ) {
                $($part::copy(flow, &slot.$index, &objects.$index, commands);)*
            }

            unsafe fn copy_raw(
                flow: Flow,
                device: &ash::Device,
                commands: vk::CommandBuffer,
                render: <<Self as Shared>::Specs as Resources>::Render<'_>,
                objects: &mut dyn Iterator<Item = &wgpu::Buffer>,
            ) {
                // SAFETY: the same contract for each part.
                $(unsafe { $part::copy_raw(flow, device, commands, render.$index, objects) };)*
            }

            fn filled<'o>(objects: &'o <Self as Shared>::Objects, all: &mut Filled<'o>) {
                $($part::filled(&objects.$index, all);)*
            }

            fn settle(slot: &<Self as Shared>::Slot, commands: &mut wgpu::CommandEncoder) {
                $($part::settle(&slot.$index, commands);)*
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
