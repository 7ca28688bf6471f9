//! [`KernelImage`]: a shared image as a source of kernel arguments.

use std::any::TypeId;
use std::marker::PhantomData;

use cuda_import::{ImageViewMut, Texel, TextureInfo};
use vk_export::Image;
use vk_export::ash::vk;

use crate::compute::host::memory::HostImage;
use crate::compute::inline::image::InlineImage;
use crate::error::{Error, Result};
use crate::kernel::buffer::KernelBuffer;
use crate::kernel::host_arg::{HostArg, HostPtr};

/// A shared image for kernels, lent for a turn. [`surface`](Self::surface) and
/// [`texture`](Self::texture) return kernel arguments; on a GPU other than the drawing GPU,
/// [`rows`](Self::rows) does.
#[derive(Debug)]
pub struct KernelImage<'t, T>(Source<'t, T>);

#[derive(Debug)]
enum Source<'t, T> {
    Stream(ImageViewMut<'t, T>),
    Queue { handles: &'t InlineImage<T>, image: &'t Image, format: vk::Format },
    Host(&'t HostImage<T>),
}

/// One mip level of an image for loads and stores: a kernel argument of type `cudaSurfaceObject_t`.
#[doc(alias = "CUsurfObject")]
#[doc(alias = "vkGetImageViewHandleNVX")]
#[derive(Debug, Clone, Copy)]
pub struct KernelSurface<'t> {
    handle: u64,
    host: Option<HostArg>,
    image: PhantomData<&'t ()>,
}

/// An image for sampling: a kernel argument of type `cudaTextureObject_t`.
#[doc(alias = "CUtexObject")]
#[doc(alias = "vkGetImageViewHandleNVX")]
#[derive(Debug, Clone, Copy)]
pub struct KernelTexture<'t> {
    handle: u64,
    host: Option<HostArg>,
    image: PhantomData<&'t ()>,
}

/// One mip level of an image in linear memory, without gaps: the slices (layers, or the depth
/// slices of a 3D image) in order, each with its rows in order. The texel at x, y of a slice is the
/// element `(slice * height + y) * width + x`.
#[derive(Debug)]
pub struct KernelRows<'t, T> {
    texels: KernelBuffer<'t, T>,
    extent: [u32; 3],
    slices: u32,
}

impl<'t, T> KernelImage<'t, T> {
    pub(crate) fn on_stream(view: ImageViewMut<'t, T>) -> Self {
        Self(Source::Stream(view))
    }

    pub(crate) fn on_queue(handles: &'t InlineImage<T>, image: &'t Image, format: vk::Format) -> Self {
        Self(Source::Queue { handles, image, format })
    }

    pub(crate) fn on_host(image: &'t HostImage<T>) -> Self {
        Self(Source::Host(image))
    }

    /// Returns the Vulkan image, for [`KernelWork::record`](crate::KernelWork::record); `None` on
    /// CUDA streams and on the CPU.
    pub fn vulkan(&self) -> Option<&'t Image> {
        match self.0 {
            Source::Stream(_) | Source::Host(_) => None,
            Source::Queue { image, .. } => Some(image),
        }
    }
}

impl<T: Texel> KernelImage<'_, T> {
    /// Returns one mip level for loads and stores; level 0 is the largest. The first call for a
    /// level creates the surface with a driver call; later calls look it up in a list.
    ///
    /// CUDA's surface functions take x in bytes, and use the channel order of the image. Use
    /// `cudaBoundaryModeZero` in kernels that may access texels outside the image.
    ///
    /// # Errors
    /// [`Error::Cuda`](crate::Error::Cuda) or [`Error::Vulkan`](crate::Error::Vulkan) if there is
    /// no such level, if the image is stored as [rows](Self::has_rows), or if the driver call
    /// fails.
    pub fn surface(&self, level: u32) -> Result<KernelSurface<'_>> {
        let handle = match &self.0 {
            Source::Stream(view) => view.surface(level)?.as_raw(),
            Source::Queue { handles, image, .. } => handles.surface(image, level)?,
            Source::Host(_) if level != 0 => {
                return Err(Error::invalid(
                    format!("mip level {level} of an image, as a twin in Rust gets it"),
                    "a twin gets the whole image; give it level 0, and take planes of that",
                ));
            }
            Source::Host(_) => 0,
        };
        Ok(KernelSurface { handle, host: self.on_host_arg(), image: PhantomData })
    }

    /// Returns the image for sampling. The texture is created on the first call with a description,
    /// as for [`surface`](Self::surface); an image can have 256 descriptions.
    ///
    /// In command buffers, sampling uses
    /// [`normalized_coordinates`](TextureInfo::normalized_coordinates) (the default), all levels of
    /// the image, and the format of the image; images with an sRGB format can be sampled decoded or
    /// not. Single levels, level limits, bias, anisotropy, borders other than zero and a
    /// [`read_mode`](TextureInfo::read_mode) that does not match the format are rejected there. A
    /// twin on the CPU gets texels and has to sample them itself.
    ///
    /// # Errors
    /// The errors of [`surface`](Self::surface), and an error for a description that this compute
    /// side does not support.
    pub fn texture(&self, info: &TextureInfo) -> Result<KernelTexture<'_>> {
        let handle = match &self.0 {
            Source::Stream(view) => view.texture(info)?.as_raw(),
            Source::Queue { handles, image, format } => handles.texture(image, *format, info)?,
            Source::Host(_) => 0,
        };
        Ok(KernelTexture { handle, host: self.on_host_arg(), image: PhantomData })
    }
}

