//! Bridge-specific part of the post-process.
#![allow(unsafe_code)] // A kernel launch.

use anyhow::{Context, Result};
use ash::vk;
use bridge::{Compute, ComputeFirst, ComputeTurn, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Kernel, RenderFirst};
use bridge::{TextureInfo, TwinImage};
use bridge_examples::kernels::threads;

use super::filter_row;
use crate::kernels::KERNELS;
use crate::splice::Spliced;

type Spec = ImageSpec<[u8; 4]>;
pub(super) type LentScene = Spliced<Spec, RenderFirst>;
pub(super) type LentPicture = Spliced<Spec, ComputeFirst>;
pub(super) type SceneTurn = ComputeTurn<Spec, RenderFirst>;

pub(super) struct Exchanges {
    scene: Exchange<Spec, RenderFirst>,
    picture: Exchange<Spec>,
    glow: Kernel,
    size: [u32; 2],
}

impl Exchanges {
    pub(super) fn new(compute: &Compute, size: [u32; 2]) -> Result<Self> {
        type Params = (TwinImage<[u8; 4]>, TwinImage<[u8; 4]>, u32, u32);
        let twin = compute.load("engine.ptx", KERNELS)?.with_twin::<Params>("glow", |_, (mut to, from, _, _)| {
            (0..).zip(to.rows_mut()).for_each(|(y, row)| filter_row(y, row, from.height(), |y| from.row(y)));
        })?;
        let image = |uses| Spec::new(vk::Format::R8G8B8A8_UNORM, size, uses);
        let info = |name| ExchangeInfo { name, slots: 3, ..ExchangeInfo::default() };
        let scene = Exchange::render_first(compute, &info("scene"), image(ImageAccess::TRANSFER_WRITE))?;
        let picture = Exchange::new(compute, &info("filtered"), image(ImageAccess::SAMPLED))?;
        Ok(Self { scene, picture, glow: twin.kernel("glow")?, size })
    }

    /// Changes the size of the images; frames may be in flight.
    pub(super) fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        self.scene.resize(size)?;
        self.picture.resize(size)?;
        self.size = size;
        Ok(())
    }

    /// Lends an image for the scene of a frame.
    pub(super) fn begin(&mut self) -> Result<LentScene> {
        LentScene::new(self.scene.begin()?).context("the scene's image")
    }

    /// Enqueues the filter for a submitted scene. Does not wait.
    pub(super) fn filter(&mut self, mut scene: SceneTurn) -> Result<LentPicture> {
        let mut picture = self.picture.begin()?;
        let (from, to, [width, height]) = (scene.work().kernels()?, picture.work().kernels()?, self.size);
        let (surface, texture) = (to.resources.surface(0)?, from.resources.texture(&TextureInfo::default())?);
        // SAFETY: the arguments of `glow`: two images of the same size, and the size. No thread
        // accesses anything beyond it.
        unsafe { to.launch(&self.glow, &threads([width, height]), (surface, texture, width, height)) }?;
        scene.finish()?;
        LentPicture::new(picture.finish()?).context("the filtered image")
    }
}
