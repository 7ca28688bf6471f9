//! What an exchange shares, and its wgpu objects.

pub(crate) mod buffer;
pub(crate) mod texture;

use bridge::Resources;

use crate::device::Bridge;
use crate::error::Result;

/// A description of what an [`Exchange`](crate::Exchange) shares: [`SharedBuffer`](crate::SharedBuffer),
/// [`SharedTexture`](crate::SharedTexture), or a tuple of such. The parts of a tuple are handed over together, with one wait and one
/// signal per side. The trait is closed.
#[allow(private_bounds)] // Closed on purpose.
pub trait Shared: Share<Self> + Send + Sync + Sized + 'static {
    /// The same for the bridge: what a turn's work lends.
    type Specs: Resources;
    /// wgpu's objects, the same in every frame.
    type Objects: Send + Sync;
    /// A slot as wgpu sees it.
    #[doc(hidden)]
    type Slot: Send + Sync;
}

/// How the resources of `S`, which is the implementor, are made and copied.
pub(crate) trait Share<S: Shared> {
    /// What the bridge is to make.
    fn specs(&self, gpu: &Bridge, flow: Flow) -> Result<S::Specs>;

    /// Makes the objects that stay.
    fn objects(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<S::Objects>;

    /// Wraps a slot for wgpu. wgpu destroys none of it.
    fn wrap(&self, gpu: &Bridge, flow: Flow, slot: <S::Specs as Resources>::Render<'_>, name: &str) -> Result<S::Slot>;

    /// Records the copy between a slot and the objects that stay, in the direction of `flow`.
    fn copy(flow: Flow, slot: &S::Slot, objects: &S::Objects, commands: &mut wgpu::CommandEncoder);
}

/// Where what is shared goes.
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
            type Slot = ($($part::Slot,)*);
        }

        impl<$($part: Shared),*> Share<Self> for ($($part,)*) {
            fn specs(&self, gpu: &Bridge, flow: Flow) -> Result<<Self as Shared>::Specs> {
                Ok(($(self.$index.specs(gpu, flow)?,)*))
            }

            fn objects(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<<Self as Shared>::Objects> {
                Ok(($(self.$index.objects(gpu, flow, name)?,)*))
            }

            fn wrap(
                &self,
                gpu: &Bridge,
                flow: Flow,
                slot: <<Self as Shared>::Specs as Resources>::Render<'_>,
                name: &str,
            ) -> Result<<Self as Shared>::Slot> {
                Ok(($(self.$index.wrap(gpu, flow, slot.$index, name)?,)*))
            }

            fn copy(
                flow: Flow,
                slot: &<Self as Shared>::Slot,
                objects: &<Self as Shared>::Objects,
                commands: &mut wgpu::CommandEncoder,
            ) {
                $($part::copy(flow, &slot.$index, &objects.$index, commands);)*
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
