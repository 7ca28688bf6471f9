//! Types of the resources of a slot.
#![allow(unsafe_code)] // Mappings cannot check their arguments.

use std::marker::PhantomData;
use std::sync::Arc;

use bridge_ipc::{Channel, ImageShape, Resource, ResourceKind};
use bytemuck::Pod;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{
    BufferMappingInfo, ChannelType, DeviceView, DeviceViewMut, ImageKind, ImageMappingInfo, ImageView, ImageViewMut,
    ImportedMemory, MappedBuffer, MappedImage, Texel,
};

use crate::host::{HostBuffer, HostImage, HostMemory, ReadOnly};

/// Marker type of a buffer of `T`.
#[derive(Debug)]
pub struct Buffer<T>(PhantomData<fn() -> T>);

/// Marker type of an image of `T`.
#[derive(Debug)]
pub struct Image<T>(PhantomData<fn() -> T>);

/// Type of a resource of a slot: [`Buffer`] or [`Image`].
pub trait Element: sealed::Element {
    /// View of the resource in a CUDA turn.
    type CudaView<'a>;
    /// View of the resource in a turn on the CPU.
    type HostView<'a>;
    /// View of the resource in a CUDA turn that reads.
    type CudaSource<'a>;
    /// View of the resource in a turn on the CPU that reads.
    type HostSource<'a>;

    #[doc(hidden)]
    type Mapped: Send + Sync + 'static;

    /// Checks that the resource is of this type; returns the reason if it is not.
    #[doc(hidden)]
    fn check_resource(resource: &Resource) -> Result<(), String>;

    /// # Safety
    /// The memory must match the description of the resource, which must have passed
    /// `check_resource`.
    #[doc(hidden)]
    unsafe fn map(
        memory: &Arc<ImportedMemory>,
        resource: &Resource,
        home: &Arc<CudaStream>,
    ) -> Result<Self::Mapped, cuda_import::Error>;

    #[doc(hidden)]
    fn cuda_view(mapped: &mut Self::Mapped) -> Self::CudaView<'_>;

    #[doc(hidden)]
    fn host_view(memory: &HostMemory) -> Self::HostView<'_>;

    #[doc(hidden)]
    fn cuda_source(mapped: &Self::Mapped) -> Self::CudaSource<'_>;

    #[doc(hidden)]
    fn host_source(memory: &HostMemory) -> Self::HostSource<'_>;

    #[doc(hidden)]
    fn join(mapped: &Self::Mapped) -> Result<(), cuda_import::Error>;

    /// # Safety
    /// All work that uses the mapping must have ended.
    #[doc(hidden)]
    unsafe fn assume_idle(mapped: &Self::Mapped);
}

mod sealed {
    pub trait Element {}
    impl<T> Element for super::Buffer<T> {}
    impl<T> Element for super::Image<T> {}
}

impl<T: Pod + Send + Sync> Element for Buffer<T> {
    type CudaView<'a> = DeviceViewMut<'a, T>;
    type HostView<'a> = HostBuffer<'a, T>;
    type CudaSource<'a> = DeviceView<'a, T>;
    type HostSource<'a> = ReadOnly<HostBuffer<'a, T>>;
    type Mapped = MappedBuffer<T>;

    fn check_resource(resource: &Resource) -> Result<(), String> {
        let asked = std::any::type_name::<T>();
        match &resource.kind {
            ResourceKind::Buffer(buffer) if u64::from(buffer.element_size) == size_of::<T>() as u64 => {
                match resource.offset.is_multiple_of(align_of::<T>() as u64) && usize::try_from(buffer.size).is_ok() {
                    true => Ok(()),
                    false => Err(format!("offset {} is not aligned for {asked}", resource.offset)),
                }
            }
            ResourceKind::Buffer(buffer) => Err(format!(
                "a buffer with elements of {} bytes is offered, but {asked} has {}",
                buffer.element_size,
                size_of::<T>()
            )),
            ResourceKind::Image(_) => Err(format!("an image is offered, but a buffer of {asked} was requested")),
            other => Err(format!("{other:?} is offered, but a buffer of {asked} was requested")),
        }
    }

    unsafe fn map(
        memory: &Arc<ImportedMemory>,
        resource: &Resource,
        home: &Arc<CudaStream>,
    ) -> Result<Self::Mapped, cuda_import::Error> {
        // `check_resource` has checked that the length fits.
        let len = usize::try_from(resource.min_size().unwrap_or(0)).unwrap_or(0) / size_of::<T>().max(1);
        MappedBuffer::map(memory, &BufferMappingInfo { offset: resource.offset, len }, home)
    }

