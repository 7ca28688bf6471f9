//! Bridge-specific part of the painted texture.
#![allow(unsafe_code)] // A kernel launch.

use anyhow::{Context, Result};
use ash::vk;
use bridge::{Compute, ComputeFirst, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Kernel, TwinImage};
use bridge_examples::kernels::threads;

use super::{SIDE, texel};
use crate::kernels::KERNELS;
use crate::splice::Spliced;

type Spec = ImageSpec<[u8; 4]>;
pub(super) type Lent = Spliced<Spec, ComputeFirst>;

pub(super) struct Painter {
    exchange: Exchange<Spec>,
    paint: Kernel,
}

impl Painter {
    pub(super) fn new(compute: &Compute) -> Result<Self> {
        type Params = (TwinImage<[u8; 4]>, u32, u32, u32);
        let twin =
            compute.load("engine.ptx", KERNELS)?.with_twin::<Params>("paint", |_, (mut image, _, _, frame)| {
                for (y, row) in (0..).zip(image.rows_mut()) {
                    (0..).zip(row).for_each(|(x, painted)| *painted = texel(x, y, frame));
                }
            })?;
        let info = ExchangeInfo { name: "painting", slots: 3, ..ExchangeInfo::default() };
        let uses = ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ;
        let exchange = Exchange::new(compute, &info, Spec::new(vk::Format::R8G8B8A8_UNORM, [SIDE, SIDE], uses))?;
        Ok(Self { exchange, paint: twin.kernel("paint")? })
    }

    /// Enqueues the painting of the texture for a frame. Does not wait.
    pub(super) fn paint(&mut self, frame: u32) -> Result<Lent> {
        let mut turn = self.exchange.begin()?;
        let work = turn.work().kernels()?;
        let surface = work.resources.surface(0)?;
        // SAFETY: the arguments of `paint`: the turn's image, its size, and the frame. No thread
        // accesses anything beyond the image.
        unsafe { work.launch(&self.paint, &threads([SIDE, SIDE]), (surface, SIDE, SIDE, frame)) }?;
        Lent::new(turn.finish()?).context("the texture")
    }
}
