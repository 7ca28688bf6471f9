//! What an exchange shares: a buffer, an image, several of different types, or many of one type.

use std::marker::PhantomData;

use bytemuck::Pod;
use cuda_import::DeviceViewMut;
use vk_export::Consumer;
use vk_export::ash::vk;

use crate::buffer::pool::SharedPool;
use crate::buffer::shared::SharedBufferInfo;
use crate::buffer::shared::{RenderBuffer, SharedBuffer};
use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::barriers::Barriers;

/// A description of what every slot of an exchange holds.
///
/// [`BufferSpec`] is one buffer, [`ImageSpec`](crate::ImageSpec) one image. Tuples of descriptions share things of different types, a `Vec` many of one type; both
/// nest. All resources of a slot are handed over together, with one wait and one signal a side.
///
/// The trait is closed: what is lent from it rests on the exchange's order.
#[allow(private_bounds)] // Closed on purpose.
pub trait Resources: Sealed + 'static {
    /// What one slot owns.
    type Slot: Send + Sync + 'static;
    /// What a compute turn lends to CUDA.
    type Cuda<'t>;
    /// What a compute turn lends to the CPU.
    type Host<'t>;
    /// What a render turn lends to Vulkan.
    type Render<'t>;

    /// Makes one slot.
    #[doc(hidden)]
    fn create(&self, context: &CreateContext<'_>) -> Result<Self::Slot>;

    /// # Safety
    /// Until the result is gone and the work enqueued with it has completed, nothing else uses the slot. With CUDA only.
    #[doc(hidden)]
    #[allow(unsafe_code)]
    unsafe fn cuda(slot: &Self::Slot) -> Option<Self::Cuda<'_>>;

    /// # Safety
    /// Until the result is gone, nothing else uses the slot. With the CPU only.
    #[doc(hidden)]
    #[allow(unsafe_code)]
    unsafe fn host(slot: &Self::Slot) -> Option<Self::Host<'_>>;

    /// What Vulkan is lent.
    #[doc(hidden)]
    fn render(slot: &Self::Slot) -> Self::Render<'_>;

    /// Adds the barriers of every resource.
    #[doc(hidden)]
    fn add_barriers(slot: &Self::Slot, barriers: &mut Barriers);

    /// Joins what other CUDA streams did into the compute stream.
    #[doc(hidden)]
    fn join(slot: &Self::Slot) -> Result<()>;

    /// Says that dropping the slot need not wait for the compute side.
    ///
    /// # Safety
    /// All work that uses it has ended, on both sides.
    #[doc(hidden)]
    #[allow(unsafe_code)]
    unsafe fn assume_idle(slot: &Self::Slot);

    /// The stages at which Vulkan uses any of it; none if there is nothing.
    #[doc(hidden)]
    fn stages(&self) -> vk::PipelineStageFlags2;

    /// What is wrong with the description, as far as no driver need be asked.
    #[doc(hidden)]
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

pub(crate) trait Sealed {}

/// What a slot is made with.
#[doc(hidden)]
#[derive(Debug)]
pub struct CreateContext<'a> {
    pub(crate) compute: &'a Compute,
    pub(crate) exchange: &'a str,
    pub(crate) slot: usize,
    /// The family of the queue that Vulkan uses it on.
    pub(crate) family: u32,
    /// Where buffers are made; each has memory of its own without one.
    pub(crate) pool: Option<&'a SharedPool>,
}

/// One buffer of `len` elements of `T`, and how Vulkan uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferSpec<T> {
    len: usize,
    consumer: Consumer,
    name: Option<String>,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> BufferSpec<T> {
    /// A buffer of `len` elements, not zero.
    pub fn new(len: usize, consumer: Consumer) -> Self {
        Self { len, consumer, name: None, element: PhantomData }
    }

    /// Names it, for errors, traces and GPU debuggers; else it bears the exchange's name. The slot's number is added.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}

impl<T: Pod> Sealed for BufferSpec<T> {}

impl<T: Pod + Send + Sync> Resources for BufferSpec<T> {
    type Slot = SharedBuffer<T>;
    type Cuda<'t> = DeviceViewMut<'t, T>;
    type Host<'t> = &'t mut [T];
    type Render<'t> = RenderBuffer<'t, T>;

    fn create(&self, context: &CreateContext<'_>) -> Result<Self::Slot> {
        let name = format!("{}[{}]", self.name.as_deref().unwrap_or(context.exchange), context.slot);
        let info = SharedBufferInfo { name: &name, len: self.len, consumer: self.consumer, family: context.family };
        SharedBuffer::create(context.compute, context.pool, &info)
    }

    #[allow(unsafe_code)]
    unsafe fn cuda(slot: &Self::Slot) -> Option<Self::Cuda<'_>> {
        // SAFETY: the same contract.
        unsafe { slot.cuda_mut() }
    }

    #[allow(unsafe_code)]
    unsafe fn host(slot: &Self::Slot) -> Option<Self::Host<'_>> {
        // SAFETY: the same contract.
        unsafe { slot.host_mut() }
    }

    fn render(slot: &Self::Slot) -> Self::Render<'_> {
        slot.render()
    }

    fn add_barriers(slot: &Self::Slot, barriers: &mut Barriers) {
        barriers.add_buffer(slot.handover());
    }

    fn join(slot: &Self::Slot) -> Result<()> {
        slot.join()
    }

    #[allow(unsafe_code)]
    unsafe fn assume_idle(slot: &Self::Slot) {
        // SAFETY: the same contract.
        unsafe { slot.assume_idle() }
    }

    fn stages(&self) -> vk::PipelineStageFlags2 {
        self.consumer.stages
    }
}

