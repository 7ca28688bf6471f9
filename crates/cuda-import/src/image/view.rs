//! Views of a mapped image: objects for kernels, and copies.
//!
//! Contains unsafe code because copies take raw addresses.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::RangeBounds;

use cudarc::driver::{CudaStream, SyncOnDrop};

use crate::buffer::linear::{DeviceSink, DeviceSource};
use crate::error::Result;
use crate::format::texel::Texel;
use crate::image::MappedImage;
use crate::image::copy::{bind, check_ordered, copy_on_device, copy_on_host, region};
use crate::image::rows::ImageRows;
use crate::image::slice_order::SliceOrder;
use crate::image::texture::{Surface, Texture, TextureInfo};
use crate::stream::refusal::{check_context, check_stream};
use crate::sys::Linear;

/// An image on the device, lent for reading.
///
/// Copies cover whole layers of one mip level, with tightly packed rows and layers. They can be
/// enqueued on any stream of the image's device; on a stream other than the home stream, they are
/// ordered automatically, up to [a limit](crate::DeviceView#uses-on-other-streams). The faces of a
/// cube count as layers; a 3D image has one layer of its full depth.
#[derive(Debug)]
pub struct ImageView<'a, T> {
    image: &'a MappedImage<T>,
}

/// An image on the device, lent for writing. Otherwise like [`ImageView`].
#[derive(Debug)]
pub struct ImageViewMut<'a, T> {
    image: &'a MappedImage<T>,
    exclusive: PhantomData<&'a mut MappedImage<T>>,
}

impl<T: Texel> MappedImage<T> {
    /// Lends the image for reading.
    pub fn view(&self) -> ImageView<'_, T> {
        self.order().lend();
        ImageView::new(self)
    }

    /// Lends the image for writing.
    pub fn view_mut(&mut self) -> ImageViewMut<'_, T> {
        self.order().settle();
        ImageViewMut::new(self)
    }

    /// Returns [`view_mut`](Self::view_mut) for owners that ensure exclusive access without a
    /// `&mut`.
    ///
    /// # Safety
    /// As long as the view lives, there is no other view of the image, and no borrow from one.
    pub unsafe fn view_mut_unchecked(&self) -> ImageViewMut<'_, T> {
        self.order().settle();
        ImageViewMut::new(self)
    }
}

impl<T> Clone for ImageView<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ImageView<'_, T> {}

impl<'a, T> ImageView<'a, T> {
    pub(crate) fn new(image: &'a MappedImage<T>) -> Self {
        Self { image }
    }

    /// Returns the image: its extent, mip levels, layers and home stream.
    pub fn image(&self) -> &'a MappedImage<T> {
        self.image
    }

    /// Orders kernels on `stream` with all other uses of the image: they run after all work that
    /// was enqueued with the image before, and before any later work with it. Launch them before
    /// the returned guard is dropped. This is only needed on streams other than the home stream,
    /// because cudarc does not tell a kernel argument which stream it is used on.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`](crate::Error::ContextMismatch),
    /// [`Error::PerThreadStream`](crate::Error::PerThreadStream);
    /// [`Error::StreamCaptured`](crate::Error::StreamCaptured) while that stream or the home stream
    /// is being captured; [`Error::Driver`](crate::Error::Driver) if the streams cannot be ordered.
    /// In all cases, nothing may be launched.
    pub fn use_on<'s>(&'s self, stream: &'s CudaStream) -> Result<SyncOnDrop<'s>> {
        self.image.order().begin_use_for(stream, &self.image.object())
    }
}

