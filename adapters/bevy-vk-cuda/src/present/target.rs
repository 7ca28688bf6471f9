//! Textures and buffers as targets of copies: those that are created for the copying queue, and
//! those of Bevy's assets.
#![allow(unsafe_code)] // Creates images, and reads handles.

use std::sync::Arc;

use ash::vk;
use bevy_asset::AssetId;
use bevy_image::Image;
use bevy_render::render_resource::{BufferId, TextureId};
use bevy_render::storage::ShaderBuffer;
use bridge::{BufferSpec, ImageSpec, Texel};
use bytemuck::Pod;
use wgpu::hal::api::Vulkan;

use super::checked::checked;
use super::frame::PresentFrame;
use crate::content::Content;
use crate::error::{Error, Result};
use crate::format::memory_format;
use crate::ring::PLACES;
use crate::vulkan::copier::Source;
use crate::vulkan::owned::Owned;
use crate::vulkan::{buffer, image};

/// An object for the other queue: wgpu's object, and the object that the queue writes, which is
/// kept until the last submission that reads wgpu's object has ended.
pub(crate) type Made<R> = (<R as Target>::Object, Arc<Owned<<R as Source>::Target>>);

/// A resource in wgpu: as an asset of Bevy's, and as a copy that the other queue writes.
pub(crate) trait Target: Content + Source {
    /// Bevy's asset.
    type Asset: Copy + Send + Sync;
    /// wgpu's object.
    type Object: Clone + Send + Sync;
    /// Changes when Bevy creates its object again.
    type Id: Copy + PartialEq + Send + Sync;

    /// Size, format and similar properties: a copy is valid between two objects of the same shape.
    type Shape: PartialEq + Send + Sync;

    /// Returns the shape of an object.
    fn shape(object: &Self::Object) -> Self::Shape;

    /// Returns `true` if the object's usages allow copies into it.
    fn takes_copies(object: &Self::Object) -> bool;

    /// Returns `false` if the object is destroyed or could not be created. For Vulkan only.
    fn exists(object: &Self::Object) -> bool;

    /// Describes a shape for messages.
    fn describe(shape: &Self::Shape) -> String;

