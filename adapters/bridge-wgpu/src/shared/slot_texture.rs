//! Textures that wgpu uses in the slots.
#![allow(unsafe_code)] // Wraps an image of the bridge for wgpu.

use std::marker::PhantomData;

use bridge::{ImageSpec, RenderImage, Texel};

use super::shape::{Place, Shape, shaped};
use super::{Filled, Flow, Share, Shared, SlotInfo, raw};
use crate::access;
use crate::device::Bridge;
use crate::error::Result;

/// A texture with texels of type `T` without a copy: wgpu uses the slots themselves.
///
/// Each [`Frame`](crate::Frame) lends the [`wgpu::Texture`] of its slot with
/// [`objects`](crate::Frame::objects). There is one texture per slot, which stays the same each
/// time the slot is used: a program should keep objects that it creates from the texture, such as
/// views and bind groups, for each [`slot`](crate::Frame::slot).
///
/// A clone keeps the memory alive, even after the exchange is dropped.
#[derive(Debug, Clone)]
pub struct SlotTexture<T> {
    format: wgpu::TextureFormat,
    pub(super) shape: Shape,
    usage: wgpu::TextureUsages,
    texel: PhantomData<fn() -> T>,
}

shaped!(SlotTexture);

impl<T: Texel> SlotTexture<T> {
    /// Describes a 2D texture of the given width and height in texels, with one level and one
    /// layer, that wgpu uses with `usage`.
    ///
    /// # Safety
    /// The texture that a frame lends, its clones and their views are only used in the commands
    /// that are [submitted](Bridge::submit) with that frame: not in other submissions, and not with
    /// [`wgpu::Queue::write_texture`]. The compute side works on the texture before and after, when
    /// it is in another layout.
    ///
    /// No render pass ends with [`StoreOp::Discard`](wgpu::StoreOp::Discard) for it: wgpu clears
    /// discarded contents before the next use, and panics if it did not create the texture. Either
    /// the commands of a frame are one command buffer, or the texture is not used any more after
    /// wgpu has refused a submission: wgpu treats the command buffers before the one at fault as if
    /// they had run, and the texture as if it were in the state in which they leave it.
    ///
    /// Cube views are created only of textures from [`cube`](Self::cube).
    pub unsafe fn new(format: wgpu::TextureFormat, size: [u32; 2], usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::d2(size), usage)
    }

    /// Like [`new`](Self::new), for a 1D texture of the given width in texels.
    ///
    /// # Safety
    /// The contract of [`new`](Self::new).
    pub unsafe fn new_1d(format: wgpu::TextureFormat, width: u32, usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::new_1d(width), usage)
    }

    /// Like [`new`](Self::new), for a 3D texture of the given width, height and depth in texels. It
    /// cannot be a `RENDER_ATTACHMENT`.
    ///
    /// # Safety
    /// The contract of [`new`](Self::new).
    pub unsafe fn new_3d(format: wgpu::TextureFormat, size: [u32; 3], usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::new_3d(size), usage)
    }

    /// Like [`new`](Self::new), for a cube map whose faces are `side` texels wide: a wgpu 2D
    /// texture with six layers.
    ///
    /// # Safety
    /// The contract of [`new`](Self::new).
    pub unsafe fn cube(format: wgpu::TextureFormat, side: u32, usage: wgpu::TextureUsages) -> Self {
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
}

/// A texture, and the state in which it is handed over.
#[derive(Debug)]
pub struct TextureSlot {
    texture: wgpu::Texture,
    state: wgpu::TextureUses,
}

impl<T: Texel> Shared for SlotTexture<T> {
    type Specs = ImageSpec<T>;
    type Objects = ();
    type Lent<'f> = &'f wgpu::Texture;
    type Slot = TextureSlot;
}

impl<T: Texel> Share<Self> for SlotTexture<T> {
    const IN_PLACE: bool = true;
    const COPIES: bool = false;
    const SETTLES: bool = true;

    fn specs(&self, gpu: &Bridge, _: Flow, name: &str) -> Result<ImageSpec<T>> {
        let object = format!("slot texture \"{name}\"");
        let (accesses, _) = access::of_texture(self.usage, &object)?;
        self.shape.check_usage(self.usage, Place::Slot, &object)?;
        Ok(self.shape.spec(gpu.format(self.format)?, accesses))
    }

    fn objects(&self, _: &Bridge, _: Flow, _: &str) -> Result<()> {
        Ok(())
    }

    fn wrap(&self, slot: &SlotInfo<'_>, render: RenderImage<'_>) -> Result<TextureSlot> {
        let (_, state) = access::of_texture(self.usage, slot.name)?;
        let (descriptor, lease) = (self.shape.descriptor(slot.name, self.format, self.usage), slot.lease.clone());
        let texture =
            // SAFETY: created as described, by `specs`; an sRGB format as UNORM with
            // `MUTABLE_FORMAT`, so that its views can be sRGB. The lease keeps the image alive
            // until wgpu is done with the wrapper and its clones. Its state is the one whose layout
            // the bridge's acquire, recorded before the frame's commands, leaves it in.
            unsafe { raw::texture(slot.gpu, render.as_raw(), &descriptor, state, Box::new(move || drop(lease))) }?;
        Ok(TextureSlot { texture, state })
    }

    fn lend<'f>(slot: &'f TextureSlot, (): &'f ()) -> &'f wgpu::Texture {
        &slot.texture
    }

    fn copy(_: Flow, _: &TextureSlot, (): &(), _: &mut wgpu::CommandEncoder) {}

    fn filled<'o>((): &'o (), _: &mut Filled<'o>) {}

    fn settle(slot: &TextureSlot, commands: &mut wgpu::CommandEncoder) {
        let back = wgpu::TextureTransition { texture: &slot.texture, selector: None, state: slot.state };
        commands.transition_resources(std::iter::empty(), std::iter::once(back));
    }
}