    fn cuda_view(mapped: &mut Self::Mapped) -> DeviceViewMut<'_, T> {
        mapped.view_mut()
    }

    fn host_view(memory: &HostMemory) -> HostBuffer<'_, T> {
        HostBuffer::new(memory)
    }

    fn cuda_source(mapped: &Self::Mapped) -> DeviceView<'_, T> {
        mapped.view()
    }

    fn host_source(memory: &HostMemory) -> ReadOnly<HostBuffer<'_, T>> {
        ReadOnly(HostBuffer::new(memory))
    }

    fn join(mapped: &Self::Mapped) -> Result<(), cuda_import::Error> {
        // Calls the driver only for resources that have work to join.
        if mapped.has_foreign_work() { mapped.join_foreign_work() } else { Ok(()) }
    }

    unsafe fn assume_idle(mapped: &Self::Mapped) {
        // SAFETY: the caller guarantees it.
        unsafe { mapped.assume_idle() }
    }
}

impl<T: Texel> Element for Image<T> {
    type CudaView<'a> = ImageViewMut<'a, T>;
    type HostView<'a> = HostImage<'a, T>;
    type CudaSource<'a> = ImageView<'a, T>;
    type HostSource<'a> = ReadOnly<HostImage<'a, T>>;
    type Mapped = MappedImage<T>;

    fn check_resource(resource: &Resource) -> Result<(), String> {
        let image = match &resource.kind {
            ResourceKind::Image(image) => image,
            ResourceKind::Buffer(_) => {
                return Err(format!("a buffer is offered, but an image of {} was requested", T::FORMAT));
            }
            other => return Err(format!("{other:?} is offered, but an image of {} was requested", T::FORMAT)),
        };
        if kind(image.shape).is_none() {
            return Err(format!("an image of shape {:?} is offered, which this version does not map", image.shape));
        }
        if (channel(image.channel), image.channels) == (Some(T::FORMAT.channel), T::FORMAT.channels) {
            return Ok(());
        }
        Err(format!(
            "an image of {} x {:?} is offered, but one of {} was requested",
            image.channels,
            image.channel,
            T::FORMAT
        ))
    }

    unsafe fn map(
        memory: &Arc<ImportedMemory>,
        resource: &Resource,
        home: &Arc<CudaStream>,
    ) -> Result<Self::Mapped, cuda_import::Error> {
        // `check_resource` rules out `None`; an extent of zero would be refused.
        let info = image_mapping(resource).unwrap_or_default();
        // SAFETY: rule "mappings must match those of the exporting API": the caller guarantees that
        // the renderer's description is that of this image; `check_resource` has compared the
        // channels.
        unsafe { MappedImage::map(memory, &info, home) }
    }

    fn cuda_view(mapped: &mut Self::Mapped) -> ImageViewMut<'_, T> {
        mapped.view_mut()
    }

    fn host_view(memory: &HostMemory) -> HostImage<'_, T> {
        HostImage::new(memory)
    }

    fn cuda_source(mapped: &Self::Mapped) -> ImageView<'_, T> {
        mapped.view()
    }

    fn host_source(memory: &HostMemory) -> ReadOnly<HostImage<'_, T>> {
        ReadOnly(HostImage::new(memory))
    }

    fn join(mapped: &Self::Mapped) -> Result<(), cuda_import::Error> {
        // Calls the driver only for resources that have work to join.
        if mapped.has_foreign_work() { mapped.join_foreign_work() } else { Ok(()) }
    }

    unsafe fn assume_idle(mapped: &Self::Mapped) {
        // SAFETY: the caller guarantees it.
        unsafe { mapped.assume_idle() }
    }
}

/// Returns how CUDA maps an image, or `None` if the resource is not an image of a known shape.
fn image_mapping(resource: &Resource) -> Option<ImageMappingInfo> {
    let ResourceKind::Image(image) = &resource.kind else { return None };
    Some(ImageMappingInfo {
        offset: resource.offset,
        kind: kind(image.shape)?,
        extent: image.extent,
        layers: image.layers,
        layered: image.layered,
        levels: image.levels,
        surface: true,
        color_attachment: image.color_attachment,
    })
}

fn kind(shape: ImageShape) -> Option<ImageKind> {
    Some(match shape {
        ImageShape::D1 => ImageKind::D1,
        ImageShape::D2 => ImageKind::D2,
        ImageShape::D3 => ImageKind::D3,
        ImageShape::Cube => ImageKind::Cube,
        _ => return None,
    })
}

fn channel(channel: Channel) -> Option<ChannelType> {
    Some(match channel {
        Channel::U8 => ChannelType::U8,
        Channel::I8 => ChannelType::I8,
        Channel::U16 => ChannelType::U16,
        Channel::I16 => ChannelType::I16,
        Channel::U32 => ChannelType::U32,
        Channel::I32 => ChannelType::I32,
        Channel::F16 => ChannelType::F16,
        Channel::F32 => ChannelType::F32,
        _ => return None,
    })
}