    /// Returns Bevy's object of an asset, or `None` if Bevy has not created it yet.
    fn find(frame: &PresentFrame<'_>, asset: Self::Asset) -> Option<(Self::Id, Self::Object)>;

    /// Returns `true` if Bevy may have written the asset's data to its object before this frame.
    ///
    /// If the program adds or modifies an asset, Bevy writes its data to the same object if the
    /// shape is the same, when it prepares the asset in the next frame. If it defers that, it
    /// creates another object.
    fn is_rewritten(frame: &PresentFrame<'_>, asset: Self::Asset) -> bool;

    /// Creates a similar object for the other queue.
    ///
    /// # Errors
    /// The error of the failed driver call.
    fn like(frame: &PresentFrame<'_>, name: &str, object: &Self::Object) -> Result<Made<Self>>;

    /// Records the commands that these objects need before the other queue writes them: textures
    /// are brought into the state that copies read from. Returns `true` if anything was recorded.
    ///
    /// # Errors
    /// The error of the failed driver call. Nothing was recorded then.
    fn settle(frame: &mut PresentFrame<'_>, name: &str, made: [&Self::Object; PLACES]) -> Result<bool>;

    /// Records a copy of the whole object.
    fn copy(commands: &mut wgpu::CommandEncoder, from: &Self::Object, to: &Self::Object);

    /// Uploads items from the CPU.
    fn upload(queue: &wgpu::Queue, items: &[Self::Item], to: &Self::Object);
}

/// The shape of a texture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TextureShape {
    pub(crate) size: wgpu::Extent3d,
    pub(crate) format: wgpu::TextureFormat,
    pub(crate) dimension: wgpu::TextureDimension,
    pub(crate) levels: u32,
    pub(crate) samples: u32,
}

impl TextureShape {
    /// A plain texture: two dimensions, one level and one sample.
    pub(crate) fn plain(size: wgpu::Extent3d, format: wgpu::TextureFormat) -> Self {
        Self { size, format, dimension: wgpu::TextureDimension::D2, levels: 1, samples: 1 }
    }
}

/// Checks that frames can be copied into Bevy's object, because a program may replace an asset by
/// another. wgpu would reject the copy, and with it all others of the same frame of Bevy's.
///
/// # Errors
/// [`Error::InvalidArgument`] if they cannot.
pub(crate) fn check_object<R: Target>(
    frame: &PresentFrame<'_>,
    name: &str,
    object: &R::Object,
    made: &R::Shape,
) -> Result<()> {
    if frame.raw.is_some() && !R::exists(object) {
        return Err(Error::invalid(name, "its asset was destroyed in wgpu, or could not be made there"));
    }
    let shape = R::shape(object);
    let replaced = |by: String| Err(Error::invalid(name, format!("its asset was replaced by one {by}")));
    if shape != *made {
        return replaced(format!("of {}, where its frames are of {}", R::describe(&shape), R::describe(made)));
    }
    if !R::takes_copies(object) {
        return replaced("without the usage `COPY_DST`, by which frames come to it".to_owned());
    }
    Ok(())
}

impl<T: Texel> Target for ImageSpec<T> {
    type Asset = AssetId<Image>;
    type Object = wgpu::Texture;
    type Id = TextureId;
    type Shape = TextureShape;

    fn shape(object: &wgpu::Texture) -> TextureShape {
        TextureShape {
            size: object.size(),
            format: object.format(),
            dimension: object.dimension(),
            levels: object.mip_level_count(),
            samples: object.sample_count(),
        }
    }

    fn takes_copies(object: &wgpu::Texture) -> bool {
        object.usage().contains(wgpu::TextureUsages::COPY_DST)
    }

    fn exists(object: &wgpu::Texture) -> bool {
        // SAFETY: the guard is only read.
        unsafe { object.as_hal::<Vulkan>() }.is_some()
    }

    fn describe(shape: &TextureShape) -> String {
        let TextureShape { size, format, dimension, levels, samples } = shape;
        let wgpu::Extent3d { width, height, depth_or_array_layers: layers } = size;
        let mut text = format!("{width}x{height} texels of {format:?}");
        if (*layers, *levels) != (1, 1) {
            text += &format!(", {layers} layers and {levels} levels");
        }
        if *samples != 1 {
            text += &format!(", {samples} samples each");
        }
        if *dimension != wgpu::TextureDimension::D2 {
            text += &format!(", in dimension {dimension:?}");
        }
        text
    }

    fn find(frame: &PresentFrame<'_>, asset: AssetId<Image>) -> Option<(TextureId, wgpu::Texture)> {
        frame.images.get(asset).map(|image| (image.texture.id(), (*image.texture).clone()))
    }

    fn is_rewritten(frame: &PresentFrame<'_>, asset: AssetId<Image>) -> bool {
        frame.changed.0.added.contains(&asset)
    }

    fn like(frame: &PresentFrame<'_>, name: &str, object: &wgpu::Texture) -> Result<Made<Self>> {
        // Without sRGB, like the frames: copies are of bytes.
        let (format, memory) = (object.format().remove_srgb_suffix(), memory_format(name, object.format())?);
        let descriptor = wgpu::TextureDescriptor {
            label: Some("newest frame"),
            size: object.size(),
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        };
        // SAFETY: a plain 2D texture, only for copies, with the corresponding Vulkan format.
        let made = unsafe { image::make(frame.device, &descriptor, memory) };
        made.map_err(|(call, result)| Error::vulkan(name, call, result))
    }

    fn settle(frame: &mut PresentFrame<'_>, name: &str, made: [&wgpu::Texture; PLACES]) -> Result<bool> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("a texel"),
            size: size_of::<T>().next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT as usize) as u64,
            usage: wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let no_memory = |_| Error::vulkan(name, "Device::create_buffer", vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        let texel = checked(frame.device, || frame.device.create_buffer(&descriptor)).map_err(no_memory)?;
        // wgpu treats a texture that it did not create as one without contents, and the first copy
        // discards them. This must happen now, and not after the other queue has written it. A copy
        // also leaves the texture in `COPY_SRC`, which all later copies expect. This copy goes to
        // an unused buffer: Bevy's texture keeps its contents until there is a frame.
        let one = wgpu::Extent3d { width: 1, height: 1, depth_or_array_layers: 1 };
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: None, rows_per_image: None };
        for texture in made {
            let to = wgpu::TexelCopyBufferInfo { buffer: &texel, layout };
            frame.commands().copy_texture_to_buffer(texture.as_image_copy(), to, one);
        }
        Ok(true)
    }

    fn copy(commands: &mut wgpu::CommandEncoder, from: &wgpu::Texture, to: &wgpu::Texture) {
        commands.copy_texture_to_texture(from.as_image_copy(), to.as_image_copy(), to.size());
    }

    fn upload(queue: &wgpu::Queue, texels: &[T], to: &wgpu::Texture) {
        let row = to.width() * u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
        queue.write_texture(to.as_image_copy(), bytemuck::cast_slice(texels), layout, to.size());
    }
}

impl<T: Pod + Send + Sync> Target for BufferSpec<T> {
    type Asset = AssetId<ShaderBuffer>;
    type Object = wgpu::Buffer;
    type Id = BufferId;
    /// In bytes.
    type Shape = u64;

    fn shape(object: &wgpu::Buffer) -> u64 {
        object.size()
    }

    fn takes_copies(object: &wgpu::Buffer) -> bool {
        object.usage().contains(wgpu::BufferUsages::COPY_DST)
    }

    fn exists(object: &wgpu::Buffer) -> bool {
        // SAFETY: the guard is only read.
        unsafe { object.as_hal::<Vulkan>() }.is_some()
    }

    fn describe(shape: &u64) -> String {
        format!("{shape} bytes")
    }

    fn find(frame: &PresentFrame<'_>, asset: AssetId<ShaderBuffer>) -> Option<(BufferId, wgpu::Buffer)> {
        frame.buffers.get(asset).map(|buffer| (buffer.buffer.id(), (*buffer.buffer).clone()))
    }

    fn is_rewritten(frame: &PresentFrame<'_>, asset: AssetId<ShaderBuffer>) -> bool {
        frame.changed.1.added.contains(&asset)
    }

    fn like(frame: &PresentFrame<'_>, name: &str, object: &wgpu::Buffer) -> Result<Made<Self>> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("newest frame"),
            size: object.size(),
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        // wgpu assumes that a buffer which it is given is initialized, so it never clears it.
        buffer::make(frame.device, &descriptor).map_err(|(call, result)| Error::vulkan(name, call, result))
    }

    fn settle(_: &mut PresentFrame<'_>, _: &str, _: [&wgpu::Buffer; PLACES]) -> Result<bool> {
        Ok(false)
    }

    fn copy(commands: &mut wgpu::CommandEncoder, from: &wgpu::Buffer, to: &wgpu::Buffer) {
        commands.copy_buffer_to_buffer(from, 0, to, 0, to.size());
    }

    fn upload(queue: &wgpu::Queue, items: &[T], to: &wgpu::Buffer) {
        let bytes: &[u8] = bytemuck::cast_slice(items);
        // Unlike `write_buffer`, this refuses a mapped buffer before it copies the bytes.
        let size = wgpu::BufferSize::new(bytes.len() as u64);
        if let Some(mut view) = size.and_then(|size| queue.write_buffer_with(to, 0, size)) {
            view.copy_from_slice(bytes);
        }
    }
}
