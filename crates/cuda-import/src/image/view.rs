//! Views of a mapped image: objects for kernels, and copies.
//!
//! Unsafe because copies are told where they go by address.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::RangeBounds;

use cudarc::driver::{CudaStream, SyncOnDrop};

use crate::buffer::linear::{DeviceSink, DeviceSource};
use crate::error::Result;
use crate::image::MappedImage;
use crate::image::copy::{copy_on_device, copy_on_host, lent, region};
use crate::image::rows::ImageRows;
use crate::image::texel::Texel;
use crate::image::texture::{Surface, Texture, TextureInfo};
use crate::stream::refusal::{check_context, check_stream};
use crate::sys::Linear;

/// An image on the device, lent for reading.
///
/// Copies take whole layers of one mip level, with rows and layers tightly packed. They can be made
/// on any stream of the image's device; on another stream than the home stream, they are ordered
/// automatically. The faces of a cube count as layers; a 3D image has one layer of its full depth.
#[derive(Debug)]
pub struct ImageView<'a, T> {
    image: &'a MappedImage<T>,
}

/// An image on the device, lent for writing. Otherwise as [`ImageView`].
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

    /// [`view_mut`](Self::view_mut) for owners that keep views apart by other means than a `&mut`.
    ///
    /// # Safety
    /// As long as the view lives, no other view of the image does, and nobody holds what was
    /// borrowed from one.
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

    /// Orders kernels on `stream` with all other uses of the image: they run after the work
    /// enqueued with the image so far, and before any later work with it. Launch them before the
    /// returned guard is dropped. This is only needed on other streams than the home stream,
    /// because cudarc does not tell a kernel argument which stream it is used on.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`](crate::Error::ContextMismatch),
    /// [`Error::PerThreadStream`](crate::Error::PerThreadStream);
    /// [`Error::StreamCaptured`](crate::Error::StreamCaptured) while that stream or the home stream
    /// is captured; [`Error::Driver`](crate::Error::Driver) where the streams can be ordered in no
    /// way. Nothing may be launched then.
    pub fn use_on<'s>(&'s self, stream: &'s CudaStream) -> Result<SyncOnDrop<'s>> {
        self.image.order().begin_use_for(stream, &self.image.object())
    }
}

impl<'a, T: Texel> ImageView<'a, T> {
    /// Returns the image for sampling in kernels. The first call with a description creates it with
    /// a driver call; later calls look it up in a list. It stays until the image is closed.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) for a combination that CUDA forbids, and for an image
    /// in [rows](MappedImage::has_rows); [`Error::Driver`](crate::Error::Driver) when the driver
    /// refuses.
    #[doc(alias = "cuTexObjectCreate")]
    pub fn texture(&self, info: &TextureInfo) -> Result<Texture<'a>> {
        Ok(Texture::new(self.image.texture(info)?, self.image.order()))
    }

    /// Copies some layers of a mip level, `..` for all, into `texels`, which must be as long as
    /// they are. Blocks until the copy has ended, and so until all earlier work on `stream` has,
    /// without a limit.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) for a level, layers or a length that do not fit;
    /// [`Error::ContextMismatch`](crate::Error::ContextMismatch),
    /// [`Error::PerThreadStream`](crate::Error::PerThreadStream);
    /// [`Error::StreamCaptured`](crate::Error::StreamCaptured) while that stream or the home stream
    /// is captured, as in what records a graph; [`Error::Driver`](crate::Error::Driver) for this
    /// call or an earlier one. On an error `texels` holds anything.
    #[doc(alias = "cuMemcpy3DAsync")]
    pub fn read_to_host(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        texels: &mut [T],
    ) -> Result<()> {
        let region = region(self.image, level, layers, texels.len())?;
        // SAFETY: the slice has the region's length, is borrowed mutably, and takes any bits, since
        // a Texel is Pod.
        unsafe { copy_on_host(self.image, stream, &region, Linear::HostSink(texels.as_mut_ptr().cast())) }
    }

    /// Copies some layers of a mip level, `..` for all, into a device buffer of as many elements.
    /// Only enqueues it.
    ///
    /// # Errors
    /// As [`read_to_host`](Self::read_to_host); on an error nothing was enqueued.
    #[doc(alias = "cuMemcpy3DAsync")]
    pub fn copy_to_buffer(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        buffer: &mut impl DeviceSink<T>,
    ) -> Result<()> {
        let region = region(self.image, level, layers, buffer.len())?;
        check_context(buffer.stream(), self.image.memory().device(), &self.image.object())?;
        check_stream(stream, self.image.memory().device(), &self.image.object())?;
        // The guards below are cudarc's, and leave their context current.
        let _caller = self.image.memory().device().driver().keep_current();
        let context = buffer.stream().context().clone();
        let (pointer, _buffer_in_order) = buffer.device_ptr_mut(stream);
        lent(self.image, pointer)?;
        // SAFETY: the buffer has the region's length, and both guards stand until the copy is
        // enqueued.
        unsafe { copy_on_device(self.image, stream, &context, &region, Linear::DeviceSink(pointer)) }
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

    /// Lets kernels on `stream` write the image, as [`ImageView::use_on`].
    ///
    /// # Errors
    /// As [`ImageView::use_on`].
    pub fn use_on<'s>(&'s self, stream: &'s CudaStream) -> Result<SyncOnDrop<'s>> {
        self.image.order().begin_use_for(stream, &self.image.object())
    }
}

