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
/// [`objects`](crate::Frame::objects). There are as many as slots, the same one whenever the slot
/// comes round: what a program makes of it, such as a view or a bind group, it keeps for each
/// [`slot`](crate::Frame::slot).
///
/// A clone keeps the memory alive, also after the exchange is gone.
#[derive(Debug, Clone)]
pub struct SlotTexture<T> {
    format: wgpu::TextureFormat,
    pub(super) shape: Shape,
    usage: wgpu::TextureUsages,
    texel: PhantomData<fn() -> T>,
}

shaped!(SlotTexture);

impl<T: Texel> SlotTexture<T> {
    /// Describes a 2D texture of width and height in texels, with one level and one layer, that
    /// wgpu uses with `usage`.
    ///
    /// # Safety
    /// The texture that a frame lends, its clones and their views are used in the commands that are
    /// [submitted](Bridge::submit) with that frame and nowhere else: in no other submission, and
    /// not by [`wgpu::Queue::write_texture`]. The compute side works on it before and after, and it
    /// is in another layout meanwhile.
    ///
    /// No render pass ends with [`StoreOp::Discard`](wgpu::StoreOp::Discard) for it: wgpu clears
    /// what was discarded before it is used again, and panics where the texture is one that it
    /// did not make. The commands of a frame are one command buffer, or else the texture is not
    /// used any more once wgpu has refused a submission: it takes the command buffers in front of
    /// the one at fault for done, and the texture to be in the state in which they leave it.
    ///
    /// Views as cubes are made only of what was made by [`cube`](Self::cube).
    pub unsafe fn new(format: wgpu::TextureFormat, size: [u32; 2], usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::d2(size), usage)
    }

    /// As [`new`](Self::new), a 1D texture of a width in texels.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub unsafe fn d1(format: wgpu::TextureFormat, width: u32, usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::d1(width), usage)
    }

    /// As [`new`](Self::new), a 3D texture of width, height and depth in texels. It cannot be a
    /// `RENDER_ATTACHMENT`.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub unsafe fn d3(format: wgpu::TextureFormat, size: [u32; 3], usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::d3(size), usage)
    }

    /// As [`new`](Self::new), a cube map whose faces have this many texels a side: a 2D texture of
    /// wgpu's with six layers.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub unsafe fn cube(format: wgpu::TextureFormat, side: u32, usage: wgpu::TextureUsages) -> Self {
        Self::with_shape(format, Shape::cube(side), usage)
    }

    fn with_shape(format: wgpu::TextureFormat, shape: Shape, usage: wgpu::TextureUsages) -> Self {
        Self { format, shape, usage, texel: PhantomData }
    }

    /// Width and height of the first level in texels.
    pub(crate) fn size(&self) -> [u32; 2] {
        self.shape.width_and_height()
    }

    /// The same with another width and height.
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
            // SAFETY: made as described, by `specs`; of an sRGB format as UNORM with
            // `MUTABLE_FORMAT`, so that views of it are sRGB. The lease keeps it until wgpu is done
            // with the wrapper and its clones. Its state is the one whose layout the bridge's
            // acquire brings it to, which is recorded before the frame's commands.
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
