//! The resources of a slot: one [`Element`], or a tuple of up to four.
#![allow(unsafe_code)] // Passes guarantees of the caller on.

pub(crate) mod element;

use std::sync::Arc;

use bridge_ipc::Resource;
use cuda_import::ImportedMemory;
use cuda_import::cudarc::driver::CudaStream;

use crate::host::HostMemory;
use crate::resources::element::Element;

/// The resources of a slot: [`Buffer`](crate::Buffer), [`Image`](crate::Image), or a tuple of up to
/// four of them, in the renderer's order.
pub trait Resources: sealed::Resources {
    /// The views in a CUDA turn.
    type CudaViews<'a>;
    /// The views in a turn on the CPU.
    type HostViews<'a>;
    /// The views in a CUDA turn that reads.
    type CudaSources<'a>;
    /// The views in a turn on the CPU that reads.
    type HostSources<'a>;

    #[doc(hidden)]
    const RESOURCES: usize;

    #[doc(hidden)]
    type Mapped: Send + Sync + 'static;

    /// Checks the resources of one slot. `resources` has `RESOURCES` elements.
    #[doc(hidden)]
    fn check_resources(resources: &[Resource]) -> Result<(), String>;

    /// Maps the resources of one slot. `imported` has `RESOURCES` elements.
    ///
    /// # Safety
    /// Each memory must match the description of its resource, and the resources must have passed
    /// `check_resources`.
    #[doc(hidden)]
    unsafe fn map(imported: &[ImportedResource], home: &Arc<CudaStream>) -> Result<Self::Mapped, cuda_import::Error>;

    #[doc(hidden)]
    fn cuda_views(mapped: &mut Self::Mapped) -> Self::CudaViews<'_>;

    #[doc(hidden)]
    fn host_views(memory: &[HostMemory]) -> Self::HostViews<'_>;

    #[doc(hidden)]
    fn cuda_sources(mapped: &Self::Mapped) -> Self::CudaSources<'_>;

    #[doc(hidden)]
    fn host_sources(memory: &[HostMemory]) -> Self::HostSources<'_>;

    #[doc(hidden)]
    fn join(mapped: &Self::Mapped) -> Result<(), cuda_import::Error>;

    /// # Safety
    /// All work that uses the mappings must have ended.
    #[doc(hidden)]
    unsafe fn assume_idle(mapped: &Self::Mapped);
}

mod sealed {
    use crate::resources::element::Element;

    pub trait Resources {}
    impl<E: Element> Resources for E {}
    impl<A: Element, B: Element> Resources for (A, B) {}
    impl<A: Element, B: Element, C: Element> Resources for (A, B, C) {}
    impl<A: Element, B: Element, C: Element, D: Element> Resources for (A, B, C, D) {}
}

/// ImportedResource memory with the description of its resource.
pub(crate) type ImportedResource = (Arc<ImportedMemory>, Resource);

impl<E: Element> Resources for E {
    type CudaViews<'a> = E::CudaView<'a>;
    type HostViews<'a> = E::HostView<'a>;
    type CudaSources<'a> = E::CudaSource<'a>;
    type HostSources<'a> = E::HostSource<'a>;
    const RESOURCES: usize = 1;
    type Mapped = E::Mapped;

    fn check_resources(resources: &[Resource]) -> Result<(), String> {
        <E as Element>::check_resource(&resources[0])
    }

    unsafe fn map(imported: &[ImportedResource], home: &Arc<CudaStream>) -> Result<Self::Mapped, cuda_import::Error> {
        // SAFETY: the caller guarantees it.
        unsafe { <E as Element>::map(&imported[0].0, &imported[0].1, home) }
    }

    fn cuda_views(mapped: &mut Self::Mapped) -> E::CudaView<'_> {
        E::cuda_view(mapped)
    }

    fn host_views(memory: &[HostMemory]) -> E::HostView<'_> {
        E::host_view(&memory[0])
    }

    fn cuda_sources(mapped: &Self::Mapped) -> E::CudaSource<'_> {
        E::cuda_source(mapped)
    }

    fn host_sources(memory: &[HostMemory]) -> E::HostSource<'_> {
        E::host_source(&memory[0])
    }

    fn join(mapped: &Self::Mapped) -> Result<(), cuda_import::Error> {
        <E as Element>::join(mapped)
    }

    unsafe fn assume_idle(mapped: &Self::Mapped) {
        // SAFETY: the caller guarantees it.
        unsafe { <E as Element>::assume_idle(mapped) }
    }
}

macro_rules! tuples {
    ($($count:literal: $($element:ident $place:tt),*;)*) => {$(
        impl<$($element: Element),*> Resources for ($($element,)*) {
            type CudaViews<'a> = ($($element::CudaView<'a>,)*);
            type HostViews<'a> = ($($element::HostView<'a>,)*);
            type CudaSources<'a> = ($($element::CudaSource<'a>,)*);
            type HostSources<'a> = ($($element::HostSource<'a>,)*);
            const RESOURCES: usize = $count;
            type Mapped = ($($element::Mapped,)*);

            fn check_resources(resources: &[Resource]) -> Result<(), String> {
                $(<$element as Element>::check_resource(&resources[$place])
                    .map_err(|reason| format!("resource {}: {reason}", $place))?;)*
                Ok(())
            }

            unsafe fn map(imported: &[ImportedResource], home: &Arc<CudaStream>) -> Result<Self::Mapped, cuda_import::Error> {
                Ok(($({
                    let (memory, resource) = &imported[$place];
                    // SAFETY: the caller guarantees it.
                    unsafe { <$element as Element>::map(memory, resource, home) }?
                },)*))
            }

            fn cuda_views(mapped: &mut Self::Mapped) -> Self::CudaViews<'_> {
                ($($element::cuda_view(&mut mapped.$place),)*)
            }

            fn host_views(memory: &[HostMemory]) -> Self::HostViews<'_> {
                ($($element::host_view(&memory[$place]),)*)
            }

            fn cuda_sources(mapped: &Self::Mapped) -> Self::CudaSources<'_> {
                ($($element::cuda_source(&mapped.$place),)*)
            }

            fn host_sources(memory: &[HostMemory]) -> Self::HostSources<'_> {
                ($($element::host_source(&memory[$place]),)*)
            }

            fn join(mapped: &Self::Mapped) -> Result<(), cuda_import::Error> {
                // All joins are attempted, since there may be no further call.
                [$(<$element as Element>::join(&mapped.$place)),*].into_iter().fold(Ok(()), Result::and)
            }

            unsafe fn assume_idle(mapped: &Self::Mapped) {
                $(
                    // SAFETY: the caller guarantees it.
                    unsafe { <$element as Element>::assume_idle(&mapped.$place) };
                )*
            }
        }
    )*};
}

tuples! {
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
}
