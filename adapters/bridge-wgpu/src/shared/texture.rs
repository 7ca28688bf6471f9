//! Textures that are copied from or to the slots.
#![allow(unsafe_code)] // Wraps an image of the bridge for wgpu.

use std::marker::PhantomData;

use bridge::{ImageAccess, ImageSpec, RenderImage, Texel};

use super::shape::{Place, Shape, shaped};
use super::{Filled, Flow, Share, Shared, SlotInfo, raw};
use crate::device::Bridge;
use crate::error::Result;

/// A texture with texels of type `T`, as a persistent [`wgpu::Texture`], so that views and bind
/// groups stay valid.
///
/// `T` is the texel as the compute side sees it: `[u8; 4]` for `Rgba8Unorm`, `f32` for `R32Float`.
/// sRGB formats are shared as their bytes.
///
/// In an exchange whose frames the compute side begins, submitting a frame first copies the frame
/// into the texture, then runs the submitted commands. In one whose frames wgpu begins, the
/// commands run first, and then the texture is copied to the slot. Either is a copy on the GPU of
/// all mip levels and layers, from or to the slot that the compute side works on.
///
/// Depth, stencil and compressed formats, and multisampled textures, cannot be shared.
#[derive(Debug, Clone)]
pub struct SharedTexture<T> {
    format: wgpu::TextureFormat,
    pub(super) shape: Shape,
    usage: wgpu::TextureUsages,
    texel: PhantomData<fn() -> T>,
}

shaped!(SharedTexture);

impl<T: Texel> SharedTexture<T> {
    /// Describes a 2D texture of the given width and height in texels, with one level and one
    /// layer, that wgpu uses with `usage`; the flags that the copy needs are added.
    pub fn new(format: wgpu::TextureFormat, size: [u32; 2], usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::d2(size), usage)
    }

    /// Like [`new`](Self::new), for a 1D texture of the given width in texels.
    pub fn new_1d(format: wgpu::TextureFormat, width: u32, usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::new_1d(width), usage)
    }

    /// Like [`new`](Self::new), for a 3D texture of the given width, height and depth in texels.
    pub fn new_3d(format: wgpu::TextureFormat, size: [u32; 3], usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::new_3d(size), usage)
    }

    /// Like [`new`](Self::new), for a cube map whose faces are `side` texels wide: a wgpu 2D
    /// texture with six layers.
    pub fn cube(format: wgpu::TextureFormat, side: u32, usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::cube(side), usage)
    }

    fn with_shape(format: wgpu::TextureFormat, shape: Shape, usage: wgpu::TextureUsages) -> Self {
        Self { format, shape, usage, texel: PhantomData }
    }

    /// Returns the width and height of the first level in texels.
    pub(crate) fn size(&self) -> [u32; 2] {
        self.shape.width_and_height()
    }

    /// Returns the same description with another width and height.
    pub(crate) fn resized(&self, size: [u32; 2]) -> Self {
        Self { shape: self.shape.resized(size), ..self.clone() }
    }

    /// Returns the format of the slots: wgpu copies between formats that differ only in sRGB.
    fn slot_format(&self) -> wgpu::TextureFormat {
        self.format.remove_srgb_suffix()
    }
}

impl<T: Texel> Shared for SharedTexture<T> {
    type Specs = ImageSpec<T>;
    type Objects = wgpu::Texture;
    type Lent<'f> = &'f wgpu::Texture;
    type Slot = wgpu::Texture;
}

impl<T: Texel> Share<Self> for SharedTexture<T> {
    const IN_PLACE: bool = false;
    const COPIES: bool = true;
    const SETTLES: bool = false;

    fn specs(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<ImageSpec<T>> {
        let accesses = match flow {
            Flow::In => ImageAccess::TRANSFER_READ,
            Flow::Out => ImageAccess::TRANSFER_WRITE,
        };
        self.shape.check_usage(self.usage, Place::OwnCommands, &format!("texture \"{name}\""))?;
        Ok(self.shape.spec(gpu.format(self.slot_format())?, accesses))
    }

    fn objects(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<wgpu::Texture> {
        let copied = match flow {
            Flow::In => wgpu::TextureUsages::COPY_DST,
            Flow::Out => wgpu::TextureUsages::COPY_SRC,
        };
        let descriptor = self.shape.descriptor(name, self.format, self.usage | copied);
        let object = format!("texture \"{name}\"");
        gpu.capture("Device::create_texture", &object, || gpu.device().create_texture(&descriptor))
    }

    fn wrap(&self, slot: &SlotInfo<'_>, render: RenderImage<'_>) -> Result<wgpu::Texture> {
        // The state in which the bridge's barriers leave the image, which follows from the accesses
        // in `specs`.
        let (usage, state) = match slot.flow {
            Flow::In => (wgpu::TextureUsages::COPY_SRC, wgpu::TextureUses::COPY_SRC),
            Flow::Out => (wgpu::TextureUsages::COPY_DST, wgpu::TextureUses::COPY_DST),
        };
        let descriptor = self.shape.descriptor(slot.name, self.slot_format(), usage);
        // SAFETY: created as described, by `specs`. The wrapper is not lent: it is only used in
        // submissions with a frame of the exchange, which keeps the image alive until they have
        // run. Its state is the one in which the bridge's acquire, recorded before wgpu's first
        // command with it, leaves it.
        unsafe { raw::texture(slot.gpu, render.as_raw(), &descriptor, state, Box::new(|| {})) }
    }

    fn lend<'f>(_: &'f wgpu::Texture, objects: &'f wgpu::Texture) -> &'f wgpu::Texture {
        objects
    }

    fn copy(flow: Flow, slot: &wgpu::Texture, objects: &wgpu::Texture, commands: &mut wgpu::CommandEncoder) {
        let (from, to) = match flow {
            Flow::In => (slot, objects),
            Flow::Out => (objects, slot),
        };
        for mip_level in 0..objects.mip_level_count() {
            let size = objects.size().mip_level_size(mip_level, objects.dimension());
            let level = |texture| wgpu::TexelCopyTextureInfo { mip_level, ..wgpu::Texture::as_image_copy(texture) };
            commands.copy_texture_to_texture(level(from), level(to), size);
        }
    }

    fn filled<'o>(objects: &'o wgpu::Texture, all: &mut Filled<'o>) {
        all.textures.push(objects);
    }

    fn settle(_: &wgpu::Texture, _: &mut wgpu::CommandEncoder) {}
}
