//! Textures and buffers as the copies' targets: those that wgpu makes for the copying queue, and
//! those of Bevy's assets.
#![allow(unsafe_code)] // Reads raw handles.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ash::vk;
use bevy_asset::AssetId;
use bevy_image::Image;
use bevy_render::render_resource::{BufferId, TextureId};
use bevy_render::storage::ShaderBuffer;
use bridge::{BufferSpec, ImageSpec, Texel};
use bytemuck::Pod;
use wgpu::hal::api::Vulkan;

use super::frame::PresentFrame;
use crate::content::Content;
use crate::error::{Error, Result};
use crate::vulkan::buffer;
use crate::vulkan::copier::Source;

/// A resource in wgpu: as an asset of Bevy's, and as a copy that the other queue writes.
pub(crate) trait Target: Content + Source {
    /// Bevy's asset.
    type Asset: Copy + Send + Sync;
    /// wgpu's object.
    type Object: Clone + Send + Sync;
    /// Tells whether Bevy has made its object anew.
    type Id: Copy + PartialEq + Send + Sync;

    /// Size and format: two objects between which a copy is valid have the same.
    type Shape: PartialEq + std::fmt::Debug + Send + Sync;

    /// The shape of an object.
    fn shape(object: &Self::Object) -> Self::Shape;

    /// Bevy's object of an asset, once Bevy has made it.
    fn find(frame: &PresentFrame<'_>, asset: Self::Asset) -> Option<(Self::Id, Self::Object)>;

    /// Makes one like it for the other queue, and its raw handle. A texture is brought, by the
    /// frame's commands, to the state that copies read from.
    ///
    /// # Errors
    /// The failed call.
    fn like(
        frame: &mut PresentFrame<'_>,
        name: &str,
        object: &Self::Object,
    ) -> Result<(Self::Object, <Self as Source>::Target)>;

    /// Records a copy of all of it.
    fn copy(commands: &mut wgpu::CommandEncoder, from: &Self::Object, to: &Self::Object);

    /// Uploads items of the CPU's.
    fn upload(queue: &wgpu::Queue, items: &[Self::Item], to: &Self::Object);
}

/// The shape of a texture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TextureShape {
    pub(crate) size: wgpu::Extent3d,
    pub(crate) format: wgpu::TextureFormat,
    pub(crate) levels: u32,
}

/// Checks that Bevy's object still has the shape it was made with: a program may replace an asset
/// by another.
///
/// # Errors
/// [`Error::InvalidArgument`] where it is not.
pub(crate) fn check_shape<R: Target>(name: &str, object: &R::Object, made: &R::Shape) -> Result<()> {
    let shape = R::shape(object);
    if shape == *made {
        return Ok(());
    }
    Err(Error::invalid(name, format!("its asset was replaced by one of {shape:?}, where its frames are of {made:?}")))
}

impl<T: Texel> Target for ImageSpec<T> {
    type Asset = AssetId<Image>;
    type Object = wgpu::Texture;
    type Id = TextureId;
    type Shape = TextureShape;

    fn shape(object: &wgpu::Texture) -> TextureShape {
        TextureShape { size: object.size(), format: object.format(), levels: object.mip_level_count() }
    }

    fn find(frame: &PresentFrame<'_>, asset: AssetId<Image>) -> Option<(TextureId, wgpu::Texture)> {
        frame.images.get(asset).map(|image| (image.texture.id(), (*image.texture).clone()))
    }

    fn like(frame: &mut PresentFrame<'_>, name: &str, object: &wgpu::Texture) -> Result<(wgpu::Texture, vk::Image)> {
        let scope = frame.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = frame.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("newest frame"),
            size: object.size(),
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: object.format(),
            usage: wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        // Otherwise Bevy ends the program. On native backends the future is ready when it is made.
        let refused = pin!(scope.pop()).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Some(_)) = refused {
            return Err(Error::vulkan(name, "Device::create_texture", vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        }
        // wgpu clears what it does not know the contents of, before the first copy from it: let
        // that be now, and not when the other queue has written it. The copy leaves it in
        // `COPY_SRC`, where all later ones find it.
        Self::copy(frame.commands(), &made, object);
        // SAFETY: the handle is used while the texture lives.
        let hal = unsafe { made.as_hal::<Vulkan>() };
        let hal = hal.ok_or_else(|| Error::vulkan(name, "Texture::as_hal", vk::Result::ERROR_DEVICE_LOST))?;
        // SAFETY: it is not destroyed.
        let raw = unsafe { hal.raw_handle() };
        drop(hal);
        Ok((made, raw))
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

    fn find(frame: &PresentFrame<'_>, asset: AssetId<ShaderBuffer>) -> Option<(BufferId, wgpu::Buffer)> {
        frame.buffers.get(asset).map(|buffer| (buffer.buffer.id(), (*buffer.buffer).clone()))
    }

    fn like(frame: &mut PresentFrame<'_>, name: &str, object: &wgpu::Buffer) -> Result<(wgpu::Buffer, vk::Buffer)> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("newest frame"),
            size: object.size(),
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        // wgpu takes for granted that what it is given is initialised, so that it never clears it.
        buffer::make(frame.device, &descriptor).map_err(|(call, result)| Error::vulkan(name, call, result))
    }

    fn copy(commands: &mut wgpu::CommandEncoder, from: &wgpu::Buffer, to: &wgpu::Buffer) {
        commands.copy_buffer_to_buffer(from, 0, to, 0, to.size());
    }

    fn upload(queue: &wgpu::Queue, items: &[T], to: &wgpu::Buffer) {
        queue.write_buffer(to, 0, bytemuck::cast_slice(items));
    }
}