impl<'a, T: Texel> ImageView<'a, T> {
    /// Returns the image for sampling in kernels. The first call with a description creates the
    /// object with a driver call; later calls look it up in a list. It is kept until the image is
    /// closed.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) for a combination that CUDA forbids, and for an image
    /// in [rows](MappedImage::has_rows); [`Error::Driver`](crate::Error::Driver) if the driver call
    /// fails.
    #[doc(alias = "cuTexObjectCreate")]
    pub fn texture(&self, info: &TextureInfo) -> Result<Texture<'a>> {
        Ok(Texture::new(self.image.texture(info)?, self.image.order()))
    }

    /// Copies some layers of a mip level, `..` for all, into `texels`, which must have the same
    /// length. Blocks without a limit until the copy and all earlier work on `stream` have ended.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) for a level or layers that do not exist, or a wrong
    /// length; [`Error::ContextMismatch`](crate::Error::ContextMismatch),
    /// [`Error::PerThreadStream`](crate::Error::PerThreadStream);
    /// [`Error::StreamCaptured`](crate::Error::StreamCaptured) while that stream or the home stream
    /// is being captured, for example while a graph is recorded;
    /// [`Error::Driver`](crate::Error::Driver) for this call or an earlier one. On an error the
    /// contents of `texels` are unspecified.
    #[doc(alias = "cuMemcpy3DAsync")]
    pub fn read_to_host(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        texels: &mut [T],
    ) -> Result<()> {
        let region = region(self.image, level, layers, texels.len())?;
        // SAFETY: the slice has the region's length, is borrowed mutably, and any bits are valid,
        // because a Texel is Pod.
        unsafe { copy_on_host(self.image, stream, &region, Linear::HostSink(texels.as_mut_ptr().cast())) }
    }

    /// Enqueues a copy of some layers of a mip level, `..` for all, into a device buffer with the
    /// same number of elements.
    ///
    /// A `CudaSlice` of another stream is ordered with that stream in both directions: the copy
    /// waits for its work, and later work there, which includes the end of the slice, waits for the
    /// copy. If the driver cannot make it wait, the host waits for the copy without a limit.
    ///
    /// # Errors
    /// Those of [`read_to_host`](Self::read_to_host), also for a capture of the stream of a
    /// `CudaSlice`, and [`Error::Image`](crate::Error::Image) for a `CudaSlice` of the per-thread
    /// default stream. On an error nothing was enqueued.
    #[doc(alias = "cuMemcpy3DAsync")]
    pub fn copy_to_buffer(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        buffer: &mut impl DeviceSink<T>,
    ) -> Result<()> {
        let region = region(self.image, level, layers, buffer.len())?;
        check_context(buffer.stream(), self.image.memory().device(), self.image.object())?;
        check_stream(stream, self.image.memory().device(), self.image.object())?;
        // The guards below are cudarc's, which do not restore the caller's context.
        let _current = bind(self.image)?;
        let order = SliceOrder::begin(self.image, buffer.own_stream(), stream)?;
        let context = buffer.stream().context().clone();
        let (pointer, guard) = buffer.device_ptr_mut(stream);
        check_ordered(self.image, pointer)?;
        // SAFETY: the buffer has the region's length, and its guard lives until the copy is
        // enqueued.
        let copied = unsafe { copy_on_device(self.image, stream, &context, &region, Linear::DeviceSink(pointer)) };
        order.end(self.image, stream, guard, copied)
    }
}

impl<'a, T> ImageViewMut<'a, T> {
    pub(crate) fn new(image: &'a MappedImage<T>) -> Self {
        Self { image, exclusive: PhantomData }
    }

    /// Returns the image: its extent, mip levels, layers and home stream.
    pub fn image(&self) -> &MappedImage<T> {
        self.image
    }

    /// Lends the same image for reading.
    pub fn as_view(&self) -> ImageView<'_, T> {
        ImageView::new(self.image)
    }

    /// Orders kernels on `stream` that write the image, see [`ImageView::use_on`].
    ///
    /// # Errors
    /// Those of [`ImageView::use_on`].
    pub fn use_on<'s>(&'s self, stream: &'s CudaStream) -> Result<SyncOnDrop<'s>> {
        self.image.order().begin_use_for(stream, &self.image.object())
    }
}