impl<T: Texel> KernelImage<'_, T> {
    /// Returns `true` if the texels are in rows of linear memory, which kernels get as a pointer
    /// ([`rows`](Self::rows)). This is the case with [`Compute::on_peer`](crate::Compute::on_peer)
    /// and [`Compute::group`](crate::Compute::group). Otherwise kernels get surfaces and textures.
    pub fn has_rows(&self) -> bool {
        matches!(&self.0, Source::Stream(view) if view.image().has_rows())
    }

    /// Returns one mip level as rows in linear memory, if the image [has](Self::has_rows) rows;
    /// level 0 is the largest.
    ///
    /// # Errors
    /// [`Error::Cuda`](crate::Error::Cuda) for a level that does not exist, and for an image that
    /// is a CUDA array; [`Error::InvalidArgument`](crate::Error::InvalidArgument) in command
    /// buffers and for twins on the CPU, which take surfaces.
    pub fn rows(&self, level: u32) -> Result<KernelRows<'_, T>> {
        let Source::Stream(view) = &self.0 else {
            return Err(Error::invalid(
                format!("the rows of mip level {level} of an image"),
                "only CUDA of `Compute::on_peer` and `Compute::group` has the texels in rows (`has_rows`); take a surface",
            ));
        };
        let rows = view.rows(level)?;
        let texels = KernelBuffer::on_stream(rows.as_raw(), rows.len());
        Ok(KernelRows { texels, extent: rows.extent(), slices: rows.slices() })
    }

    fn on_host_arg(&self) -> Option<HostArg> {
        let Source::Host(image) = self.0 else { return None };
        let mapping = HostPtr(std::ptr::from_ref(image).cast_mut().cast());
        Some(HostArg::Image { mapping, texel: TypeId::of::<T>() })
    }
}

impl<T> Clone for KernelRows<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for KernelRows<'_, T> {}

impl<'t, T> KernelRows<'t, T> {
    /// Returns all texels of the level, as a kernel argument of type `T *`.
    pub fn texels(&self) -> KernelBuffer<'t, T> {
        self.texels
    }

    /// Returns the width, height and depth of the level, in texels.
    pub fn extent(&self) -> [u32; 3] {
        self.extent
    }

    /// Returns the number of slices: the depth of a 3D image, otherwise the number of layers.
    pub fn slices(&self) -> u32 {
        self.slices
    }

    /// Returns the bytes from one row to the next, which is the size of a row.
    pub fn row_pitch(&self) -> usize {
        self.extent[0] as usize * size_of::<T>()
    }

    /// Returns the bytes from one slice to the next, which is the size of a slice.
    pub fn slice_pitch(&self) -> usize {
        self.extent[1] as usize * self.row_pitch()
    }
}

impl KernelSurface<'_> {
    /// Returns the argument of a twin, on the CPU backend.
    pub(crate) fn on_host_arg(&self) -> Option<HostArg> {
        self.host
    }

    /// Returns the handle that the kernel gets, which is valid until the turn ends. 0 on the CPU.
    pub fn handle(&self) -> u64 {
        self.handle
    }
}

impl KernelTexture<'_> {
    /// Returns the argument of a twin, on the CPU backend.
    pub(crate) fn on_host_arg(&self) -> Option<HostArg> {
        self.host
    }

    /// Returns the handle that the kernel gets, which is valid until the turn ends. 0 on the CPU.
    pub fn handle(&self) -> u64 {
        self.handle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_packed() {
        let texels = KernelBuffer::<[u8; 4]>::on_stream(0x1000, 5 * 3 * 2);
        let rows = KernelRows { texels, extent: [5, 3, 1], slices: 2 };
        assert_eq!((rows.row_pitch(), rows.slice_pitch()), (20, 60));
        assert_eq!(rows.texels().len() * size_of::<[u8; 4]>(), rows.slice_pitch() * rows.slices() as usize);
    }
}
