//! Textures.
#![allow(unsafe_code)] // Wraps an image of the bridge for wgpu.

use std::marker::PhantomData;

use bridge::{ImageAccess, ImageSpec, RenderImage, Texel};

use super::{Flow, Share, Shared, SlotInfo, raw};
use crate::device::Bridge;
use crate::error::Result;

/// A 2D texture with texels of type `T` in a [`wgpu::Texture`] that stays the same, so that views
/// and bind groups stay valid.
///
/// `T` is the texel as the compute side sees it: `[u8; 4]` for `Rgba8Unorm`, `f32` for `R32Float`.
/// sRGB formats are shared as their bytes.
///
/// In an exchange whose frames the compute side begins, submitting a frame first copies the frame
/// into it, then runs the submitted commands. In one whose frames wgpu begins, the commands run
/// first, and then it is copied out. Either is one copy on the GPU, from or to the slot that the
/// compute side works on.
#[derive(Debug, Clone)]
pub struct SharedTexture<T> {
    format: wgpu::TextureFormat,
    size: [u32; 2],
    usage: wgpu::TextureUsages,
    texel: PhantomData<fn() -> T>,
}

impl<T: Texel> SharedTexture<T> {
    /// A texture of width and height in texels that wgpu uses as `usage` says; what the copy needs
    /// is added.
    pub fn new(format: wgpu::TextureFormat, size: [u32; 2], usage: wgpu::TextureUsages) -> Self {
        Self { format, size, usage, texel: PhantomData }
    }

    /// Format of the slots: wgpu copies between formats that differ in sRGB alone.
    fn slot_format(&self) -> wgpu::TextureFormat {
        self.format.remove_srgb_suffix()
    }
}

/// A 2D texture with one level.
pub(super) fn descriptor(
    name: &str,
    format: wgpu::TextureFormat,
    [width, height]: [u32; 2],
    usage: wgpu::TextureUsages,
) -> wgpu::TextureDescriptor<'_> {
    wgpu::TextureDescriptor {
        label: Some(name),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage,
        view_formats: &[],
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

    fn specs(&self, gpu: &Bridge, flow: Flow) -> Result<ImageSpec<T>> {
        let accesses = match flow {
            Flow::In => ImageAccess::TRANSFER_READ,
            Flow::Out => ImageAccess::TRANSFER_WRITE,
        };
        Ok(ImageSpec::new(gpu.format(self.slot_format())?, self.size, accesses))
    }

    fn objects(&self, gpu: &Bridge, flow: Flow, name: &str) -> Result<wgpu::Texture> {
        let copied = match flow {
            Flow::In => wgpu::TextureUsages::COPY_DST,
            Flow::Out => wgpu::TextureUsages::COPY_SRC,
        };
        let descriptor = descriptor(name, self.format, self.size, self.usage | copied);
        let object = format!("texture \"{name}\"");
        gpu.capture("Device::create_texture", &object, || gpu.device().create_texture(&descriptor))
    }

    fn wrap(&self, slot: &SlotInfo<'_>, render: RenderImage<'_>) -> Result<wgpu::Texture> {
        // The state in which the bridge's barriers leave the image, by the accesses of `specs`.
        let (usage, state) = match slot.flow {
            Flow::In => (wgpu::TextureUsages::COPY_SRC, wgpu::TextureUses::COPY_SRC),
            Flow::Out => (wgpu::TextureUsages::COPY_DST, wgpu::TextureUses::COPY_DST),
        };
        let descriptor = descriptor(slot.name, self.slot_format(), self.size, usage);
        // SAFETY: made as described, by `specs`. Nobody is lent the wrapper: it is used in
        // submissions with a frame of the exchange, which keeps the image until these have run. Its
        // state is the one that the bridge's acquire leaves it in, which is recorded before wgpu's
        // first command with it.
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
        commands.copy_texture_to_texture(from.as_image_copy(), to.as_image_copy(), objects.size());
    }

    fn settle(_: &wgpu::Texture, _: &mut wgpu::CommandEncoder) {}
}