impl<T: Texel> ImageViewMut<'_, T> {
    /// Returns the image for sampling in kernels, see [`ImageView::texture`].
    ///
    /// # Errors
    /// Those of [`ImageView::texture`].
    pub fn texture(&self, info: &TextureInfo) -> Result<Texture<'_>> {
        Ok(Texture::new(self.image.texture(info)?, self.image.order()))
    }

    /// Returns a mip level for loads and stores in kernels. The object is created once per level,
    /// like textures.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) if the level does not exist, if the image was mapped
    /// without surfaces, and for an image in [rows](MappedImage::has_rows);
    /// [`Error::Driver`](crate::Error::Driver) if the driver call fails.
    #[doc(alias = "cuSurfObjectCreate")]
    pub fn surface(&self, level: u32) -> Result<Surface<'_>> {
        Ok(Surface::new(self.image.surface(level)?, self.image.order()))
    }

    /// Returns a mip level of an image in [rows](MappedImage::has_rows), as a pointer through which
    /// kernels load and store texels. Makes no driver call.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) if the level does not exist, and for an image that is
    /// an array, which kernels access through [`texture`](Self::texture) and
    /// [`surface`](Self::surface).
    pub fn rows(&self, level: u32) -> Result<ImageRows<'_, T>> {
        self.image.rows(level)
    }

    /// Copies layers of a mip level into `texels`, see [`ImageView::read_to_host`].
    ///
    /// # Errors
    /// Those of [`ImageView::read_to_host`].
    pub fn read_to_host(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        texels: &mut [T],
    ) -> Result<()> {
        self.as_view().read_to_host(stream, level, layers, texels)
    }

    /// Copies layers of a mip level into a device buffer, see [`ImageView::copy_to_buffer`].
    ///
    /// # Errors
    /// Those of [`ImageView::copy_to_buffer`].
    pub fn copy_to_buffer(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        buffer: &mut impl DeviceSink<T>,
    ) -> Result<()> {
        self.as_view().copy_to_buffer(stream, level, layers, buffer)
    }

    /// Copies `texels` into some layers of a mip level, `..` for all, which must have the same
    /// length. Blocks like [`ImageView::read_to_host`].
    ///
    /// # Errors
    /// Those of [`ImageView::read_to_host`]; on an error the contents of the layers are
    /// unspecified.
    #[doc(alias = "cuMemcpy3DAsync")]
    pub fn write_from_host(
        &mut self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        texels: &[T],
    ) -> Result<()> {
        let region = region(self.image, level, layers, texels.len())?;
        // SAFETY: the slice has the region's length and is borrowed.
        unsafe { copy_on_host(self.image, stream, &region, Linear::HostSource(texels.as_ptr().cast())) }
    }

    /// Enqueues a copy of a device buffer into some layers of a mip level, `..` for all, which must
    /// have the same number of texels.
    ///
    /// # Errors
    /// Those of [`ImageView::copy_to_buffer`].
    #[doc(alias = "cuMemcpy3DAsync")]
    pub fn copy_from_buffer(
        &mut self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        buffer: &impl DeviceSource<T>,
    ) -> Result<()> {
        let region = region(self.image, level, layers, buffer.len())?;
        check_context(buffer.stream(), self.image.memory().device(), self.image.object())?;
        check_stream(stream, self.image.memory().device(), self.image.object())?;
        // The guards below are cudarc's, which do not restore the caller's context.
        let _current = bind(self.image)?;
        let order = SliceOrder::begin(self.image, buffer.own_stream(), stream)?;
        let (pointer, guard) = buffer.device_ptr(stream);
        let context = buffer.stream().context();
        check_ordered(self.image, pointer)?;
        // SAFETY: the buffer has the region's length, and its guard lives until the copy is
        // enqueued.
        let copied = unsafe { copy_on_device(self.image, stream, context, &region, Linear::DeviceSource(pointer)) };
        order.end(self.image, stream, guard, copied)
    }
}