impl<T: Texel> ImageViewMut<'_, T> {
    /// Returns the image for sampling in kernels, as [`ImageView::texture`].
    ///
    /// # Errors
    /// As [`ImageView::texture`].
    pub fn texture(&self, info: &TextureInfo) -> Result<Texture<'_>> {
        Ok(Texture::new(self.image.texture(info)?, self.image.order()))
    }

    /// Returns a mip level for loads and stores in kernels. It is created once per level, like
    /// textures.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) where there is no such level, where the image was
    /// mapped without surfaces, and for one in [rows](MappedImage::has_rows);
    /// [`Error::Driver`](crate::Error::Driver) when the driver refuses.
    #[doc(alias = "cuSurfObjectCreate")]
    pub fn surface(&self, level: u32) -> Result<Surface<'_>> {
        Ok(Surface::new(self.image.surface(level)?, self.image.order()))
    }

    /// Returns a mip level as rows in linear memory, if the image [has](MappedImage::has_rows)
    /// rows: a pointer for kernels, which load and store texels there. Makes no driver call.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) where there is no such level, and for an image that is
    /// an array, of which [`texture`](Self::texture) and [`surface`](Self::surface) are what
    /// kernels get.
    pub fn rows(&self, level: u32) -> Result<ImageRows<'_, T>> {
        self.image.rows(level)
    }

    /// Copies layers of a mip level into `texels`, as [`ImageView::read_to_host`].
    ///
    /// # Errors
    /// As [`ImageView::read_to_host`].
    pub fn read_to_host(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        texels: &mut [T],
    ) -> Result<()> {
        self.as_view().read_to_host(stream, level, layers, texels)
    }

    /// Copies layers of a mip level into a device buffer, as [`ImageView::copy_to_buffer`].
    ///
    /// # Errors
    /// As [`ImageView::copy_to_buffer`].
    pub fn copy_to_buffer(
        &self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        buffer: &mut impl DeviceSink<T>,
    ) -> Result<()> {
        self.as_view().copy_to_buffer(stream, level, layers, buffer)
    }

    /// Copies `texels` into some layers of a mip level, `..` for all, of which they must have the
    /// length. Blocks as [`ImageView::read_to_host`] does.
    ///
    /// # Errors
    /// As [`ImageView::read_to_host`]; on an error the layers hold anything.
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

    /// Copies a device buffer into some layers of a mip level, `..` for all, of as many texels.
    /// Only enqueues it.
    ///
    /// # Errors
    /// As [`ImageView::copy_to_buffer`].
    #[doc(alias = "cuMemcpy3DAsync")]
    pub fn copy_from_buffer(
        &mut self,
        stream: &CudaStream,
        level: u32,
        layers: impl RangeBounds<u32>,
        buffer: &impl DeviceSource<T>,
    ) -> Result<()> {
        let region = region(self.image, level, layers, buffer.len())?;
        check_context(buffer.stream(), self.image.memory().device(), &self.image.object())?;
        check_stream(stream, self.image.memory().device(), &self.image.object())?;
        // The guards below are cudarc's, and leave their context current.
        let _caller = self.image.memory().device().driver().keep_current();
        let (pointer, _buffer_in_order) = buffer.device_ptr(stream);
        let context = buffer.stream().context();
        lent(self.image, pointer)?;
        // SAFETY: the buffer has the region's length, and both guards stand until the copy is
        // enqueued.
        unsafe { copy_on_device(self.image, stream, context, &region, Linear::DeviceSource(pointer)) }
    }
}
