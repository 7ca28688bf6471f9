//! A post-process: the scene is copied into a shared image, the compute side filters it, and the
//! engine shows the result.
#![allow(unsafe_code)] // A system of the engine.

mod shared;

use anyhow::Result;
use ash::vk;
use bridge::Compute;
use engine_core::recorder::Recorder;
use engine_core::system::Semaphores;
use engine_core::{Pass, System};
use shared::{Exchanges, LentPicture, LentScene};

/// Computes a row of the filtered picture on the CPU: twin of `glow` in `engine.cu`. `row` returns
/// the rows of the scene.
pub fn filter_row<'a>(y: usize, to: &mut [[u8; 4]], height: usize, row: impl Fn(usize) -> Option<&'a [[u8; 4]]>) {
    let last = height.saturating_sub(1);
    let around = [-2, -1, 0, 1, 2].map(|dy| row(y.saturating_add_signed(dy).min(last)).unwrap_or_default());
    let width = to.len();
    for (x, to) in to.iter_mut().enumerate() {
        let columns = [-2, -1, 0, 1, 2].map(|dx| x.saturating_add_signed(dx).min(width.saturating_sub(1)));
        let channel = |channel: usize| {
            let sum: u32 = around.iter().flat_map(|row| columns.map(|x| u32::from(row[x][channel]))).sum();
            (u32::from(around[2][x][channel]) / 2 + sum / 25).min(255) as u8
        };
        *to = [channel(0), channel(1), channel(2), 255];
    }
}

/// The filter system.
pub struct Filter {
    exchanges: Option<Exchanges>,
    scene: Option<LentScene>,
    picture: Option<LentPicture>,
    compute: Compute,
}

impl Filter {
    /// The name of the system.
    pub const NAME: &'static str = "filter";

    /// Creates the filter, without images.
    pub fn new(compute: &Compute) -> Self {
        Self { exchanges: None, scene: None, picture: None, compute: compute.clone() }
    }
}

// SAFETY: the images are used between the turns' acquires and releases, and submitted with their
// semaphores.
unsafe impl System for Filter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn resize(&mut self, extent: vk::Extent2D) -> Result<()> {
        let size = [extent.width, extent.height];
        match &mut self.exchanges {
            Some(exchanges) => exchanges.resize(size),
            None => {
                self.exchanges = Some(Exchanges::new(&self.compute, size)?);
                Ok(())
            }
        }
    }

    fn begin(&mut self, _: u64) -> Result<()> {
        self.scene = self.exchanges.as_mut().map(Exchanges::begin).transpose()?;
        Ok(())
    }

    fn before(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        if let Some(picture) = self.picture.as_ref().filter(|_| pass == Pass::Picture) {
            picture.acquire(recorder);
        }
    }

    fn after(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        match (pass, &self.scene, &self.picture) {
            (Pass::Scene, Some(scene), _) => {
                scene.acquire(recorder);
                recorder.copy_scene(scene.resources().as_raw());
                scene.release(recorder);
            }
            (Pass::Picture, _, Some(picture)) => picture.release(recorder),
            _ => {}
        }
    }

    fn semaphores(&self, pass: Pass, semaphores: &mut Semaphores) {
        match (pass, &self.scene, &self.picture) {
            (Pass::Scene, Some(scene), _) => scene.semaphores(semaphores),
            (Pass::Picture, _, Some(picture)) => picture.semaphores(semaphores),
            _ => {}
        }
    }

    fn prepare_present(&mut self, pass: Pass) -> Result<()> {
        match (pass, &self.scene, &self.picture) {
            (Pass::Scene, Some(scene), _) => scene.prepare_present()?,
            (Pass::Picture, _, Some(picture)) => picture.prepare_present()?,
            _ => {}
        }
        Ok(())
    }

    fn submitted(&mut self, pass: Pass, accepted: bool) -> Result<()> {
        match pass {
            Pass::Scene => {
                let turn = self.scene.take().map(|scene| scene.submitted(accepted)).transpose()?.flatten();
                if let Some((exchanges, turn)) = self.exchanges.as_mut().zip(turn) {
                    self.picture = Some(exchanges.filter(turn)?);
                }
            }
            Pass::Picture => self.picture.take().into_iter().for_each(|picture| picture.submitted(accepted)),
        }
        Ok(())
    }

    fn picture(&self) -> Option<(vk::ImageView, vk::ImageLayout)> {
        let image = self.picture.as_ref()?.resources();
        image.view().map(|view| (view, image.layout()))
    }
}