impl<S: Resources> Sealed for Vec<S> {}

/// Lends from each resource of a `Vec` in turn. Not `Clone`: each is lent once.
pub struct Each<'t, S, L> {
    slots: std::slice::Iter<'t, S>,
    lend: fn(&'t S) -> Option<L>,
}

impl<S, L> Iterator for Each<'_, S, L> {
    type Item = L;

    fn next(&mut self) -> Option<L> {
        self.slots.next().and_then(self.lend)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.slots.size_hint()
    }
}

impl<S, L> ExactSizeIterator for Each<'_, S, L> {}

impl<S: Resources> Resources for Vec<S> {
    type Slot = Vec<S::Slot>;
    type Cuda<'t> = Each<'t, S::Slot, S::Cuda<'t>>;
    type Host<'t> = Each<'t, S::Slot, S::Host<'t>>;
    type Render<'t> = Each<'t, S::Slot, S::Render<'t>>;

    fn create(&self, context: &CreateContext<'_>) -> Result<Self::Slot> {
        self.iter().map(|spec| spec.create(context)).collect()
    }

    #[allow(unsafe_code)]
    unsafe fn cuda(slot: &Self::Slot) -> Option<Self::Cuda<'_>> {
        // SAFETY: the same contract; `Each` lends each of them once.
        Some(Each { slots: slot.iter(), lend: |slot| unsafe { S::cuda(slot) } })
    }

    #[allow(unsafe_code)]
    unsafe fn host(slot: &Self::Slot) -> Option<Self::Host<'_>> {
        // SAFETY: the same contract; `Each` lends each of them once.
        Some(Each { slots: slot.iter(), lend: |slot| unsafe { S::host(slot) } })
    }

    fn render(slot: &Self::Slot) -> Self::Render<'_> {
        Each { slots: slot.iter(), lend: |slot| Some(S::render(slot)) }
    }

    fn add_barriers(slot: &Self::Slot, barriers: &mut Barriers) {
        slot.iter().for_each(|slot| S::add_barriers(slot, barriers));
    }

    fn join(slot: &Self::Slot) -> Result<()> {
        slot.iter().try_for_each(S::join)
    }

    #[allow(unsafe_code)]
    unsafe fn assume_idle(slot: &Self::Slot) {
        for one in slot {
            // SAFETY: the same contract.
            unsafe { S::assume_idle(one) }
        }
    }

    fn stages(&self) -> vk::PipelineStageFlags2 {
        self.iter().map(S::stages).fold(vk::PipelineStageFlags2::NONE, |all, stages| all | stages)
    }

    fn check(&self) -> Result<()> {
        self.iter().try_for_each(S::check)
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Resources),+> Sealed for ($($name,)+) {}

        impl<$($name: Resources),+> Resources for ($($name,)+) {
            type Slot = ($($name::Slot,)+);
            type Cuda<'t> = ($($name::Cuda<'t>,)+);
            type Host<'t> = ($($name::Host<'t>,)+);
            type Render<'t> = ($($name::Render<'t>,)+);

            fn create(&self, context: &CreateContext<'_>) -> Result<Self::Slot> {
                Ok(($(self.$index.create(context)?,)+))
            }

            #[allow(unsafe_code)]
            unsafe fn cuda(slot: &Self::Slot) -> Option<Self::Cuda<'_>> {
                // SAFETY: the same contract; the members are different slots.
                Some(($(unsafe { $name::cuda(&slot.$index) }?,)+))
            }

            #[allow(unsafe_code)]
            unsafe fn host(slot: &Self::Slot) -> Option<Self::Host<'_>> {
                // SAFETY: the same contract; the members are different slots.
                Some(($(unsafe { $name::host(&slot.$index) }?,)+))
            }

            fn render(slot: &Self::Slot) -> Self::Render<'_> {
                ($($name::render(&slot.$index),)+)
            }

            fn add_barriers(slot: &Self::Slot, barriers: &mut Barriers) {
                $($name::add_barriers(&slot.$index, barriers);)+
            }

            fn join(slot: &Self::Slot) -> Result<()> {
                $($name::join(&slot.$index)?;)+
                Ok(())
            }

            #[allow(unsafe_code)]
            unsafe fn assume_idle(slot: &Self::Slot) {
                // SAFETY: the same contract.
                $(unsafe { $name::assume_idle(&slot.$index) };)+
            }

            fn stages(&self) -> vk::PipelineStageFlags2 {
                vk::PipelineStageFlags2::NONE $(| self.$index.stages())+
            }

            fn check(&self) -> Result<()> {
                $(self.$index.check()?;)+
                Ok(())
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
