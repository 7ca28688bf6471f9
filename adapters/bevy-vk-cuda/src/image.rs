//! Textures.
#![allow(unsafe_code)] // Reads a format through `wgpu::hal`.

use std::sync::Arc;

use bevy_asset::{Assets, Handle, RenderAssetUsages};
use bevy_ecs::component::Component;
use bevy_image::Image;
use bridge::{ImageAccess, ImageSpec, Texel, format_info};
use wgpu::TextureFormat;

use crate::cuda::Cuda;
use crate::error::{Error, Result};
use crate::format::memory_format;
use crate::present::connect::{Connection, connect};
use crate::present::target::TextureShape;
use crate::writer::CudaWriter;

/// A texture that a simulation fills, with texels of type `T` as the compute side sees them: `[u8;
/// 4]` for `Rgba8UnormSrgb`.
///
/// Use [`handle`](Self::handle) in any material; the material needs no changes afterwards. The
/// asset is an ordinary [`Image`]: set its `sampler` through `Assets<Image>`, for example to
/// `ImageSampler::nearest()`.
///
/// Dropping the `CudaImage` ends the simulation: a writer that was [taken](Self::take_writer)
/// returns [`Error::Dropped`]. The texture keeps its last frame for as long as handles to it exist.
#[derive(Component)]
pub struct CudaImage<T: Texel> {
    handle: Handle<Image>,
    size: [u32; 2],
    format: TextureFormat,
    writer: Option<CudaWriter<ImageSpec<T>>>,
    _alive: Arc<()>,
}

impl<T: Texel> std::fmt::Debug for CudaImage<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { handle, size, format, writer, .. } = self;
        let mut text = f.debug_struct("CudaImage");
        text.field("handle", handle).field("size", size).field("format", format);
        text.field("writer", writer).finish_non_exhaustive()
    }
}

impl<T: Texel> CudaImage<T> {
    /// Creates a 2D texture with the given width and height in texels. Until the first frame it is
    /// black, and transparent if it has an alpha channel. If the program replaces the contents of
    /// the asset with a picture of the same size and format, that picture is shown until then, and
    /// likewise later until the next frame: Bevy writes the picture into the same texture.
    ///
    /// The size is fixed. For another size, create another image, and keep showing this one until
    /// [`CudaWriter::presented`] of the new one is not 0: `docs/embedding/bevy.md` in the
    /// repository has an example.
    ///
    /// If memory is shared with Bevy's device, this waits until the GPU has run the first commands
    /// of the images, and meanwhile for Bevy to acquire the images of its windows: usually for less
    /// than a frame. Create an image ahead of time if it is needed at once.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`] for a size of zero or above the limit of Bevy's device
    ///   (`max_texture_dimension_2d`), for a format whose texel is not `T`, for a format that
    ///   cannot be shared, and with uploads if there is no memory for a frame.
    /// - [`Error::WindowsConfigured`] if Bevy was configuring or closing its windows for more than
    ///   5 seconds. Try again.
    /// - [`Error::DeviceReplaced`] if Bevy has replaced the device that `cuda` belongs to. Use the
    ///   current resource [`Cuda`].
    /// - [`Error::Vulkan`] if the driver refuses a call of this crate, and [`Error::Bridge`] with
    ///   the errors of [`Exchange::latest`](bridge::Exchange::latest).
    pub fn new(
        cuda: &Cuda,
        images: &mut Assets<Image>,
        name: &str,
        format: TextureFormat,
        [width, height]: [u32; 2],
    ) -> Result<Self> {
        let memory = memory_format(name, format)?;
        // The bridge checks the same, but not for frames that are uploaded.
        let texel = format_info(memory)?.texel;
        if texel != T::FORMAT {
            let reason = format!("a texel of {format:?} is {texel}, not {}; give the image that type", T::FORMAT);
            return Err(Error::invalid(name, reason));
        }
        if width == 0 || height == 0 {
            return Err(Error::invalid(name, format!("a texture cannot have {width}x{height} texels")));
        }
        if let Some(most) = cuda.limits().map(|limits| limits.max_texture_dimension_2d)
            && width.max(height) > most
        {
            let reason =
                format!("a texture of {width}x{height} texels is too large: Bevy's device allows {most} a side");
            return Err(Error::invalid(name, reason));
        }
        let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
        let usage = RenderAssetUsages::RENDER_WORLD;
        let image = Image::new_uninit(size, wgpu::TextureDimension::D2, format, usage);
        let shape = TextureShape::plain(size, format);
        let handle = images.add(image);
        let spec = ImageSpec::<T>::new(memory, [width, height], ImageAccess::TRANSFER_READ);
        let (asset, items) = (handle.id(), [width as usize * height as usize, width as usize]);
        let (writer, _alive) = connect(cuda, Connection { name, asset, spec, shape, items })?;
        Ok(Self { handle, size: [width, height], format, writer: Some(writer), _alive })
    }

    /// Returns the width and height in texels.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// Returns the texture's format.
    pub fn format(&self) -> TextureFormat {
        self.format
    }

    /// Returns the texture, for materials.
    pub fn handle(&self) -> &Handle<Image> {
        &self.handle
    }

    /// Returns the writer of the texture's frames, or `None` if it was [taken](Self::take_writer).
    pub fn writer(&mut self) -> Option<&mut CudaWriter<ImageSpec<T>>> {
        self.writer.as_mut()
    }

    /// Takes the writer of the texture's frames, for use on another thread.
    pub fn take_writer(&mut self) -> Option<CudaWriter<ImageSpec<T>>> {
        self.writer.take()
    }
}
